/* SPDX-License-Identifier: Apache-2.0 */
/* The large parts of the data. A calendar for each organisation and site: a sign for each day of each year.
 * Snapshots over time, and each of the newest against the one before it: courses and tables that vanished or
 * shrank by more than half. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "audit.h"
#include "facts.h"
#include "macro.h"
#include "report_data.h"
#include "rows.h"
#include "str.h"
#include "timespan.h"

#define GAPS_SHOWN 24
/* A year is at most 54 weeks wide, drawn as two halves: on a phone one below the other. */
#define HALF_YEAR (27 * 7)

enum sign {
        SIGN_OUTSIDE,
        SIGN_NONE,
        SIGN_THERE,
        SIGN_LATE,
        SIGN_REPLACED,
        SIGN_UNSTAGED,
        SIGN_MISSING,
        SIGNS
};
static const char *const sign_names[SIGNS] = {[SIGN_NONE] = "none",
        [SIGN_THERE] = "there",
        [SIGN_LATE] = "late",
        [SIGN_REPLACED] = "replaced",
        [SIGN_UNSTAGED] = "unstaged",
        [SIGN_MISSING] = "missing"};

struct calendar {
        struct report_data *r;
        /* "ORG SITE DATE" of events, sorted: were replaced; are listed but not staged; are left out on
         * purpose */
        struct strv replaced, unstaged, left_out;
};

/* --- what there is --- */

/* Days whose file is listed, but not staged: not there yet, refused, lost; or left out on purpose. */
static int note_date(const struct report_row *row, void *arg)
{
        struct calendar *c = arg;
        enum object_state state = (enum object_state)row->number[7];
        unsigned unstaged = BIT(OBJECT_NEW) | BIT(OBJECT_FETCHING) | BIT(OBJECT_DECRYPTING) |
                            BIT(OBJECT_RETRY) | BIT(OBJECT_REJECTED) | BIT(OBJECT_MISSING),
                 left_out = BIT(OBJECT_IGNORED) | BIT(OBJECT_FORGOTTEN) | BIT(OBJECT_PRUNED);
        if (row->number[1] != CATEGORY_EVENTS || row->number[7] < 0 || row->number[7] >= OBJECT_STATE_MAX ||
                !(BIT(state) & (unstaged | left_out)))
                return 0;
        _cleanup_free_ char *key = str_printf("%s %s %s", row->text[0], row->text[2], row->text[3]);
        return key ? strv_add(BIT(state) & unstaged ? &c->unstaged : &c->left_out, key) : -ENOMEM;
}

static int note_replaced(const char *line, size_t len, uint64_t number, void *arg)
{
        struct calendar *c = arg;
        char org[ORG_SIZE], site[SITE_SIZE], date[16];
        (void)number;
        if (!strstr(line, "\"event\":\"replaced\"") || audit_field(line, len, "org", org, sizeof(org)) < 0 ||
                audit_field(line, len, "site", site, sizeof(site)) < 0 ||
                audit_field(line, len, "date", date, sizeof(date)) < 0)
                return 0;
        _cleanup_free_ char *key = str_printf("%s %s %s", org, site, date);
        return key ? strv_add(&c->replaced, key) : -ENOMEM;
}

static int read_calendar(struct calendar *c)
{
        struct report_data *r = c->r;
        int e = ctl_open_state(r->c, r->e);
        if (e == 0)
                e = audit_each(r->c->state_fd, note_replaced, c, r->e);
        if (e == 0 || e == -ENOENT)
                e = report_each(r->c->ledger, REPORT_DATES, NULL, NULL, note_date, c, r->e);
        struct strv *all[] = {&c->replaced, &c->unstaged, &c->left_out};
        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                strv_unique(all[i]);
        return e;
}

/* --- one year --- */

static bool is_among(const struct strv *days, const struct habit_series *s, int day)
{
        char date[DATE_SIZE], key[160];
        snprintf(key, sizeof(key), "%s %s %s", s->org, s->site, date_format(day, date));
        return strv_sorted_has(days, key);
}

