/* SPDX-License-Identifier: Apache-2.0 */
/* A socket of lib/wire/proto.h under libuv. It owns the socket and the poll handle; who owns the channel
 * decides what a closed one means. Messages go on to fetcher.c, pool.c or control.c. */
#include "channel.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "cleanup.h"
#include "fsx.h"

#define SEND_PATIENCE_MSEC 1000
/* Messages taken in one turn of the loop, so that a talkative peer does not starve the others. */
#define MESSAGES_A_TURN 64

struct channel {
        uv_poll_t poll;
        int sock;
        channel_message_fn *on_message;
        channel_closed_fn *on_closed;
        void *arg;
        bool dead; /* freed or reported closed: nothing is delivered any more */
};

static void on_readable(uv_poll_t *poll, int status, int events)
{
        struct channel *c = poll->data;
        (void)status;
        (void)events;
        for (unsigned i = 0; i < MESSAGES_A_TURN && !c->dead; i++) {
                struct message m = {};
                struct error e = {};
                int r = proto_recv(c->sock, &m, &e);
                if (r == -EAGAIN)
                        return;
                if (r < 0) {
                        c->dead = true;
                        uv_poll_stop(&c->poll);
                        if (r == -EPIPE)
                                error_set(&e, CAUSE_HELPER, EPIPE, "closed its channel");
                        c->on_closed(c->arg, &e);
                        return;
                }
                c->on_message(c->arg, &m);
                message_done(&m);
        }
}

int channel_new(uv_loop_t *loop, int sock, channel_message_fn *on_message, channel_closed_fn *on_closed,
        void *arg, struct channel **ret)
{
        struct channel *c = calloc(1, sizeof(*c));
        if (!c) {
                close_fd(sock);
                return -ENOMEM;
        }
        *c = (struct channel){.sock = sock, .on_message = on_message, .on_closed = on_closed, .arg = arg};
        int r = fd_nonblock(sock, 1);
        if (r >= 0)
                r = uv_poll_init(loop, &c->poll, sock);
        if (r < 0) {
                close_fd(sock);
                free(c);
                return r;
        }
        c->poll.data = c;
        uv_poll_start(&c->poll, UV_READABLE, on_readable);
        *ret = c;
        return 0;
}

int channel_send(struct channel *c, const struct message *m)
{
        if (c->dead)
                return -EPIPE;
        int r = proto_send(c->sock, m);
        if (r != -EAGAIN)
                return r;
        struct pollfd p = {.fd = c->sock, .events = POLLOUT};
        if (poll(&p, 1, SEND_PATIENCE_MSEC) <= 0)
                return -EPIPE;
        r = proto_send(c->sock, m);
        return r == -EAGAIN ? -EPIPE : r;
}

static void on_closed_handle(uv_handle_t *h)
{
        free(h->data);
}

struct channel *channel_free(struct channel *c)
{
        if (!c)
                return NULL;
        c->dead = true;
        uv_poll_stop(&c->poll);
        /* The descriptor may be reused as soon as it is closed; the stopped poll handle does not mind. */
        c->sock = close_fd(c->sock);
        uv_close((uv_handle_t *)&c->poll, on_closed_handle);
        return NULL;
}
