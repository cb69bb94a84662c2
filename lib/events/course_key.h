/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of courses as they stand in events, and the names of the files that a course's events go to. The
 * grammar is that of the producer (edx/locator.py of opaque-keys), in ASCII and without the tails that no
 * event has. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

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
