/* SPDX-License-Identifier: Apache-2.0 */
/* What czard has written down. changes: the feed of an organisation, from a line on, and what is added to it;
 * reads nothing but the file, so that whoever may read the staged files may use it. audit: the audit record
 * by time; lines are taken as they stand, whether they were altered says verify --audit. backup: a consistent
 * copy of the ledger, also while czard writes. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit.h"
#include "feed.h"
#include "feed_reader.h"
#include "owner.h"
#include "rows.h"
#include "str.h"
#include "timespan.h"

/* --- changes --- */

#define BLIND_MSEC 1000 /* between two looks at what cannot be watched */

/* For people: names are shown, never executed. */
static void show_line(const char *line, size_t len)
{
        char seq[24] = "", time[32] = "", op[32] = "", path[4200] = "", when[WHEN_SIZE];
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

static bool cannot_read(int r)
{
        return r == -ENOENT || r == -EACCES;
}

static void add_why(int r, struct error *e)
{
        char text[sizeof(e->text)];
        snprintf(text, sizeof(text), "%s%s", e->text,
                r == -ENOENT ? ": nothing was staged yet" : "; members of its group may read it");
        snprintf(e->text, sizeof(e->text), "%s", text);
}

/* What was not told yet. 0 or -errno; -ENOENT, -EACCES: e says what that means. */
static int tell_rest(struct ctl *c, struct feed_reader *reader, struct error *e)
{
        int r = feed_reader_each(reader, on_line, c, e);
        if (cannot_read(r))
                add_why(r, e);
        if (r == 0 && fflush(stdout) != 0)
                r = error_set(e, CAUSE_IO, errno, "standard output: %s", strerror(errno));
        return r;
}

/* What was wrong with the feed is said, not what may be wrong with us. */
static int ended(int r, const struct error *e)
{
        bool is_said = cannot_read(r) || r == -EBADMSG || r == -ESTALE;
        return is_said ? ctl_fail_text("%s", e->text) : r < 0 ? ctl_fail(e) : CTL_WELL;
}

/* Whoever has read the feed waits until czard has made it again, in a folder that may not be there either;
 * who has not, for the first line. */
static bool waits(int r, int fd, bool has_read)
{
        return r == 0 || (r == -ENOENT && fd != -ENOENT) || (has_read && (cannot_read(r) || r == -ESTALE));
}

/* Also ends when nobody reads the output any more, not only with the next line. */
static int follow(struct ctl *c, struct feed_reader *reader)
{
        for (bool has_read = false;;) {
                struct error unwatched = {}, e = {};
                int fd = feed_reader_watch(reader, &unwatched);
                int r = tell_rest(c, reader, &e);
                if (!waits(r, fd, has_read))
                        return ended(r, &e);
                has_read |= r == 0;
                struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = STDOUT_FILENO}};
                if (poll(fds, ELEMENTSOF(fds), fd < 0 ? BLIND_MSEC : -1) < 0 && errno != EINTR)
                        return ctl_fail_text("waiting: %s", strerror(errno));
                if (fds[1].revents & (POLLERR | POLLHUP))
                        return CTL_WELL;
        }
}

static int show_feed(struct ctl *c, const char *org, uint64_t since, const char *time)
{
        struct feed_reader *reader = NULL;
        struct error e = {};
        if (feed_reader_new(c->config->staging.path, org, since, &reader, &e) < 0)
                return ctl_fail(&e);
        feed_reader_expect(reader, time);
        int status = ctl_flag(c, "follow") ? follow(c, reader) : ended(tell_rest(c, reader, &e), &e);
        feed_reader_free(reader);
        return status;
}

/* One organisation without a feed, or whose feed is not for us, does not keep the others from being shown. */
static int show_all(struct ctl *c)
{
        bool any = false;
        for (size_t i = 0; i < c->config->n_packages; i++) {
                struct feed_reader *reader = NULL;
                struct error e = {};
                int r = feed_reader_new(
                        c->config->staging.path, c->config->packages[i].spec.org, 0, &reader, &e);
                r = r < 0 ? r : tell_rest(c, reader, &e);
                feed_reader_free(reader);
                if (r < 0 && !cannot_read(r))
                        return ctl_fail(&e);
                if (r < 0)
                        shown_print(stderr, "czarctl: warning: %s\n", e.text);
                any |= r == 0;
        }
        return any ? CTL_WELL : CTL_CANNOT;
}

/* Of a configuration that has errors only the path is known: who waits for the feed of an organisation that
 * is none, or not there, waits for ever. */
static bool is_there(const struct ctl *c, const char *org)
{
        _cleanup_free_ char *path = str_printf("%s/%s/" FEED_FILE, c->config->staging.path, org);
        return path && access(path, F_OK) == 0;
}

/* SEQ, or SEQ@TIME. */
static int parse_since(const char *text, uint64_t *ret, const char **ret_time)
{
        int64_t sec;
        const char *at = strchr(text, '@');
        _cleanup_free_ char *seq = strndup(text, at ? (size_t)(at - text) : strlen(text));
        if (!seq)
                return -ENOMEM;
        *ret_time = at ? at + 1 : "";
        int r = at ? time_parse_rfc3339(at + 1, &sec) : 0;
        return r < 0 ? r : parse_u64(seq, INT64_MAX, ret);
}

