/* SPDX-License-Identifier: Apache-2.0 */
/* What of the staged tree a delivery hands out, file by file: days by course, and of snapshots the members.
 * Read from the lists that czard wrote beside them; no learner's data is opened. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "courses.h"
#include "digest.h"
#include "staging.h"

struct staged_file {
        char *path;   /* relative to the staging root */
        char *course; /* full key of events; of a table the form */
        char *base;   /* in the outbox, without a revision */
        char *id;     /* item_id() of the message that it is of */
        char *member; /* in the archive; "" for one that is a message by itself */
        bool newest;  /* of the newest snapshot that has the course; of events always */
        bool held;    /* listed, but stays here (courses.h); what was delivered of it stays there */
        char sha256[SHA256_HEX];
};

struct delivery_staged {
        struct staged_file *v; /* sorted by id, of one id the newest first, then by member */
        size_t n;
        struct staged_file **by_path;
        struct strv days, snapshots; /* dates of which something is there */
        struct strv unmatched;       /* entries of courses and tables that match nothing */
        struct strv held, held_keys; /* forms of which something is held; the same with their keys */
};

/* dates_again: dates of snapshots that were delivered, looked at also when they are not the newest, or when
 * `latest` did not follow them; may be NULL. 0, or -errno: something there cannot be read, and nothing may be
 * decided. */
int staged_read(const struct staging *s, const struct config_delivery *d, const struct strv *dates_again,
        struct delivery_staged *ret, struct error *e);
void staged_done(struct delivery_staged *s);
/* The file of that path, or NULL. */
const struct staged_file *staged_find(const struct delivery_staged *s, const char *path);
/* The first of that id, or NULL; *ret_n of them. */
const struct staged_file *staged_of(const struct delivery_staged *s, const char *id, size_t *ret_n);
