/* SPDX-License-Identifier: Apache-2.0 */
/* Facts come from the ledger, where czard leaves them, so that they are there also while it is stopped. What
 * did not come is told by lib/domain/habit.c. */
#include "facts.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "ask.h"
#include "credstore.h"
#include "ctl.h"
#include "keyring.h"
#include "ledger_facts.h"
#include "ledger_report.h"
#include "rows.h"
#include "timespan.h"
#include "wants.h"

static int64_t time_fact(struct ctl *c, const char *name)
{
        char text[64];
        int64_t sec = 0;
        if (ledger_meta_get(c->ledger, name, text, sizeof(text), NULL) < 0 || !*text ||
                time_parse_rfc3339(text, &sec) < 0)
                return 0;
        return sec;
}

/* Before czard has run for the first time. */
static void read_homedir(const struct ctl *c, struct facts *f)
{
        _cleanup_keyring_ struct keyring ring = {};
        struct error ignored = {};
        (void)keyring_read(c->config->openpgp.homedir, &ring, &ignored);
        for (size_t i = 0; i < ring.n && f->n_keys < FACT_KEYS; i++)
                f->keys[f->n_keys++] = ring.keys[i].fact;
}

static void read_keys(struct ctl *c, struct facts *f)
{
        struct ledger_key known[FACT_KEYS];
        size_t n = 0;
        (void)ledger_keys(c->ledger, known, FACT_KEYS, &n, NULL);
        for (size_t i = 0; i < n; i++) {
                struct fact_key *k = &f->keys[f->n_keys++];
                *k = (struct fact_key){.created = known[i].created, .expires = known[i].expires};
                snprintf(k->fingerprint, sizeof(k->fingerprint), "%s", known[i].fingerprint);
                snprintf(k->user_id, sizeof(k->user_id), "%s", known[i].user_id);
                snprintf(k->homedir, sizeof(k->homedir), "%s", known[i].homedir);
        }
        if (f->n_keys == 0)
                read_homedir(c, f);
}

static void read_credentials(const struct ctl *c, struct facts *f)
{
        struct stat st;
        const char *path = c->config->s3.credentials;
        if (c->stored_s3_since) {
                f->credentials_since = c->stored_s3_since;
                snprintf(f->credentials, sizeof(f->credentials), "%s/czard.s3",
                        c->stored_s3_encrypted ? CREDSTORE_ENCRYPTED : CREDSTORE);
        } else if (path) {
                snprintf(f->credentials, sizeof(f->credentials), "%s", path);
                if (stat(path, &st) == 0)
                        f->credentials_since = st.st_mtime;
        }
}

static void on_live(void *arg, const struct ask_row *row)
{
        struct facts *f = arg;
        if (streq(row->what, "next-poll"))
                f->next_poll = row->bytes < 0 ? 0 : (int64_t)time(NULL) + row->bytes;
        else if (streq(row->what, "running"))
                f->running = (uint64_t)row->bytes;
        else if (streq(row->what, "due"))
                f->due = (uint64_t)row->bytes;
        else if (streq(row->what, "due-bytes"))
                f->due_bytes = (uint64_t)row->bytes;
        else if (streq(row->what, "rate"))
                f->rate = (uint64_t)row->bytes;
        else if (streq(row->what, "pause"))
                snprintf(f->pauses + strlen(f->pauses), sizeof(f->pauses) - strlen(f->pauses), "%s%s",
                        *f->pauses ? ", " : "", row->text);
        else if (streq(row->what, "pause-reasons"))
                snprintf(f->pause_reasons, sizeof(f->pause_reasons), "%s", row->text);
}

static void ask_live(struct ctl *c, struct facts *f)
{
        struct strv r = {};
        struct error e = {};
        struct ask_spec spec = {.request = &r, .row = on_live, .arg = f};
        if (strv_add(&r, "status") == 0)
                f->live = ask_daemon(c, &spec, &e) == 0;
        strv_done(&r);
}

/* Only the installed configuration is the unit's. */
static bool is_enabled(const struct ctl *c)
{
        struct stat st;
        return streq(c->config_path, CONFIG_DEFAULT_PATH) &&
               lstat("/etc/systemd/system/multi-user.target.wants/czard.service", &st) == 0;
}

