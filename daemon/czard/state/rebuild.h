/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the ledger, whatever happened to it. */
#pragma once

#include "audit.h"
#include "config.h"
#include "ledger.h"

/* Opens the ledger below state_dir (config, state_fd). A damaged one is moved away; one that is new while the
 * audit record has entries is rebuilt from them. 0 and *ret, or -errno. */
int rebuild_open_ledger(const struct config *config, int state_fd, const struct audit *audit,
        struct ledger **ret, struct error *e);
/* While czard runs: is the ledger damaged? Then it is moved away, and czard has to stop, so that the next
 * start rebuilds it: -EUCLEAN and the text. */
int rebuild_is_needed(const struct config *config, struct ledger *ledger, struct error *e);
