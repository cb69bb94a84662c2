/* SPDX-License-Identifier: Apache-2.0 */
/* czard-deliver(8): hands out what the deliveries of the configuration list, as ciphertext.
 *
 *   main ── a child for each run, when the feeds or the clock say so: its turn, what is asked for, locks
 *    └── one (what is due, done), for each delivery
 *         └── outbox
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "audit.h"
#include "config.h"
#include "delivery_record.h"
#include "staging.h"

#define RETRY_SEC 900 /* after a run that did not do all that was due */

enum {
        STATUS_WELL = 0,
        STATUS_STILL = 1,
        STATUS_USAGE = 2,
        STATUS_CANNOT = 3,
        STATUS_GAVE_WAY = 4, /* to a revocation: another run has to do the rest. Of a run only */
};

struct deliver_options {
        const char *config_path;
        const char *name;   /* only this delivery, NULL: all; with revoke it may be the folder of an outbox */
        const char *revoke; /* the reason; NULL: deliver */
        bool again;         /* to recipients that came later, and what was taken from the outbox, too */
        bool follow;
        int64_t uid; /* who asked, -1: nobody */
};

/* A delivery that is looked at. */
struct target {
        struct config_delivery delivery; /* borrows from the configuration, and from what follows */
        char *name, *path, *purpose;     /* of what is to be revoked */
        gid_t gid;                       /* of its group, (gid_t)-1: none */
};

/* What all deliveries of one run share. */
struct session {
        const struct config *config;
        struct config *fresh;  /* read in this run; config borrows it */
        struct error unread;   /* why it could not be: then nothing is handed out, only taken back */
        struct error unstaged; /* why staging could not be opened: then only what is over is taken back */
        const struct deliver_options *options;
        int state_fd, lock_fd;
        struct audit *audit;
        struct staging *staging; /* NULL: unstaged says why, or a revocation, which needs none */
        char *run_dir, *keys_dir;
        struct target *targets;
        size_t n_targets;
        int64_t now, next;
        bool gave_way; /* the run ended early, for a revocation */
};

/* --- session.c: its turn, and what is asked for --- */

/* Opens the lock and waits for our turn, which ends with the process, or when the lock is closed: one run at
 * a time, but a revocation does not wait until another one is through. 0 or -errno. */
int turn_take(struct session *s, const char *path, struct error *e);
/* Does a revocation wait? Asked between two messages, and while one is made. */
bool turn_is_wanted(const struct session *s);

/* The deliveries that are asked for. What is revoked is found in the record too: its section may be gone, or
 * name another folder by now, or the record may be lost, and only the folder be known. */
int targets_find(struct session *s, struct error *e);
void targets_done(struct session *s);

/* --- one.c --- */
/* What the delivery has to do. STATUS_WELL, STATUS_STILL, or STATUS_CANNOT when the rest cannot go on either.
 */
int one_run(struct session *s, const struct target *t);

/* --- outbox.c --- */
/* Opens it, and knows it again by its id. 0, or -errno: it is not there, or another one. */
int outbox_open(struct session *s, const struct config_delivery *d, const struct records *r,
        struct staging **ret, struct error *e);
/* Messages in it that the record does not have there. 0 or -errno. */
int outbox_strays(const struct staging *outbox, const struct records *r, struct strv *ret, struct error *e);
/* Marks the messages that somebody took away, as a carrier may. *ret_first: of one, NULL: none. How many. */
size_t outbox_mark_gone(const struct staging *outbox, struct records *r, const char **ret_first);
/* The hash of a message there. 0 or -errno. */
int outbox_hash(const struct staging *outbox, const char *path, uint8_t ret[SHA256_SIZE]);
/* The first message that is not what the record says, NULL: none. */
const struct delivery_record *outbox_altered(const struct staging *outbox, const struct records *r);
/* README and MANIFEST.jsonl, where they are not as they should be. */
int outbox_describe(const struct session *s, const struct config_delivery *d, const struct records *r,
        struct staging *outbox, gid_t gid, struct error *e);
