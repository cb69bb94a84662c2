/* SPDX-License-Identifier: Apache-2.0 */
/* Is what the ledger calls published still there, as it was published? */
#pragma once

#include "director.h"

struct missing;

int missing_new(struct director *d, struct missing **ret);
struct missing *missing_free(struct missing *m);
/* Looks at every staged file, a little in each turn of the loop: by size and time, not by content (czarctl
 * verify does that). What is gone or altered becomes MISSING. Does nothing while a look is under way or the
 * volume is not ours. */
void missing_look(struct missing *m);
bool missing_running(const struct missing *m);
