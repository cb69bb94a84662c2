/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of czard-decrypt share.
 *
 *   main.c    one message in (daemon/common/service.h), one job, its answers out
 *   setup.c   SETUP: home.c (files) -> agent.c (gpg-agent) -> pgp_open() -> keys unlocked
 *   job.c     FILE
 *   zip.c     MEMBERS
 *   output.c  the plaintext and the verdict on it
 */
#pragma once

#include "agent.h"
#include "archive.h"
#include "digest.h"
#include "pgp.h"
#include "secret.h"
#include "service.h"

struct worker {
        struct service service;
        bool ready;     /* SETUP went well */
        char *home;     /* our own GNUPGHOME */
        bool reference; /* the agent lives as long as we do; else only until the key is here */
        struct agent agent;
        struct pgp *pgp;
        struct secret passphrase; /* len 0: none */
        struct expansion limit;
        uint64_t max_name;             /* bytes of one component of a member's name; 0: without limit */
        struct archive_stream *stream; /* of the last MEMBERS */
};

/* Sends m with the id of the request. 0 or -errno. */
static inline int worker_send(struct worker *w, struct message *m)
{
        return service_send(&w->service, m);
}
/* service_read() for those who have the struct worker as a void pointer. */
ssize_t worker_read(void *arg, int fd, void *p, size_t n);

/* Before each message: no child of the last one is left, and a reference worker has an agent. */
void worker_tidy(struct worker *w);

/* home.c: fills the empty folder home with our configuration and the keys of source; import: which is an
 * admin's.
 */
int home_prepare(const char *home, const char *source, bool import, bool verify, struct error *e);
/* tmpfs, or is it written to a disk? */
bool home_is_in_memory(const char *home);

/* Each answers the request m and returns 0, or -errno when the channel is broken or m made no sense. */
int worker_setup(struct worker *w, const struct message *m);
int worker_file(struct worker *w, struct message *m);
int worker_members(struct worker *w, struct message *m);

/* A plaintext file that is being written. */
struct output {
        int fd; /* borrowed */
        struct digest *sha256;
        uint64_t size;
        bool has_rows; /* line breaks are counted */
        uint64_t rows;
        uint64_t started; /* so much of it the disk was told to write */
        uint64_t dropped; /* so much of it is on the disk, and not in the page cache any more */
};
int output_open(struct output *o, int fd, struct error *e);
void output_done(struct output *o);
#define _cleanup_output_ _cleanup_(output_done)
/* A sink_fn over a struct output. */
int output_write(void *arg, const void *p, size_t n, struct error *e);
/* Puts size and digest into v, or throws away what was written when v tells an error. */
void output_finish(struct output *o, struct proto_verdict *v);

/* Does the rest of the input matter after such an end? Of a bad message it is read, so that the sender can
 * tell whether the bytes were those that S3 has. */
bool cause_is_of_content(enum cause c);
/* v as an answer, with what is wrong in e. */
int send_verdict(struct worker *w, struct proto_verdict *v, const struct error *e);
/* Takes over what the engine found. */
void verdict_from_pgp(struct proto_verdict *v, const struct pgp_verdict *from);
