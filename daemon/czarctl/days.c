/* SPDX-License-Identifier: Apache-2.0 */
/* From the ledger to lib/domain/habit.c. */
#include "days.h"

#include <stdio.h>
#include <time.h>

#include "ledger_report.h"
#include "timespan.h"
#include "wants.h"

int days_read(struct ctl *c, struct days *ret, struct error *e)
{
        struct days d = {};
        int r = report_habit(c->ledger, &d.habit, e);
        if (r == 0)
                r = habit_find_gaps(&d.habit, (int)(time(NULL) / 86400), &d.gaps);
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
        int64_t from = (int64_t)g->from * 86400;
        *ret = 0;
        for (size_t i = 0; i < f->n_keys && !*ret; i++) {
                char when[TIME_SIZE];
                if (f->keys[i].expires == 0 || from < f->keys[i].expires - 86400)
                        continue;
                time_format(f->keys[i].expires, when);
                snprintf(ret, size, "key expired at edX? (yours expired %.10s)", when);
        }
        if (!*ret && g->together)
                snprintf(ret, size, "key expired at edX? (all of %s stopped together)",
                        d->habit.series[g->series].org);
}
