/* SPDX-License-Identifier: Apache-2.0 */
/* The daily watch: keys that expire, and files that stay away longer than is their habit. Key expiry is told
 * 60, 30, 14, 7 and 1 days before, and daily once it is past. */
#include "watch.h"

#include <stdlib.h>
#include <time.h>

#include "timespan.h"

#define DAY 86400
#define KEYS_MOST 64
#define HABIT_FILES 60 /* how far back the habit of a site is looked at */
#define HABIT_LEAST 3
#define LATE_SLACK_DAYS 2
/* The first look comes after the first poll has had its time. */
#define FIRST_LOOK_MSEC (10 * 60 * 1000)

struct watched_key {
        char fingerprint[65];
        int64_t expires;
};

struct watch {
        struct director *d;
        struct watched_key keys[KEYS_MOST];
        size_t n_keys;
        uv_timer_t daily;
};

static const int64_t warn_days[] = {60, 30, 14, 7, 1};

static void look_at_key(const struct watched_key *k, bool at_start)
{
        int64_t left = k->expires - (int64_t)time(NULL), days = left / DAY;
        if (k->expires == 0)
                return;
        bool say = left < 0;
        for (size_t i = 0; i < ELEMENTSOF(warn_days); i++)
                say |= at_start ? days <= warn_days[i] : days == warn_days[i];
        if (!say)
                return;
        char when[21];
        journal_event(EVENT_KEY_EXPIRING, &(struct journal_fields){.fingerprint = k->fingerprint},
                "the key %s %s %s; extend it (czarctl key extend) and send the new public key to edX, or "
                "files stop "
                "coming",
                k->fingerprint, left < 0 ? "has expired on" : "expires on", time_format(k->expires, when));
}

/* --- late files --- */

struct habit {
        int last, previous, longest_gap; /* days since the epoch; days */
        unsigned seen;
};

static int on_object(struct ledger_object *o, void *arg)
{
        struct habit *h = arg;
        int day;
        if (date_parse(o->date, &day) < 0)
                return 0;
        /* Newest first. */
        if (h->seen++ == 0)
                h->last = day;
        else
                h->longest_gap = MAX(h->longest_gap, h->previous - day);
        h->previous = day;
        return h->seen >= HABIT_FILES;
}

static bool key_has_expired(const struct watch *w, int day)
{
        for (size_t i = 0; i < w->n_keys; i++)
                if (w->keys[i].expires != 0 && w->keys[i].expires / DAY <= day + 1)
                        return true;
        return false;
}

/* Late is what stays away longer than it ever did lately, by two days: files come in the night, and not
 * always. */
static void look_at_habit(struct watch *w, const char *org, const char *site, enum category c)
{
        struct habit h = {.longest_gap = 0};
        struct ledger_filter f = {.categories = BIT(c), .org = org, .site = site, .newest_first = true};
        int today = (int)(time(NULL) / DAY);
        struct error e = {};
        if (ledger_each(w->d->ledger, &f, on_object, &h, &e) < 0 || h.seen < HABIT_LEAST)
                return;
        int missing = today - h.last;
        if (missing <= h.longest_gap + LATE_SLACK_DAYS)
                return;
        char date[11];
        date_format(h.last, date);
        journal_event(EVENT_LATE,
                &(struct journal_fields){
                        .org = org, .category = category_name(c), .site = site, .date = date},
                "%s %s%s%s is late: the last file is of %s, %d days ago, and usually there is one every %d%s",
                org, category_name(c), site ? " of " : "", site ? site : "", date, missing,
                MAX(h.longest_gap, 1),
                key_has_expired(w, today)
                        ? "; the key has expired: edX cannot encrypt to it, send them the extended one"
                        : "; key expired at edX? see czarctl gaps");
}

static void look_at_package(struct watch *w, const struct config_package *p)
{
        for (size_t i = 0; (p->spec.categories & BIT(CATEGORY_EVENTS)) && i < p->spec.sites.n; i++)
                look_at_habit(w, p->spec.org, p->spec.sites.v[i], CATEGORY_EVENTS);
        if (p->spec.categories & BIT(CATEGORY_DATABASE))
                look_at_habit(w, p->spec.org, NULL, CATEGORY_DATABASE);
        if (p->spec.categories & BIT(CATEGORY_EMAIL_OPT_IN))
                look_at_habit(w, p->spec.org, NULL, CATEGORY_EMAIL_OPT_IN);
}

static void on_daily(uv_timer_t *timer)
{
        struct watch *w = timer->data;
        for (size_t i = 0; i < w->n_keys; i++)
                look_at_key(&w->keys[i], false);
        for (size_t i = 0; i < w->d->config->n_packages; i++)
                look_at_package(w, &w->d->config->packages[i]);
}

void watch_keys(struct watch *w, const struct proto_ready *ready)
{
        for (size_t i = 0; i < ready->n_keys && w->n_keys < KEYS_MOST; i++) {
                struct watched_key *k = &w->keys[w->n_keys++];
                snprintf(k->fingerprint, sizeof(k->fingerprint), "%s", ready->keys[i].fingerprint);
                k->expires = ready->keys[i].expires;
                look_at_key(k, true);
        }
}

int watch_new(struct director *d, struct watch **ret)
{
        struct watch *w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        w->d = d;
        uv_timer_init(&d->loop, &w->daily);
        w->daily.data = w;
        if (!d->options.once)
                uv_timer_start(&w->daily, on_daily, FIRST_LOOK_MSEC, DAY * 1000);
        *ret = w;
        return 0;
}

static void on_closed(uv_handle_t *h)
{
        free(h->data);
}

struct watch *watch_free(struct watch *w)
{
        if (w)
                uv_close((uv_handle_t *)&w->daily, on_closed);
        return NULL;
}
