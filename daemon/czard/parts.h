/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of czard that app.c takes its turns with: made from the bottom up, each with what it needs of the
 * others, and freed the other way round. Nothing is decided here. */
#pragma once

#include "control.h"
#include "fetcher.h"
#include "manager.h"
#include "missing.h"
#include "poller.h"
#include "pool.h"
#include "queue.h"
#include "splitting.h"
#include "startup.h"
#include "watch.h"

struct czard_parts {
        struct feed *feed;
        struct pauses *pauses;
        struct recorder *record;

        struct fetcher *fetcher;
        struct pools *pools;
        struct pool *index; /* the processes that read directories of archives */
        struct slot *slots; /* of all flows */
        struct moved moved;

        struct job_env jobs; /* its configuration is set by app.c */
        struct poller *poll;
        struct queue *queue;
        struct missing *missing;
        struct splitting *splitting;

        struct control *control; /* made by app.c, once requests may come */
        struct signals *signals;
        struct notify *notify;
        struct watch *watch;
};

struct parts_spec {
        uv_loop_t *loop;
        const char *config_path, *fetch_socket;
        bool once;
        const struct config *config;
        const struct startup *on; /* borrowed for ever */
        pool_ready_fn *ready;     /* of each pool */
        void *arg;
};
/* p is all zero, and is to be freed after an error too. 0 or -errno. */
int parts_open(struct czard_parts *p, const struct parts_spec *spec, struct error *e);
/* Frees what may go before the loop has come to its end: no helper runs on, nobody is answered any more. */
void parts_close(struct czard_parts *p);
/* Frees the rest that has handles in the loop; it is to be run once more. */
void parts_leave(struct czard_parts *p);
/* After that. */
void parts_free(struct czard_parts *p);
