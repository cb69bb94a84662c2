/* SPDX-License-Identifier: Apache-2.0 */
/* From a file of events to its lines, and from a line to the course that it belongs to. Whose a line is
 * decides who may see it, so one that fits no rule goes to no course. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "error.h"
#include "event_scan.h"
#include "str.h"
#include "terms.h"

/* --- keys of courses as they stand in events, and the names of the files that a course's events go to; the
 * grammar is that of the producer (edx/locator.py of opaque-keys), in ASCII and without the tails that no
 * event has --- */

#define COURSE_NAME_MAX 200 /* bytes of a file's name without "~" and its hash and without the ending */
#define COURSE_KEY_MAX (COURSE_NAME_MAX + 16)

/* A course's key: "course-v1:A+B+C", "ccx-v1:A+B+C+ccx@1", "library-v1:A+B" or "A/B/C". */
struct course_key {
        char text[COURSE_KEY_MAX + 1];
        size_t len;
        size_t name_at; /* where the namespace ends */
};

enum course_key_result {
        COURSE_KEY_OK,
        COURSE_KEY_NONE,     /* it is no key of a course */
        COURSE_KEY_BAD_NAME, /* it is one, but no file can be named after it */
};

/* The n bytes at p as the key of a course. ret is set when the result is COURSE_KEY_OK. */
enum course_key_result course_key_parse(const char *p, size_t n, struct course_key *ret);
/* The n bytes at p as the key of a block within a course; ret becomes that of the course. */
enum course_key_result course_key_of_usage(const char *p, size_t n, struct course_key *ret);

/* The name of the file without an ending. */
void course_key_name(const struct course_key *key, char ret[COURSE_NAME_MAX + 1]);

/* --- the rule of the producer (edx-analytics-pipeline: export/event_exports_by_course.py, util/eventlog.py),
 * made exact; pure functions over bytes --- */

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

/* --- the lines of a file of events, plain or gzip, one by one and in order: a line ends at '\n' only, the
 * last one also at the end; it may cross members of gzip --- */

#define EVENT_LINE_MAX (16 * MIB) /* bytes without the '\n'; a longer one is not kept */

struct event_lines_sink {
        /* p: the line without white space at its ends, then '\n', then EVENT_SCAN_SLACK bytes. NULL: it was
         * too long. 0, or -errno with the cause in e. */
        int (*on_line)(void *arg, const char *p, size_t n, struct error *e);
        void (*on_read)(void *arg, uint64_t bytes); /* so many bytes of the file were read; may be NULL */
        void *arg;
};

/* Reads fd from its beginning to its end. ret_sha256 (may be NULL): of the file as it lies there. 0, or
 * -errno: CAUSE_BAD_GZIP, CAUSE_IO, or what on_line said. */
int event_lines_read(int fd, bool gzip, const struct event_lines_sink *sink, uint8_t ret_sha256[SHA256_SIZE],
        struct error *e);
