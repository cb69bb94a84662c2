/* SPDX-License-Identifier: Apache-2.0 */
/* Reads what status tells. Everything is counted by the ledger; a problem is a line with what to do. */
#include "status_read.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "deliver_facts.h"
#include "latest.h"
#include "ledger_report.h"
#include "not_split.h"
#include "table.h"
#include "timespan.h"

#define OVERDUE_USEC (26 * USEC_PER_HOUR) /* without a daemon: --once from a timer, at least daily */

static void add_problem(struct status_facts *s, const char *what, uint64_t n, const char *fix,
        const char *format, ...) _printf_(5, 6);
static void add_problem(
        struct status_facts *s, const char *what, uint64_t n, const char *fix, const char *format, ...)
{
        if (s->n_problems == STATUS_PROBLEMS)
                return;
        struct status_problem *p = &s->problems[s->n_problems++];
        va_list ap;
        va_start(ap, format);
        vsnprintf(p->text, sizeof(p->text), format, ap);
        va_end(ap);
        p->what = what;
        p->n = n;
        snprintf(p->fix, sizeof(p->fix), "%s", fix);
}

static struct status_line *line_of(struct status_facts *s, const struct report_row *row)
{
        for (size_t i = 0; i < s->n_lines; i++)
                if (streq(s->lines[i].org, row->text[0]) && s->lines[i].category == row->number[1] &&
                        streq(s->lines[i].site, row->text[2]))
                        return &s->lines[i];
        if (s->n_lines == STATUS_LINES)
                return NULL;
        struct status_line *l = &s->lines[s->n_lines++];
        snprintf(l->org, sizeof(l->org), "%s", row->text[0]);
        snprintf(l->site, sizeof(l->site), "%s", row->text[2]);
        l->category = (enum category)row->number[1];
        return l;
}

uint64_t status_line_due(const struct status_line *l)
{
        return l->n[OBJECT_NEW] + l->n[OBJECT_FETCHING] + l->n[OBJECT_DECRYPTING];
}

uint64_t status_line_due_bytes(const struct status_line *l)
{
        return l->bytes[OBJECT_NEW] + l->bytes[OBJECT_FETCHING] + l->bytes[OBJECT_DECRYPTING];
}

static int on_count(const struct report_row *row, void *arg)
{
        struct status_line *l = line_of(arg, row);
        if (l && row->number[3] >= 0 && row->number[3] < OBJECT_STATE_MAX) {
                l->n[row->number[3]] = (uint64_t)row->number[4];
                l->bytes[row->number[3]] = (uint64_t)row->number[5];
                l->plain += row->number[6];
        }
        return 0;
}

static int on_last(const struct report_row *row, void *arg)
{
        struct status_line *l = line_of(arg, row);
        if (!l)
                return 0;
        snprintf(l->date, sizeof(l->date), "%s", row->text[3]);
        snprintf(l->path, sizeof(l->path), "%s", row->text[4]);
        snprintf(l->newest, sizeof(l->newest), "%s", row->text[6]);
        l->staged_at = row->number[8];
        return 0;
}

static int on_trouble(const struct report_row *row, void *arg)
{
        struct status_facts *s = arg;
        enum object_state state = (enum object_state)row->number[0];
        enum cause cause = cause_from_name(row->text[1]);
        char next[WHEN_SIZE], room[KEY_COMMAND_SIZE];
        const char *advice = key_advice_of(s->c->config, row->text[6], cause, room);
        if (state == OBJECT_MISSING)
                add_problem(s, "missing", (uint64_t)row->number[2],
                        "put it back and restart czard, or czarctl resync, adopt or forget it",
                        "%lld staged %s missing or altered, for example %s", (long long)row->number[2],
                        row->number[2] == 1 ? "file is" : "files are", row->text[3]);
        else
                add_problem(s, state == OBJECT_RETRY ? "retry" : "rejected", (uint64_t)row->number[2], advice,
                        "%lld %s (%s), for example %s: %s%s%s", (long long)row->number[2],
                        state == OBJECT_RETRY ? "failed for now" : "rejected", row->text[1], row->text[3],
                        row->text[4], row->number[5] ? "; next try " : "",
                        row->number[5] ? ago(row->number[5], next) : "");
        return 0;
}

