/* SPDX-License-Identifier: Apache-2.0 */
/* gaps: what did not come, by lib/domain/habit.c. */
#include <stdio.h>

#include "days.h"
#include "ledger_report.h"
#include "runs.h"
#include "table.h"
#include "timespan.h"

struct rows {
        const struct ctl *c;
        struct json *json;
        struct table *table;
        uint64_t n; /* rows of snapshots that are not whole, and of entries that cannot be read */
};

static void add_row(struct rows *r, const char *org, enum category category, const char *site,
        const char *from, const char *to, bool open, uint64_t missing, const char *hint)
{
        if (r->c->json) {
                struct json *j = r->json;
                json_open(j, NULL, '{');
                json_str(j, "org", org);
                json_str(j, "category", category_name(category));
                json_str(j, "site", *site ? site : NULL);
                json_str(j, "from", from);
                json_str(j, "to", to);
                json_u64(j, "missing", missing);
                json_bool(j, "open", open);
                json_str(j, "hint", *hint ? hint : NULL);
                json_close(j, '}');
                return;
        }
        table_cell(r->table, PLAIN, "%s", org);
        table_cell(r->table, PLAIN, "%s", category_name(category));
        table_cell(r->table, PLAIN, "%s", *site ? site : "-");
        table_cell(r->table, PLAIN, "%s", from);
        table_cell(r->table, open ? YELLOW : PLAIN, "%s%s", to, open ? " (until now)" : "");
        table_cell(r->table, PLAIN, "%llu", (unsigned long long)missing);
        table_cell(r->table, YELLOW, "%s", hint);
}

/* A snapshot that came, but without some of its members. */
static int on_rejected(const struct report_row *row, void *arg)
{
        struct rows *r = arg;
        char hint[160];
        if (row->number[1] < 0 || row->number[1] >= CATEGORY_MAX)
                return 0;
        snprintf(hint, sizeof(hint), "members rejected (%s)", row->text[4]);
        add_row(r, row->text[0], (enum category)row->number[1], "", row->text[3], row->text[3], false,
                (uint64_t)row->number[5], hint);
        r->n++;
        return 0;
}

/* Whether it is a file that misses nobody can tell. */
static int on_unreadable(const struct report_row *row, void *arg)
{
        struct rows *r = arg;
        char hint[160];
        if (row->number[1] < 0 || row->number[1] >= CATEGORY_MAX)
                return 0;
        snprintf(hint, sizeof(hint), "listed, but cannot be read: %.100s", row->text[4]);
        add_row(r, row->text[0], (enum category)row->number[1], row->text[2], row->text[6], row->text[7],
                false, (uint64_t)row->number[3], hint);
        r->n++;
        return 0;
}

static int show(struct rows *r, const struct days *days, const struct facts *f, struct error *e)
{
        for (size_t i = 0; i < days->gaps.n; i++) {
                const struct habit_gap *g = &days->gaps.v[i];
                const struct habit_series *s = &days->habit.series[g->series];
                char from[11], to[11], hint[160];
                days_hint(days, g, f, hint, sizeof(hint));
                add_row(r, s->org, s->category, s->site, date_format(g->from, from), date_format(g->to, to),
                        g->open, g->missing, hint);
        }
        int err = report_each(r->c->ledger, REPORT_MEMBERS_REJECTED, NULL, NULL, on_rejected, r, e);
        return err ? err : report_each(r->c->ledger, REPORT_UNREADABLE, NULL, NULL, on_unreadable, r, e);
}

int run_gaps(struct ctl *c)
{
        _cleanup_days_ struct days days = {};
        _cleanup_json_ struct json j = {};
        struct facts f;
        struct error e = {};
        int status = facts_read(c, false, &f);
        if (status)
                return status;
        if (days_read(c, &days, &e) < 0)
                return e.cause ? ctl_fail(c, &e) : ctl_fail_text("out of memory");
        if (c->json) {
                answer_open(&j);
                json_open(&j, "gaps", '[');
        }
        struct rows rows = {.c = c,
                .json = &j,
                .table = c->json ? NULL : table_new("ORG|CATEGORY|SITE|FROM|TO|>MISSING|HINT")};
        int r = show(&rows, &days, &f, &e);
        if (rows.table && !table_print(rows.table))
                puts(days.habit.n > 0 ? "No gaps: nothing is missing, by the habit of each site."
                                      : "No gaps can be told: nothing is known yet.");
        if (r < 0)
                return ctl_fail(c, &e);
        if (c->json) {
                json_close(&j, ']');
                status = answer_print(&j);
        }
        return status ? status : ctl_flag(c, "fail") && days.gaps.n + rows.n > 0 ? CTL_FOUND : CTL_WELL;
}
