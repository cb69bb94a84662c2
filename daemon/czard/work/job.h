/* SPDX-License-Identifier: Apache-2.0 */
/* An object being worked on: the common part of a transfer and an archive. Whoever starts one (plan/queue.c)
 * has it step once a turn of the loop until it is over, then frees it. */
#pragma once

#include "flow.h"
#include "ledger.h"
#include "pauses.h"
#include "staging.h"

/* What jobs are done with, and those who plan them; all borrowed, and valid as long as there are any. */
struct job_env {
        uv_loop_t *loop;
        bool once;                              /* czard --once */
        const struct config *config;            /* in force: a reload sets another one */
        const struct package_context *contexts; /* of its packages */
        struct ledger *ledger;
        struct staging *staging;
        struct recorder *record;
        struct pauses *pauses;
        struct pool *index; /* reads the directories of archives */
        struct flow_env flow;
};

/* What belongs to one package while this configuration is in force; same order as config->packages. */
struct package_context {
        gid_t gid[CATEGORY_MAX]; /* (gid_t)-1: none */
        gid_t by_course_gid;     /* of events by course; likewise */
        struct staging_top top;
        struct pool *pool; /* with its key; borrowed */
};

/* Of that organisation's package; NULL: it has none. */
static inline const struct package_context *package_context_find(const struct job_env *env, const char *org)
{
        const struct config_package *p = config_find_package(env->config, org);
        return p ? &env->contexts[p - env->config->packages] : NULL;
}

struct object_job;

struct job_ops {
        /* Goes on with what happened since; NULL: there is nothing that waits for it. */
        void (*step)(struct object_job *j);
        /* Drops what runs; the object goes back to NEW, and the job is over. While a thread still works for
         * it it is over later, when that has ended. */
        void (*cancel)(struct object_job *j);
        void (*free)(struct object_job *j);
};

struct object_job {
        const struct job_ops *ops;
        const struct job_env *env;
        struct ledger_object o;
        struct pool *pool;       /* whose key opens it */
        uint64_t started_usec;   /* CLOCK_MONOTONIC */
        uint64_t due_bytes;      /* what is to come: the object's size, of an archive what is wanted of it */
        uint64_t came_bytes;     /* of them; more when something is fetched again */
        bool over;               /* it has recorded how it ended */
        bool leaving;            /* cancel() was called */
        struct object_job *next; /* the owner's */
};

/* Start working on o, of a package with that context. It may be over at once. NULL: out of memory. */
struct object_job *transfer_start(
        const struct job_env *env, const struct ledger_object *o, const struct package_context *context);
struct object_job *snapshot_start(
        const struct job_env *env, const struct ledger_object *o, const struct package_context *context);
