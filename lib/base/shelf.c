/* SPDX-License-Identifier: Apache-2.0 */
/* A file that only we have. What is added waits in a buffer, so that ten thousand small records are not ten
 * thousand calls; where a record lies is known at once. */
#include "shelf.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"

#define NAME ".shelf" /* has it for a moment, where a file cannot be made without one */
#define BUFFER (64 * KIB)

struct shelf {
        int fd;
        uint64_t written; /* bytes in the file; those in the buffer come behind */
        size_t n;
        char buffer[BUFFER];
};

static int fail(int err, const char *what, struct error *e)
{
        /* not by errno: it is not staging that has no room */
        return error_set(e, CAUSE_IO, err, "%s the unnamed file in state_dir: %s", what, strerror(err));
}

static int open_unnamed(int dir_fd)
{
        int fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
                return fd;
        (void)unlinkat(dir_fd, NAME, 0); /* a crash came between the next two */
        fd = openat(dir_fd, NAME, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0 && unlinkat(dir_fd, NAME, 0) < 0)
                return close_fd(fd);
        return fd;
}

int shelf_new(int dir_fd, struct shelf **ret, struct error *e)
{
        struct shelf *s = malloc(sizeof(*s));
        if (!s)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        s->fd = open_unnamed(dir_fd);
        s->written = s->n = 0;
        if (s->fd < 0) {
                int err = errno;
                free(s);
                return fail(err, "making", e);
        }
        *ret = s;
        return 0;
}

struct shelf *shelf_free(struct shelf *s)
{
        if (s)
                close_fd(s->fd);
        free(s);
        return NULL;
}

static int write_at(struct shelf *s, uint64_t at, const void *p, size_t n, struct error *e)
{
        for (const char *from = p; n > 0;) {
                ssize_t k = pwrite(s->fd, from, n, (off_t)at);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k <= 0)
                        return fail(k < 0 ? errno : EIO, "writing", e);
                from += k;
                at += (uint64_t)k;
                n -= (size_t)k;
        }
        return 0;
}

static int flush(struct shelf *s, struct error *e)
{
        int r = write_at(s, s->written, s->buffer, s->n, e);
        if (r < 0)
                return r;
        s->written += s->n;
        s->n = 0;
        return 0;
}

int shelf_add(struct shelf *s, const void *p, size_t n, uint64_t *ret_at, struct error *e)
{
        int r = n > BUFFER - s->n ? flush(s, e) : 0;
        if (r < 0)
                return r;
        uint64_t at = s->written + s->n;
        if (n > BUFFER) {
                r = write_at(s, at, p, n, e);
                if (r < 0)
                        return r;
                s->written += n;
        } else {
                memcpy(s->buffer + s->n, p, n);
                s->n += n;
        }
        *ret_at = at;
        return 0;
}

int shelf_put(struct shelf *s, uint64_t at, const void *p, size_t n, struct error *e)
{
        assert(at + n <= (at < s->written ? s->written : s->written + s->n)); /* no record is in both */
        if (at < s->written)
                return write_at(s, at, p, n, e);
        memcpy(s->buffer + (at - s->written), p, n);
        return 0;
}

int shelf_get(const struct shelf *s, uint64_t at, void *p, size_t n, struct error *e)
{
        assert(at + n <= (at < s->written ? s->written : s->written + s->n));
        if (at >= s->written) {
                memcpy(p, s->buffer + (at - s->written), n);
                return 0;
        }
        for (char *to = p; n > 0;) {
                ssize_t k = pread(s->fd, to, n, (off_t)at);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k <= 0)
                        return fail(k < 0 ? errno : EIO, "reading", e);
                to += k;
                at += (uint64_t)k;
                n -= (size_t)k;
        }
        return 0;
}
