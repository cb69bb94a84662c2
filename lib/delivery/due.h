/* SPDX-License-Identifier: Apache-2.0 */
/* What a delivery has to do now: a pure function of what is staged, what was delivered, and the time. */
#pragma once

#include "delivery_record.h"
#include "staged.h"

/* What became of an input that is not staged any more as it was. */
enum input_word {
        INPUT_THERE,
        INPUT_MISSING, /* it is not, and nobody took it away */
        INPUT_REMOVED, /* pruned or forgotten */
        INPUT_REDACTED,
};

struct due_item {
        size_t first, n; /* of staged.v: one message */
        char *path;      /* in the outbox, with the revision */
        char inputs_sha256[SHA256_HEX];
        const struct delivery_record *supersedes; /* NULL: none */
};

/* One that leaves the outbox, or would have to be destroyed. */
struct due_leave {
        struct delivery_record *record;
        const char *reason; /* of please-destroy; NULL: its time is over */
};

struct due {
        struct due_item *items;
        size_t n_items;
        struct due_leave *leave;
        size_t n_leave;
        size_t n_waiting; /* mode once: archives that are due, and wait until all days are split by course */
        size_t n_late;    /* mode once: days that came after their archive was made, and are in none */
        int64_t next;     /* when something will be due without a change, seconds; INT64_MAX: never */
};

struct due_query {
        const struct config_delivery *delivery;
        const struct delivery_staged *staged;
        const struct records *records;
        enum input_word (*word)(void *arg, const char *path);
        void *arg;
        const char *recipients; /* as records have them */
        bool unsplit;           /* days within the dates are staged, and not by course yet */
        bool again; /* what other recipients got, for these, what is gone from the outbox, and in mode once
                       what came since, without waiting for more */
        int64_t now;
};

/* Sets paths and reasons only; nothing is read or written. 0 or -ENOMEM. */
int due_now(const struct due_query *q, struct due *ret);
void due_done(struct due *d);
/* Was it revoked, or is its last day over (UTC)? From then on nothing is delivered. */
bool due_is_over(const struct config_delivery *d, const struct records *r, int64_t now);
