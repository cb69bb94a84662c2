/* SPDX-License-Identifier: Apache-2.0 */
/* Staged, recorded and told by the feed, read for due.c, which decides. */
#include "look.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit.h"
#include "feed_reader.h"
#include "name.h"
#include "str.h"
#include "timespan.h"

static int no_memory(struct error *e)
{
        return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
}

int look_open(const char *root, struct staging **ret, struct error *e)
{
        struct staging *s = NULL;
        struct stat st;
        int r = staging_open_reader(root, &s, e);
        if (r == 0 && fstatat(staging_root_fd(s), STAGING_ID_FILE, &st, AT_SYMLINK_NOFOLLOW) < 0)
                r = error_set(e, CAUSE_STAGING, errno,
                        "staging %s has no " STAGING_ID_FILE " (%s): its volume is not mounted, or czard has "
                        "staged nothing yet",
                        root, strerror(errno));
        if (r < 0)
                staging_free(s);
        else
                *ret = s;
        return r;
}

/* A folder that is replaced between two looks at it is read once more. */
static int read_staged(
        const struct look_query *q, const struct strv *dates, struct delivery_staged *ret, struct error *e)
{
        struct error first = {};
        if (staged_read(q->staging, q->delivery, dates, ret, &first) == 0)
                return 0;
        staged_done(ret);
        sleep(1);
        return staged_read(q->staging, q->delivery, dates, ret, e);
}

/* --- days that czard has staged, and not yet split by course --- */

static int list_readable(const struct staging *s, const char *path, struct strv *ret, struct error *e)
{
        struct error why = {};
        int r = path ? staging_list(s, path, ret, &why) : -ENOMEM;
        if (r == -ENOENT || r == -EACCES || r == -ENOTDIR || r == -ELOOP) /* a file of somebody's, a link */
                return 0;
        if (r < 0)
                *e = why;
        return r;
}

/* The date in the name of a day's file, within the delivery's dates. */
static bool is_wanted(
        const struct config_delivery *d, const char *site, const char *name, char ret[DATE_SIZE])
{
        _cleanup_free_ char *prefix = str_printf("%s-%s-events-", d->org, site);
        const char *date = prefix ? str_after(name, prefix) : NULL;
        int day;
        if (!date || strlen(date) < DATE_LEN)
                return false;
        memcpy(ret, date, DATE_LEN);
        ret[DATE_LEN] = 0;
        return (streq(date + DATE_LEN, ".log.gz") || streq(date + DATE_LEN, ".log")) &&
               date_parse(ret, &day) == 0 && day >= d->dates.from && day <= d->dates.to;
}

static int look_at_year(const struct staging *s, const struct config_delivery *d, const char *site,
        const char *year, bool *ret, struct error *e)
{
        _cleanup_(strv_done) struct strv staged = {}, split = {};
        _cleanup_free_ char *from = str_printf("%s/events/%s/%s", d->org, site, year),
                            *to = str_printf("%s/events-by-course/%s/%s", d->org, site, year);
        int r = list_readable(s, from, &staged, e);
        if (r == 0)
                r = list_readable(s, to, &split, e);
        for (size_t i = 0; r == 0 && !*ret && i < staged.n; i++) {
                char date[DATE_SIZE];
                *ret = is_wanted(d, site, staged.v[i], date) && !strv_has(&split, date);
        }
        return r;
}

/* ORG/events/SITE/YYYY/ORG-SITE-events-DATE.log.gz (or .log) without ORG/events-by-course/SITE/YYYY/DATE: is
 * there one within the delivery's dates? Where events may not be read by the caller, nobody knows: then there
 * is none. */
static int unsplit_any(const struct staging *s, const struct config_delivery *d, bool *ret, struct error *e)
{
        _cleanup_(strv_done) struct strv sites = {};
        _cleanup_free_ char *top = str_printf("%s/events", d->org);
        int r = list_readable(s, top, &sites, e);
        *ret = false;
        for (size_t i = 0; r == 0 && i < sites.n; i++) {
                _cleanup_(strv_done) struct strv years = {};
                _cleanup_free_ char *site = str_printf("%s/%s", top, sites.v[i]);
                r = list_readable(s, site, &years, e);
                for (size_t k = 0; r == 0 && !*ret && k < years.n; k++)
                        r = look_at_year(s, d, sites.v[i], years.v[k], ret, e);
        }
        return r == -ENOMEM ? no_memory(e) : r;
}

/* --- what the feed said last of an input that is not as it was ---
 *
 * Was it taken away, or is it missing? A file that is not there proves
 * nothing (the volume may be away, somebody may have moved it); the feed tells. It is read once, and only
 * when it is asked. */

struct words_said {
        char *path;
        enum input_word word;
};

struct words {
        const char *root; /* all borrowed */
        const struct staging *staging;
        const char *org;
        bool is_read;
        void *said; /* struct words_said by their paths: a tree of name.h */
        int err;    /* of reading the feed: nothing that was answered may be relied on */
        struct error error;
};

static unsigned parts(const char *path)
{
        unsigned n = 1;
        for (; *path; path++)
                n += *path == '/';
        return n;
}

static enum input_word word_of(const char *op)
{
        return streq(op, "removed")    ? INPUT_REMOVED
               : streq(op, "redacted") ? INPUT_REDACTED
               : streq(op, "missing")  ? INPUT_MISSING
                                       : INPUT_THERE;
}

/* Files of events, folders of days and of snapshots; not a snapshot's members, which are many. Kept is what
 * went only: the feed has a line for everything that ever came. */
