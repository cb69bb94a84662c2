/* SPDX-License-Identifier: Apache-2.0 */
/* One more step in the life of a day of events: which days are to be split by course, when, and what is noted
 * of it. What is due is asked of the ledger, so a restart or a newly set key makes up for what is not there.
 */
#pragma once

#include "queue.h"

struct splitting;

/* All borrowed for ever. */
struct splitting_spec {
        uv_loop_t *loop;
        struct ledger *ledger;
        struct staging *staging;
        struct recorder *record;
        struct pauses *pauses;
        struct moved *moved;
        const struct queue *queue; /* asked which objects are in work */
        bool once;
};
int splitting_new(const struct splitting_spec *spec, struct splitting **ret);
/* The configuration in force, and what belongs to its packages; borrowed until the next call. */
void splitting_configure(
        struct splitting *s, const struct config *config, const struct package_context *contexts);
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
/* By which rule the days of that organisation are split now. */
enum event_rule splitting_rule(const struct splitting *s, const char *org);
/* Is that day being split? */
bool splitting_busy(const struct splitting *s, int64_t object_id);
