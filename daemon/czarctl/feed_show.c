/* SPDX-License-Identifier: Apache-2.0 */
/* changes: the feed of an organisation, from a line on, and what is added to it. Reads nothing but the file,
 * so that whoever may read the staged files may use it. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "audit.h"
#include "feed_reader.h"
#include "runs.h"
#include "str.h"
#include "table.h"
#include "timespan.h"

/* For people: names are shown, never executed. */
static void show_line(const char *line, size_t len)
{
        char seq[24] = "", time[32] = "", op[32] = "", path[4200] = "", when[40];
        int64_t sec = 0;
        (void)audit_field(line, len, "seq", seq, sizeof(seq));
        (void)audit_field(line, len, "op", op, sizeof(op));
        (void)audit_field(line, len, "path", path, sizeof(path));
        if (audit_field(line, len, "time", time, sizeof(time)) < 0 || time_parse_rfc3339(time, &sec) < 0)
                sec = 0;
        shown_print(stdout, "%8.20s  %s  %-17.31s  %s\n", seq, local_time(sec, when), op, path);
}

static int on_line(const char *line, size_t len, uint64_t seq, void *arg)
{
        const struct ctl *c = arg;
        (void)seq;
        if (!c->json) {
                show_line(line, len);
                return 0;
        }
        _cleanup_strbuf_ struct strbuf text = {};
        json_add_shown(&text, line, len);
        if (text.err < 0)
                return text.err;
        puts(text.s);
        return 0;
}

/* 0 or an exit status. */
static int show_rest(struct ctl *c, struct feed_reader *reader, bool wait)
{
        struct error e = {};
        int r = feed_reader_each(reader, on_line, c, &e);
        if (r == -ENOENT && wait)
                r = 0;
        if (r == -ENOENT)
                return ctl_fail_text("%s: nothing was staged yet", e.text);
        if (r == -EACCES)
                return ctl_fail_text("%s; members of its group may read it", e.text);
        if (r < 0)
                return ctl_fail(c, &e);
        return fflush(stdout) != 0 ? ctl_fail_text("standard output: %s", strerror(errno)) : 0;
}

/* Also ends when nobody reads the output any more, not only with the next line. */
static int follow(struct ctl *c, struct feed_reader *reader)
{
        struct error e = {};
        for (;;) {
                int fd = feed_reader_watch(reader, &e);
                if (fd < 0)
                        return ctl_fail(c, &e);
                int r = show_rest(c, reader, true);
                if (r != 0)
                        return r;
                struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = STDOUT_FILENO}};
                if (poll(fds, ELEMENTSOF(fds), -1) < 0 && errno != EINTR)
                        return ctl_fail_text("waiting: %s", strerror(errno));
                if (fds[1].revents & POLLERR)
                        return CTL_WELL;
        }
}

static int show_feed(struct ctl *c, const char *org, uint64_t since)
{
        struct feed_reader *reader = NULL;
        struct error e = {};
        if (feed_reader_new(c->config->staging.path, org, since, &reader, &e) < 0)
                return ctl_fail(c, &e);
        int r = ctl_flag(c, "follow") ? follow(c, reader) : show_rest(c, reader, false);
        feed_reader_free(reader);
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