static int on_line(const char *line, size_t len, uint64_t seq, void *arg)
{
        struct words *w = arg;
        char path[4200], op[32], category[CATEGORY_SIZE];
        (void)seq;
        if (audit_field(line, len, "op", op, sizeof(op)) < 0)
                return 0;
        enum input_word word = word_of(op);
        if ((word == INPUT_THERE && !w->said) || audit_field(line, len, "path", path, sizeof(path)) < 0 ||
                audit_field(line, len, "category", category, sizeof(category)) < 0 ||
                (streq(category, "database") && parts(path) > 3))
                return 0;
        struct words_said *s =
                word == INPUT_THERE ? named_find(&w->said, path) : named_need(&w->said, path, sizeof(*s));
        if (s)
                s->word = word;
        return s || word == INPUT_THERE ? 0 : -ENOMEM;
}

static void read_feed(struct words *w)
{
        struct feed_reader *r = NULL;
        w->is_read = true;
        w->err = feed_reader_new(w->root, w->org, 0, &r, &w->error);
        if (w->err == 0)
                w->err = feed_reader_each(r, on_line, w, &w->error);
        feed_reader_free(r);
}

static enum input_word said_of(struct words *w, const char *path)
{
        if (!w->is_read)
                read_feed(w);
        const struct words_said *s = named_find(&w->said, path);
        return s ? s->word : INPUT_THERE;
}

static bool is_there(const struct words *w, const char *path)
{
        return staging_stat(w->staging, path, NULL, NULL, NULL) == 0;
}

/* The file of ORG/events-by-course/SITE/YYYY/DATE/FILE, from which the day was split, as it stands in the
 * feed. */
static enum input_word said_of_source(struct words *w, const char *path)
{
        static const char *const endings[] = {"log.gz", "log"};
        char site[SITE_SIZE], year[8], date[16], source[512];
        enum input_word word = INPUT_THERE;
        const char *rest = path + strlen(w->org);
        if (sscanf(rest, "/events-by-course/%63[^/]/%7[^/]/%15[^/]/", site, year, date) != 3)
                return word;
        for (size_t i = 0; i < ELEMENTSOF(endings); i++) {
                snprintf(source, sizeof(source), "%s/events/%s/%s/%s-%s-events-%s.%s", w->org, site, year,
                        w->org, site, date, endings[i]);
                enum input_word one = said_of(w, source);
                word = one != INPUT_THERE ? one : word;
        }
        return word;
}

/* The n-th slash, or NULL. */
static const char *nth_slash(const char *path, unsigned n)
{
        for (; *path; path++)
                if (*path == '/' && --n == 0)
                        return path;
        return NULL;
}

/* For due_query. */
static enum input_word words_of(void *arg, const char *path)
{
        struct words *w = arg;
        char folder[512];
        const char *rest = str_after(path, w->org);
        bool is_event = rest && str_after(rest, "/events-by-course/");
        const char *end = nth_slash(path, is_event ? 5 : 3);
        if (!rest || !end || (size_t)(end - path) >= sizeof(folder))
                return INPUT_MISSING;
        snprintf(folder, sizeof(folder), "%.*s", (int)(end - path), path);
        enum input_word source = is_event ? said_of_source(w, path) : INPUT_THERE;
        if (source == INPUT_REDACTED)
                return source;
        if (is_there(w, path))
                return INPUT_THERE;
        /* What replaced the folder does not have it. */
        if (is_there(w, folder) || source == INPUT_REMOVED || said_of(w, folder) == INPUT_REMOVED)
                return INPUT_REMOVED;
        return INPUT_MISSING;
}

/* --- all of it --- */

static int decide(const struct look_query *q, struct delivery_look *l, bool unsplit, struct error *e)
{
        struct words w = {.root = q->root, .staging = q->staging, .org = q->delivery->org};
        const struct due_query due = {.delivery = q->delivery,
                .staged = &l->staged,
                .records = q->records,
                .word = words_of,
                .arg = &w,
                .recipients = l->recipients,
                .unsplit = unsplit,
                .again = q->again,
                .now = q->now};
        int r = due_now(&due, &l->due) < 0 ? no_memory(e) : 0;
        if (r == 0 && w.err < 0) { /* without the feed nobody knows what was taken away */
                *e = w.error;
                r = w.err;
        }
        named_free(&w.said, NULL);
        return r;
}

int delivery_look(const struct look_query *q, struct delivery_look *ret, struct error *e)
{
        _cleanup_(strv_done) struct strv dates = {};
        _cleanup_strbuf_ struct strbuf recipients = {};
        *ret = (struct delivery_look){};
        strbuf_add(&recipients, "");
        for (size_t i = 0; i < q->delivery->recipients.n; i++)
                strbuf_printf(&recipients, "%s%s", i ? " " : "", q->delivery->recipients.v[i]);
        ret->recipients = take_ptr(&recipients.s);
        if (records_dates(q->records, &dates) < 0 || !ret->recipients || recipients.err)
                return no_memory(e);
        const struct config_delivery *d = q->delivery;
        bool unsplit = false, over = due_is_over(d, q->records, q->now);
        int r = 0;
        /* Before the days are read: one that is split in between is there then. */
        if (!over && d->mode == DELIVERY_ONCE && strv_has(&d->tables, "events"))
                r = unsplit_any(q->staging, d, &unsplit, e);
        if (r == 0 && !over)
                r = read_staged(q, &dates, &ret->staged, e);
        return r < 0 ? r : decide(q, ret, unsplit, e);
}

void look_done(struct delivery_look *l)
{
        due_done(&l->due);
        staged_done(&l->staged);
        free(l->recipients);
        *l = (struct delivery_look){};
}