int facts_read(struct ctl *c, bool live, struct facts *ret)
{
        struct facts f = {};
        int r = ctl_open_ledger(c);
        if (r)
                return r;
        f.daemon = ctl_daemon_pid(c);
        f.last_poll = time_fact(c, "last-poll");
        f.last_poll_incomplete = time_fact(c, "last-poll-incomplete");
        f.started_at = time_fact(c, "daemon-started");
        f.stopped_at = time_fact(c, "daemon-stopped");
        f.enabled = is_enabled(c);
        ledger_meta_get(c->ledger, "pauses", f.last_pause, sizeof(f.last_pause), NULL);
        ledger_meta_get(c->ledger, "feed-trouble", f.feed, sizeof(f.feed), NULL);
        ledger_meta_get(c->ledger, "ended-early", f.ended_early, sizeof(f.ended_early), NULL);
        ledger_meta_get(c->ledger, "paused", f.paused, sizeof(f.paused), NULL);
        read_keys(c, &f);
        read_credentials(c, &f);
        if (live && f.daemon > 0)
                ask_live(c, &f);
        *ret = f;
        return 0;
}

int64_t facts_key_left(const struct facts *f)
{
        int64_t least = INT64_MAX, now = (int64_t)time(NULL);
        for (size_t i = 0; i < f->n_keys; i++)
                if (f->keys[i].expires != 0)
                        least = MIN(least, f->keys[i].expires - now);
        return least;
}

/* --- what is to be looked at --- */

#define OVERDUE_USEC (26 * USEC_PER_HOUR) /* without a daemon: --once from a timer, at least daily */

void problem_add(struct problems *to, const char *what, uint64_t n, const char *fix, const char *format, ...)
{
        if (to->n == PROBLEMS_MOST)
                return;
        struct problem *p = &to->v[to->n++];
        va_list ap;
        va_start(ap, format);
        vsnprintf(p->text, sizeof(p->text), format, ap);
        va_end(ap);
        p->what = what;
        p->n = n;
        snprintf(p->fix, sizeof(p->fix), "%s", fix);
}

/* A daemon that does not run any more, and one that should. */
static void judge_daemon(const struct facts *f, struct problems *p)
{
        char when[WHEN_SIZE];
        if (f->daemon != 0)
                return;
        if (f->stopped_at)
                problem_add(p, "stopped", 1, "systemctl start czard", "czard was stopped %s",
                        ago(f->stopped_at, when));
        else if (f->started_at)
                problem_add(p, "stopped", 1, "journalctl -u czard says why; then systemctl start czard",
                        "czard, started %s, ended without a word", ago(f->started_at, when));
        else if (f->enabled)
                problem_add(p, "stopped", 1, "systemctl start czard",
                        "czard.service is enabled, and does not run");
}

static void judge_polls(const struct facts *f, const struct config *c, struct problems *p)
{
        int64_t now = (int64_t)time(NULL), newest = MAX(f->last_poll, f->last_poll_incomplete);
        uint64_t patience = 2 * c->poll_interval_usec + 10 * USEC_PER_MINUTE;
        char when[WHEN_SIZE];
        if (f->daemon == 0)
                patience = MAX(patience, OVERDUE_USEC);
        const char *fix = f->daemon == 0 ? "systemctl start czard" : "journalctl -u czard";
        if (newest == 0)
                problem_add(p, "poll", 1,
                        f->daemon == 0 ? "czarctl check, then systemctl enable --now czard" : fix,
                        "czard has not polled yet");
        else if (now > newest && (uint64_t)(now - newest) * USEC_PER_SEC > patience)
                problem_add(p, "poll", 1, fix, "the last poll was %s%s", ago(newest, when),
                        f->daemon == 0 ? ", and czard does not run" : "");
        else if (f->last_poll_incomplete > f->last_poll)
                problem_add(p, "poll", 1, "czarctl check says which, and why",
                        "the last poll could not list every prefix; the last complete one was %s",
                        ago(f->last_poll, when));
}

void facts_judge_run(const struct facts *f, const struct config *c, struct problems *p)
{
        judge_daemon(f, p);
        judge_polls(f, c, p);
}

