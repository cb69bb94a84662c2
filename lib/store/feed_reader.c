/* SPDX-License-Identifier: Apache-2.0 */
/* What is watched: the organisation's folder, where the file appears and is renamed to; the file itself where
 * the folder may be passed but not read (an execute-only entry of its access list); and the staging folder as
 * long as the organisation has none. */
#include "feed_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit_read.h"
#include "cleanup.h"
#include "str.h"

#define LINE_MOST 65536 /* longer than any line of the feed */
#define READ_SIZE (4 * LINE_MOST)
#define FEED_TIME_SIZE 32

struct feed_reader {
        char *staging, *folder, *file;
        int fd;        /* of the file, -1: not open */
        off_t offset;  /* of what was not told yet */
        uint64_t at;   /* number of the line before that in the file that is open; 0: none, or not known */
        uint64_t last; /* number of the last line that was told, or need not be */
        char time[FEED_TIME_SIZE]; /* of that line, "": not known */
        int inotify;               /* -1: nobody waits */
        int watch;                 /* of inotify, -1: none */
        char *buffer;
};

int feed_reader_new(
        const char *staging, const char *org, uint64_t since, struct feed_reader **ret, struct error *e)
{
        struct feed_reader *r = calloc(1, sizeof(*r));
        if (!r)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        *r = (struct feed_reader){.fd = -1, .inotify = -1, .watch = -1, .last = since};
        r->staging = strdup(staging);
        r->folder = str_printf("%s/%s", staging, org);
        r->file = str_printf("%s/%s/" FEED_FILE, staging, org);
        r->buffer = malloc(READ_SIZE);
        if (!r->staging || !r->folder || !r->file || !r->buffer) {
                feed_reader_free(r);
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        }
        *ret = r;
        return 0;
}

void feed_reader_expect(struct feed_reader *r, const char *time)
{
        snprintf(r->time, sizeof(r->time), "%s", time);
}

struct feed_reader *feed_reader_free(struct feed_reader *r)
{
        if (!r)
                return NULL;
        close_fd(r->fd);
        close_fd(r->inotify);
        free(r->staging);
        free(r->folder);
        free(r->file);
        free(r->buffer);
        free(r);
        return NULL;
}

static bool is_replaced(const struct feed_reader *r)
{
        struct stat open_one, named;
        return r->fd < 0 || fstat(r->fd, &open_one) < 0 || stat(r->file, &named) < 0 ||
               open_one.st_ino != named.st_ino || open_one.st_dev != named.st_dev ||
               open_one.st_size < r->offset;
}

