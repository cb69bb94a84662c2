/* SPDX-License-Identifier: Apache-2.0 */
/* Events by course: days that are being split, each by a czard-filter of its own. Knows neither what is due
 * nor what becomes of it: whoever starts a day takes its outcome when it is over. */
#pragma once

#include <uv.h>

#include "ledger_facts.h"
#include "limits.h"
#include "staging.h"

struct splits;

struct split_job {
        struct ledger_object o; /* its file of events is staged at o.path */
        enum event_rule rule;
        gid_t gid; /* of the folder and its files; (gid_t)-1: none */
        struct staging_top top;
        uint64_t min_free; /* stays free on the staging volume */
        uint64_t courses;  /* that it is expected to have */
        size_t most;       /* days that are split at a time: they share what is free above min_free */
};

struct split_outcome {
        struct split_job job;
        enum cause cause; /* CAUSE_NONE: it is staged */
        char detail[DETAIL_SIZE];
        bool replaced;                  /* another folder stood there */
        char kept_as[STAGED_PATH_SIZE]; /* somebody has put something into it: where it is kept; "" */
        bool shared;                    /* it did not have all that is free for itself */
        struct ledger_split made;       /* the first part of it, when it is staged */
        uint64_t duration_usec;
};

/* staging: borrowed for ever. 0 or -ENOMEM. */
int splits_new(uv_loop_t *loop, struct staging *staging, struct splits **ret);
/* Kills what runs; what is being published ends, but nobody is told. Returns NULL. */
struct splits *splits_free(struct splits *s);

/* 0, or -ENOMEM; how it ended is an outcome, never this. */
int splits_start(struct splits *s, const struct split_job *job);
size_t splits_running(const struct splits *s);
bool splits_busy(const struct splits *s, int64_t object_id);
/* The outcome of one that is over, each once; false: there is none. */
bool splits_take(struct splits *s, struct split_outcome *ret);
