/* SPDX-License-Identifier: Apache-2.0 */
#include "wants.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "limits.h"
#include "str.h"
#include "timespan.h"

#define LOOK_BACK_DAYS 30
#define GZ ".gz"
#define LOG ".log"

/* --- is it wanted? --- */

bool wants_is_too_old(const struct config_staging *c, const char *date, int64_t now)
{
        int day;
        if (c->keep_days_usec == CONFIG_ALL || date_parse(date, &day) < 0)
                return false;
        int64_t age = now / SEC_PER_DAY - day;
        return age > 0 && (uint64_t)age > c->keep_days_usec / USEC_PER_DAY;
}

bool wants_series(const struct config *c, const char *org, enum category category, const char *site)
{
        const struct config_package *p = config_find_package(c, org);
        return p && (p->spec.categories & BIT(category)) &&
               (category != CATEGORY_EVENTS || strv_has(&p->spec.sites, site));
}

/* In the order in which a person would look for the reason. */
bool wants_object(const struct config *c, const struct ledger_object *o, int64_t now, const char **ret_why,
        struct error *ret_unsafe)
{
        const struct config_package *p = config_find_package(c, o->org);
        const char *why = NULL;
        struct package_item item;
        struct error e = {};
        int day, r = p ? package_parse_key(&p->spec, o->bucket, o->key, &item, &e) : -ENOENT;
        if (!p)
                why = "no [package] section for its organisation";
        else if (!(p->spec.categories & BIT(o->category)))
                why = "its category is not chosen";
        else if (o->category == CATEGORY_EVENTS && !strv_has(&p->spec.sites, o->site))
                why = "its site is not chosen";
        else if (r == -ENOENT)
                why = "its prefix is not configured";
        else if (r == 0 && item.legacy)
                why = "legacy archive";
        else if (o->category != CATEGORY_RDX && date_parse(o->date, &day) >= 0 && day < p->since)
                why = "older than since";
        else if (o->category == CATEGORY_EVENTS && wants_is_too_old(&c->staging, o->date, now))
                why = "older than keep_days";
        if (ret_unsafe)
                *ret_unsafe = r == -EBADMSG ? e : (struct error){};
        if (why && ret_why)
                *ret_why = why;
        return !why;
}

/* --- listings. Names end in a date, so that they sort by it; the greatest one that is known says where to
 * begin --- */

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

/* --- places --- */

int place_of(const struct config *c, const struct ledger_object *o, bool plain, char ret[STAGED_PATH_SIZE])
{
        struct package_item item;
        const struct config_package *p = c ? config_find_package(c, o->org) : NULL;
        if (!p || package_parse_key(&p->spec, o->bucket, o->key, &item, NULL) < 0 || !*item.path)
                return -ENOENT;
        snprintf(ret, STAGED_PATH_SIZE, "%s", item.path);
        if (o->category == CATEGORY_EVENTS && plain && str_ends(ret, GZ))
                ret[strlen(ret) - strlen(GZ)] = 0;
        return 0;
}

bool place_other_format(const char *path, char ret[STAGED_PATH_SIZE])
{
        if (str_ends(path, LOG GZ))
                snprintf(ret, STAGED_PATH_SIZE, "%.*s", (int)(strlen(path) - strlen(GZ)), path);
        else if (str_ends(path, LOG) && strlen(path) + strlen(GZ) < 512)
                snprintf(ret, STAGED_PATH_SIZE, "%s" GZ, path);
        else
                return false;
        return true;
}

int place_by_course(const struct ledger_object *o, char ret[STAGED_PATH_SIZE])
{
        if (o->category != CATEGORY_EVENTS || !*o->site || strlen(o->date) != 10)
                return -ENOENT;
        snprintf(ret, STAGED_PATH_SIZE, "%s/events-by-course/%s/%.4s/%s", o->org, o->site, o->date, o->date);
        return 0;
}

/* What the names of its replaced versions begin with. */
static const char *stem(const struct ledger_object *o, const char *path)
{
        const char *slash = strrchr(path, '/');
        return *o->date ? o->date : slash ? slash + 1 : path;
}

void place_replaced(const struct ledger_object *o, char ret[PLACE_KEEP_SIZE])
{
        char etag[64];
        size_t n = 0;
        for (const char *p = o->staged_etag; *p && n + 1 < sizeof(etag); p++)
                if (strchr("0123456789abcdefABCDEF-", *p))
                        etag[n++] = *p;
        etag[n] = 0;
        snprintf(ret, PLACE_KEEP_SIZE, PLACE_REPLACED "/%s-%s", stem(o, o->path), etag);
}

bool place_is_replaced_of(const struct ledger_object *o, const char *path, const char *entry)
{
        const char *name = stem(o, path), *rest = str_after(*entry == '.' ? entry + 1 : entry, name);
        return *name && rest && *rest == '-';
}
