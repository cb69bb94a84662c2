/* SPDX-License-Identifier: Apache-2.0 */
/* The plaintext of an object that is staged under another path now, and that could not be removed. */
#pragma once

#include "record.h"

/* Says so (a warning) and remembers the path, and keep_as ("" none), for leftover_clear(). why: what
 * staging_retire() said. */
void leftover_note(struct recorder *r, struct ledger *ledger, const struct ledger_object *o, const char *path,
        const char *keep_as, const struct error *why);
/* At start: what is remembered is removed, unless it has come to be of use again. What cannot be is said and
 * stays remembered. */
void leftover_clear(struct recorder *r, struct ledger *ledger, struct staging *staging);
