/* SPDX-License-Identifier: Apache-2.0 */
#include "loop.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "fsx.h"
#include "macro.h"

static void free_closed(uv_handle_t *h)
{
        free(h->data);
}

/* --- timers --- */

struct alarm {
        uv_timer_t timer;
        alarm_fn *fire;
        void *arg;
};

static void on_timer(uv_timer_t *timer)
{
        struct alarm *a = timer->data;
        a->fire(a->arg);
}

int alarm_new(uv_loop_t *loop, alarm_fn *fire, void *arg, struct alarm **ret)
{
        struct alarm *a = calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;
        *a = (struct alarm){.fire = fire, .arg = arg};
        uv_timer_init(loop, &a->timer);
        a->timer.data = a;
        *ret = a;
        return 0;
}

void alarm_set(struct alarm *a, uint64_t usec)
{
        uv_timer_start(&a->timer, on_timer, (usec + USEC_PER_MSEC - 1) / USEC_PER_MSEC, 0);
}

void alarm_stop(struct alarm *a)
{
        uv_timer_stop(&a->timer);
}

struct alarm *alarm_free(struct alarm *a)
{
        if (a)
                uv_close((uv_handle_t *)&a->timer, free_closed);
        return NULL;
}

/* --- the connection ---
 *
 * Owns the socket and the queue of encoded messages that did not fit into it. Messages to czard carry no
 * descriptors, so an encoded one is all there is to keep. Whoever produces much (list.c) waits for
 * on_drained, which bounds the queue. */

#define MESSAGES_A_TURN 64

struct outgoing {
        void *p;
        size_t n;
        int then_close; /* a descriptor, once it is sent; -1: none */
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
        close_fd(o->then_close);
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

void peer_send(struct peer *c, const struct message *m, int then_close)
{
        struct outgoing *o = calloc(1, sizeof(*o));
        int r = o ? proto_encode(m, &o->p, &o->n) : -ENOMEM;
        if (o)
                o->then_close = then_close;
        else
                close_fd(then_close);
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
        uv_close((uv_handle_t *)&c->poll, free_closed);
        return NULL;
}

/* --- the pipe of a body ---
 *
 * Owns the write end of the pipe and the bytes that did not fit. The loop is asked for writability only
 * while there are such bytes, so that an idle pipe costs nothing. */

#define PIPE_BYTES (1 * MIB)

struct outpipe {
        uv_poll_t poll;
        int fd;
        char *rest;
        size_t rest_len, rest_done, rest_size;
        outpipe_room_fn *on_room;
        void *arg;
};

/* Bytes written, 0 when the pipe is full, -errno. */
static ssize_t write_some(struct outpipe *o, const char *p, size_t n)
{
        size_t done = 0;
        while (done < n) {
                ssize_t k = write(o->fd, p + done, n - done);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0 && errno == EAGAIN)
                        break;
                if (k < 0)
                        return -errno;
                done += (size_t)k;
        }
        return (ssize_t)done;
}

static void on_writable(uv_poll_t *poll, int status, int events)
{
        struct outpipe *o = poll->data;
        (void)status;
        (void)events; /* whatever happened to the pipe, write() says it */
        ssize_t n = write_some(o, o->rest + o->rest_done, o->rest_len - o->rest_done);
        if (n >= 0) {
                o->rest_done += (size_t)n;
                if (o->rest_done < o->rest_len)
                        return;
        }
        o->rest_len = o->rest_done = 0;
        uv_poll_stop(&o->poll);
        o->on_room(o->arg, n < 0 ? (int)n : 0);
}

int outpipe_new(uv_loop_t *loop, int fd, outpipe_room_fn *on_room, void *arg, struct outpipe **ret)
{
        struct outpipe *o = calloc(1, sizeof(*o));
        int r = o ? fd_nonblock(fd, 1) : -ENOMEM;
        if (r >= 0) {
                *o = (struct outpipe){.fd = fd, .on_room = on_room, .arg = arg};
                /* Only pipes grow, and only as far as the user's quota goes: best effort. */
                (void)fcntl(fd, F_SETPIPE_SZ, (int)PIPE_BYTES);
                r = uv_poll_init(loop, &o->poll, fd);
        }
        if (r < 0) {
                close_fd(fd);
                free(o);
                return r;
        }
        o->poll.data = o;
        *ret = o;
        return 0;
}

static int keep(struct outpipe *o, const char *p, size_t n)
{
        if (n > o->rest_size) {
                char *bigger = realloc(o->rest, n);
                if (!bigger)
                        return -ENOMEM;
                o->rest = bigger;
                o->rest_size = n;
        }
        memcpy(o->rest, p, n);
        o->rest_len = n;
        o->rest_done = 0;
        return uv_poll_start(&o->poll, UV_WRITABLE, on_writable);
}

int outpipe_put(struct outpipe *o, const void *p, size_t n)
{
        assert(!outpipe_full(o));
        ssize_t done = write_some(o, p, n);
        if (done < 0)
                return (int)done;
        return (size_t)done < n ? keep(o, (const char *)p + done, n - (size_t)done) : 0;
}

bool outpipe_full(const struct outpipe *o)
{
        return o->rest_len > 0;
}

int outpipe_free(struct outpipe *o)
{
        if (!o)
                return -1;
        int fd = o->fd;
        uv_poll_stop(&o->poll);
        free(o->rest);
        uv_close((uv_handle_t *)&o->poll, free_closed);
        return fd;
}
