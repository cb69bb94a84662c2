/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the socket and the queue of encoded messages that did not fit into it. Messages to czard carry no
 * descriptors, so an encoded one is all there is to keep. Whoever produces much (list.c) waits for
 * on_drained, which bounds the queue. */
#include "peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "alarm.h"
#include "cleanup.h"
#include "fsx.h"

#define MESSAGES_A_TURN 64

struct outgoing {
        void *p;
        size_t n;
        STAILQ_ENTRY(outgoing) entry;
};

struct peer {
        uv_poll_t poll;
        int fd;
        STAILQ_HEAD(, outgoing) queue;
        struct alarm *alarm; /* reports a failed send from the loop */
        struct error failed; /* cause NONE: none */
        bool closed;         /* reported */
        const struct peer_ops *ops;
        void *arg;
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct peer *c)
{
        uv_poll_start(&c->poll, UV_READABLE | (STAILQ_EMPTY(&c->queue) ? 0 : UV_WRITABLE), on_poll);
}

static void report_closed(struct peer *c, const struct error *e)
{
        if (c->closed)
                return;
        c->closed = true;
        uv_poll_stop(&c->poll);
        c->ops->on_closed(c->arg, e);
}

/* 0, -EAGAIN or -errno. */
static int send_bytes(struct peer *c, const void *p, size_t n)
{
        ssize_t k;
        do
                k = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        while (k < 0 && errno == EINTR);
        return k < 0 ? -errno : 0;
}

static void outgoing_free(struct outgoing *o)
{
        free(o->p);
        free(o);
}

/* Sends what waits. Returns 0 when nothing is left, -EAGAIN or -errno. */
static int flush(struct peer *c)
{
        struct outgoing *o;
        while ((o = STAILQ_FIRST(&c->queue))) {
                int r = send_bytes(c, o->p, o->n);
                if (r < 0)
                        return r;
                STAILQ_REMOVE_HEAD(&c->queue, entry);
                outgoing_free(o);
        }
        return 0;
}

static void receive(struct peer *c)
{
        for (unsigned i = 0; i < MESSAGES_A_TURN && !c->closed; i++) {
                _cleanup_message_ struct message m = {};
                struct error e = {};
                int r = proto_recv(c->fd, &m, &e);
                if (r == -EAGAIN)
                        return;
                if (r < 0) {
                        if (e.err == 0)
                                error_set(&e, CAUSE_HELPER, -r, "%s", strerror(-r));
                        report_closed(c, &e);
                        return;
                }
                c->ops->on_message(c->arg, &m);
        }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
        struct peer *c = poll->data;
        if ((events & UV_WRITABLE) && !STAILQ_EMPTY(&c->queue)) {
                int r = flush(c);
                if (r < 0 && r != -EAGAIN) {
                        struct error e;
                        error_set(&e, CAUSE_HELPER, -r, "%s", strerror(-r));
                        report_closed(c, &e);
                        return;
                }
                if (r == 0) {
                        watch(c);
                        c->ops->on_drained(c->arg);
                }
        }
        if ((events & UV_READABLE) || status < 0)
                receive(c);
}

static void on_alarm(void *arg)
{
        struct peer *c = arg;
        report_closed(c, &c->failed);
}

static void fail_later(struct peer *c, int err)
{
        if (c->failed.cause != CAUSE_NONE)
                return;
        error_set(&c->failed, CAUSE_HELPER, -err, "%s", strerror(-err));
        alarm_set(c->alarm, 0);
}

void peer_send(struct peer *c, const struct message *m)
{
        struct outgoing *o = calloc(1, sizeof(*o));
        int r = o ? proto_encode(m, &o->p, &o->n) : -ENOMEM;
        if (r == 0)
                r = STAILQ_EMPTY(&c->queue) ? send_bytes(c, o->p, o->n) : -EAGAIN;
        if (r == -EAGAIN) {
                STAILQ_INSERT_TAIL(&c->queue, o, entry);
                if (!c->closed)
                        watch(c);
                return;
        }
        if (r < 0)
                fail_later(c, r);
        if (o)
                outgoing_free(o);
}

bool peer_is_full(const struct peer *c)
{
        return !STAILQ_EMPTY(&c->queue);
}

int peer_new(uv_loop_t *loop, int fd, const struct peer_ops *ops, void *arg, struct peer **ret)
{
        struct peer *c = calloc(1, sizeof(*c));
        int size = 4 * PROTO_MESSAGE_MAX;
        int r = c ? fd_nonblock(fd, 1) : -ENOMEM;
        if (r >= 0) {
                *c = (struct peer){.fd = fd, .ops = ops, .arg = arg};
                STAILQ_INIT(&c->queue);
                (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
                r = alarm_new(loop, on_alarm, c, &c->alarm);
        }
        if (r >= 0)
                r = uv_poll_init(loop, &c->poll, fd);
        if (r < 0) {
                close_fd(fd);
                if (c)
                        c->alarm = alarm_free(c->alarm);
                free(c);
                return r;
        }
        c->poll.data = c;
        watch(c);
        *ret = c;
        return 0;
}

static void on_handle_closed(uv_handle_t *h)
{
        free(h->data);
}

struct peer *peer_free(struct peer *c)
{
        if (!c)
                return NULL;
        for (struct outgoing *o; (o = STAILQ_FIRST(&c->queue));) {
                STAILQ_REMOVE_HEAD(&c->queue, entry);
                outgoing_free(o);
        }
        c->alarm = alarm_free(c->alarm);
        uv_poll_stop(&c->poll);
        c->fd = close_fd(c->fd);
        uv_close((uv_handle_t *)&c->poll, on_handle_closed);
        return NULL;
}