static int on_kept_missing(const struct report_row *row, void *arg)
{
        if (row->number[0] > 0)
                add_problem(arg, "missing", (uint64_t)row->number[0],
                        "put it back, and czarctl adopt; or it comes with the next version",
                        "%lld staged %s missing or altered, and the version after is not there yet, for "
                        "example %s",
                        (long long)row->number[0], row->number[0] == 1 ? "file is" : "files are",
                        row->text[1]);
        return 0;
}

/* Snapshots are in order of their dates: the first of a cause is the newest. */
static int on_member_trouble(const struct report_row *row, void *arg)
{
        struct status_facts *s = arg;
        enum cause cause = cause_from_name(row->text[4]);
        enum category category = (enum category)row->number[1];
        struct status_line *l = line_of(s, row);
        if (l)
                l->members_rejected += (uint64_t)row->number[5];
        for (size_t i = 0; i < s->n_member_troubles; i++) {
                struct member_trouble *t = &s->member_troubles[i];
                if (t->cause == cause && t->category == category && streq(t->org, row->text[0])) {
                        t->n += (uint64_t)row->number[5];
                        return 0;
                }
        }
        if (s->n_member_troubles == STATUS_PROBLEMS)
                return 0;
        struct member_trouble *t = &s->member_troubles[s->n_member_troubles++];
        *t = (struct member_trouble){.category = category, .cause = cause, .n = (uint64_t)row->number[5]};
        snprintf(t->org, sizeof(t->org), "%s", row->text[0]);
        snprintf(t->example, sizeof(t->example), "%s: %s (%s)", row->text[7], row->text[8], row->text[9]);
        return 0;
}

static int on_unreadable(const struct report_row *row, void *arg)
{
        add_problem(arg, "unreadable", (uint64_t)row->number[3],
                "tell edX: the entry needs an ETag, a size and a date; a proxy that changes listings may be "
                "why",
                "%lld entr%s of the listings of %s %s cannot be read, and %s not fetched, for example "
                "s3://%s/%s",
                (long long)row->number[3], row->number[3] == 1 ? "y" : "ies", row->text[0],
                category_name((enum category)row->number[1]), row->number[3] == 1 ? "is" : "are",
                row->text[5], row->text[4]);
        return 0;
}

static int judge_members(struct status_facts *s, struct error *e)
{
        (void)e;
        for (size_t i = 0; i < s->n_member_troubles; i++) {
                const struct member_trouble *t = &s->member_troubles[i];
                char room[KEY_COMMAND_SIZE];
                add_problem(s, "members-rejected", t->n, key_advice_of(s->c->config, t->org, t->cause, room),
                        "%llu member%s of %s %s rejected (%s), for example of %s", (unsigned long long)t->n,
                        t->n == 1 ? "" : "s", t->org, category_name(t->category),
                        t->cause == CAUSE_MAX ? "unknown" : cause_name(t->cause), t->example);
        }
        return 0;
}

/* What was meant by a pattern is not there, and `latest` does not go where it matches nothing. */
static int judge_filter(
        struct status_facts *s, const char *org, const struct latest_state *l, struct error *e)
{
        _cleanup_(strv_done) struct strv missed = {};
        const char *date = *l->date && !l->pinned ? l->date : l->newest;
        int r = *date ? latest_unmatched(s->c->ledger, s->c->config, org, CATEGORY_DATABASE, date, &missed, e)
                      : 0;
        char fix[256];
        snprintf(fix, sizeof(fix),
                "correct it as the names of files have it (upper and lower case count), see czarctl list "
                "--member '*' --since %s; then systemctl reload czard",
                date);
        for (size_t i = 0; i < missed.n; i++)
                add_problem(s, "filter", 1, fix,
                        "the filter of %s, %s, matches nothing in the snapshot of %s, and latest does not go "
                        "there",
                        org, missed.v[i], date);
        return r;
}

