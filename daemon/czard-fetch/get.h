/* SPDX-License-Identifier: Apache-2.0 */
/* One GET: bytes of an object into a pipe, healing itself when the connection breaks in mid-body. */
#pragma once

#include <uv.h>

#include "credentials.h"
#include "proto.h"
#include "s3.h"

struct get;

/* Exactly once, from the loop, never before get_start() returns. The pipe is open until get_free(): who reads
 * it to its end finds that done was called. done's strings are good until it returns. The owner frees the
 * get, in there or later. */
typedef void get_done_fn(void *arg, const struct proto_done *done);

/* spec is copied; takes pipe_fd. credentials are borrowed. 0, or -errno (pipe_fd is closed). */
int get_new(uv_loop_t *loop, struct s3 *s3, const struct credentials *credentials,
        const struct proto_get *spec, int pipe_fd, get_done_fn *done, void *arg, struct get **ret);
void get_start(struct get *g);
/* How many bytes of the range came. */
uint64_t get_bytes(const struct get *g);
/* Ends it; nothing is called any more. Returns NULL. */
struct get *get_free(struct get *g);
