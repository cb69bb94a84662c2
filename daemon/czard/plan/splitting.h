/* SPDX-License-Identifier: Apache-2.0 */
/* One more step in the life of a day of events: which days are to be split by course, when, and what is noted
 * of it. What is due is asked of the ledger, so a restart or a newly set key makes up for what is not there.
 */
#pragma once

#include "queue.h"

struct splitting;

/* Both borrowed for ever. A new configuration is followed by splitting_look(). */
int splitting_new(const struct job_env *env, const struct queue *queue, struct splitting **ret);
struct splitting *splitting_free(struct splitting *s);
/* Days that failed and are to be tried again later are tried now. */
void splitting_retry(struct splitting *s);
/* Something may have become due. */
void splitting_look(struct splitting *s);
/* Once a turn of the loop: notes what ended. */
void splitting_step(struct splitting *s);
/* Is there one to be started, when so many may run at a time? */
bool splitting_has_next(struct splitting *s, size_t most);
/* Starts them. */
void splitting_start(struct splitting *s, size_t most);
/* Nothing runs, and nothing more can be done now. */
bool splitting_idle(const struct splitting *s);
/* Is that day being split? */
bool splitting_busy(const struct splitting *s, int64_t object_id);
