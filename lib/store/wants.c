/* SPDX-License-Identifier: Apache-2.0 */
/* The filters, in the order in which a person would look for the reason. */
#include "wants.h"

#include <errno.h>

#include "str.h"
#include "timespan.h"

static bool is_older_than(const char *date, uint64_t keep_usec, int64_t now)
{
        int day;
        if (keep_usec == CONFIG_ALL || date_parse(date, &day) < 0)
                return false;
        int64_t age = now / SEC_PER_DAY - day;
        return age > 0 && (uint64_t)age > keep_usec / USEC_PER_DAY;
}

bool wants_series(const struct config *c, const char *org, enum category category, const char *site)
{
        const struct config_package *p = config_find_package(c, org);
        return p && (p->spec.categories & BIT(category)) &&
               (category != CATEGORY_EVENTS || strv_has(&p->spec.sites, site));
}

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
        else if (o->category == CATEGORY_EVENTS && is_older_than(o->date, c->staging.keep_days_usec, now))
                why = "older than keep_days";
        if (ret_unsafe)
                *ret_unsafe = r == -EBADMSG ? e : (struct error){};
        if (why && ret_why)
                *ret_why = why;
        return !why;
}
