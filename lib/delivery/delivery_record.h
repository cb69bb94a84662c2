/* SPDX-License-Identifier: Apache-2.0 */
/* What was delivered, as the audit record of czard-deliver says it; there is no other memory.
 *
 *   delivering       a message is complete, and about to get its name; n "input" lines follow
 *   delivered        it has its name, and is durable
 *   expired          it left the outbox, for its time is over
 *   superseded       so, for a newer one is there
 *   please-destroy   so, for what it was made of must not be had any more
 *   outbox           the outbox has this id
 *   revoked          the delivery is over for good
 *   delivery-stopped, delivery-ending
 *                    said once for each reason
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "audit.h"
#include "digest.h"
#include "error.h"
#include "str.h"

struct record_input {
        char *path; /* relative to the staging root */
        char sha256[SHA256_HEX];
};

enum record_state {
        RECORD_BEGUN,   /* a crash came before or after it got its name */
        RECORD_OUT,     /* it is in the outbox */
        RECORD_LEFT,    /* it was handed out, and is not in the outbox any more */
        RECORD_DESTROY, /* so, and whoever has it is to destroy it; also one that was found in the outbox, and
                           was in no record */
};

struct delivery_record {
        enum record_state state;
        char *base, *path; /* in the outbox, without and with the revision */
        char *id;          /* item_id() */
        char *course, *recipients, *supersedes;
        char *reason;            /* of please-destroy */
        char sha256[SHA256_HEX]; /* of the ciphertext */
        char inputs_sha256[SHA256_HEX];
        int64_t size, time; /* when it was delivered */
        bool is_gone;       /* somebody took it out of the outbox; whoever looked there sets it */
        struct record_input *inputs;
        size_t n_inputs;
};

struct records {
        const char *delivery; /* borrowed; whose records */
        struct delivery_record *v;
        size_t n, size;
        void *by_path;                  /* a tree of name.h: the newest of each path */
        struct delivery_record **by_id; /* sorted, of one id the older ones first */
        char outbox_id[40];             /* "" none */
        char *outbox;                   /* its path, NULL: none */
        char *purpose;                  /* as it was said last, NULL: never */
        int until;                      /* the same; INT_MAX: never */
        char *revoked;                  /* the reason, NULL: it is not */
        char *stopped;                  /* why it stood still the last time, NULL or "": it did not */
        struct strv said;               /* what delivery-ending said */
};

/* Reads the record in the folder; one that is not there is empty. 0 or -errno. */
int records_read(int state_fd, const char *delivery, struct records *ret, struct error *e);
void records_done(struct records *r);
/* The newest of that id that was delivered, or NULL. */
struct delivery_record *records_newest(const struct records *r, const char *id);
/* The newest under that name, also one that a crash left there; or NULL. */
struct delivery_record *records_find(const struct records *r, const char *path);
/* Dates of the snapshots that something was made of. 0 or -ENOMEM. */
int records_dates(const struct records *r, struct strv *ret);
/* All deliveries that the record in the folder names. 0 or -errno. */
int records_names(int state_fd, struct strv *ret, struct error *e);
