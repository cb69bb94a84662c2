/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies on their way, with the faults of a behaviour. libmicrohttpd asks for the bytes at a position; the
 * positions where something is to happen are events, and no read goes past the next one.
 *
 * Each connection has its own thread, so waiting here holds up nobody else. */
#include "request.h"

#include <linux/sockios.h>
#include <poll.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define BLOCK (512 * 1024)
#define NEVER UINT64_MAX

struct body {
        struct request *request; /* outlives every read */
        struct content *content, *second;
        uint64_t start, length, total; /* length of the object's bytes, total with extra ones */
        uint64_t stall_at, replace_at, reset_at, end_at, corrupt_at;
        bool stalled, replaced, ends_well;
        bool sized; /* libmicrohttpd knows the length and does not ask again at its end */
        uint64_t drip;
};

static int connection_fd(struct request *q)
{
        const union MHD_ConnectionInfo *i =
                MHD_get_connection_info(q->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        return i ? i->connect_fd : -1;
}

int request_wait(struct request *q, uint64_t usec)
{
        struct pollfd p[] = {
                {.fd = connection_fd(q), .events = POLLRDHUP},
                {.fd = q->server->stop_fd, .events = POLLIN},
        };
        struct timespec t = {
                .tv_sec = (time_t)(usec / USEC_PER_SEC), .tv_nsec = (long)(usec % USEC_PER_SEC) * 1000};
        int r = ppoll(p, ELEMENTSOF(p), usec == USEC_INFINITY ? NULL : &t, NULL);
        return r == 0 ? 0 : -EPIPE;
}

/* connect(2): "... dissolve the association by connecting to an address with ... AF_UNSPEC", which for TCP
 * sends RST. What was written before is let out first, so that the client gets exactly the bytes that were
 * asked for. */
void request_reset(struct request *q)
{
        int fd = connection_fd(q), left = 0;
        for (int i = 0; i < 2000 && ioctl(fd, SIOCOUTQ, &left) == 0 && left > 0; i++)
                if (request_wait(q, USEC_PER_MSEC) < 0)
                        break;
        const struct sockaddr none = {.sa_family = AF_UNSPEC};
        (void)connect(fd, &none, sizeof(none));
}

static void replace_now(struct body *b)
{
        struct request *q = b->request;
        const struct behaviour *h = q->behaviour;
        b->replaced = true;
        if (store_replace(&q->server->store, q->bucket, q->key, h->replace_with) < 0)
                fprintf(stderr, "s3d: %s: cannot replace %s: %m\n", h->file, q->key);
        struct object o = {};
        if (h->replace_mix && store_open(&q->server->store, q->bucket, q->key, &o) == 0) {
                b->second = take_ptr(&o.content);
                object_done(&o);
        }
}

/* What is due at pos. 0 to go on, or what the reader returns. */
static ssize_t due_events(struct body *b, uint64_t pos)
{
        struct request *q = b->request;
        if (pos >= b->replace_at && !b->replaced)
                replace_now(b);
        if (pos >= b->stall_at && !b->stalled) {
                uint64_t s = q->behaviour->seconds;
                b->stalled = true;
                if (request_wait(q, s > USEC_INFINITY / USEC_PER_SEC ? USEC_INFINITY : s * USEC_PER_SEC) < 0)
                        return MHD_CONTENT_READER_END_WITH_ERROR;
        }
        if (pos >= b->reset_at) {
                request_log(q);
                request_reset(q);
                return MHD_CONTENT_READER_END_WITH_ERROR;
        }
        if (pos >= b->end_at) {
                request_log(q);
                return b->ends_well ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
        }
        return 0;
}

static uint64_t room_until_event(const struct body *b, uint64_t pos)
{
        uint64_t next = MIN(b->reset_at, b->end_at);
        if (!b->stalled)
                next = MIN(next, b->stall_at);
        if (!b->replaced)
                next = MIN(next, b->replace_at);
        if (pos < b->length)
                next = MIN(next, b->length);
        return next - pos;
}

static ssize_t read_bytes(struct body *b, uint64_t pos, char *buf, size_t n)
{
        if (pos >= b->length) {
                memset(buf, 0, n);
                return (ssize_t)n;
        }
        uint64_t at = b->start + pos;
        ssize_t k = content_read(b->second ? b->second : b->content, at, buf, n);
        if (k > 0 && b->corrupt_at >= at && b->corrupt_at - at < (uint64_t)k)
                buf[b->corrupt_at - at] ^= (char)0xff;
        return k;
}

/* Until somebody takes the behaviour's file away: then the rest comes at once. */
static bool drips(struct body *b)
{
        struct request *q = b->request;
        if (!b->drip)
                return false;
        _cleanup_free_ char *path = text_printf("%s/%s", q->server->behaviour_dir, q->behaviour->file);
        if (access(path, F_OK) < 0)
                b->drip = 0;
        return b->drip > 0;
}

static ssize_t body_read(void *cls, uint64_t pos, char *buf, size_t max)
{
        struct body *b = cls;
        struct request *q = b->request;
        ssize_t r = due_events(b, pos);
        if (r < 0)
                return r;
        size_t n = MIN(max, room_until_event(b, pos));
        if (drips(b)) {
                n = MIN(n, MAX(UINT64_C(1), b->drip / 20));
                if (request_wait(q, n * USEC_PER_SEC / b->drip) < 0)
                        return MHD_CONTENT_READER_END_WITH_ERROR;
        }
        ssize_t k = read_bytes(b, pos, buf, n);
        if (k <= 0)
                return MHD_CONTENT_READER_END_WITH_ERROR;
        q->sent += (uint64_t)k;
        if (b->sized && pos + (uint64_t)k == b->total)
                request_log(q);
        return k;
}

static void body_free(void *cls)
{
        struct body *b = cls;
        content_free(b->content);
        content_free(b->second);
        free(b);
}

static void set_faults(struct body *b, const struct behaviour *h)
{
        b->total += h->extra;
        b->stall_at = amount_resolve(&h->stall_at, b->total);
        b->reset_at = amount_resolve(&h->reset_at, b->total);
        b->end_at = MIN(amount_resolve(&h->truncate_at, b->total), b->total);
        b->replace_at = amount_resolve(&h->replace_after, b->total);
        b->corrupt_at = h->corrupt ? h->corrupt_at : NEVER;
        b->drip = h->drip;
}

static uint64_t announced_length(struct body *b, enum framing framing)
{
        switch (framing) {
        case FRAMING_CHUNKED:
        case FRAMING_CLOSE:
                b->ends_well = true;
                return MHD_SIZE_UNKNOWN;
        case FRAMING_SHORT:
                return b->end_at;
        case FRAMING_DEFAULT:
        case FRAMING_LENGTH:
                break;
        }
        return b->total == NEVER ? MHD_SIZE_UNKNOWN : b->total;
}

/* The Content-Length that a behaviour wants announced, which is taken out of the headers; NEVER when there is
 * none. */
static uint64_t wanted_length(struct request *q)
{
        struct reply *r = &q->reply;
        uint64_t length = NEVER;
        for (size_t i = 0; i < r->n_headers; i++)
                if (strcasecmp(r->headers[i].name, "Content-Length") == 0 &&
                        parse_number(r->headers[i].value, &length) == 0)
                        *r->headers[i].value = 0;
        return length;
}

struct MHD_Response *body_response(struct request *q)
{
        struct reply *r = &q->reply;
        const struct behaviour *h = q->behaviour;
        uint64_t wanted = wanted_length(q);
        if (!r->content || (r->length == 0 && wanted == NEVER && !(h && h->extra)))
                return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
        struct body *b = text_alloc(sizeof(*b));
        *b = (struct body){
                .request = q,
                .content = take_ptr(&r->content),
                .start = r->start,
                .length = r->length,
                .total = r->length,
                .stall_at = NEVER,
                .replace_at = NEVER,
                .reset_at = NEVER,
                .end_at = r->length,
                .corrupt_at = NEVER,
        };
        enum framing framing = h ? h->framing : FRAMING_DEFAULT;
        if (h)
                set_faults(b, h);
        uint64_t announced = wanted != NEVER ? wanted : announced_length(b, framing);
        b->sized = announced != MHD_SIZE_UNKNOWN;
        if (b->sized)
                b->total = announced;
        size_t block = (size_t)MIN((uint64_t)BLOCK, MAX(announced, UINT64_C(1)));
        struct MHD_Response *response =
                MHD_create_response_from_callback(announced, block, body_read, b, body_free);
        if (response)
                MHD_set_response_options(response,
                        framing == FRAMING_CLOSE ? MHD_RF_HTTP_1_0_COMPATIBLE_STRICT : MHD_RF_NONE,
                        MHD_RO_END);
        else
                body_free(b);
        return response;
}
