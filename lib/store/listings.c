/* SPDX-License-Identifier: Apache-2.0 */
/* Names end in a date, so that they sort by it; the greatest one that is known says where to begin. */
#include "listings.h"

#include <errno.h>
#include <time.h>

#include "limits.h"
#include "str.h"
#include "timespan.h"

#define LOOK_BACK_DAYS 30

/* The same name LOOK_BACK_DAYS earlier sorts before everything that may have come late. A date to come, which
 * anybody may have mistyped, counts as today. */
static void look_back(char *name, int64_t now)
{
        size_t n = strlen(name);
        for (size_t i = n; i-- > 0;) {
                int days;
                if (i + 10 <= n && date_parse(name + i, &days) >= 0) {
                        char date[DATE_SIZE];
                        date_format(MIN(days, (int)(now / SEC_PER_DAY)) - LOOK_BACK_DAYS, date);
                        memcpy(name + i, date, 10);
                        name[i + 10] = 0;
                        return;
                }
        }
        *name = 0;
}

struct walk {
        struct ledger *l;
        const char *org;
        const struct package_prefix *at;
        int64_t now;
        listings_fn *each;
        void *arg;
};

/* The greatest one below prefix that is known; "": none, or it cannot be told. */
static void last_key(const struct walk *w, const char *prefix, char ret[KEY_SIZE])
{
        const struct ledger_listing of = {
                .bucket = w->at->bucket, .prefix = prefix, .org = w->org, .category = w->at->category};
        *ret = 0;
        if (w->l)
                ledger_last_key(w->l, &of, ret, NULL);
}

/* year: 0 for all of them. */
static int list(const struct walk *w, int year, bool from_newest)
{
        struct listing_spec s = {.category = w->at->category, .bucket = w->at->bucket};
        if (year)
                snprintf(s.prefix, sizeof(s.prefix), "%s%04d/", w->at->prefix, year);
        else
                snprintf(s.prefix, sizeof(s.prefix), "%s", w->at->prefix);
        if (from_newest) {
                last_key(w, s.prefix, s.start_after);
                look_back(s.start_after, w->now);
        }
        return w->each(&s, w->arg);
}

static int list_events(const struct walk *w)
{
        char newest[KEY_SIZE] = "";
        last_key(w, w->at->prefix, newest);
        if (!*newest)
                return list(w, 0, false);
        time_t t = (time_t)w->now;
        struct tm tm = {};
        gmtime_r(&t, &tm);
        int year = tm.tm_year + 1900, r = list(w, year, false);
        /* Files of the last days of a year may come in the next one. */
        return r ? r : list(w, year - 1, true);
}

int listings_each(struct ledger *l, const struct config_package *p, bool full, int64_t now, listings_fn *each,
        void *arg)
{
        struct package_prefix *prefixes = NULL;
        size_t n = 0;
        int r = package_prefixes(&p->spec, &prefixes, &n);
        for (size_t i = 0; r == 0 && i < n; i++) {
                struct walk w = {l, p->spec.org, &prefixes[i], now, each, arg};
                if (!full && w.at->category == CATEGORY_EVENTS)
                        r = list_events(&w);
                else
                        r = list(&w, 0, !full && w.at->category == CATEGORY_DATABASE);
        }
        package_prefixes_free(prefixes, n);
        return r;
}

int listings_object(const struct package_spec *spec, enum category category, const char *bucket,
        const char *key, struct ledger_object *ret)
{
        struct package_item item;
        int r = package_parse_key(spec, bucket, key, &item, NULL);
        if (r == -ENOENT)
                return r;
        if (r < 0)
                item = (struct package_item){.category = category};
        *ret = (struct ledger_object){.category = item.category, .is_zip = item.is_zip, .plain_size = -1};
        snprintf(ret->bucket, sizeof(ret->bucket), "%s", bucket);
        snprintf(ret->key, sizeof(ret->key), "%s", key);
        snprintf(ret->org, sizeof(ret->org), "%s", spec->org);
        snprintf(ret->site, sizeof(ret->site), "%s", item.site);
        snprintf(ret->date, sizeof(ret->date), "%s", item.date);
        snprintf(ret->request, sizeof(ret->request), "%s", item.request);
        return r;
}
