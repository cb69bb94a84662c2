/* SPDX-License-Identifier: Apache-2.0 */
/* Which courses a delivery hands out. An event has its course's full key; a table has the form of it in which
 * its parts are joined by '-'. Where two keys that are known have one form, neither leaves until its full key
 * is listed, and the tables of that form only when both are. */
#pragma once

#include <stdbool.h>

#include "config.h"
#include "course_key.h"

#define COURSE_FORM_MAX 256

struct courses {
        const struct config_delivery *delivery; /* borrowed */
        void *known;                            /* tsearch(3) tree of struct known, by form */
        bool *matched;                          /* by entry of delivery->courses */
        int err;
};

int courses_init(struct courses *c, const struct config_delivery *d);
void courses_done(struct courses *c);

/* "course-v1:A+B+C" -> "A-B-C", "ccx-v1:A+B+C+ccx@1" -> "A-B-C-ccx-1". */
void course_form(const char *key, char ret[COURSE_FORM_MAX]);

/* A key that events have. All of them come first, then may be asked. */
void courses_know(struct courses *c, const char *key);
bool courses_want_key(const struct courses *c, const char *key);
bool courses_want_form(const struct courses *c, const char *form);
/* Do two known keys have this form? */
bool courses_is_ambiguous(const struct courses *c, const char *form);
/* The name in the outbox of the course of that form. */
void courses_name(const struct courses *c, const char *form, char ret[COURSE_FORM_MAX]);
/* The forms that two known keys have of which one is not listed. 0 or -ENOMEM. */
int courses_list_ambiguous(const struct courses *c, struct strv *ret);
