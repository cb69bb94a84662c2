/* SPDX-License-Identifier: Apache-2.0 */
/* The daily watch: keys that expire, and files that stay away longer than is their habit (lib/domain/habit.h,
 * as czarctl gaps has it). Key expiry is told 60, 30, 14, 7 and 1 days before, each once and at start, and
 * daily once it is past. */
#include "watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "habit.h"
#include "journal.h"
#include "key_command.h"
#include "latest.h"
#include "ledger_report.h"
#include "limits.h"
#include "str.h"
#include "timespan.h"
#include "wants.h"

#define DAY 86400
#define KEYS_MOST 64
#define NEVER_SAID INT64_MAX

struct watched_key {
        char fingerprint[FINGERPRINT_SIZE], homedir[LIMIT_PATH + 1];
        int64_t expires;
        int64_t said; /* the last of warn_days that was told */
};

struct watch {
        struct ledger *ledger;
        struct watched_key keys[KEYS_MOST];
        size_t n_keys;
        int64_t looked; /* day since the epoch; 0: not yet */
};

static const int64_t warn_days[] = {60, 30, 14, 7, 1};

/* A day on which nobody looked (czard was stopped, the machine slept) costs no warning. */
static void look_at_key(const struct config *config, struct watched_key *k)
{
        int64_t left = k->expires - (int64_t)time(NULL), due = NEVER_SAID;
        if (k->expires == 0)
                return;
        for (size_t i = 0; i < ELEMENTSOF(warn_days); i++)
                if (left / DAY <= warn_days[i])
                        due = warn_days[i];
        if (left >= 0 && due >= k->said)
                return;
        k->said = due;
        char when[TIME_SIZE], command[KEY_COMMAND_SIZE];
        journal_event(EVENT_KEY_EXPIRING, &(struct journal_fields){.fingerprint = k->fingerprint},
                "the key %s %s %s; extend it (%s) and send the new public key to edX, or files stop coming",
                k->fingerprint, left < 0 ? "has expired on" : "expires on", time_format(k->expires, when),
                key_command(config, k->homedir, "key extend", k->fingerprint, command));
}

/* --- late files --- */

static bool key_had_expired(const struct watch *w, int day)
{
        for (size_t i = 0; i < w->n_keys; i++)
                if (w->keys[i].expires != 0 && w->keys[i].expires / DAY <= day + 1)
                        return true;
        return false;
}

static void say_late(struct watch *w, const struct habit_series *s, const struct habit_gap *gap, int today)
{
        int last = s->days[s->n - 1].day;
        char date[DATE_SIZE], from[DATE_SIZE];
        date_format(last, date);
        date_format(gap->from, from);
        const char *hint =
                key_had_expired(w, gap->from)
                        ? "key expired at edX? extend it (czarctl key extend) and send them the new one"
                : gap->together ? "all of it stopped together: key expired at edX?"
                                : "see czarctl gaps";
        journal_event(EVENT_LATE,
                &(struct journal_fields){.org = s->org,
                        .category = category_name(s->category),
                        .site = *s->site ? s->site : NULL,
                        .date = date},
                "%s %s%s%s is late: the last file is of %s, %d days ago; by its habit one was to come for "
                "%s; %s",
                s->org, category_name(s->category), *s->site ? " of " : "", s->site, date, today - last, from,
                hint);
}

static void look_for_late(struct watch *w, const struct config *config, int today)
{
        _cleanup_habit_ struct habit h = {};
        _cleanup_habit_gaps_ struct habit_gaps gaps = {};
        struct error e = {};
        if (report_habit(w->ledger, &h, &e) < 0 || habit_find_gaps(&h, today, &gaps) < 0)
                return; /* tomorrow again; a ledger that cannot be read is said elsewhere */
        for (size_t i = 0; i < gaps.n; i++) {
                const struct habit_series *s = &h.series[gaps.v[i].series];
                if (gaps.v[i].open && wants_series(config, s->org, s->category, s->site))
                        say_late(w, s, &gaps.v[i], today);
        }
}

/* --- latest --- */

static void look_at_latest(struct watch *w, const struct config *config)
{
        static const enum category categories[] = {CATEGORY_DATABASE, CATEGORY_EMAIL_OPT_IN};
        for (size_t i = 0; i < config->n_packages * ELEMENTSOF(categories); i++) {
                const char *org = config->packages[i / ELEMENTSOF(categories)].spec.org;
                enum category c = categories[i % ELEMENTSOF(categories)];
                struct latest_state l;
                if (latest_look(w->ledger, org, c, &l, NULL) < 0 || l.behind_days < LATEST_FROZEN_DAYS)
                        continue;
                journal_event(EVENT_NOTE,
                        &(struct journal_fields){.priority = LOG_WARNING,
                                .org = org,
                                .category = category_name(c),
                                .date = *l.date ? l.date : NULL},
                        "latest of %s %s %s %s, %d days behind the newest snapshot (%s); czarctl status says "
                        "why",
                        org, category_name(c), *l.date ? (l.pinned ? "is pinned to" : "stays at") : "points",
                        *l.date ? l.date : "nowhere", l.behind_days, l.newest);
        }
}

void watch_look(struct watch *w, const struct config *config)
{
        int64_t today = (int64_t)time(NULL) / DAY;
        if (today == w->looked)
                return;
        w->looked = today;
        for (size_t i = 0; i < w->n_keys; i++)
                look_at_key(config, &w->keys[i]);
        look_for_late(w, config, (int)today);
        look_at_latest(w, config);
}

void watch_keys(
        struct watch *w, const struct config *config, const char *homedir, const struct proto_ready *ready)
{
        for (size_t i = 0; i < ready->n_keys; i++) {
                const char *fingerprint = ready->keys[i].fingerprint;
                struct watched_key *k = NULL;
                for (size_t j = 0; j < w->n_keys && !k; j++)
                        if (streq(w->keys[j].fingerprint, fingerprint))
                                k = &w->keys[j];
                if (!k && w->n_keys == KEYS_MOST)
                        continue;
                if (!k) {
                        k = &w->keys[w->n_keys++];
                        *k = (struct watched_key){.said = NEVER_SAID};
                        snprintf(k->fingerprint, sizeof(k->fingerprint), "%s", fingerprint);
                }
                k->expires = ready->keys[i].expires;
                snprintf(k->homedir, sizeof(k->homedir), "%s", homedir);
                look_at_key(config, k);
        }
}

struct watch *watch_new(struct ledger *ledger)
{
        struct watch *w = calloc(1, sizeof(*w));
        if (w)
                w->ledger = ledger;
        return w;
}

struct watch *watch_free(struct watch *w)
{
        free(w);
        return NULL;
}
