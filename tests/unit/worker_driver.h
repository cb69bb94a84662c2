/* SPDX-License-Identifier: Apache-2.0 */
/* czard's side of czard-decrypt and czard-index, for tests. Every call fails the test when the worker breaks
 * the protocol. */
#pragma once

#include <sys/types.h>

#include "gpg_fixture.h"
#include "proto.h"

struct driver {
        const struct gpg_fixture *f;
        int sock;
        pid_t pid;
        char home[96];        /* "" for czard-index */
        uint64_t max_members; /* of czard-index */
        uint32_t id;
        unsigned progress; /* messages seen */
        struct message ready;
};

/* enum pgp_engine that workers are set up with. */
extern uint8_t driver_engine;

struct driver_options {
        const char *source;     /* home below the fixture's folder */
        const char *passphrase; /* NULL: none is handed over */
        uint8_t signatures;
        const char *signers;
        bool copy;     /* import = 0 */
        bool no_agent; /* not the reference worker */
        uint64_t max_plaintext, max_ratio, max_name;
};

/* Starts a worker and sends SETUP; d->ready is the answer. */
void driver_start(struct driver *d, const struct gpg_fixture *f, const struct driver_options *o);
/* The same of a czard-index, which has no SETUP; for the directories below. */
void driver_start_index(struct driver *d, const struct gpg_fixture *f, uint64_t max_members);
/* Closes the channel; the worker must end with status 0, and leave no process in its home. */
void driver_stop(struct driver *d);

/* One message; the plaintext goes to the file "out". */
struct result {
        struct message m; /* VERDICT */
        char *out;
        size_t out_len;
};
void driver_file(struct driver *d, const char *name, enum proto_format format, struct result *ret);
/* The same with another size announced than the file has. */
void driver_file_sized(
        struct driver *d, const char *name, uint64_t size, enum proto_format format, struct result *ret);

/* The directory of a zip from the bytes [start, size), all messages together; sorted and with extents, as
 * czard has it. Returns outcome.cause. start: 0 for the last DRIVER_WINDOW bytes. */
#define DRIVER_WINDOW (100 * KIB)
struct listing {
        struct message m[16]; /* ENTRIES */
        size_t n_messages;
        struct archive_entry e[512];
        size_t n;
        uint64_t need_start;
};
enum cause driver_directory(struct driver *d, const char *zip, uint64_t start, struct listing *ret);
/* Sends the request alone. Of the archive of size bytes [start, end) come. */
void driver_ask_directory(struct driver *d, const char *zip, uint64_t start, uint64_t end, uint64_t size);
void listing_done(struct listing *l);
const struct archive_entry *listing_find(const struct listing *l, const char *name);

/* Members [first, first+n) of the listing, in one message with a stream of its own; verdicts into results,
 * plaintext into their out. */
void driver_members(
        struct driver *d, const char *zip, const struct archive_entry *e, size_t n, struct result *results);

void result_done(struct result *r);

/* A child that writes bytes [start, end) of the file into a pipe; returns the pipe. */
int driver_feed(const struct gpg_fixture *f, const char *name, uint64_t start, uint64_t end);
/* Next message that is not PROGRESS, of that type and with the id of the last request. */
void driver_expect(struct driver *d, enum proto_type type, struct message *ret);
void driver_send(struct driver *d, struct message *m);
