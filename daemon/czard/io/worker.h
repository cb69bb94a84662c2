/* SPDX-License-Identifier: Apache-2.0 */
/* One process that does jobs: czard-decrypt, which has a key in a home of its own, or czard-index, which has
 * neither. Owns the process, its home, and what it owes an answer to; its pool (pool.c) says what it is for.
 */
#pragma once

#include <limits.h>
#include <uv.h>

#include "answers.h"
#include "config.h"
#include "secret.h"

struct pool;
struct worker;

/* One job of the worker: a message of it, or m NULL: it died or was killed (e says how) and is no longer
 * yours. */
typedef void worker_message_fn(void *arg, struct message *m, const struct error *e);

/* What its pool is told of, from the loop. */
struct worker_ops {
        void (*ready)(struct worker *w, const struct proto_ready *ready);
        void (*message)(struct worker *w, struct message *m);
        /* It is reaped: to be given to worker_free(). how: "czard-decrypt ended by signal 9". */
        void (*gone)(struct worker *w, const struct error *how);
};

enum worker_state { WORKER_STARTING, WORKER_IDLE, WORKER_BUSY };

struct worker {
        uv_loop_t *loop;
        const char *program;
        uint32_t *last_id; /* of a request, to any of the pool's */
        const struct worker_ops *ops;
        struct helper *helper;
        struct owed owed;
        struct error broken; /* why it was killed; cause NONE: it was not */
        uint64_t heard_usec;
        struct homes *homes;
        /* Its pool's: */
        struct pool *pool;
        enum worker_state state;
        unsigned settings; /* pool->settings it was set up with */
        worker_message_fn *on_message;
        void *arg;
        struct worker *next;
};

/* Borrowed until worker_start() returns, but for program. */
struct worker_spec {
        const char *program;
        /* Its home is made below run_dir, told apart by the number of the pool and of the worker. NULL: it
         * has none, and needs no SETUP. */
        const char *run_dir;
        unsigned number, serial;
        struct proto_setup
                setup; /* but for the home, and the template, which it makes where it is to import */
        const struct secret *passphrase;
};
/* Starts it; zeroed, w->pool and what is its pool's are set. 0, or -errno and e. */
int worker_start(struct worker *w, const struct worker_spec *spec, struct error *e);
/* Ends it, and frees w: one that is well ends by itself, another is killed. Its home goes once it is reaped.
 */
void worker_free(struct worker *w, bool well);
/* Where it made a template, to which it cannot write; to be removed by the caller (homes_remove()). */
void worker_take_template(struct worker *w, char ret[PATH_MAX]);

/* Sends a request and gives it an id of its own. The worker must answer it before anything that is sent
 * later, as lib/wire/answers.h has it; one that does not is killed, and on_message is told of its end as of
 * any other. 0 or -errno: it has got nothing of it. */
int worker_send(struct worker *w, struct message *m);
/* It broke its word: "czard-decrypt {why}" or "czard-index {why}". It is killed, none of its messages counts
 * any more, and once it is reaped on_message is told so. */
void worker_break(struct worker *w, const char *why);
/* It should work: has it said nothing for too long? Then it is broken. */
void worker_look(struct worker *w);

/* How many there are to be in a pool. */
unsigned workers_wanted(const struct config *config);

/* Removes a folder with all below it. What cannot be removed is told: it may hold a copy of the key. */
void homes_remove(const char *path);
/* Removes what czarctl processes that live no more left in the runtime folder: ctl-PID-... */
void homes_sweep_czarctl(const char *runtime_dir);