void facts_judge_key(const struct facts *f, const struct config *c, struct problems *p)
{
        int64_t now = (int64_t)time(NULL);
        char when[WHEN_SIZE], extend[KEY_COMMAND_SIZE], export[KEY_COMMAND_SIZE];
        _cleanup_strbuf_ struct strbuf fix = {};
        if (f->n_keys == 0)
                problem_add(
                        p, "key", 1, "czarctl keygen, or czarctl import-key FILE", "there is no secret key");
        for (size_t i = 0; i < f->n_keys; i++) {
                const struct fact_key *k = &f->keys[i];
                fix.len = 0;
                strbuf_printf(&fix, "%s, then send the new public key (%s) to edX",
                        key_command(c, k->homedir, "key extend", k->fingerprint, extend),
                        key_command(c, k->homedir, "key export", k->fingerprint, export));
                if (k->expires != 0 && k->expires - now < KEY_WARN_SEC)
                        problem_add(p, "key", 1, fix.err ? extend : fix.s, "the key %.16s %s %s",
                                k->fingerprint + MAX(strlen(k->fingerprint), (size_t)16) - 16,
                                k->expires < now ? "expired" : "expires", ago(k->expires, when));
        }
}

void facts_judge_pauses(const struct facts *f, struct problems *p)
{
        if (*f->paused)
                problem_add(p, "paused", 1, "czarctl unpause", "paused by an admin: %s", f->paused);
        else if (*f->last_pause && f->daemon == 0)
                problem_add(p, "paused", 1, "make it good, then: czard --once, or systemctl start czard",
                        "the last run of czard ended in a pause (%s): what was due then is not staged",
                        f->last_pause);
        else if (*f->pauses)
                problem_add(p, "paused", 1, "czarctl check, or journalctl -u czard, says what helps",
                        "fetching pauses: %s", *f->pause_reasons ? f->pause_reasons : f->pauses);
        if (*f->feed)
                problem_add(p, "feed", 1, "see to the cause; czard makes it again with its next poll",
                        "what changed is not in the feed (CHANGES.jsonl): %s", f->feed);
        if (*f->ended_early && f->daemon == 0)
                problem_add(p, "ended", 1, "make it good, then: czard --once, or systemctl start czard",
                        "the last run of czard ended too early: %s", f->ended_early);
}

/* --- days --- */

int days_read(struct ctl *c, struct days *ret, struct error *e)
{
        struct days d = {};
        int r = report_habit(c->ledger, &d.habit, e);
        if (r == 0)
                r = habit_find_gaps(&d.habit, (int)(time(NULL) / SEC_PER_DAY), &d.gaps);
        if (r < 0) {
                days_done(&d);
                return r;
        }
        *ret = d;
        return 0;
}

void days_done(struct days *d)
{
        habit_done(&d->habit);
        habit_gaps_done(&d->gaps);
}

bool days_is_wanted(const struct ctl *c, const struct habit_series *s)
{
        return wants_series(c->config, s->org, s->category, s->site);
}

const struct habit_gap *days_late(const struct days *d, size_t series)
{
        for (size_t i = 0; i < d->gaps.n; i++)
                if (d->gaps.v[i].series == series && d->gaps.v[i].open)
                        return &d->gaps.v[i];
        return NULL;
}

/* When edX encrypts to an expired key its step fails quietly: files just stop. */
void days_hint(const struct days *d, const struct habit_gap *g, const struct facts *f, char *ret, size_t size)
{
        int64_t from = g->from * SEC_PER_DAY;
        *ret = 0;
        for (size_t i = 0; i < f->n_keys && !*ret; i++) {
                char when[TIME_SIZE];
                if (f->keys[i].expires == 0 || from < f->keys[i].expires - SEC_PER_DAY)
                        continue;
                time_format(f->keys[i].expires, when);
                snprintf(ret, size, "key expired at edX? (yours expired %.10s)", when);
        }
        if (!*ret && g->together)
                snprintf(ret, size, "key expired at edX? (all of %s stopped together)",
                        d->habit.series[g->series].org);
}

/* --- days by course --- */

const char *not_split_advice(enum cause cause)
{
        return cause == CAUSE_STAGING
                       ? "czarctl verify says what became of its file; czarctl resync with its key "
                         "fetches that again"
                       : cause_advice(cause);
}

