/* SPDX-License-Identifier: Apache-2.0 */
/* czard-fetch inside: the desk takes in czard's requests, each of which is one LIST or one GET. */
#pragma once

#include <uv.h>

#include "access.h"
#include "credentials.h"
#include "proto.h"
#include "s3.h"
#include "s3xml.h"

/* --- desk.c: where requests are checked, queued, run, answered --- */

struct desk;

/* The connection is over: e->err EPIPE when czard closed it, else what was wrong. Once, from the loop. */
typedef void desk_closed_fn(void *arg, const struct error *e);

struct desk_config {
        const struct access *access;
        struct s3 *s3;
        const char *warning; /* for HELLO; borrowed */
        const char *source;  /* for HELLO: where credentials and proxy come from; borrowed */
        desk_closed_fn *closed;
        void *arg;
};

/* Takes fd (a connected SOCK_SEQPACKET) and says HELLO. 0 or -errno. */
int desk_new(uv_loop_t *loop, int fd, const struct desk_config *config, struct desk **ret);
/* Ends all that runs. Returns NULL. */
struct desk *desk_free(struct desk *d);

/* Exactly once, from the loop, never before list_start() or get_start() returns. done's strings are good
 * until it returns. The owner frees the list or get, in there or later. */
typedef void fetch_done_fn(void *arg, const struct proto_done *done);

/* What czard is told at the end of both; its strings are borrowed. */
static inline struct proto_done fetch_done(const struct s3_result *sum, const struct credentials *credentials)
{
        return (struct proto_done){
                .outcome = {.cause = sum->error.cause, .detail = sum->error.text},
                .http_status = sum->status,
                .requests = sum->requests,
                .retry_after_usec = sum->retry_after_usec,
                .skew_sec = sum->skew_sec,
                .access_key_id = credentials->access_key_id,
                .new_etag = "",
        };
}

/* --- list.c: all keys below a prefix, page by page (ListObjectsV2) --- */

struct list;

/* page: checked objects, good until it returns. 0: go on; -EAGAIN: wait for list_continue(); -errno: it
 * cannot be taken, the LIST fails. */
typedef int list_page_fn(void *arg, const struct s3xml_page *page);
/* spec is copied; credentials are borrowed. 0 or -errno. */
int list_new(uv_loop_t *loop, struct s3 *s3, const struct credentials *credentials,
        const struct proto_list *spec, list_page_fn *page, fetch_done_fn *done, void *arg, struct list **ret);
void list_start(struct list *l);
void list_continue(struct list *l);
/* Ends it; nothing is called any more. Returns NULL. */
struct list *list_free(struct list *l);

/* --- get.c: bytes of an object into a pipe, healing itself when the connection breaks in mid-body --- */

struct get;

/* spec is copied; takes pipe_fd. credentials are borrowed. 0, or -errno (pipe_fd is closed). */
int get_new(uv_loop_t *loop, struct s3 *s3, const struct credentials *credentials,
        const struct proto_get *spec, int pipe_fd, fetch_done_fn *done, void *arg, struct get **ret);
void get_start(struct get *g);
/* Once done was called: the pipe, still open, which the caller closes. */
int get_take_pipe(struct get *g);
/* How many bytes of the range came. */
uint64_t get_bytes(const struct get *g);
/* Ends it; nothing is called any more. Returns NULL. */
struct get *get_free(struct get *g);
