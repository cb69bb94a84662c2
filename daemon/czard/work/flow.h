/* SPDX-License-Identifier: Apache-2.0 */
/* One GET running into one worker through a pipe: what transfers, archive directories and runs of members
 * have in common. It ends once both sides have ended, and then knows which of them failed first. The GET
 * waits until it is given a slot (plan/slots.h). */
#pragma once

#include "fetcher.h"
#include "limits.h"
#include "moved.h"
#include "pool.h"
#include "record.h"
#include "slot.h"

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
/* A slot is given to it: sends its GET. From the loop. */
void flow_start_get(struct flow *f);
