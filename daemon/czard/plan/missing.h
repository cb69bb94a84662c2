/* SPDX-License-Identifier: Apache-2.0 */
/* What is published, against the disk and against the filters. A file that an admin removed or changed is
 * never fetched again by itself: it is MISSING, said once, until resync, forget or adopt. Members that are
 * wanted now are fetched. */
#pragma once

#include "queue.h"
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
/* After a change of the configuration: published archives that lack members which it wants go to NEW. Cheap
 * when it is the one that was looked at last. False: an archive is in work, perhaps by the filter of before;
 * this is to be called again when it is done. */
bool missing_widen(const struct missing *m);
