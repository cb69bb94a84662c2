/* SPDX-License-Identifier: Apache-2.0 */
/* A calendar for each organisation and site: a sign for each day of each year. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "audit.h"
#include "report.h"
#include "timespan.h"

#define GAPS_SHOWN 24

/* --- what there is --- */

/* Days whose file is listed, but not staged: not there yet, refused, lost; or left out on purpose. */
static int on_date(const struct report_row *row, void *arg)
{
        struct html_report *r = arg;
        enum object_state state = (enum object_state)row->number[7];
        unsigned unstaged = BIT(OBJECT_NEW) | BIT(OBJECT_FETCHING) | BIT(OBJECT_DECRYPTING) |
                            BIT(OBJECT_RETRY) | BIT(OBJECT_REJECTED) | BIT(OBJECT_MISSING),
                 left_out = BIT(OBJECT_IGNORED) | BIT(OBJECT_FORGOTTEN) | BIT(OBJECT_PRUNED);
        if (row->number[1] != CATEGORY_EVENTS || row->number[7] < 0 || row->number[7] >= OBJECT_STATE_MAX ||
                !(BIT(state) & (unstaged | left_out)))
                return 0;
        _cleanup_free_ char *key = str_printf("%s %s %s", row->text[0], row->text[2], row->text[3]);
        return key ? strv_add(BIT(state) & unstaged ? &r->unstaged : &r->left_out, key) : -ENOMEM;
}

static int on_audit_line(const char *line, size_t len, uint64_t number, void *arg)
{
        struct html_report *r = arg;
        char org[64], site[64], date[16];
        (void)number;
        if (!strstr(line, "\"event\":\"replaced\"") || audit_field(line, len, "org", org, sizeof(org)) < 0 ||
                audit_field(line, len, "site", site, sizeof(site)) < 0 ||
                audit_field(line, len, "date", date, sizeof(date)) < 0)
                return 0;
        _cleanup_free_ char *key = str_printf("%s %s %s", org, site, date);
        return key ? strv_add(&r->replaced, key) : -ENOMEM;
}

int report_read_days(struct html_report *r)
{
        int e = days_read(r->c, &r->days, r->e);
        if (e == 0 && ctl_open_state(r->c, r->e) == 0)
                e = audit_each(r->c->state_fd, on_audit_line, r, r->e);
        if (e == 0 || e == -ENOENT)
                e = report_each(r->c->ledger, REPORT_DATES, NULL, NULL, on_date, r, r->e);
        struct strv *all[] = {&r->replaced, &r->unstaged, &r->left_out};
        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                strv_unique(all[i]);
        return e;
}

/* --- one year --- */

static bool is_among(const struct strv *days, const struct habit_series *s, int day)
{
        char date[11], key[160];
        snprintf(key, sizeof(key), "%s %s %s", s->org, s->site, date_format(day, date));
        return strv_sorted_has(days, key);
}

static void mark_days(const struct html_report *r, size_t series, int first, int n, uint8_t *kinds)
{
        const struct habit_series *s = &r->days.habit.series[series];
        /* how late files usually come: today minus the last that is due */
        int usual = -habit_last_due(s, 0);
        int today = (int)(time(NULL) / 86400);
        for (int d = 0; d < n; d++)
                if (first + d >= s->days[0].day && first + d <= today)
                        kinds[d] = DAY_NONE;
        for (size_t i = 0; i < s->n; i++) {
                int at = s->days[i].day - first;
                if (at < 0 || at >= n)
                        continue;
                kinds[at] = is_among(&r->unstaged, s, s->days[i].day)   ? DAY_UNSTAGED
                            : is_among(&r->left_out, s, s->days[i].day) ? DAY_NONE
                            : is_among(&r->replaced, s, s->days[i].day) ? DAY_REPLACED
                            : s->days[i].delay > usual                  ? DAY_LATE
                                                                        : DAY_THERE;
        }
        for (size_t g = 0; g < r->days.gaps.n; g++)
                for (int d = r->days.gaps.v[g].from;
                        r->days.gaps.v[g].series == series && d <= r->days.gaps.v[g].to; d++) {
                        /* only the days that the habit misses: of a gap of weekdays not the weekends */
                        bool usual_day = d - first >= 0 && d - first < n && kinds[d - first] == DAY_NONE &&
                                         habit_is_usual(s, d);
                        if (usual_day)
                                kinds[d - first] = DAY_MISSING;
                }
}

static int year_of(int day)
{
        char date[11];
        return atoi(date_format(day, date));
}

static int first_day(int year)
{
        char text[16];
        int day = 0;
        snprintf(text, sizeof(text), "%04d-01-01", year);
        date_parse(text, &day);
        return day;
}

static void draw_year(struct html_report *r, size_t series, int year)
{
        const struct habit_series *s = &r->days.habit.series[series];
        uint8_t kinds[366] = {};
        unsigned count[DAY_KINDS] = {};
        int first = first_day(year), n = first_day(year + 1) - first;
        mark_days(r, series, first, n, kinds);
        for (int d = 0; d < n; d++)
                count[kinds[d]]++;
        _cleanup_strbuf_ struct strbuf label = {};
        strbuf_printf(&label, "%s %s %d", s->org, s->site, year);
        for (enum page_day k = DAY_THERE; k < DAY_KINDS; k++)
                if (count[k])
                        strbuf_printf(&label, ", %u %s", count[k], page_day_names[k]);
        page_year(&r->b, year, kinds, label.s ? label.s : "");
}

/* The newest first. */
static void list_gaps(struct html_report *r, size_t series)
{
        size_t n = 0;
        for (size_t g = r->days.gaps.n; g-- > 0;) {
                const struct habit_gap *gap = &r->days.gaps.v[g];
                char from[11], to[11];
                if (gap->series != series || n++ >= GAPS_SHOWN)
                        continue;
                strbuf_add(&r->b, n > 1 ? ", " : "<p class=\"soft small\">Missing: ");
                strbuf_printf(&r->b, "<span class=\"date\">%s</span>", date_format(gap->from, from));
                if (gap->from != gap->to)
                        strbuf_printf(&r->b, " to <span class=\"date\">%s</span>%s", date_format(gap->to, to),
                                gap->open ? " (until now)" : "");
        }
        if (n > GAPS_SHOWN)
                strbuf_printf(&r->b, " and %zu more; czarctl gaps lists all", n - GAPS_SHOWN);
        if (n > 0)
                strbuf_add(&r->b, ".</p>\n");
}

void report_days(struct html_report *r)
{
        page_heading(&r->b, 2, "days", "Days of events");
        page_legend(&r->b);
        for (size_t i = 0; i < r->days.habit.n; i++) {
                const struct habit_series *s = &r->days.habit.series[i];
                char title[160];
                if (s->category != CATEGORY_EVENTS || s->n == 0)
                        continue;
                snprintf(title, sizeof(title), "%s, %s", s->org, s->site);
                page_heading(&r->b, 3, NULL, title);
                int last = year_of(MAX(s->days[s->n - 1].day, (int)(time(NULL) / 86400)));
                for (int y = last; y >= year_of(s->days[0].day); y--)
                        draw_year(r, i, y);
                list_gaps(r, i);
        }
}
