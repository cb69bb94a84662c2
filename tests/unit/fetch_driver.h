/* SPDX-License-Identifier: Apache-2.0 */
/* czard's side of czard-fetch, for tests, with s3d as its server. Every call fails the test when czard-fetch
 * breaks the protocol. */
#pragma once

#include <sys/types.h>

#include "proto.h"
#include "str.h"

#define FETCH_ID "AKIACZARDTEST"
#define FETCH_SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define FETCH_BUCKET "edx-course-data"
#define FETCH_EVENTS "universityx/edx/events/2024/"
#define PATIENCE_MSEC 90000 /* for what is to come: where nothing is wrong nobody waits so long */

/* A folder with buckets, behaviours, credentials and certificates, and an s3d that serves it. */
struct world {
        char dir[64];
        int dir_fd;
        pid_t s3d;
        unsigned port;
        bool tls;
};
struct world_options {
        bool tls, no_part_number;
        const char *alt_name;       /* of the certificate instead of IP:127.0.0.1 */
        const char *tls_priorities; /* GnuTLS priorities of the server */
};
void world_start(struct world *w, const struct world_options *o);
void world_stop(struct world *w);
/* Writes a file below the folder, with the folders above it. */
void world_write(const struct world *w, const char *path, const void *p, size_t n);
/* Stores an object below FETCH_EVENTS and returns its ETag in quotes, as s3d lists it; meta: lines of s3d's
 * meta file, or NULL. */
const char *world_object(
        const struct world *w, const char *name, const void *p, size_t n, const char *meta, char ret[64]);
/* The one behaviour in force from now on; NULL: none. */
void world_behave(const struct world *w, const char *lines);
/* How many lines of s3d's log contain the text; the log is emptied. */
unsigned world_count_log(const struct world *w, const char *text);

struct fetch {
        pid_t pid;
        int sock;
        uint32_t id;
        char *source; /* of HELLO */
};
struct fetch_options {
        const char *s3;          /* more lines for [s3] */
        const char *secret;      /* instead of the right one */
        const char *credentials; /* a whole credentials file instead */
        const char *directory;   /* $CREDENTIALS_DIRECTORY, below the world's folder */
        bool no_ca, activated;   /* activated: through a listening socket */
};
void fetch_start(struct fetch *f, const struct world *w, const struct fetch_options *o);
/* Closes the channel; czard-fetch must end with status 0. */
void fetch_stop(struct fetch *f);

struct listing {
        struct strv keys;
        struct proto_object *objects; /* key and etag: see keys; only size and last_modified are set */
        struct message done;
};
void fetch_list(struct fetch *f, const char *bucket, const char *prefix, const char *start_after,
        struct listing *ret);
/* The two halves of it. */
void fetch_ask_list(struct fetch *f, const char *bucket, const char *prefix, const char *start_after);
void fetch_take_list(struct fetch *f, struct listing *ret);
void listing_done(struct listing *l);

struct got {
        char *p;
        size_t n;
        struct message done;
};
/* Starts a GET; without a bucket the key is one below FETCH_EVENTS. *ret_pipe is the end to read. Returns its
 * id. */
uint32_t fetch_ask(struct fetch *f, const struct proto_get *get, int *ret_pipe);
/* Reads pipe (closed then) to its end and waits for DONE. */
void fetch_take(struct fetch *f, uint32_t id, int pipe, struct got *ret);
void fetch_get(struct fetch *f, const struct proto_get *get, struct got *ret);
void got_done(struct got *g);
void fetch_cancel(struct fetch *f, uint32_t id);
/* The next message that is not PROGRESS, which must be of the request id (0: of none). */
void fetch_receive(struct fetch *f, uint32_t id, struct message *ret);
/* User and system time of the process in clock ticks. */
unsigned long fetch_ticks(const struct fetch *f);
