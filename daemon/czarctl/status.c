/* SPDX-License-Identifier: Apache-2.0 */
/* status: one screen: what the ledger counts, and what somebody should look at. Everything is counted by the
 * ledger; a problem is a line with what to do. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "deliver_facts.h"
#include "facts.h"
#include "key_command.h"
#include "latest.h"
#include "ledger_report.h"
#include "limits.h"
#include "rows.h"
#include "timespan.h"

#define STATUS_LINES 512
#define MEMBER_TROUBLES 64

struct status_line {
        char org[ORG_SIZE], site[SITE_SIZE], date[DATE_SIZE], newest[DATE_SIZE], path[STAGED_PATH_SIZE];
        enum category category;
        int64_t staged_at;
        uint64_t n[OBJECT_STATE_MAX], bytes[OBJECT_STATE_MAX];
        int64_t plain;
        uint64_t members_rejected; /* of staged snapshots */
};

struct member_trouble {
        char org[ORG_SIZE], example[600];
        enum category category;
        enum cause cause;
        uint64_t n;
};

struct status_facts {
        struct ctl *c;
        struct facts facts;
        struct status_line *lines;
        size_t n_lines;
        struct problems problems;
        struct member_trouble member_troubles[MEMBER_TROUBLES];
        size_t n_member_troubles;
        struct days days;
};

/* --- reading --- */

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

static uint64_t due_of(const struct status_line *l)
{
        return l->n[OBJECT_NEW] + l->n[OBJECT_FETCHING] + l->n[OBJECT_DECRYPTING];
}

static uint64_t due_bytes_of(const struct status_line *l)
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
                problem_add(&s->problems, "missing", (uint64_t)row->number[2],
                        "put it back and restart czard, or czarctl resync, adopt or forget it",
                        "%lld staged %s missing or altered, for example %s", (long long)row->number[2],
                        row->number[2] == 1 ? "file is" : "files are", row->text[3]);
        else
                problem_add(&s->problems, state == OBJECT_RETRY ? "retry" : "rejected",
                        (uint64_t)row->number[2], advice, "%lld %s (%s), for example %s: %s%s%s",
                        (long long)row->number[2], state == OBJECT_RETRY ? "failed for now" : "rejected",
                        row->text[1], row->text[3], row->text[4], row->number[5] ? "; next try " : "",
                        row->number[5] ? ago(row->number[5], next) : "");
        return 0;
}

