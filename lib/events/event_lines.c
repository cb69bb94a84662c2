/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes are collected in a window until it ends with a whole line or grows over what a line may have. The
 * window is as large as the longest line needs, within that bound. */
#include "event_lines.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "event.h"
#include "gzcheck.h"

#define READ_SIZE (256 * KIB)

struct lines {
        const struct event_lines_sink *sink;
        char *p;        /* the window: the beginning of a line, n bytes of it */
        size_t n, size; /* size: without the slack behind it */
        bool too_long;  /* the line at hand: what is left of it is passed over */
};

static int out_of_memory(struct error *e)
{
        return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
}

static int grow(struct lines *l, size_t least, struct error *e)
{
        if (l->size >= least)
                return 0;
        size_t size = MAX(l->size * 2, least);
        char *p = realloc(l->p, size + EVENT_SCAN_SLACK);
        if (!p)
                return out_of_memory(e);
        memset(p + l->size, 0, size + EVENT_SCAN_SLACK - l->size);
        l->p = p;
        l->size = size;
        return 0;
}

/* The n bytes at p are a line; p[n] may be written to. */
static int tell(struct lines *l, char *p, size_t n, struct error *e)
{
        if (l->too_long || n > EVENT_LINE_MAX) {
                l->too_long = false;
                return l->sink->on_line(l->sink->arg, NULL, 0, e);
        }
        while (n && event_is_space(p[n - 1]))
                n--;
        p[n] = '\n';
        while (event_is_space(*p) && n) {
                p++;
                n--;
        }
        return l->sink->on_line(l->sink->arg, p, n, e);
}

/* sink_fn: more bytes of the text. */
static int on_text(void *arg, const void *bytes, size_t n, struct error *e)
{
        struct lines *l = arg;
        int r = grow(l, l->n + n, e);
        if (r < 0)
                return r;
        memcpy(l->p + l->n, bytes, n);
        char *begin = l->p, *end = l->p + l->n + n, *newline = memchr(l->p + l->n, '\n', n);
        for (; newline; newline = memchr(begin, '\n', (size_t)(end - begin))) {
                r = tell(l, begin, (size_t)(newline - begin), e);
                if (r < 0)
                        return r;
                begin = newline + 1;
        }
        l->n = (size_t)(end - begin);
        if (l->too_long || l->n > EVENT_LINE_MAX) {
                l->too_long = true;
                l->n = 0;
        }
        memmove(l->p, begin, l->n);
        return 0;
}

/* What stands behind the last '\n'. */
static int end_lines(struct lines *l, struct error *e)
{
        if (l->n == 0 && !l->too_long)
                return 0;
        int r = grow(l, l->n + 1, e);
        return r < 0 ? r : tell(l, l->p, l->n, e);
}

static int read_all(int fd, struct gzcheck *gzip, struct digest *digest, struct lines *l, struct error *e)
{
        _cleanup_free_ char *buf = malloc(READ_SIZE);
        if (!buf)
                return out_of_memory(e);
        for (off_t at = 0;;) {
                ssize_t n = pread(fd, buf, READ_SIZE, at);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_set(e, CAUSE_IO, errno, "reading the events: %s", strerror(errno));
                if (n == 0)
                        return gzip ? gzcheck_end(gzip, e) : 0;
                at += n;
                if (digest)
                        digest_update(digest, buf, (size_t)n);
                int r = gzip ? gzcheck_write(gzip, buf, (size_t)n, e) : on_text(l, buf, (size_t)n, e);
                if (r < 0)
                        return r;
                if (l->sink->on_read)
                        l->sink->on_read(l->sink->arg, (uint64_t)n);
        }
}

int event_lines_read(int fd, bool gzip, const struct event_lines_sink *sink, uint8_t ret_sha256[SHA256_SIZE],
        struct error *e)
{
        struct lines l = {.sink = sink};
        const struct expansion unlimited = {}; /* it was limited when it was decrypted */
        _cleanup_(cleanup_gzcheck) struct gzcheck *unpack = NULL;
        struct digest *digest = NULL;
        int r = gzip ? gzcheck_new(true, &unlimited, on_text, &l, &unpack) : 0;
        if (r == 0 && ret_sha256)
                r = digest_new(DIGEST_SHA256, &digest);
        r = r < 0 ? out_of_memory(e) : read_all(fd, unpack, digest, &l, e);
        if (r == 0)
                r = end_lines(&l, e);
        if (r == 0 && ret_sha256)
                digest_final(digest, ret_sha256);
        digest_free(digest);
        free(l.p);
        return r;
}
