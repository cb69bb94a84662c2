/* SPDX-License-Identifier: Apache-2.0 */
/* Which course an event belongs to: the rule of the producer (edx-analytics-pipeline:
 * export/event_exports_by_course.py, util/eventlog.py), made exact. It decides who may see a line, so a line
 * that fits no rule goes to no course. Pure functions over bytes. */
#pragma once

#include <stddef.h>

#include "terms.h"
#include "course_key.h"
#include "event_scan.h"
#include "str.h"

enum event_verdict {
        EVENT_COURSE,
        EVENT_NO_COURSE, /* it has none */
        EVENT_INVALID,   /* it names one in a way that is not valid */
        EVENT_UNPARSED,  /* it is no JSON object */
};

/* White space here and nowhere else: 09 to 0D, and 20. */
static inline bool event_is_space(char c)
{
        return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The verdict of the line of n bytes at p, which has no white space at its ends; p[n] and what follows as
 * event_scan() wants it. ret: set with EVENT_COURSE. scratch is memory that is used again from call to call.
 * An enum event_verdict, or -ENOMEM. */
int event_course(
        enum event_rule rule, const char *p, size_t n, struct strbuf *scratch, struct course_key *ret);

/* The same of values that are known already: the part of the rule that does not read JSON. */
int event_decide(
        enum event_rule rule, const struct event_fields *f, struct strbuf *scratch, struct course_key *ret);
