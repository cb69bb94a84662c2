/* SPDX-License-Identifier: Apache-2.0 */
/* The pipe a body goes into. Never blocks: what does not fit is kept until the reader has made room. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct outpipe;

/* There is room again (0), or the pipe is broken (-EPIPE: the reader closed it, -errno). */
typedef void outpipe_room_fn(void *arg, int status);

/* Takes fd. 0, or -errno (fd is closed). */
int outpipe_new(uv_loop_t *loop, int fd, outpipe_room_fn *on_room, void *arg, struct outpipe **ret);
/* Takes all n bytes. May only be called when the pipe is not full. 0 or -errno. */
int outpipe_put(struct outpipe *o, const void *p, size_t n);
/* Bytes wait for the reader; on_room will run. */
bool outpipe_full(const struct outpipe *o);
/* Closes the pipe; bytes that wait are dropped. */
struct outpipe *outpipe_free(struct outpipe *o);
