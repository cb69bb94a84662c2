/* SPDX-License-Identifier: Apache-2.0 */
/* The czard-decrypt workers that hold one data czar's key, or the czard-index processes that read directories
 * of archives. Who wants one claims it, is granted it from the loop, sends it jobs, and releases it. */
#pragma once

#include <uv.h>

#include "worker.h"

struct pool_spec {
        const char *run_dir;             /* worker homes are made below it; borrowed for ever */
        unsigned number;                 /* tells this pool's homes from another's */
        const char *homedir;             /* GnuPG home with the secret key; copied */
        const struct config *config;     /* signatures, signers, engine, limits: copied */
        const struct secret *passphrase; /* borrowed for ever; p NULL: none */
        const char *passphrase_file;     /* of this home alone, instead; read once; NULL: none */
        unsigned workers;
};

/* The first worker has tried the key: ready->outcome says how it went. Comes once, from the loop, also when
 * no worker could be started. */
typedef void pool_ready_fn(void *arg, struct pool *p, const struct proto_ready *ready);
int pool_new(uv_loop_t *loop, const struct pool_spec *spec, pool_ready_fn *ready, void *arg,
        struct pool **ret, struct error *e);
/* Of czard-index: at most so many at a time, each started when it is claimed and ended when it is released:
 * one archive a process. Nothing is started yet. 0 or -ENOMEM. */
int pool_new_index(uv_loop_t *loop, unsigned workers, struct pool **ret);
/* Where a message goes of which a worker said CAUSE_REFERENCE: to the one worker that keeps its gpg-agent, as
 * a pool of its own, which is freed with this one. It is started when it is claimed, which may not be before
 * a worker of this pool was READY. Or it is this pool, when all its workers have one. */
struct pool *pool_reference(struct pool *p);
/* Kills the workers; their homes are removed from the loop, once they are reaped. Returns NULL. */
struct pool *pool_free(struct pool *p);

/* Waits for a worker. granted is called from the loop, never before pool_claim() returns. When no worker
 * comes up at all on_message is called with m NULL instead. The claim is the caller's memory and stays valid
 * until granted or withdrawn. */
struct claim {
        void (*granted)(void *arg, struct worker *w);
        worker_message_fn *on_message; /* of the worker while it is yours */
        void *arg;
        unsigned rank; /* lower ones first */
        struct claim *next;
        bool waiting;
};
void pool_claim(struct pool *p, struct claim *c);
void pool_withdraw(struct pool *p, struct claim *c);

/* Back to the pool, idle; but one that still owes an answer, or broke its word, is killed. Nothing is called
 * for it any more. */
void worker_release(struct worker *w);
/* Kills one whose job is not wanted any more; nothing is called for it. */
void worker_discard(struct worker *w);

const char *pool_homedir(const struct pool *p);
/* Takes over what a reload may change: limits, signature policy, number of workers. Workers that were set up
 * otherwise finish what they do and are replaced. */
void pool_reconfigure(struct pool *p, const struct config *config, unsigned workers);
unsigned pool_size(const struct pool *p);

/* The pools of czard-decrypt workers, one for each GnuPG home. */
struct pools;

struct pools_spec {
        uv_loop_t *loop;
        const char *run_dir;             /* borrowed for ever */
        const struct secret *passphrase; /* of homes without one of their own; borrowed for ever */
        pool_ready_fn *ready;            /* of each pool */
        void *arg;
};
/* NULL: out of memory. */
struct pools *pools_new(const struct pools_spec *spec);
/* Kills the workers. Returns NULL. */
struct pools *pools_free(struct pools *p);

/* The pool of that package's home; made when there is none yet. */
int pools_open(struct pools *p, const struct config *config, const struct config_package *package,
        struct pool **ret, struct error *e);
void pools_reconfigure(struct pools *p, const struct config *config);
/* One whose home no package has any more, to be freed by the caller; NULL: there is none. */
struct pool *pools_take_unused(struct pools *p, const struct config *config);
size_t pools_count(const struct pools *p);
