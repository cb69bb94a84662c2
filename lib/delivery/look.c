/* SPDX-License-Identifier: Apache-2.0 */
#include "look.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "timespan.h"
#include "words.h"

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

#define DATE_LEN (DATE_SIZE - 1)

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
        const struct config_delivery *d, const char *site, const char *name, char ret[DATE_LEN + 1])
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
                char date[DATE_LEN + 1];
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
        return r == -ENOMEM ? error_set(e, CAUSE_IO, ENOMEM, "out of memory") : r;
}

/* --- all of it --- */

static int decide(const struct look_query *q, struct delivery_look *l, bool unsplit, struct error *e)
{
        struct words *w = NULL;
        int r = words_new(q->root, q->staging, q->delivery->org, &w, e);
        if (r < 0)
                return r;
        const struct due_query due = {.delivery = q->delivery,
                .staged = &l->staged,
                .records = q->records,
                .word = words_of,
                .arg = w,
                .recipients = l->recipients,
                .unsplit = unsplit,
                .again = q->again,
                .now = q->now};
        r = due_now(&due, &l->due) < 0 ? no_memory(e) : 0;
        if (r == 0)
                r = words_error(w, e); /* without the feed nobody knows what was taken away */
        words_free(w);
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