/* A link that does not move any more is noticed by nobody who reads through it. */
static int judge_latest(struct status_facts *s, struct error *e)
{
        static const enum category categories[] = {CATEGORY_DATABASE, CATEGORY_EMAIL_OPT_IN};
        for (size_t i = 0; i < s->c->config->n_packages; i++)
                for (size_t k = 0; k < ELEMENTSOF(categories); k++) {
                        const char *org = s->c->config->packages[i].spec.org;
                        struct latest_state l;
                        int r = latest_look(s->c->ledger, org, categories[k], &l, e);
                        if (r == 0 && categories[k] == CATEGORY_DATABASE)
                                r = judge_filter(s, org, &l, e);
                        if (r < 0)
                                return r;
                        if (l.behind_days < LATEST_FROZEN_DAYS)
                                continue;
                        add_problem(s, "latest", 1,
                                l.pinned ? "czarctl latest ORG auto, unless it is pinned on purpose"
                                         : "czarctl list --state REJECTED, and what is said of members here; "
                                           "czarctl latest ORG DATE sets it by hand",
                                "latest of %s %s %s %s, %d days behind the newest snapshot (%s)", org,
                                category_name(categories[k]), *l.date ? "stays at" : "points nowhere, and",
                                *l.date ? l.date : "is", l.behind_days, l.newest);
                }
        return 0;
}

/* Days by course that could not be made, or are to be made again. */
struct failed_days {
        struct ctl *c;
        uint64_t n;
        struct ledger_split example;
        char path[STAGED_PATH_SIZE];
};

static int on_not_split(void *arg, const struct ledger_split *row, const struct ledger_object *o)
{
        struct failed_days *f = arg;
        if (f->n++ == 0) {
                f->example = *row;
                snprintf(f->path, sizeof(f->path), "%s", o->path);
        }
        return 0;
}

static int judge_splits(struct status_facts *s, struct error *e)
{
        struct failed_days f = {};
        int r = not_split(s->c, on_not_split, &f, e);
        if (r < 0 || f.n == 0)
                return r;
        add_problem(s, "by-course", f.n, not_split_advice(f.example.cause),
                "%llu day%s of events not split by course, for example %s: %s", (unsigned long long)f.n,
                f.n == 1 ? "" : "s", f.path, f.example.detail);
        return 0;
}

static int on_day_again(const struct ledger_split *row, void *arg)
{
        struct failed_days *f = arg;
        struct ledger_object o;
        if (!*row->path || row->cause != CAUSE_NONE || !ledger_split_is_again(row) ||
                ledger_get(f->c->ledger, row->object_id, &o, NULL) < 0 || !ledger_should_be_staged(&o))
                return 0;
        if (config_event_rule(f->c->config, o.org) != EVENT_RULE_NONE && f->n++ == 0)
                snprintf(f->path, sizeof(f->path), "%s", row->path);
        return 0;
}

/* Days that were found missing or altered. */
static int judge_days_again(struct status_facts *s, struct error *e)
{
        struct failed_days f = {.c = s->c};
        int r = ledger_splits(s->c->ledger, on_day_again, &f, e);
        if (r == 0 && f.n > 0)
                add_problem(s, "by-course-due", f.n, "czard makes it with its next poll, or czard --once",
                        "%llu day%s by course to be made again, for example %s", (unsigned long long)f.n,
                        f.n == 1 ? "" : "s", f.path);
        return r;
}

static void on_delivery(void *arg, const struct deliver_fact *f)
{
        struct status_facts *s = arg;
        const char *name = f->delivery->name;
        if (f->why)
                add_problem(s, "delivery", 1, f->fix, "delivery %s%s: %s", name,
                        f->stands_still ? " stands still" : "", f->why);
        if (f->unmatched.n)
                add_problem(s, "delivery", f->unmatched.n, "czarctl deliver list; mend courses or tables",
                        "delivery %s: nothing matches %s%s", name, f->unmatched.v[0],
                        f->unmatched.n > 1 ? " and others" : "");
}

static void judge_deliveries(struct status_facts *s)
{
        struct error e = {};
        if (deliver_facts(s->c, on_delivery, s, &e) < 0)
                add_problem(s, "delivery", 1, "czarctl deliver list, as root",
                        "deliveries cannot be looked at: %s", e.text);
}

