/* SPDX-License-Identifier: Apache-2.0 */
/* One GET running into one worker through a pipe: what transfers, archive directories and runs of members
 * have in common. It ends once both sides have ended, and then knows which of them failed first. The GET
 * waits until it is given a slot. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "fetcher.h"
#include "limits.h"
#include "pool.h"
#include "record.h"
#include "timespan.h"

/* When work last got on. Progress is bytes moved, a verdict, a job that began or ended; that a helper is
 * alive is none. Threads write it too. */
struct moved {
        _Atomic uint64_t usec; /* CLOCK_MONOTONIC; 0: never */
        atomic_bool news;      /* since moved_take() */
};

static inline void moved_on(struct moved *m)
{
        m->usec = now_usec(CLOCK_MONOTONIC);
        m->news = true;
}

static inline bool moved_take(struct moved *m)
{
        return atomic_exchange(&m->news, false);
}

/* --- slots --- */

/* A GET holds a slot from its message to its DONE. */
enum slot_get { GET_WAITS, GET_RUNS, GET_ENDED };
/* Who reads the pipe: a worker is claimed, granted, and released or lost. */
enum slot_reader { READER_WAITS, READER_GRANTED, READER_GONE };

/* What of a flow counts when slots are given out. */
struct slot {
        const struct pool *pool;
        unsigned workers; /* of that pool, now */
        bool archive;     /* a directory or run of an archive: its claim goes before those of files */
        bool fits;        /* the whole body fits into the pipe: the GET ends without a reader */
        enum slot_get get;
        enum slot_reader reader;
        struct slot *next; /* in order of arrival */
};

/* How many GETs run at once. A GET whose reader is there makes way; one without a reader fills its pipe and
 * then holds its slot until a worker comes, and the workers may all be held by runs that wait for a slot. So
 * at least one slot is never given to a GET that waits for a reader, and nothing stands still:
 *
 *   - work that was granted a worker takes free slots first;
 *   - a GET whose body fits into its pipe may start in any slot, as it ends without a reader;
 *   - others may start ahead of their worker only while fewer than max_transfers - max(1, R) such GETs run,
 *     those of archives, whose claims are served first, before those of files. R is what archives may soon
 *     need: over all pools, the smaller of the pool's workers and of the claims for archives that are granted
 *     or wait there.
 *
 * After a reload that lowered max_transfers more may run than that; then nothing starts, but one that was
 * granted where all that run wait for a worker.
 *
 * That at most max_transfers files are in work at once is the queue's business. */

/* The one of the list (NULL: empty) whose GET is to start now, or NULL. Values in, decision out. */
struct slot *slots_next(struct slot *first, unsigned max_transfers);
/* Sends the GETs of a list of flows' slots that may start now. From the loop. */
void slots_start(struct slot *first, unsigned max_transfers);

/* --- flows --- */

/* What flows need; all borrowed. */
struct flow_env {
        struct fetcher *fetcher;
        struct recorder *record; /* told of credentials that were refused, and of a clock that is off */
        struct moved *moved;
        struct slot **slots; /* of all flows */
};

/* Claims: those of archives go first. */
enum flow_rank { RANK_ARCHIVE, RANK_EVENTS, RANK_OTHER };

struct flow_ops {
        /* A worker is yours (flow->worker): send it its job with flow->pipe_fd (borrowed). -errno and e: it
         * has got nothing of it, the flow ends. */
        int (*granted)(void *arg, struct error *e);
        /* The worker answers; when it has answered everything call flow_judge(). */
        void (*message)(void *arg, struct message *m);
        /* So many more bytes came. */
        void (*came)(void *arg, uint64_t bytes);
        /* Both ended; the worker has been released. Comes once, from the loop. */
        void (*ended)(void *arg, enum cause cause, const char *detail);
};

struct flow {
        const struct flow_env *env;
        struct pool *pool;
        const struct flow_ops *ops;
        void *arg;

        struct slot slot;         /* in env->slots until the flow ends */
        struct proto_get request; /* strings are the owner's, until the flow ends */
        int write_fd;             /* until czard-fetch has it */
        int pipe_fd;              /* read end, until the worker has it */
        uint32_t get;             /* request id, 0: waits, or ended */
        struct claim claim;
        struct worker *worker; /* NULL: not yet, or judged */

        bool have_done, have_verdict;
        enum cause done_cause, verdict_cause;
        char done_detail[DETAIL_SIZE], verdict_detail[DETAIL_SIZE];
        uint64_t retry_after_usec;
        uint64_t bytes, read; /* that came; that its worker told last */
        uint32_t checks;      /* what czard-fetch could check */
        char bucket[BUCKET_SIZE];
};

/* Claims a worker; the GET starts when there is a slot for it. 0, or -errno and e: nothing was started. */
int flow_start(struct flow *f, const struct flow_env *env, struct pool *pool, const struct flow_ops *ops,
        void *arg, const struct proto_get *get, enum flow_rank rank, struct error *e);
/* The worker's job is over, with this verdict: it goes back to the pool. (One that owes an answer does not:
 * it is killed.) */
void flow_judge(struct flow *f, enum cause cause, const char *detail);
/* The worker broke its word: "czard-decrypt {why}" or "czard-index {why}". It is killed, and once it is
 * reaped the flow ends with CAUSE_HELPER. */
void flow_break(struct flow *f, const char *why);
/* Drops both sides; `ended` does not come. */
void flow_cancel(struct flow *f);
