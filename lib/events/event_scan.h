/* SPDX-License-Identifier: Apache-2.0 */
/* The few values of an event that decide whose it is, found in one pass over its JSON without building
 * anything. The whole text is checked all the same: RFC 8259 in UTF-8, plus NaN, Infinity and -Infinity;
 * what follows that is not JSON, and nothing else is. Of equal keys the last one counts. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define EVENT_DEPTH_MAX 1000 /* objects and arrays within each other */

/* How many bytes behind the line may be read. What they are does not matter. */
#define EVENT_SCAN_SLACK 64

enum event_kind { EVENT_ABSENT, EVENT_NULL, EVENT_STRING, EVENT_OBJECT, EVENT_OTHER };

struct event_value {
        enum event_kind kind;
        const char *p; /* of a string: what stands between its quotes, as it stands there */
        size_t n;
        bool escaped; /* it has a backslash */
};

struct event_fields {
        struct event_value context, course_id /* of context, if that is an object */, event_source,
                event_type, page;
};

/* p[n] must be '\n', and EVENT_SCAN_SLACK bytes behind it readable. True, and *ret, when the n bytes are one
 * JSON object; white space around it is not. */
bool event_scan(const char *p, size_t n, struct event_fields *ret);

/* The text of a string with its escapes resolved; ret has room for n bytes. A lone surrogate becomes the
 * three bytes that UTF-8 would have for it. Returns the length. */
size_t event_unescape(const char *p, size_t n, char *ret);
