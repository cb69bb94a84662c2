/* SPDX-License-Identifier: Apache-2.0 */
/* Does the configuration want an object? By organisation, category, site, prefix, since and keep_days. */
#pragma once

#include <stdbool.h>

#include "config.h"
#include "ledger.h"

/* now: seconds. *ret_why, when given and it is not wanted: why (static storage).
 * A key that is ours but unsafe (package_parse_key()) is wanted, to be rejected: *ret_unsafe, when given,
 * then has its cause and text, and CAUSE_NONE else. */
bool wants_object(const struct config *c, const struct ledger_object *o, int64_t now, const char **ret_why,
        struct error *ret_unsafe);
/* More of those: of a site that was taken out nothing is missed. */
bool wants_series(const struct config *c, const char *org, enum category category, const char *site);
