/* SPDX-License-Identifier: Apache-2.0 */
/* What is due, in which order, and how much of it at once. */
#pragma once

#include "job.h"

struct queue;

/* env: what jobs are done with; borrowed for ever. 0 or -ENOMEM. */
int queue_new(const struct job_env *env, struct queue **ret);
struct queue *queue_free(struct queue *q);

/* Something may be due: asks for a plan in this turn of the loop. */
void queue_plan(struct queue *q);
bool queue_wants_plan(const struct queue *q);
/* Looks at the ledger again: what is due now, in order. Cheap enough for every listing that brought
 * something. look_again: the next plan too is to look at IGNORED objects. 0 or -errno. */
int queue_make_plan(struct queue *q, bool look_again, struct error *e);
/* The next plan looks at IGNORED objects too: a filter may have been widened, or what hid them may be gone.
 */
void queue_look_at_all(struct queue *q);
bool queue_looks_at_all(const struct queue *q);

/* Once a turn of the loop: jobs go on with what happened, and those that are over go. */
void queue_step(struct queue *q);
/* May there be something to be started? Told once, until there is a new plan or a job has ended. */
bool queue_take_start(struct queue *q);
/* Starts what there is room for, as long as there is no pause. */
void queue_start(struct queue *q);

/* Someone recorded a RETRY for then (seconds): plan again at that time. */
void queue_retry_at(struct queue *q, int64_t when);
/* Every RETRY is due now. */
void queue_retry_now(struct queue *q);
/* Rows of jobs that were lost go back to NEW. 0 or -errno. */
int queue_recover(struct queue *q);
/* Cancels every job. */
void queue_cancel_all(struct queue *q);
/* Cancels the jobs of that pool: none uses it any more. */
void queue_cancel_pool(struct queue *q, const struct pool *pool);
/* While held nothing is started. Counts. */
void queue_hold(struct queue *q);
void queue_release(struct queue *q);
/* queue_hold() is in force. */
bool queue_held(const struct queue *q);
bool queue_busy(const struct queue *q, int64_t object_id);
/* Is there an archive among them? */
bool queue_has_archive(const struct queue *q);
/* Something runs, or would if there was room for it: what is to be tried again later does not count. */
bool queue_is_working(const struct queue *q);
/* Nothing runs, nothing waits, and no retry of this run is to come. */
bool queue_idle(const struct queue *q);

struct queue_progress {
        uint64_t due, done;             /* objects since the queue was last empty */
        uint64_t due_bytes, done_bytes; /* done: that came, also of objects under way */
        uint64_t rate;                  /* bytes a second, lately */
        unsigned running;
};
void queue_progress(const struct queue *q, struct queue_progress *ret);
/* A turn of the loop: what the rate is told from; and from now on, until nothing is under way, it is noticed
 * when nothing moves though there is work. Progress is bytes moved, a verdict, a job that began or ended;
 * that a helper is alive is none. What stands still is said (EVENT_STALLED) and freed: workers and
 * czard-fetch are replaced and their jobs tried again. */
void queue_mark(struct queue *q);
/* Has it stood still for so long that only a restart is left? Then the watchdog is not to be fed. */
bool queue_is_hopeless(const struct queue *q);
