/* SPDX-License-Identifier: Apache-2.0 */
/* gaps: what did not come, by lib/habit.c. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "facts.h"
#include "habit.h"
#include "ledger_report.h"
#include "runs.h"
#include "str.h"
#include "table.h"
#include "timespan.h"

static int on_date(const struct report_row *row, void *arg)
{
        struct habit_day d = {.delay = (int)row->number[4]};
        if (!row->number[5] || date_parse(row->text[3], &d.day) < 0 || row->number[1] < 0 ||
                row->number[1] >= CATEGORY_MAX)
                return 0;
        return habit_add(arg, row->text[0], (enum category)row->number[1], row->text[2], d);
}

/* When edX encrypts to an expired key its step fails quietly: files just stop. */
static void hint_of(const struct habit_gap *g, const struct habit_series *s, const struct facts *f, char *ret,
        size_t size)
{
        int64_t from = (int64_t)g->from * 86400;
        *ret = 0;
        for (size_t i = 0; i < f->n_keys; i++) {
                char when[21];
                if (f->keys[i].expires == 0 || from < f->keys[i].expires - 86400 || *ret)
                        continue;
                time_format(f->keys[i].expires, when);
                snprintf(ret, size, "key expired at edX? (yours expired %.10s)", when);
        }
        if (!*ret && g->together)
                snprintf(ret, size, "key expired at edX? (all of %s stopped together)", s->org);
}

static void show(struct ctl *c, const struct habit *h, const struct habit_gaps *gaps, const struct facts *f,
        struct json *j)
{
        struct table *t = c->json ? NULL : table_new("ORG|CATEGORY|SITE|FROM|TO|>MISSING|HINT");
        for (size_t i = 0; i < gaps->n; i++) {
                const struct habit_gap *g = &gaps->v[i];
                const struct habit_series *s = &h->series[g->series];
                char from[11], to[11], hint[160];
                date_format(g->from, from);
                date_format(g->to, to);
                hint_of(g, s, f, hint, sizeof(hint));
                if (c->json) {
                        json_open(j, NULL, '{');
                        json_str(j, "org", s->org);
                        json_str(j, "category", category_name(s->category));
                        json_str(j, "site", *s->site ? s->site : NULL);
                        json_str(j, "from", from);
                        json_str(j, "to", to);
                        json_u64(j, "missing", g->missing);
                        json_bool(j, "open", g->open);
                        json_str(j, "hint", *hint ? hint : NULL);
                        json_close(j, '}');
                        continue;
                }
                table_cell(t, PLAIN, "%s", s->org);
                table_cell(t, PLAIN, "%s", category_name(s->category));
                table_cell(t, PLAIN, "%s", *s->site ? s->site : "-");
                table_cell(t, PLAIN, "%s", from);
                table_cell(t, g->open ? YELLOW : PLAIN, "%s%s", to, g->open ? " (until now)" : "");
                table_cell(t, PLAIN, "%u", g->missing);
                table_cell(t, YELLOW, "%s", hint);
        }
        if (t && gaps->n > 0)
                table_print(t);
        else if (t) {
                table_print(t);
                puts("no gaps");
        }
}

int run_gaps(struct ctl *c)
{
        _cleanup_habit_ struct habit h = {};
        _cleanup_habit_gaps_ struct habit_gaps gaps = {};
        _cleanup_json_ struct json j = {};
        struct facts f;
        struct error e = {};
        int status = facts_read(c, false, &f);
        if (status)
                return status;
        int r = report_each(c->ledger, REPORT_DATES, NULL, NULL, on_date, &h, &e);
        if (r == 0)
                r = habit_find_gaps(&h, (int)(time(NULL) / 86400), &gaps);
        if (r < 0)
                return e.cause ? ctl_fail(c, &e) : ctl_fail_text("out of memory");
        if (c->json) {
                answer_open(&j);
                json_open(&j, "gaps", '[');
        }
        show(c, &h, &gaps, &f, &j);
        if (c->json) {
                json_close(&j, ']');
                status = answer_print(&j);
        }
        return status ? status : ctl_flag(c, "fail") && gaps.n > 0 ? CTL_FOUND : CTL_WELL;
}
