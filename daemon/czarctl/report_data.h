/* SPDX-License-Identifier: Apache-2.0 */
/* The data of the report, which --json prints and report.html shows. */
#pragma once

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

/* Calendars of the events; snapshots over time, and what vanished or shrank. 0 or -errno. */
int report_days(struct report_data *r);
int report_snapshots(struct report_data *r);
