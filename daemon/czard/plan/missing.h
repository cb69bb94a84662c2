/* SPDX-License-Identifier: Apache-2.0 */
/* Is what the ledger calls published still there, as it was published? */
#pragma once

#include "splitting.h"

struct missing;

/* All borrowed for ever. NULL: out of memory. */
struct missing *missing_new(
        const struct job_env *env, const struct queue *queue, const struct splitting *splitting);
struct missing *missing_free(struct missing *m);
/* Looks at every staged file, a little in each turn of the loop: by size and time, not by content (czarctl
 * verify does that). What is gone or altered becomes MISSING. Does nothing while a look is under way or the
 * volume is not ours. */
void missing_look(struct missing *m);
bool missing_running(const struct missing *m);
/* A look came to its end since it was last asked. */
bool missing_take_ended(struct missing *m);
