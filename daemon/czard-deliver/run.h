/* SPDX-License-Identifier: Apache-2.0 */
/* czard-deliver(8): hands out what the deliveries of the configuration list, as ciphertext.
 *
 *   main ── follow (waits for the feeds and the clock; each run is a child of its own)
 *      └──── run (lock, locks of the process, each delivery) ── one (what is due, done) ── outbox
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "audit.h"
#include "config.h"
#include "record.h"
#include "staging.h"

#define RETRY_SEC 900 /* after a run that did not do all that was due */

enum { STATUS_WELL = 0, STATUS_STILL = 1, STATUS_USAGE = 2, STATUS_CANNOT = 3 };

struct options {
        const char *config_path;
        const char *name;   /* only this delivery, NULL: all */
        const char *revoke; /* the reason; NULL: deliver */
        bool again;         /* to recipients that came later, too */
        bool follow;
        int64_t uid; /* who asked, -1: nobody */
};

/* One run. *ret_next: when to run again though nothing changes, seconds. Returns the exit status. */
int run(const struct config *c, const struct options *o, int64_t *ret_next);

/* Runs whenever a feed says something, a date has come or SIGHUP is sent; until SIGTERM. */
int follow(const struct options *o);

/* What all deliveries of one run share. */
struct session {
        const struct config *config;
        const struct options *options;
        int state_fd; /* with the lock */
        struct audit *audit;
        struct staging *staging;
        char *run_dir, *keys_dir;
        int64_t now, next;
};

/* --- one.c --- */
/* What the delivery has to do. STATUS_WELL, STATUS_STILL, or STATUS_CANNOT when the rest cannot go on either.
 */
int one_run(struct session *s, const struct config_delivery *d, gid_t gid);

/* --- outbox.c --- */
/* Opens it, and knows it again by its id. 0, or -errno: it is not there, or another one. */
int outbox_open(struct session *s, const struct config_delivery *d, const struct records *r,
        struct staging **ret, struct error *e);
/* README and MANIFEST.jsonl, where they are not as they should be. */
int outbox_describe(const struct session *s, const struct config_delivery *d, const struct records *r,
        struct staging *outbox, gid_t gid, struct error *e);