int run_changes(struct ctl *c)
{
        const char *text = ctl_flag(c, "since"), *org = c->argc == 1 ? c->argv[0] : NULL, *time = "";
        uint64_t since = 0;
        if (text && parse_since(text, &since, &time) < 0)
                return ctl_usage(c, "--since: expected the number of a line (seq), or that and its time as "
                                    "SEQ@TIME");
        if (c->config_is_partial && !(org && is_there(c, org)))
                return ctl_fail_text("the configuration has errors, so nobody knows which feed is meant: %s",
                        c->config_error);
        if (org && !c->config_is_partial && !config_find_package(c->config, org))
                return ctl_usage(c, "%s: no [package] section has that org", org);
        if (!org && c->config->n_packages > 1 && (text || ctl_flag(c, "follow")))
                return ctl_usage(
                        c, "there are several organisations, and each has a feed of its own: name one");
        if (!org && c->config->n_packages > 1)
                return show_all(c);
        return show_feed(c, org ? org : c->config->packages[0].spec.org, since, time);
}

/* --- audit --- */

static const char *const fields[] = {"time", "seq", "event", "org", "category", "site", "date", "bucket",
        "key", "etag", "member", "path", "size", "sha256", "group", "fingerprint", "cause", "uid", "reason",
        "mtime", "config_sha256"};

/* What a member's line leaves to the "members" line before it. */
static const char *const shared[] = {
        "org", "category", "site", "date", "bucket", "key", "etag", "group", "mtime"};

struct audit_show {
        const char *since, *until;
        struct record_rows *record;
        char of_members[ELEMENTSOF(shared)][RECORD_FIELD_SIZE]; /* of the "members" line above, "" none */
};

static void note_members(struct audit_show *s, const char *line, size_t len)
{
        char event[EVENT_SIZE] = "";
        (void)audit_field(line, len, "event", event, sizeof(event));
        bool head = streq(event, "members");
        if (streq(event, "member") || streq(event, "member-rejected"))
                return;
        for (size_t i = 0; i < ELEMENTSOF(shared); i++)
                if (!head || audit_field(line, len, shared[i], s->of_members[i], RECORD_FIELD_SIZE) < 0)
                        s->of_members[i][0] = 0;
}

static void show_fields(struct audit_show *s, const char *line, size_t len)
{
        struct record_rows *r = s->record;
        record_rows_read(r, line, len);
        for (size_t i = 0; i < r->n; i++)
                for (size_t k = 0; k < ELEMENTSOF(shared); k++)
                        if (!*r->fields[i].text && streq(r->fields[i].name, shared[k]))
                                r->fields[i].text = s->of_members[k];
        const char *path = record_text(r, "path"), *reason = record_text(r, "reason"),
                   *cause = record_text(r, "cause");
        _cleanup_free_ char *why = str_printf("%s%s%s", reason, *reason && *cause ? ": " : "", cause);
        record_rows_add(r, *path ? path : record_text(r, "key"), why);
}

static int show_entry(const char *line, size_t len, uint64_t number, void *arg)
{
        struct audit_show *s = arg;
        char time[64];
        (void)number;
        note_members(s, line, len);
        /* RFC 3339 in UTC compares as text. */
        if (audit_field(line, len, "time", time, sizeof(time)) < 0 ||
                (s->since && strncmp(time, s->since, DATE_LEN) < 0) ||
                (s->until && strncmp(time, s->until, DATE_LEN) > 0))
                return 0;
        if (s->record->rows.c->json)
                rows_add_line(&s->record->rows, line, len);
        else
                show_fields(s, line, len);
        return 0;
}

int run_audit(struct ctl *c)
{
        struct audit_show s = {};
        struct error e = {};
        if (ctl_date_flag(c, "since", &s.since) || ctl_date_flag(c, "until", &s.until))
                return CTL_USAGE;
        int status = record_rows_open(
                c, fields, ELEMENTSOF(fields), "time|event|what=PATH OR KEY|group|uid|why=REASON", &s.record);
        if (status)
                return status;
        int r = ctl_open_state(c, &e);
        if (r == 0)
                r = audit_each(c->state_fd, show_entry, &s, &e);
        if (r == -ENOENT && c->state_fd >= 0)
                r = 0;
        return record_rows_finish(s.record,
                s.since || s.until ? "The audit record has no entries of these days."
                                   : "The audit record has no entries yet.",
                r, &e);
}

/* --- backup --- */

int prepare_backup(struct ctl *c)
{
        return owner_output(c, c->argv[0], OUTPUT_REPLACE, 0600, NULL);
}

/* The copy is made in state_dir and handed to the keeper, because FILE is where the admin may write, not the
 * owner of state_dir. */
int run_backup(struct ctl *c)
{
        struct error e = {};
        char where[TEXT_SIZE];
        int status = ctl_open_ledger(c);
        if (status)
                return status;
        _cleanup_free_ char *copy = str_printf("%s/.backup-%ld", c->config->state_dir, (long)getpid());
        int r = copy ? ledger_backup(c->ledger, copy, &e) : -ENOMEM;
        _cleanup_close_ int fd = r < 0 ? -1 : open(copy, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (r == 0 && fd < 0)
                r = error_set(&e, CAUSE_INTERNAL, errno, "%s: %s", copy, strerror(errno));
        if (copy)
                (void)unlink(copy);
        if (r == 0)
                r = owner_put_fd(c, 0, fd, where, &e);
        if (r < 0)
                return ctl_fail(&e);
        if (c->json)
                return answer_fields(FIELDS(F_TEXT("file", where)));
        shown_print(stdout,
                "%s: a copy of the ledger. The audit record (%s/audit.jsonl) and the GnuPG home are to be "
                "backed up too.\n",
                where, c->config->state_dir);
        return 0;
}
