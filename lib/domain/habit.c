/* SPDX-License-Identifier: Apache-2.0 */
/* Habits of delivery. The past of a day is what came before it, never what came after: a long silence must
 * not become the habit by which it is judged. */
#include "habit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "macro.h"
#include "str.h"

#define DAYS_LEAST 4     /* files of a series before it has a habit */
#define WEEKS_BACK 8     /* of the same weekday that are looked at */
#define USUAL_PERCENT 60 /* of them had a file */
#define DELAY_MOST 14    /* days; a rewritten old file is not a late one */
#define WEEK 7

/* --- series --- */

static struct habit_series *series_of(struct habit *h, const char *org, enum category c, const char *site)
{
        for (size_t i = h->n; i-- > 0;) {
                struct habit_series *s = &h->series[i];
                if (s->category == c && streq(s->org, org) && streq(s->site, site))
                        return s;
        }
        if (ARRAY_ROOM(h->series, h->n) < 0)
                return NULL;
        struct habit_series *s = &h->series[h->n++];
        *s = (struct habit_series){.category = c};
        snprintf(s->org, sizeof(s->org), "%s", org);
        snprintf(s->site, sizeof(s->site), "%s", site);
        return s;
}

int habit_add(struct habit *h, const char *org, enum category c, const char *site, struct habit_day day)
{
        struct habit_series *s = series_of(h, org, c, site);
        if (!s)
                return -ENOMEM;
        if (ARRAY_ROOM(s->days, s->n) < 0)
                return -ENOMEM;
        s->days[s->n++] = day;
        return 0;
}

void habit_done(struct habit *h)
{
        for (size_t i = 0; i < h->n; i++)
                free(h->series[i].days);
        free(h->series);
        *h = (struct habit){};
}

static int by_value(const void *a, const void *b)
{
        int x = *(const int *)a, y = *(const int *)b;
        return x < y ? -1 : x > y;
}

int habit_step(const struct habit_series *s)
{
        _cleanup_free_ int *steps = s->n >= DAYS_LEAST ? calloc(s->n, sizeof(*steps)) : NULL;
        size_t n = 0;
        for (size_t i = 1; steps && i < s->n; i++)
                if (s->days[i].day > s->days[i - 1].day)
                        steps[n++] = s->days[i].day - s->days[i - 1].day;
        if (n + 1 < DAYS_LEAST)
                return 0;
        qsort(steps, n, sizeof(*steps), by_value);
        return steps[n / 2];
}

/* Nine of ten files have come by then. */
static int usual_delay(const struct habit_series *s)
{
        _cleanup_free_ int *delays = calloc(s->n ? s->n : 1, sizeof(*delays));
        size_t n = 0;
        for (size_t i = 0; delays && i < s->n; i++)
                if (s->days[i].delay >= 0 && s->days[i].delay <= DELAY_MOST)
                        delays[n++] = s->days[i].delay;
        if (n == 0)
                return 1;
        qsort(delays, n, sizeof(*delays), by_value);
        return delays[n * 9 / 10 < n ? n * 9 / 10 : n - 1];
}

int habit_last_due(const struct habit_series *s, int today)
{
        int step = habit_step(s), patience = step > 1 ? MAX(1, step / 4) : 1;
        return today - usual_delay(s) - patience;
}

/* --- daily --- */

