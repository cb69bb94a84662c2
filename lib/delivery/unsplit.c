/* SPDX-License-Identifier: Apache-2.0 */
/* ORG/events/SITE/YYYY/ORG-SITE-events-DATE.log.gz (or .log) without ORG/events-by-course/SITE/YYYY/DATE. */
#include "unsplit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "timespan.h"

#define DATE_LEN (sizeof("YYYY-MM-DD") - 1)

static int list(const struct staging *s, const char *path, struct strv *ret, struct error *e)
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
        int r = list(s, from, &staged, e);
        if (r == 0)
                r = list(s, to, &split, e);
        for (size_t i = 0; r == 0 && !*ret && i < staged.n; i++) {
                char date[DATE_LEN + 1];
                *ret = is_wanted(d, site, staged.v[i], date) && !strv_has(&split, date);
        }
        return r;
}

int unsplit_any(const struct staging *s, const struct config_delivery *d, bool *ret, struct error *e)
{
        _cleanup_(strv_done) struct strv sites = {};
        _cleanup_free_ char *top = str_printf("%s/events", d->org);
        int r = list(s, top, &sites, e);
        *ret = false;
        for (size_t i = 0; r == 0 && i < sites.n; i++) {
                _cleanup_(strv_done) struct strv years = {};
                _cleanup_free_ char *site = str_printf("%s/%s", top, sites.v[i]);
                r = list(s, site, &years, e);
                for (size_t k = 0; r == 0 && !*ret && k < years.n; k++)
                        r = look_at_year(s, d, sites.v[i], years.v[k], ret, e);
        }
        return r == -ENOMEM ? error_set(e, CAUSE_IO, ENOMEM, "out of memory") : r;
}
