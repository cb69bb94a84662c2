/* SPDX-License-Identifier: Apache-2.0 */
/* The dates of all objects in the ledger, by series, and what is missing of them: for status, gaps, metrics
 * and report. */
#pragma once

#include "ctl.h"
#include "facts.h"
#include "habit.h"

struct days {
        struct habit habit;
        struct habit_gaps gaps;
};
/* By what is due today. The ledger must be open. 0 or -errno. */
int days_read(struct ctl *c, struct days *ret, struct error *e);
void days_done(struct days *d);
#define _cleanup_days_ _cleanup_(days_done)

/* Does the configuration want more of that series? Not of a site that was taken out, for example. */
bool days_is_wanted(const struct ctl *c, const struct habit_series *s);
/* The gap since the last file of a series, NULL: none. */
const struct habit_gap *days_late(const struct days *d, size_t series);
/* Why it may be, "" when nothing points to a reason. */
void days_hint(
        const struct days *d, const struct habit_gap *g, const struct facts *f, char *ret, size_t size);