struct walk {
        struct ctl *c;
        not_split_fn *each;
        void *arg;
        struct error *e;
};

static int count_row(void *arg, const struct ledger_split *row, const struct ledger_object *o)
{
        (void)row;
        (void)o;
        ++*(uint64_t *)arg;
        return 0;
}

static int on_row(const struct ledger_split *row, void *arg)
{
        const struct walk *w = arg;
        struct ledger_object o;
        if (row->cause == CAUSE_NONE)
                return 0;
        int r = ledger_get(w->c->ledger, row->object_id, &o, w->e);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        enum event_rule rule = config_event_rule(w->c->config, o.org);
        return rule != EVENT_RULE_NONE && !ledger_split_is_done(row, &o, rule) ? w->each(w->arg, row, &o) : 0;
}

int not_split(struct ctl *c, not_split_fn *each, void *arg, struct error *e)
{
        struct walk w = {.c = c, .each = each ? each : count_row, .arg = arg, .e = e};
        return ledger_splits(c->ledger, on_row, &w, e);
}

/* --- gaps --- */

static void gap_row(struct rows *r, const char *org, const char *category, const char *site, const char *from,
        const char *to, int64_t missing, bool open, const char *hint)
{
        char until[32];
        snprintf(until, sizeof(until), "%s%s", to, open ? " (until now)" : "");
        rows_add(r,
                FIELDS(F_TEXT("org", org), F_TEXT("category", category), F_NAME("site", site),
                        F_TEXT("from", from), F_TEXT("to", to),
                        F_CELL("until", until, .colour = open ? YELLOW : PLAIN), F_NUMBER("missing", missing),
                        F_BOOL("open", open), F_NAME("hint", hint, .colour = YELLOW)));
}

/* A snapshot that came, but without some of its members. */
static int add_rejected(const struct report_row *row, void *arg)
{
        const char *category = report_category(row);
        char hint[160];
        snprintf(hint, sizeof(hint), "members rejected (%s)", row->text[4]);
        if (category)
                gap_row(arg, row->text[0], category, NULL, row->text[3], row->text[3], row->number[5], false,
                        hint);
        return 0;
}

/* Whether it is a file that misses nobody can tell. */
static int add_unreadable(const struct report_row *row, void *arg)
{
        const char *category = report_category(row);
        char hint[160];
        snprintf(hint, sizeof(hint), "listed, but cannot be read: %.100s", row->text[4]);
        if (category)
                gap_row(arg, row->text[0], category, row->text[2], row->text[6], row->text[7], row->number[3],
                        false, hint);
        return 0;
}

static void add_gap(struct rows *r, const struct days *days, const struct habit_gap *g, const struct facts *f)
{
        const struct habit_series *s = &days->habit.series[g->series];
        char from[DATE_SIZE], to[DATE_SIZE], hint[160];
        days_hint(days, g, f, hint, sizeof(hint));
        gap_row(r, s->org, category_name(s->category), s->site, date_format(g->from, from),
                date_format(g->to, to), g->missing, g->open, hint);
}

int run_gaps(struct ctl *c)
{
        _cleanup_days_ struct days days = {};
        struct rows rows;
        struct facts f;
        struct error e = {};
        int status = facts_read(c, false, &f);
        if (status)
                return status;
        int r = days_read(c, &days, &e);
        rows_open(&rows, c, "gaps", "org|category|site|from|until=TO|>missing|hint");
        for (size_t i = 0; r == 0 && i < days.gaps.n; i++)
                add_gap(&rows, &days, &days.gaps.v[i], &f);
        if (r == 0)
                r = report_each(c->ledger, REPORT_MEMBERS_REJECTED, NULL, NULL, add_rejected, &rows, &e);
        if (r == 0)
                r = report_each(c->ledger, REPORT_UNREADABLE, NULL, NULL, add_unreadable, &rows, &e);
        rows_end(&rows, r < 0              ? NULL
                        : days.habit.n > 0 ? "No gaps: nothing is missing, by the habit of each site."
                                           : "No gaps can be told: nothing is known yet.");
        status = rows_finish(&rows, r, &e);
        return status ? status : ctl_flag(c, "fail") && rows.n > 0 ? CTL_FOUND : CTL_WELL;
}
