/* SPDX-License-Identifier: Apache-2.0 */
/* changes: the feed of an organisation, from a line on, and what is added to it. Reads nothing but the file,
 * so that whoever may read the staged files may use it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit.h"
#include "feed.h"
#include "runs.h"
#include "str.h"
#include "table.h"
#include "timespan.h"

#define LINE_MOST 65536 /* longer than any line of the feed */
#define READ_SIZE (4 * LINE_MOST)

struct feed_view {
        struct ctl *c;
        const char *org;
        char *folder, *file;
        int fd;
        off_t offset;  /* of what was not shown yet */
        uint64_t last; /* number of the last line that was shown, or need not be */
        char *buffer;
};

static uint64_t seq_of(const char *line, size_t len)
{
        char text[24];
        uint64_t seq = 0;
        if (audit_field(line, len, "seq", text, sizeof(text)) < 0 || parse_u64(text, INT64_MAX, &seq) < 0)
                return 0;
        return seq;
}

/* For people: names are shown, never executed. */
static void show_line(const char *line, size_t len)
{
        char seq[24] = "", time[32] = "", op[32] = "", path[4200] = "", shown[4 * 4200], when[40];
        int64_t sec = 0;
        (void)audit_field(line, len, "seq", seq, sizeof(seq));
        (void)audit_field(line, len, "op", op, sizeof(op));
        (void)audit_field(line, len, "path", path, sizeof(path));
        if (audit_field(line, len, "time", time, sizeof(time)) < 0 || time_parse_rfc3339(time, &sec) < 0)
                sec = 0;
        printf("%8.20s  %s  %-17.31s  %s\n", seq, local_time(sec, when), op,
                str_visible(path, shown, sizeof(shown)));
}

/* Shows the whole lines from offset on whose number is greater than last. 0 or an exit status. */
static int show_rest(struct feed_view *v)
{
        for (;;) {
                ssize_t n = pread(v->fd, v->buffer, READ_SIZE, v->offset);
                if (n < 0)
                        return ctl_fail_text("%s: %s", v->file, strerror(errno));
                const char *p = v->buffer, *end = v->buffer + n, *newline;
                for (; (newline = memchr(p, '\n', (size_t)(end - p))); p = newline + 1) {
                        size_t len = (size_t)(newline - p);
                        uint64_t seq = seq_of(p, len);
                        if (seq <= v->last)
                                continue;
                        if (v->c->json)
                                printf("%.*s\n", (int)len, p);
                        else
                                show_line(p, len);
                        v->last = seq;
                }
                v->offset += p - v->buffer;
                if (p == v->buffer)
                        break; /* no whole line more */
        }
        return fflush(stdout) != 0 ? ctl_fail_text("standard output: %s", strerror(errno)) : 0;
}

/* Numbers only grow: halves the file until what is left may as well be read. */
static int seek_to(struct feed_view *v)
{
        struct stat st;
        if (fstat(v->fd, &st) < 0)
                return ctl_fail_text("%s: %s", v->file, strerror(errno));
        off_t low = 0, high = st.st_size;
        while (high - low > READ_SIZE) {
                off_t middle = low + (high - low) / 2;
                ssize_t n = pread(v->fd, v->buffer, READ_SIZE, middle);
                const char *end = n > 0 ? v->buffer + n : v->buffer;
                const char *first = n > 0 ? memchr(v->buffer, '\n', (size_t)n) : NULL;
                const char *second = first ? memchr(first + 1, '\n', (size_t)(end - first - 1)) : NULL;
                if (!second || middle + (first + 1 - v->buffer) >= high)
                        break;
                if (seq_of(first + 1, (size_t)(second - first - 1)) <= v->last)
                        low = middle + (first + 1 - v->buffer);
                else
                        high = middle;
        }
        v->offset = low;
        return 0;
}

/* 0, 1: it is not there, or an exit status. */
static int open_feed(struct feed_view *v)
{
        int fd = open(v->file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return 1;
        if (fd < 0)
                return ctl_fail_text("%s: %s", v->file, strerror(errno));
        close_fd(v->fd);
        v->fd = fd;
        return seek_to(v);
}

static bool is_replaced(const struct feed_view *v)
{
        struct stat open_one, named;
        return fstat(v->fd, &open_one) < 0 || stat(v->file, &named) < 0 || open_one.st_ino != named.st_ino ||
               open_one.st_dev != named.st_dev;
}

/* Sleeps until something was done to the folder or the file. */
static int follow(struct feed_view *v)
{
        _cleanup_close_ int watch = inotify_init1(IN_CLOEXEC);
        char events[4096];
        if (watch < 0 ||
                inotify_add_watch(watch, v->folder, IN_CREATE | IN_MOVED_TO | IN_MODIFY | IN_ONLYDIR) < 0)
                return ctl_fail_text("%s: %s", v->folder, strerror(errno));
        for (;;) {
                /* What came before the watch is seen here as well. */
                int r = v->fd < 0 || is_replaced(v) ? open_feed(v) : 0;
                if (r == 0)
                        r = show_rest(v);
                if (r > 1)
                        return r;
                if (read(watch, events, sizeof(events)) < 0 && errno != EINTR)
                        return ctl_fail_text("%s: %s", v->folder, strerror(errno));
        }
}

static int show_feed(struct ctl *c, const char *org, uint64_t since)
{
        struct feed_view v = {.c = c, .org = org, .fd = -1, .last = since};
        v.folder = str_printf("%s/%s", c->config->staging.path, org);
        v.file = v.folder ? str_printf("%s/" FEED_FILE, v.folder) : NULL;
        v.buffer = malloc(READ_SIZE);
        int r = !v.file || !v.buffer ? ctl_fail_text("out of memory") : 0;
        if (r == 0 && ctl_flag(c, "follow"))
                r = follow(&v);
        else if (r == 0)
                r = open_feed(&v);
        if (r == 0)
                r = show_rest(&v);
        if (r == 1)
                r = ctl_fail_text("%s is not there: nothing was staged yet", v.file);
        close_fd(v.fd);
        free(v.folder);
        free(v.file);
        free(v.buffer);
        return r;
}

int run_changes(struct ctl *c)
{
        const char *text = ctl_flag(c, "since");
        uint64_t since = 0;
        if (text && parse_u64(text, INT64_MAX, &since) < 0)
                return ctl_usage(c, "--since: expected the number of a line (seq)");
        if (c->argc == 1 && !config_find_package(c->config, c->argv[0]))
                return ctl_usage(c, "%s: no [package] section has that org", c->argv[0]);
        if (c->argc == 0 && c->config->n_packages > 1 && (text || ctl_flag(c, "follow")))
                return ctl_usage(
                        c, "there are several organisations, and each has a feed of its own: name one");
        if (c->argc == 1)
                return show_feed(c, c->argv[0], since);
        for (size_t i = 0; i < c->config->n_packages; i++) {
                int r = show_feed(c, c->config->packages[i].spec.org, since);
                if (r != 0)
                        return r;
        }
        return CTL_WELL;
}