static int reopen(struct feed_reader *r, struct error *e)
{
        _cleanup_close_ int fd = open(r->file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(e, errno, "%s", r->file);
        close_fd(r->fd);
        r->fd = take_fd(&fd);
        r->at = 0;
        int err = audit_seek(r->fd, r->buffer, READ_SIZE, r->last, &r->offset);
        return err < 0 ? error_errno(e, -err, "%s", r->file) : 0;
}

#define WHO_MENDS "whoever keeps czard is told by czarctl verify what to do"

static int damaged(const struct feed_reader *r, uint64_t seq, struct error *e)
{
        unsigned long long last = r->last;
        if (seq == 0 || seq == r->last + 1)
                return error_set(
                        e, CAUSE_IO, EBADMSG, "%s: line %llu is damaged; " WHO_MENDS, r->file, last + 1);
        return error_set(e, CAUSE_IO, EBADMSG,
                "%s: it is damaged: line %llu should come, and line %llu does; " WHO_MENDS, r->file, last + 1,
                (unsigned long long)seq);
}

static int begun_anew(const struct feed_reader *r, const char *time, struct error *e)
{
        return error_set(e, CAUSE_IO, EBADMSG,
                "%s: line %llu is of %s, not of %s: the feed was begun anew; begin anew too, without what "
                "you had, from --since 0",
                r->file, (unsigned long long)r->last, *time ? time : "no time", r->time);
}

static int ends_early(const struct feed_reader *r, struct error *e)
{
        return error_set(e, CAUSE_IO, ESTALE,
                "%s: it ends with line %llu, before line %llu, which is known already: it was cut, and czard "
                "makes it again at its next poll; or it was begun anew: begin anew too, without what you "
                "had, from --since 0",
                r->file, (unsigned long long)r->at, (unsigned long long)r->last);
}

/* A line of ours, to its end: no field has an empty name. */
static bool is_whole(const char *line, size_t len)
{
        char none[1];
        return audit_field(line, len, "", none, sizeof(none)) == -ENOENT;
}

/* A line that is known already, before the first that is not. One that is damaged is told to nobody. */
static int pass_over(struct feed_reader *r, const char *line, size_t len, uint64_t seq, struct error *e)
{
        char time[FEED_TIME_SIZE];
        if (audit_field(line, len, "time", time, sizeof(time)) < 0)
                time[0] = 0;
        if (seq == r->last && *r->time && !streq(time, r->time))
                return begun_anew(r, time, e);
        r->at = seq > 0 ? seq : r->at + 1;
        return 0;
}

/* The lines that are in the buffer. *ret: how many bytes of them are done with. */
static int tell(
        struct feed_reader *r, size_t n, feed_reader_fn *each, void *arg, size_t *ret, struct error *e)
{
        const char *p = r->buffer, *end = p + n, *newline;
        int told = 0;
        *ret = 0;
        while (told == 0 && (newline = memchr(p, '\n', (size_t)(end - p)))) {
                size_t len = (size_t)(newline - p);
                uint64_t seq = audit_seq(p, len);
                if (seq == r->last + 1 && is_whole(p, len)) {
                        r->at = r->last = seq;
                        if (audit_field(p, len, "time", r->time, sizeof(r->time)) < 0)
                                r->time[0] = 0;
                        told = each(p, len, seq, arg);
                } else {
                        int err = r->at < r->last && seq <= r->last ? pass_over(r, p, len, seq, e)
                                                                    : damaged(r, seq, e);
                        if (err < 0)
                                return err;
                }
                p = newline + 1;
                *ret = (size_t)(p - r->buffer);
        }
        return told;
}

/* 0: nothing is left. */
static int tell_rest(struct feed_reader *r, feed_reader_fn *each, void *arg, struct error *e)
{
        for (;;) {
                ssize_t n = pread(r->fd, r->buffer, READ_SIZE, r->offset);
                if (n < 0)
                        return error_errno(e, errno, "%s", r->file);
                size_t done;
                int told = tell(r, (size_t)n, each, arg, &done, e);
                r->offset += (off_t)done;
                if (told != 0)
                        return told;
                if (done == 0 && n == READ_SIZE)
                        return damaged(r, 0, e);
                if (done == 0)
                        return r->at < r->last ? ends_early(r, e) : 0;
        }
}

/* All notices are one: look. They are taken before it is decided what is watched, so that none is lost
 * between that and the wait. */
static void take_notices(struct feed_reader *r)
{
        char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
        ssize_t n;
        while (r->inotify >= 0 && (n = read(r->inotify, events, sizeof(events))) > 0)
                for (ssize_t at = 0; at < n;) {
                        const struct inotify_event *event = (const void *)(events + at);
                        if (event->wd == r->watch && (event->mask & IN_IGNORED))
                                r->watch = -1;
                        at += (ssize_t)(sizeof(*event) + event->len);
                }
}

int feed_reader_each(struct feed_reader *r, feed_reader_fn *each, void *arg, struct error *e)
{
        /* What was added to the one that is open before it lost its name comes first, and has the same
         * numbers. */
        int told = is_replaced(r) ? reopen(r, e) : 0;
        return told != 0 ? told : tell_rest(r, each, arg, e);
}

/* --- waiting --- */

static int add_watch(struct feed_reader *r, const char *path, uint32_t mask, struct error *e)
{
        static const uint32_t gone = IN_DELETE_SELF | IN_MOVE_SELF;
        int watch = inotify_add_watch(r->inotify, path, mask | gone);
        if (watch < 0)
                return error_errno(e, errno, "%s", path);
        if (r->watch >= 0 && r->watch != watch)
                (void)inotify_rm_watch(r->inotify, r->watch);
        r->watch = watch;
        return r->inotify;
}

int feed_reader_watch(struct feed_reader *r, struct error *e)
{
        if (r->inotify < 0)
                r->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (r->inotify < 0)
                return error_set(e, CAUSE_IO, errno, "inotify: %s", strerror(errno));
        const uint32_t in_folder = IN_CREATE | IN_MOVED_TO | IN_MODIFY | IN_ONLYDIR;
        take_notices(r);
        int fd = add_watch(r, r->folder, in_folder, e);
        if (fd == -EACCES)
                fd = add_watch(r, r->file, IN_MODIFY | IN_ATTRIB, e) >= 0 ? r->inotify : -EACCES;
        else if (fd == -ENOENT) {
                fd = add_watch(r, r->staging, IN_CREATE | IN_MOVED_TO | IN_ONLYDIR, e);
                if (fd >= 0)
                        (void)add_watch(r, r->folder, in_folder, NULL); /* it may have come meanwhile */
        }
        return fd;
}
