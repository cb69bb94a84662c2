/* SPDX-License-Identifier: Apache-2.0 */
/* One snapshot against the one before: courses and tables that appeared, vanished, shrank by more than half,
 * or are empty. */
#pragma once

#include "director.h"

/* Says what changed (EVENT_SNAPSHOT_CHANGED) between o and the staged snapshot before it, if anything. */
void snapshot_say_change(struct director *d, const struct ledger_object *o);
/* Has `id` lost a course that `before` had, and that was still alive there: it differed from the same course
 * in `before_that`? A course whose tables did not change any more may leave (edX drops courses that ended
 * years ago). before_that 0: nothing to tell by, so any lost course counts. */
bool snapshot_lost_course(struct director *d, int64_t id, int64_t before, int64_t before_that);