static void judge_polls(struct status_facts *s)
{
        const struct facts *f = &s->facts;
        int64_t now = (int64_t)time(NULL), newest = MAX(f->last_poll, f->last_poll_incomplete);
        uint64_t patience = 2 * s->c->config->poll_interval_usec + 10 * USEC_PER_MINUTE;
        char when[WHEN_SIZE];
        if (f->daemon == 0)
                patience = MAX(patience, OVERDUE_USEC);
        const char *fix = f->daemon == 0 ? "systemctl start czard" : "journalctl -u czard";
        if (newest == 0)
                add_problem(s, "poll", 1,
                        f->daemon == 0 ? "czarctl check, then systemctl enable --now czard" : fix,
                        "czard has not polled yet");
        else if (now > newest && (uint64_t)(now - newest) * USEC_PER_SEC > patience)
                add_problem(s, "poll", 1, fix, "the last poll was %s%s", ago(newest, when),
                        f->daemon == 0 ? ", and czard does not run" : "");
        else if (f->last_poll_incomplete > f->last_poll)
                add_problem(s, "poll", 1, "czarctl check says which, and why",
                        "the last poll could not list every prefix; the last complete one was %s",
                        ago(f->last_poll, when));
}

static void judge_key(struct status_facts *s)
{
        const struct facts *f = &s->facts;
        int64_t now = (int64_t)time(NULL);
        char when[WHEN_SIZE], extend[KEY_COMMAND_SIZE], export[KEY_COMMAND_SIZE];
        _cleanup_strbuf_ struct strbuf fix = {};
        if (f->n_keys == 0)
                add_problem(
                        s, "key", 1, "czarctl keygen, or czarctl import-key FILE", "there is no secret key");
        for (size_t i = 0; i < f->n_keys; i++) {
                const struct fact_key *k = &f->keys[i];
                fix.len = 0;
                strbuf_printf(&fix, "%s, then send the new public key (%s) to edX",
                        key_command(s->c->config, k->homedir, "key extend", k->fingerprint, extend),
                        key_command(s->c->config, k->homedir, "key export", k->fingerprint, export));
                if (k->expires != 0 && k->expires - now < KEY_WARN_SEC)
                        add_problem(s, "key", 1, fix.err ? extend : fix.s, "the key %.16s %s %s",
                                k->fingerprint + MAX(strlen(k->fingerprint), (size_t)16) - 16,
                                k->expires < now ? "expired" : "expires", ago(k->expires, when));
        }
}

/* A daemon that does not run any more, and one that should. */
static void judge_daemon(struct status_facts *s)
{
        const struct facts *f = &s->facts;
        char when[WHEN_SIZE];
        if (f->daemon != 0)
                return;
        if (f->stopped_at)
                add_problem(s, "stopped", 1, "systemctl start czard", "czard was stopped %s",
                        ago(f->stopped_at, when));
        else if (f->started_at)
                add_problem(s, "stopped", 1, "journalctl -u czard says why; then systemctl start czard",
                        "czard, started %s, ended without a word", ago(f->started_at, when));
        else if (f->enabled)
                add_problem(s, "stopped", 1, "systemctl start czard",
                        "czard.service is enabled, and does not run");
}

/* What was found waits for a run. Where something else is known to be wrong, that says why. */
static void judge_due(struct status_facts *s)
{
        uint64_t n = 0, bytes = 0;
        char size[BYTES_SIZE];
        for (size_t i = 0; i < s->n_lines; i++) {
                n += status_line_due(&s->lines[i]);
                bytes += status_line_due_bytes(&s->lines[i]);
        }
        if (s->facts.daemon == 0 && n > 0 && s->n_problems == 0)
                add_problem(s, "due", n, "czard --once, or systemctl start czard",
                        "%llu file%s (%s) are still to be fetched, and czard does not run",
                        (unsigned long long)n, n == 1 ? "" : "s", bytes_text((int64_t)bytes, size));
}

