/* SPDX-License-Identifier: Apache-2.0 */
/* gaps: what did not come, by lib/domain/habit.c. */
#include <stdio.h>

#include "days.h"
#include "runs.h"
#include "table.h"
#include "timespan.h"

static void show(struct ctl *c, const struct days *days, const struct facts *f, struct json *j)
{
        struct table *t = c->json ? NULL : table_new("ORG|CATEGORY|SITE|FROM|TO|>MISSING|HINT");
        for (size_t i = 0; i < days->gaps.n; i++) {
                const struct habit_gap *g = &days->gaps.v[i];
                const struct habit_series *s = &days->habit.series[g->series];
                char from[11], to[11], hint[160];
                date_format(g->from, from);
                date_format(g->to, to);
                days_hint(days, g, f, hint, sizeof(hint));
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
        if (t && !table_print(t))
                puts(days->habit.n > 0 ? "No gaps: nothing is missing, by the habit of each site."
                                       : "No gaps can be told: nothing is known yet.");
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
        show(c, &days, &f, &j);
        if (c->json) {
                json_close(&j, ']');
                status = answer_print(&j);
        }
        return status ? status : ctl_flag(c, "fail") && days.gaps.n > 0 ? CTL_FOUND : CTL_WELL;
}