static void mark_days(const struct calendar *c, size_t series, int first, int n, uint8_t *signs)
{
        const struct days *days = &c->r->days;
        const struct habit_series *s = &days->habit.series[series];
        /* how late files usually come: today minus the last that is due */
        int usual = -habit_last_due(s, 0);
        int today = (int)(time(NULL) / SEC_PER_DAY);
        for (int d = 0; d < n; d++)
                if (first + d >= s->days[0].day && first + d <= today)
                        signs[d] = SIGN_NONE;
        for (size_t i = 0; i < s->n; i++) {
                int at = s->days[i].day - first;
                if (at < 0 || at >= n)
                        continue;
                signs[at] = is_among(&c->unstaged, s, s->days[i].day)   ? SIGN_UNSTAGED
                            : is_among(&c->left_out, s, s->days[i].day) ? SIGN_NONE
                            : is_among(&c->replaced, s, s->days[i].day) ? SIGN_REPLACED
                            : s->days[i].delay > usual                  ? SIGN_LATE
                                                                        : SIGN_THERE;
        }
        for (size_t g = 0; g < days->gaps.n; g++)
                for (int d = days->gaps.v[g].from;
                        days->gaps.v[g].series == series && d <= days->gaps.v[g].to; d++) {
                        /* only the days that the habit misses: of a gap of weekdays not the weekends */
                        bool usual_day = d - first >= 0 && d - first < n && signs[d - first] == SIGN_NONE &&
                                         habit_is_usual(s, d);
                        if (usual_day)
                                signs[d - first] = SIGN_MISSING;
                }
}

static int year_of(int day)
{
        char date[DATE_SIZE];
        return atoi(date_format(day, date));
}

static int first_day(int year, unsigned month)
{
        char text[32];
        int day = 0;
        snprintf(text, sizeof(text), "%04d-%02u-01", year, month);
        date_parse(text, &day);
        return day;
}