static int judge(struct status_facts *s, struct error *e)
{
        (void)e;
        judge_daemon(s);
        judge_polls(s);
        judge_deliveries(s);
        judge_key(s);
        if (*s->facts.paused)
                add_problem(s, "paused", 1, "czarctl unpause", "paused by an admin: %s", s->facts.paused);
        else if (*s->facts.last_pause && s->facts.daemon == 0)
                add_problem(s, "paused", 1, "make it good, then: czard --once, or systemctl start czard",
                        "the last run of czard ended in a pause (%s): what was due then is not staged",
                        s->facts.last_pause);
        else if (*s->facts.pauses)
                add_problem(s, "paused", 1, "czarctl check, or journalctl -u czard, says what helps",
                        "fetching pauses: %s",
                        *s->facts.pause_reasons ? s->facts.pause_reasons : s->facts.pauses);
        if (*s->facts.feed)
                add_problem(s, "feed", 1, "see to the cause; czard makes it again with its next poll",
                        "what changed is not in the feed (CHANGES.jsonl): %s", s->facts.feed);
        if (*s->facts.ended_early && s->facts.daemon == 0)
                add_problem(s, "ended", 1, "make it good, then: czard --once, or systemctl start czard",
                        "the last run of czard ended too early: %s", s->facts.ended_early);
        judge_due(s);
        return 0;
}

/* Series of which nothing came that should have; of gaps in the past `gaps` tells. */
static void judge_days(struct status_facts *s)
{
        for (size_t i = 0; i < s->days.habit.n; i++) {
                const struct habit_series *h = &s->days.habit.series[i];
                const struct habit_gap *g = days_late(&s->days, i);
                char hint[160], from[DATE_SIZE];
                if (!g || !days_is_wanted(s->c, h))
                        continue;
                days_hint(&s->days, g, &s->facts, hint, sizeof(hint));
                add_problem(s, "late", g->missing,
                        *hint ? hint : "czarctl gaps shows all; when it goes on ask edX",
                        "%s %s%s%s: %u %s since %s", h->org, category_name(h->category), *h->site ? " " : "",
                        h->site, g->missing, g->missing == 1 ? "file is late" : "files are late",
                        date_format(g->from, from));
        }
}

static int look_at_days(struct status_facts *s, struct error *e)
{
        int r = days_read(s->c, &s->days, e);
        if (r == 0)
                judge_days(s);
        return r;
}

/* In the order in which they are told: a report of the ledger row by row, or what else there is to look at.
 */
static const struct {
        enum report report;
        report_fn *each;
        int (*look)(struct status_facts *s, struct error *e);
} steps[] = {
        {REPORT_COUNTS, on_count, NULL},
        {REPORT_LAST, on_last, NULL},
        {.look = judge},
        {.look = look_at_days},
        {REPORT_TROUBLES, on_trouble, NULL},
        {REPORT_KEPT_MISSING, on_kept_missing, NULL},
        {REPORT_MEMBERS_REJECTED, on_member_trouble, NULL},
        {.look = judge_members},
        {REPORT_UNREADABLE, on_unreadable, NULL},
        {.look = judge_latest},
        {.look = judge_splits},
        {.look = judge_days_again},
};

struct status_facts *status_free(struct status_facts *s)
{
        if (s) {
                days_done(&s->days);
                free(s->lines);
        }
        free(s);
        return NULL;
}

int status_read(struct ctl *c, struct status_facts **ret)
{
        struct status_facts *s = calloc(1, sizeof(*s));
        struct error e = {};
        *ret = NULL;
        if (!s || !(s->lines = calloc(STATUS_LINES, sizeof(*s->lines)))) {
                status_free(s);
                return ctl_fail_text("out of memory");
        }
        s->c = c;
        int status = facts_read(c, true, &s->facts), r = 0;
        for (size_t i = 0; status == 0 && r == 0 && i < ELEMENTSOF(steps); i++)
                r = steps[i].look ? steps[i].look(s, &e)
                                  : report_each(c->ledger, steps[i].report, NULL, NULL, steps[i].each, s, &e);
        if (r < 0)
                status = ctl_fail(c, &e);
        if (status) {
                status_free(s);
                return status;
        }
        *ret = s;
        return s->n_problems ? CTL_FOUND : CTL_WELL;
}
