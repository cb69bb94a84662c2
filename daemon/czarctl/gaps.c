/* SPDX-License-Identifier: Apache-2.0 */
/* gaps: what did not come, by lib/domain/habit.c. */
#include <stdio.h>

#include "days.h"
#include "ledger_report.h"
#include "rows.h"
#include "runs.h"
#include "timespan.h"

/* A snapshot that came, but without some of its members. */
static int add_rejected(const struct report_row *row, void *arg)
{
        const char *category = report_category(row);
        char hint[160];
        if (!category)
                return 0;
        snprintf(hint, sizeof(hint), "members rejected (%s)", row->text[4]);
        rows_add(arg, FIELDS(F_TEXT("org", row->text[0]), F_TEXT("category", category), F_NAME("site", NULL),
                              F_TEXT("from", row->text[3]), F_TEXT("to", row->text[3]),
                              F_CELL("until", row->text[3]), F_NUMBER("missing", row->number[5]),
                              F_BOOL("open", false), F_NAME("hint", hint, .colour = YELLOW)));
        return 0;
}

/* Whether it is a file that misses nobody can tell. */
static int add_unreadable(const struct report_row *row, void *arg)
{
        const char *category = report_category(row);
        char hint[160];
        if (!category)
                return 0;
        snprintf(hint, sizeof(hint), "listed, but cannot be read: %.100s", row->text[4]);
        rows_add(arg, FIELDS(F_TEXT("org", row->text[0]), F_TEXT("category", category),
                              F_NAME("site", row->text[2]), F_TEXT("from", row->text[6]),
                              F_TEXT("to", row->text[7]), F_CELL("until", row->text[7]),
                              F_NUMBER("missing", row->number[3]), F_BOOL("open", false),
                              F_NAME("hint", hint, .colour = YELLOW)));
        return 0;
}

static void add_gap(struct rows *r, const struct days *days, const struct habit_gap *g, const struct facts *f)
{
        const struct habit_series *s = &days->habit.series[g->series];
        char from[DATE_SIZE], to[DATE_SIZE], until[32], hint[160];
        days_hint(days, g, f, hint, sizeof(hint));
        date_format(g->from, from);
        date_format(g->to, to);
        snprintf(until, sizeof(until), "%s%s", to, g->open ? " (until now)" : "");
        rows_add(r, FIELDS(F_TEXT("org", s->org), F_TEXT("category", category_name(s->category)),
                            F_NAME("site", s->site), F_TEXT("from", from), F_TEXT("to", to),
                            F_CELL("until", until, .colour = g->open ? YELLOW : PLAIN),
                            F_NUMBER("missing", g->missing), F_BOOL("open", g->open),
                            F_NAME("hint", hint, .colour = YELLOW)));
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
