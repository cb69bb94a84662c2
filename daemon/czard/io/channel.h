/* SPDX-License-Identifier: Apache-2.0 */
/* One end of a message channel on the event loop. */
#pragma once

#include <uv.h>

#include "proto.h"

struct channel;

/* m: one valid message, to be read before the function returns; descriptors it takes it sets to -1. */
typedef void channel_message_fn(void *arg, struct message *m);
/* The peer closed, or sent what is no message (e->text says what). Comes once, from the loop; the receiver
 * frees the channel. */
typedef void channel_closed_fn(void *arg, const struct error *e);

/* Takes sock. 0 and *ret, or -errno (sock is closed). */
int channel_new(uv_loop_t *loop, int sock, channel_message_fn *on_message, channel_closed_fn *on_closed,
        void *arg, struct channel **ret);
/* Sends m, its descriptors borrowed. A peer that does not read for a second counts as gone: -EPIPE. 0 or
 * -errno. */
int channel_send(struct channel *c, const struct message *m);
/* Closes; nothing is called any more. Returns NULL. */
struct channel *channel_free(struct channel *c);
