/* SPDX-License-Identifier: Apache-2.0 */
/* The connection to czard: messages in, messages out, never blocking. */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "proto.h"

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
/* Sends, or keeps it until the peer reads. Errors are reported by on_closed. */
void peer_send(struct peer *c, const struct message *m);
/* Do messages wait to be sent? */
bool peer_is_full(const struct peer *c);
struct peer *peer_free(struct peer *c);