/* slot: days since the Monday on or before the first of January */
static void add_half(struct json *j, int year, const uint8_t *signs, int n, int first_slot)
{
        static const char *const months[] = {
                "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        int january = first_day(year, 1), before = (january + 3) % 7; /* 1970-01-01 was a Thursday */
        bool any = false;
        json_open(j, NULL, '{');
        json_i64(j, "first", first_slot);
        json_open(j, "months", '[');
        for (unsigned m = 0; m < ELEMENTSOF(months); m++) {
                int slot = first_day(year, m + 1) - january + before;
                if (slot < first_slot || slot >= first_slot + HALF_YEAR)
                        continue;
                json_object(j, NULL, FIELDS(F_NUMBER("at", slot), F_TEXT("name", months[m])));
        }
        json_close(j, ']');
        json_open(j, "days", '[');
        for (int d = MAX(0, first_slot - before); d < MIN(n, first_slot + HALF_YEAR - before); d++) {
                if (signs[d] == SIGN_OUTSIDE)
                        continue;
                any = true;
                json_object(
                        j, NULL, FIELDS(F_NUMBER("at", d + before), F_TEXT("sign", sign_names[signs[d]])));
        }
        json_close(j, ']');
        json_bool(j, "empty", !any);
        json_close(j, '}');
}

static void add_year(struct calendar *c, size_t series, int year)
{
        struct json *j = &c->r->j;
        uint8_t signs[366] = {};
        unsigned count[SIGNS] = {};
        int first = first_day(year, 1), n = first_day(year + 1, 1) - first;
        mark_days(c, series, first, n, signs);
        for (int d = 0; d < n; d++)
                count[signs[d]]++;
        json_open(j, NULL, '{');
        json_i64(j, "year", year);
        for (enum sign k = SIGN_THERE; k < SIGNS; k++)
                json_u64(j, sign_names[k], count[k]);
        json_open(j, "halves", '[');
        for (int half = 0; half < 2; half++)
                add_half(j, year, signs, n, half * HALF_YEAR);
        json_close(j, ']');
        json_close(j, '}');
}

/* The newest first. */
static void add_gaps(struct report_data *r, size_t series)
{
        size_t n = 0;
        json_open(&r->j, "gaps", '[');
        for (size_t g = r->days.gaps.n; g-- > 0;) {
                const struct habit_gap *gap = &r->days.gaps.v[g];
                char from[DATE_SIZE], to[DATE_SIZE];
                if (gap->series != series || n++ >= GAPS_SHOWN)
                        continue;
                bool span = gap->from != gap->to;
                json_object(&r->j, NULL,
                        FIELDS(F_TEXT("from", date_format(gap->from, from)),
                                F_TEXT("to", span ? date_format(gap->to, to) : NULL),
                                F_BOOL("open", span && gap->open)));
        }
        json_close(&r->j, ']');
        json_u64(&r->j, "gaps_more", n > GAPS_SHOWN ? n - GAPS_SHOWN : 0);
}

static void add_series(struct calendar *c, size_t series)
{
        const struct habit_series *s = &c->r->days.habit.series[series];
        struct json *j = &c->r->j;
        int last = year_of(MAX(s->days[s->n - 1].day, (int)(time(NULL) / SEC_PER_DAY)));
        json_open(j, NULL, '{');
        json_str(j, "org", s->org);
        json_str(j, "site", s->site);
        json_open(j, "years", '[');
        for (int y = last; y >= year_of(s->days[0].day); y--)
                add_year(c, series, y);
        json_close(j, ']');
        add_gaps(c->r, series);
        json_close(j, '}');
}

int report_days(struct report_data *r)
{
        struct calendar c = {.r = r};
        int e = read_calendar(&c);
        json_open(&r->j, "series", '[');
        for (size_t i = 0; e == 0 && i < r->days.habit.n; i++)
                if (r->days.habit.series[i].category == CATEGORY_EVENTS && r->days.habit.series[i].n > 0)
                        add_series(&c, i);
        json_close(&r->j, ']');
        strv_done(&c.replaced);
        strv_done(&c.unstaged);
        strv_done(&c.left_out);
        return e;
}

/* --- snapshots --- */

#define SNAPSHOTS_DRAWN 80 /* of each organisation and category */
#define SNAPSHOTS_SHOWN 8
#define SNAPSHOTS_MORE 250 /* behind "older ones" */
#define CHANGES_SHOWN 12
#define NAMES_SHOWN 12

struct report_snapshot {
        char id[24], date[DATE_SIZE], org[ORG_SIZE];
        enum category category;
        int64_t rejected, plain, members, size;
};

struct walk {
        struct report_snapshot *v;
        size_t n;
};

static int take_snapshot(const struct report_row *row, void *arg)
{
        struct walk *w = arg;
        if (ARRAY_ROOM(w->v, w->n) < 0)
                return -ENOMEM;
        struct report_snapshot *s = &w->v[w->n++];
        *s = (struct report_snapshot){.category = (enum category)row->number[4],
                .rejected = row->number[5],
                .plain = row->number[6],
                .members = row->number[7],
                .size = row->number[8]};
        snprintf(s->id, sizeof(s->id), "%s", row->text[0]);
        snprintf(s->date, sizeof(s->date), "%s", row->text[2]);
        snprintf(s->org, sizeof(s->org), "%s", row->text[3]);
        return 0;
}

/* --- what is not there any more --- */

struct lost {
        size_t n[2]; /* shrank, vanished */
        struct json names[2];
};

static int note_lost(const struct report_row *row, void *arg)
{
        struct lost *l = arg;
        bool vanished = row->number[2];
        _cleanup_free_ char *name =
                str_printf("%s%s%s", row->text[1], *row->text[1] ? " " : "", row->text[0]);
        if (l->n[vanished]++ < NAMES_SHOWN)
                json_str(&l->names[vanished], NULL, name);
        return 0;
}

static int add_change(
        struct report_data *r, const struct report_snapshot *now, const struct report_snapshot *before)
{
        static const char *const what[] = {"shrank by more than half", "vanished"};
        struct lost l = {};
        struct json *j = &r->j;
        int e = report_each(r->c->ledger, REPORT_LOST, now->id, before->id, note_lost, &l, r->e);
        for (int i = 1; i >= 0; i--) {
                if (l.n[i] > 0) {
                        json_open(j, NULL, '{');
                        json_fields(j, FIELDS(F_TEXT("org", now->org), F_TEXT("date", now->date),
                                               F_NUMBER("tables", l.n[i]), F_TEXT("what", what[i]),
                                               F_BOOL("more", l.n[i] > NAMES_SHOWN)));
                        json_open(j, "names", '[');
                        strbuf_add(&j->out, l.names[i].out.s ? l.names[i].out.s : "");
                        json_close(j, ']');
                        json_close(j, '}');
                }
                json_done(&l.names[i]);
        }
        return e;
}

/* --- the lists --- */

static bool same_group(const struct report_snapshot *a, const struct report_snapshot *b)
{
        return a->category == b->category && streq(a->org, b->org);
}

static void add_snapshot(struct json *j, const char *name, const struct report_snapshot *s)
{
        json_object(j, name,
                FIELDS(F_TEXT("date", s->date), F_NUMBER("bytes", s->size),
                        F_NUMBER("plain_bytes", MAX(s->plain, (int64_t)0)), F_NUMBER("members", s->members),
                        F_NUMBER("rejected", s->rejected)));
}

static void add_rows(
        struct json *j, const char *title, const struct report_snapshot *v, size_t n, size_t older)
{
        json_open(j, NULL, '{');
        json_fields(j, FIELDS(F_TEXT("title", title), F_NUMBER("older", older)));
        json_open(j, "rows", '[');
        for (size_t i = 0; i < n; i++)
                add_snapshot(j, NULL, &v[i]);
        json_close(j, ']');
        json_close(j, '}');
}

/* Of one organisation and category, the newest first. */
static void add_snapshots(struct json *j, const struct report_snapshot *v, size_t n)
{
        size_t drawn = MIN(n, (size_t)SNAPSHOTS_DRAWN);
        int64_t most = 1;
        json_open(j, NULL, '{');
        json_fields(j, FIELDS(F_TEXT("org", v->org), F_TEXT("category", category_name(v->category)),
                               F_NUMBER("n", n)));
        add_snapshot(j, "first", &v[drawn - 1]);
        add_snapshot(j, "last", v);
        json_open(j, "bars", '[');
        for (size_t i = drawn; i-- > 0;) {
                add_snapshot(j, NULL, &v[i]);
                most = MAX(most, v[i].plain);
        }
        json_close(j, ']');
        json_i64(j, "most", most);
        json_open(j, "tables", '[');
        add_rows(j, "The newest of", v, MIN(n, (size_t)SNAPSHOTS_SHOWN), 0);
        if (n > SNAPSHOTS_SHOWN)
                add_rows(j, "Older ones of", v + SNAPSHOTS_SHOWN,
                        MIN(n - SNAPSHOTS_SHOWN, (size_t)SNAPSHOTS_MORE), n - SNAPSHOTS_SHOWN);
        json_close(j, ']');
        json_close(j, '}');
}

int report_snapshots(struct report_data *r)
{
        struct walk w = {};
        int e = report_each(r->c->ledger, REPORT_SNAPSHOTS, NULL, NULL, take_snapshot, &w, r->e);
        json_open(&r->j, "snapshots", '[');
        for (size_t i = 0, k; e == 0 && i < w.n; i = k) {
                for (k = i; k < w.n && same_group(&w.v[i], &w.v[k]); k++)
                        ;
                add_snapshots(&r->j, &w.v[i], k - i);
        }
        json_close(&r->j, ']');
        json_open(&r->j, "changes", '[');
        for (size_t i = 0, shown = 0; e == 0 && i + 1 < w.n; i++) {
                shown = i > 0 && same_group(&w.v[i - 1], &w.v[i]) ? shown + 1 : 0;
                if (same_group(&w.v[i], &w.v[i + 1]) && shown < CHANGES_SHOWN)
                        e = add_change(r, &w.v[i], &w.v[i + 1]);
        }
        json_close(&r->j, ']');
        free(w.v);
        return e;
}
