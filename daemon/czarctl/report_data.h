/* SPDX-License-Identifier: Apache-2.0 */
/* What report*.c share: each writes its part of the data, which --json prints and report.html shows. */
#pragma once

#include "days.h"
#include "facts.h"
#include "ledger_report.h"

struct report_data {
        struct ctl *c;
        struct json j;
        struct facts facts;
        struct days days;
        bool look; /* something is to be looked at */
        struct error *e;
};

/* All return 0 or -errno. report_days.c: calendars of the events */
int report_days(struct report_data *r);
/* report_snapshots.c: snapshots over time, and what vanished or shrank */
int report_snapshots(struct report_data *r);
/* report_by_course.c: days of events by course: how many could not be split; those among the failures, by
 * cause; what they take */
int report_not_split(struct report_data *r);
int report_split_failures(struct report_data *r);
int report_split_storage(struct report_data *r);
/* An item of the list of storage. */
void report_storage(struct json *j, const char *org, const char *what, int64_t bytes, int64_t on_disk);