static bool has_day(const struct habit_series *s, int day)
{
        size_t lo = 0, hi = s->n;
        while (lo < hi) {
                size_t mid = (lo + hi) / 2;
                if (s->days[mid].day < day)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo < s->n && s->days[lo].day == day;
}

/* Does that weekday usually have a file, by what is known until `last` (the last file before the day)? */
static bool is_usual(const struct habit_series *s, int day, int last)
{
        unsigned seen = 0, had = 0;
        int first = s->days[0].day, d = day - WEEK;
        while (d > last)
                d -= WEEK;
        for (; d >= first && seen < WEEKS_BACK; d -= WEEK, seen++)
                had += has_day(s, d);
        if (seen >= 2)
                return had * 100 >= seen * USUAL_PERCENT;
        /* The first weeks of a series: what followed tells too. */
        int newest = s->days[s->n - 1].day;
        for (d = day + WEEK; d <= newest && seen < WEEKS_BACK; d += WEEK, seen++)
                had += has_day(s, d);
        if (seen >= 2)
                return had * 100 >= seen * USUAL_PERCENT;
        /* Of a series that is that short any weekday counts. */
        seen = had = 0;
        for (d = last; d >= first && seen < WEEKS_BACK * WEEK; d--, seen++)
                had += has_day(s, d);
        return had * 100 >= seen * USUAL_PERCENT;
}

bool habit_is_usual(const struct habit_series *s, int day)
{
        int last = s->n ? s->days[0].day : day;
        for (size_t i = 0; i < s->n && s->days[i].day < day; i++)
                last = s->days[i].day;
        return s->n && is_usual(s, day, last);
}

static int add_gap(struct habit_gaps *g, struct habit_gap gap)
{
        int r = ARRAY_ROOM(g->v, g->n);
        if (r == 0)
                g->v[g->n++] = gap;
        return r;
}

static int find_daily(const struct habit_series *s, size_t index, int today, struct habit_gaps *ret)
{
        int last = s->days[0].day, until = habit_last_due(s, today), newest = s->days[s->n - 1].day, r = 0;
        struct habit_gap gap = {.series = index};
        for (int d = last + 1; r == 0 && d <= MAX(until, newest); d++) {
                if (has_day(s, d)) {
                        if (gap.missing > 0)
                                r = add_gap(ret, gap);
                        gap.missing = 0;
                        last = d;
                } else if (is_usual(s, d, last)) {
                        if (gap.missing++ == 0)
                                gap.from = d;
                        gap.to = d;
                        gap.open = d > newest;
                }
        }
        return r == 0 && gap.missing > 0 ? add_gap(ret, gap) : r;
}

/* --- weekly and rarer --- */

static int find_stepped(
        const struct habit_series *s, size_t index, int step, int today, struct habit_gaps *ret)
{
        int until = habit_last_due(s, today), r = 0;
        for (size_t i = 0; r == 0 && i < s->n; i++) {
                bool open = i + 1 == s->n;
                int a = s->days[i].day, end = open ? until + 1 : s->days[i + 1].day - step / 2;
                struct habit_gap gap = {.series = index, .from = a + step, .open = open};
                for (int d = a + step; d < end; d += step) {
                        gap.to = d;
                        gap.missing++;
                }
                if (gap.missing > 0)
                        r = add_gap(ret, gap);
        }
        return r;
}

/* --- together --- */

/* Has the other series a gap that begins at about the same time, or is it none to judge by? */
static bool stopped_too(const struct habit *h, size_t other, const struct habit_gap *gap, size_t gaps_n,
        const struct habit_gap *gaps)
{
        const struct habit_series *s = &h->series[other];
        int step = habit_step(s);
        if (step == 0 || s->days[0].day > gap->from ||
                (!gap->open && s->days[s->n - 1].day < gap->from - step))
                return true;
        int slack = MAX(step, habit_step(&h->series[gap->series])) + 1;
        for (size_t i = 0; i < gaps_n; i++)
                if (gaps[i].series == other && abs(gaps[i].from - gap->from) <= slack)
                        return true;
        /* Its next file is not due yet. */
        return gap->open && s->days[s->n - 1].day < gap->from;
}

static void mark_together(const struct habit *h, struct habit_gaps *g)
{
        for (size_t i = 0; i < g->n; i++) {
                const struct habit_series *own = &h->series[g->v[i].series];
                size_t others = 0, stopped = 0;
                for (size_t k = 0; k < h->n; k++) {
                        if (k == g->v[i].series || !streq(h->series[k].org, own->org) ||
                                habit_step(&h->series[k]) == 0)
                                continue;
                        others++;
                        stopped += stopped_too(h, k, &g->v[i], g->n, g->v);
                }
                g->v[i].together = others > 0 && stopped == others;
        }
}

int habit_find_gaps(const struct habit *h, int today, struct habit_gaps *ret)
{
        struct habit_gaps g = {};
        int r = 0;
        for (size_t i = 0; r == 0 && i < h->n; i++) {
                int step = habit_step(&h->series[i]);
                if (step == 1)
                        r = find_daily(&h->series[i], i, today, &g);
                else if (step > 1)
                        r = find_stepped(&h->series[i], i, step, today, &g);
        }
        if (r < 0) {
                habit_gaps_done(&g);
                return r;
        }
        mark_together(h, &g);
        *ret = g;
        return 0;
}

void habit_gaps_done(struct habit_gaps *g)
{
        free(g->v);
        *g = (struct habit_gaps){};
}
