/* SPDX-License-Identifier: Apache-2.0 */
/* What is due, in which order, and how much of it at once. */
#pragma once

#include "director.h"

/* An object being worked on: the common part of a transfer and a snapshot. */
struct job {
        struct director *d;
        struct ledger_object o;
        struct pool *pool;     /* whose key opens it */
        uint64_t started_usec; /* CLOCK_MONOTONIC */
        uint64_t due_bytes;    /* what is to come: the object's size, of an archive what is wanted of it */
        uint64_t came_bytes;   /* of them; more when something is fetched again */
        /* Drops what runs; the object goes back to NEW. True: it has freed itself. False: a thread still
         * works for it; it calls queue_job_done() when that has ended, and until then its object is busy. */
        bool (*cancel)(struct job *j);
        bool leaving; /* cancel() was called */
        struct job *next;
};

int queue_new(struct director *d, struct queue **ret);
struct queue *queue_free(struct queue *q);

/* Looks at the ledger again: what is due now, in order; then starts what there is room for. Cheap enough for
 * every listing that brought something. */
void queue_plan(struct queue *q);
/* The next plan looks at IGNORED objects too: a filter may have been widened, or what hid them may be gone.
 */
void queue_look_at_all(struct queue *q);
/* Someone recorded a RETRY for then (seconds): plan again at that time. */
void queue_retry_at(struct queue *q, int64_t when);
/* Look at the pauses now and then until they are gone. */
void queue_watch_pause(struct queue *q);
/* Rows of jobs that were lost go back to NEW. 0 or -errno. */
int queue_recover(struct queue *q);
/* A job has recorded how it ended; unlinks it (the caller frees). */
void queue_job_done(struct queue *q, struct job *j);
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
/* Nothing runs, nothing waits, and no retry of this run is to come. */
bool queue_idle(const struct queue *q);

struct queue_progress {
        uint64_t due, done;             /* objects since the queue was last empty */
        uint64_t due_bytes, done_bytes; /* done: that came, also of objects under way */
        uint64_t rate;                  /* bytes a second, lately */
        unsigned running;
};
/* A turn of the loop: what the rate is told from. */
void queue_mark(struct queue *q);
void queue_progress(const struct queue *q, struct queue_progress *ret);

/* transfer.c, snapshot.c: start working on j->o. The job is linked into the queue already. NULL when out of
 * memory. */
struct job *transfer_new(struct director *d, const struct ledger_object *o);
void transfer_start(struct job *j);
struct job *snapshot_new(struct director *d, const struct ledger_object *o);
void snapshot_start(struct job *j);
