/* SPDX-License-Identifier: Apache-2.0 */
/* Days that czard has staged, and not yet split by course. */
#pragma once

#include <stdbool.h>

#include "config.h"
#include "staging.h"

/* Is there one within the delivery's dates? Where events may not be read by the caller, nobody knows: then
 * there is none. 0 or -errno. */
int unsplit_any(const struct staging *s, const struct config_delivery *d, bool *ret, struct error *e);