static int on_kept_missing(const struct report_row *row, void *arg)
{
        struct status_facts *s = arg;
        if (row->number[0] > 0)
                problem_add(&s->problems, "missing", (uint64_t)row->number[0],
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
        if (s->n_member_troubles == MEMBER_TROUBLES)
                return 0;
        struct member_trouble *t = &s->member_troubles[s->n_member_troubles++];
        *t = (struct member_trouble){.category = category, .cause = cause, .n = (uint64_t)row->number[5]};
        snprintf(t->org, sizeof(t->org), "%s", row->text[0]);
        snprintf(t->example, sizeof(t->example), "%s: %s (%s)", row->text[7], row->text[8], row->text[9]);
        return 0;
}

static int on_unreadable(const struct report_row *row, void *arg)
{
        struct status_facts *s = arg;
        problem_add(&s->problems, "unreadable", (uint64_t)row->number[3],
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
                problem_add(&s->problems, "members-rejected", t->n,
                        key_advice_of(s->c->config, t->org, t->cause, room),
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
                problem_add(&s->problems, "filter", 1, fix,
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
                        problem_add(&s->problems, "latest", 1,
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
        problem_add(&s->problems, "by-course", f.n, not_split_advice(f.example.cause),
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
                problem_add(&s->problems, "by-course-due", f.n,
                        "czard makes it with its next poll, or czard --once",
                        "%llu day%s by course to be made again, for example %s", (unsigned long long)f.n,
                        f.n == 1 ? "" : "s", f.path);
        return r;
}

static void on_delivery(void *arg, const struct deliver_fact *f)
{
        struct status_facts *s = arg;
        const char *name = f->delivery->name;
        if (f->why)
                problem_add(&s->problems, "delivery", 1, f->fix, "delivery %s%s: %s", name,
                        f->stands_still ? " stands still" : "", f->why);
        if (f->unmatched.n)
                problem_add(&s->problems, "delivery", f->unmatched.n,
                        "czarctl deliver list; mend courses or tables", "delivery %s: nothing matches %s%s",
                        name, f->unmatched.v[0], f->unmatched.n > 1 ? " and others" : "");
}

static void judge_deliveries(struct status_facts *s)
{
        struct error e = {};
        if (deliver_facts(s->c, on_delivery, s, &e) < 0)
                problem_add(&s->problems, "delivery", 1, "czarctl deliver list, as root",
                        "deliveries cannot be looked at: %s", e.text);
}

/* What was found waits for a run. Where something else is known to be wrong, that says why. */
static void judge_due(struct status_facts *s)
{
        uint64_t n = 0, bytes = 0;
        char size[BYTES_SIZE];
        for (size_t i = 0; i < s->n_lines; i++) {
                n += due_of(&s->lines[i]);
                bytes += due_bytes_of(&s->lines[i]);
        }
        if (s->facts.daemon == 0 && n > 0 && s->problems.n == 0)
                problem_add(&s->problems, "due", n, "czard --once, or systemctl start czard",
                        "%llu file%s (%s) are still to be fetched, and czard does not run",
                        (unsigned long long)n, n == 1 ? "" : "s", bytes_text((int64_t)bytes, size));
}

static int judge(struct status_facts *s, struct error *e)
{
        (void)e;
        facts_judge_run(&s->facts, s->c->config, &s->problems);
        judge_deliveries(s);
        facts_judge_key(&s->facts, s->c->config, &s->problems);
        facts_judge_pauses(&s->facts, &s->problems);
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
                problem_add(&s->problems, "late", g->missing,
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

static struct status_facts *status_free(struct status_facts *s)
{
        if (s) {
                days_done(&s->days);
                free(s->lines);
        }
        free(s);
        return NULL;
}

/* *ret: once it was read, else NULL. CTL_WELL, CTL_FOUND: there are problems; or another exit status after a
 * text. */
static int status_read(struct ctl *c, struct status_facts **ret)
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
                status = ctl_fail(&e);
        if (status) {
                status_free(s);
                return status;
        }
        *ret = s;
        return s->problems.n ? CTL_FOUND : CTL_WELL;
}

/* --- showing --- */

static void print_key(const struct facts *f)
{
        char when[WHEN_SIZE];
        for (size_t i = 0; i < f->n_keys; i++) {
                const struct fact_key *k = &f->keys[i];
                size_t n = strlen(k->fingerprint);
                shown_print(
                        stdout, "key          %s  %s", k->fingerprint + (n > 16 ? n - 16 : 0), k->user_id);
                if (k->expires)
                        shown_print(stdout, "  expires %s", ago(k->expires, when));
                putchar('\n');
        }
        if (*f->credentials || f->credentials_since)
                shown_print(stdout, "credentials  %s%sfrom %s\n", f->credentials, *f->credentials ? ", " : "",
                        ago(f->credentials_since, when));
}

static void print_head(const struct status_facts *s)
{
        const struct facts *f = &s->facts;
        char when[WHEN_SIZE], size[BYTES_SIZE], text[64];
        bool well = s->problems.n == 0;
        if (!well)
                snprintf(text, sizeof(text), "%zu %s to look at, see below.", s->problems.n,
                        s->problems.n == 1 ? "thing" : "things");
        shown_colour(well ? GREEN : RED, well ? "All is well." : text);
        fputs("\n\nczard        ", stdout);
        if (f->daemon > 0)
                shown_print(stdout, "running (PID %ld)", (long)f->daemon);
        else
                shown_colour(YELLOW, "not running");
        if (f->live)
                shown_print(stdout, ", %llu of %llu due objects under way, %s to fetch",
                        (unsigned long long)f->running, (unsigned long long)f->due,
                        bytes_text((int64_t)f->due_bytes, size));
        if (f->live && f->running > 0 && f->rate > 0) {
                shown_print(stdout, ", %s/s", bytes_text((int64_t)f->rate, size));
                shown_print(stdout, ", %s left",
                        timespan_format((f->due_bytes / f->rate + 1) * USEC_PER_SEC, when, sizeof(when)));
        }
        shown_print(stdout, "\npoll         last complete %s", ago(f->last_poll, when));
        if (f->next_poll)
                shown_print(stdout, ", next %s", ago(f->next_poll, when));
        putchar('\n');
        print_key(f);
        putchar('\n');
}

static void print_problems(const struct status_facts *s)
{
        if (s->problems.n == 0)
                return;
        putchar('\n');
        shown_colour(BOLD, "To look at:");
        putchar('\n');
        for (size_t i = 0; i < s->problems.n; i++) {
                fputs("  ", stdout);
                shown_colour(RED, "*");
                shown_print(stdout, " %s\n", s->problems.v[i].text);
                if (*s->problems.v[i].fix)
                        shown_print(stdout, "    -> %s\n", s->problems.v[i].fix);
        }
}

static enum colour colour_of(uint64_t bad)
{
        return bad > 0 ? RED : PLAIN;
}

static void add_package(struct rows *r, const struct status_line *l)
{
        const uint64_t *n = l->n, due = due_of(l), bytes = due_bytes_of(l);
        char rejected[96], size[BYTES_SIZE];
        int k = snprintf(rejected, sizeof(rejected), "%llu", (unsigned long long)n[OBJECT_REJECTED]);
        if (l->members_rejected > 0)
                snprintf(rejected + k, sizeof(rejected) - (size_t)k, ", %llu member%s",
                        (unsigned long long)l->members_rejected, l->members_rejected == 1 ? "" : "s");
        rows_begin_item(r,
                FIELDS(F_TEXT("org", l->org), F_TEXT("category", category_name(l->category)),
                        F_NAME("site", l->site), F_NAME("newest_staged", l->date),
                        F_NAME("newest_known", l->newest), F_NAME("path", l->path),
                        F_TIME("staged_at", l->staged_at, .colour = DIM), F_NUMBER("due_bytes", bytes),
                        F_NUMBER("plain_bytes", l->plain), F_NUMBER("members_rejected", l->members_rejected),
                        F_COUNT("staged", n[OBJECT_PUBLISHED]), F_COUNT("due", due),
                        F_CELL("to_fetch", due ? bytes_text((int64_t)bytes, size) : "-"),
                        F_COUNT("retry", n[OBJECT_RETRY], .colour = colour_of(n[OBJECT_RETRY])),
                        F_CELL("rejected", rejected,
                                .colour = colour_of(n[OBJECT_REJECTED] + l->members_rejected)),
                        F_COUNT("missing", n[OBJECT_MISSING], .colour = colour_of(n[OBJECT_MISSING]))));
        if (r->c->json) {
                json_open(&r->json, "objects", '{');
                for (enum object_state st = 0; st < OBJECT_STATE_MAX; st++)
                        json_u64(&r->json, object_state_name(st), n[st]);
                json_close(&r->json, '}');
        }
        rows_end_item(r);
}

static void json_daemon(struct json *j, const struct facts *f)
{
        json_open(j, "daemon", '{');
        json_bool(j, "running", f->daemon > 0);
        if (f->daemon > 0)
                json_i64(j, "pid", f->daemon);
        else
                json_null(j, "pid");
        json_fields(j, FIELDS(F_NAME("paused", *f->paused ? f->paused : f->pauses)));
        if (f->live)
                json_fields(
                        j, FIELDS(F_NUMBER("under_way", f->running), F_NUMBER("due", f->due),
                                   F_NUMBER("due_bytes", f->due_bytes), F_NUMBER("bytes_a_second", f->rate)));
        json_close(j, '}');
}

static void json_rest(struct json *j, const struct status_facts *s)
{
        const struct facts *f = &s->facts;
        json_open(j, "problems", '[');
        for (size_t i = 0; i < s->problems.n; i++) {
                const struct problem *p = &s->problems.v[i];
                json_object(j, NULL,
                        FIELDS(F_TEXT("what", p->what), F_NUMBER("count", p->n), F_TEXT("text", p->text),
                                F_NAME("fix", p->fix)));
        }
        json_close(j, ']');
        json_open(j, "key", '[');
        for (size_t i = 0; i < f->n_keys; i++) {
                const struct fact_key *k = &f->keys[i];
                json_object(j, NULL,
                        FIELDS(F_TEXT("fingerprint", k->fingerprint), F_TEXT("user_id", k->user_id),
                                F_TIME("created", k->created), F_TIME("expires", k->expires)));
        }
        json_close(j, ']');
        json_object(j, "credentials",
                FIELDS(F_NAME("source", f->credentials), F_TIME("since", f->credentials_since)));
        json_fields(j, FIELDS(F_TIME("last_poll", f->last_poll), F_TIME("next_poll", f->next_poll)));
}

int run_status(struct ctl *c)
{
        struct status_facts *s;
        struct rows r;
        int status = status_read(c, &s);
        if (!s)
                return status;
        rows_open(&r, c, NULL,
                "org|category|site|newest_staged=NEWEST|staged_at=STAGED AT|>staged|>due|>to_fetch=TO FETCH"
                "|>retry|>rejected|>missing");
        if (c->json) {
                json_bool(&r.json, "ok", s->problems.n == 0);
                json_daemon(&r.json, &s->facts);
                json_open(&r.json, "packages", '[');
        } else {
                print_head(s);
        }
        for (size_t i = 0; i < s->n_lines; i++)
                add_package(&r, &s->lines[i]);
        rows_end(&r, "Nothing is known yet: no poll found any object.");
        if (c->json)
                json_rest(&r.json, s);
        else
                print_problems(s);
        if (rows_finish(&r, 0, NULL))
                status = CTL_CANNOT;
        status_free(s);
        return status;
}
