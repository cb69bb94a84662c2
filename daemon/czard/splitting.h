/* SPDX-License-Identifier: Apache-2.0 */
/* One more step in the life of a day of events: which days are to be split by course, when, and what is noted
 * of it. What is due is asked of the ledger, so a restart or a newly set key makes up for what is not there.
 */
#pragma once

#include "director.h"

struct splitting;

int splitting_new(struct director *d, struct splitting **ret);
struct splitting *splitting_free(struct splitting *s);
/* Something was staged, or the configuration is another one: the ledger is asked again. */
void splitting_look(struct splitting *s);
/* Once a turn of the loop: notes what ended, starts what there is room for. */
void splitting_turn(struct splitting *s);
/* Nothing runs, and nothing more can be done now. */
bool splitting_idle(const struct splitting *s);
/* Is a day being split? */
bool splitting_busy(void *splitting, int64_t object_id);
