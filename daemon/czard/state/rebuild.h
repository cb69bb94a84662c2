/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the ledger, whatever happened to it. */
#pragma once

#include "director.h"

/* Opens d->ledger. A damaged one is moved away; one that is new while the audit record has entries is rebuilt
 * from them. d->audit is open. 0 or -errno. */
int rebuild_open_ledger(struct director *d, struct error *e);
/* While czard runs: is the ledger damaged? Then it is moved away and czard stops with status 3, so that the
 * next start rebuilds it. */
void rebuild_if_damaged(struct director *d);
