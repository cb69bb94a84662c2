/* SPDX-License-Identifier: Apache-2.0 */
/* What stands on czard-fetch's loop besides HTTP: timers, and czard's two ends, the connection and the pipes
 * of bodies. Nothing of it blocks, and each can be freed at any time, also from its own callback: libuv wants
 * a handle to live until it is closed, and this hides that. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "proto.h"

/* A one-shot timer. */
struct alarm;

typedef void alarm_fn(void *arg);

int alarm_new(uv_loop_t *loop, alarm_fn *fire, void *arg, struct alarm **ret);
/* Runs fire once, from the loop, after so long (0: in the next turn). An earlier setting is replaced. */
void alarm_set(struct alarm *a, uint64_t usec);
void alarm_stop(struct alarm *a);
struct alarm *alarm_free(struct alarm *a);

/* The connection to czard: messages in, messages out. */
struct peer;

struct peer_ops {
        /* One valid message; descriptors in it that are wanted must be taken. */
        void (*on_message)(void *arg, struct message *m);
        /* All that waited to be sent is sent. */
        void (*on_drained)(void *arg);
        /* The peer closed (e->err EPIPE), or what it sent or the socket is bad. Once. */
        void (*on_closed)(void *arg, const struct error *e);
};

/* Takes fd, a connected SOCK_SEQPACKET. 0, or -errno (fd is closed). */
int peer_new(uv_loop_t *loop, int fd, const struct peer_ops *ops, void *arg, struct peer **ret);
/* Sends, or keeps it until the peer reads; closes that descriptor (-1: none) once it is sent. Errors are
 * reported by on_closed. */
void peer_send(struct peer *c, const struct message *m, int then_close);
/* Do messages wait to be sent? */
bool peer_is_full(const struct peer *c);
struct peer *peer_free(struct peer *c);

/* The pipe a body goes into: what does not fit is kept until the reader has made room. */
struct outpipe;

/* There is room again (0), or the pipe is broken (-EPIPE: the reader closed it, -errno). */
typedef void outpipe_room_fn(void *arg, int status);

/* Takes fd. 0, or -errno (fd is closed). */
int outpipe_new(uv_loop_t *loop, int fd, outpipe_room_fn *on_room, void *arg, struct outpipe **ret);
/* Takes all n bytes. May only be called when the pipe is not full. 0 or -errno. */
int outpipe_put(struct outpipe *o, const void *p, size_t n);
/* Bytes wait for the reader; on_room will run. */
bool outpipe_full(const struct outpipe *o);
/* Returns the pipe, which the caller closes; bytes that wait are dropped. o may be NULL: -1. */
int outpipe_free(struct outpipe *o);
