/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the write end of the pipe and the bytes that did not fit. The loop is asked for writability only
 * while there are such bytes, so that an idle pipe costs nothing. */
#include "outpipe.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "fsx.h"
#include "macro.h"

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

static void on_closed(uv_handle_t *h)
{
        struct outpipe *o = h->data;
        free(o->rest);
        free(o);
}

struct outpipe *outpipe_free(struct outpipe *o)
{
        if (!o)
                return NULL;
        uv_poll_stop(&o->poll);
        o->fd = close_fd(o->fd);
        uv_close((uv_handle_t *)&o->poll, on_closed);
        return NULL;
}
