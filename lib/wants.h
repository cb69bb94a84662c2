/* SPDX-License-Identifier: Apache-2.0 */
/* Does the configuration want an object? By organisation, category, site, prefix, since and keep_days. */
#pragma once

#include <stdbool.h>

#include "config.h"
#include "ledger.h"

/* now: seconds. *ret_why, when given and it is not wanted: why (static storage). */
bool wants_object(const struct config *c, const struct ledger_object *o, int64_t now, const char **ret_why);
