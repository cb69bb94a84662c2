/* SPDX-License-Identifier: Apache-2.0 */
/* What report*.c share. */
#pragma once

#include "days.h"
#include "facts.h"
#include "ledger_report.h"
#include "page.h"

struct html_report {
        struct ctl *c;
        struct strbuf b;
        struct facts facts;
        struct days days;
        /* "ORG SITE DATE" of events, sorted: were replaced; are listed but not staged; are left out on
         * purpose */
        struct strv replaced, unstaged, left_out;
        uint64_t days_not_split; /* by course, though they were to be */
        struct error *e;
};

/* report_days.c: calendars of the events; 0 or -errno */
int report_read_days(struct html_report *r);
void report_days(struct html_report *r);
/* report_snapshots.c: snapshots over time, and what vanished or shrank */
int report_snapshots(struct html_report *r);
/* report_by_course.c: days of events by course; 0 or -errno */
int report_read_by_course(struct html_report *r);
int report_not_split(struct html_report *r);         /* notes among the failures */
int report_by_course_storage(struct html_report *r); /* rows of the table of storage */
