/* SPDX-License-Identifier: Apache-2.0 */
/* Which courses a delivery hands out, and the names of what it makes of them. An event has its course's full
 * key; a table has the form of it in which its parts are joined by '-'. Where two keys that are known have
 * one form, neither leaves until its full key is listed: it is held. The one that is listed then leaves, the
 * others do not. Whose tables are they? All keys of that form have to be listed, or those that are not have
 * the same parts, written in another way (A/B/C, course-v1:A+B+C), or the tables are listed by exactly that
 * form. */
#pragma once

#include <stdbool.h>

#include "config.h"
#include "event.h"

#define COURSE_FORM_MAX 256

struct courses {
        const struct config_delivery *delivery; /* borrowed */
        void *known;                            /* struct known by their forms: a tree of name.h */
        bool *matched;                          /* by entry of delivery->courses */
        int err;
};

int courses_init(struct courses *c, const struct config_delivery *d);
void courses_done(struct courses *c);

/* "course-v1:A+B+C" -> "A-B-C", "ccx-v1:A+B+C+ccx@1" -> "A-B-C-ccx-1". */
void course_form(const char *key, char ret[COURSE_FORM_MAX]);

/* A key that events have. All of them come first, then may be asked. */
void courses_know(struct courses *c, const char *key);

enum course_word { COURSE_UNLISTED, COURSE_LISTED, COURSE_HELD };
enum course_word courses_key(const struct courses *c, const char *key);
enum course_word courses_form(const struct courses *c, const char *form);
/* Do several keys of that form leave? */
bool courses_is_parted(const struct courses *c, const char *form);
/* The name in the outbox of the course of that form. */
void courses_name(const struct courses *c, const char *form, char ret[COURSE_FORM_MAX]);

/* Something of that form is held, and has to be told. */
void courses_tell_held(const struct courses *c, const char *form);
/* The forms of which that was said; ret_keys, each with its keys: "A-B-C (A/B/C, course-v1:A+B+C)". 0 or
 * -ENOMEM. */
int courses_list_held(const struct courses *c, struct strv *ret, struct strv *ret_keys);

/* --- what one message is, and how it is called in the outbox: its name has that of its course, which may
 * become known later, or need a hash one day; what it is has not --- */

#define DELIVER_EVENTS_EXT ".log.gz.gpg"
#define DELIVER_STATE_EXT ".tar.gpg"
#define DELIVER_ARCHIVE_EXT ".tar.gz.gpg"

/* "A/state/2024-07-07.tar.gpg", 2 -> "A/state/2024-07-07-r2.tar.gpg". The caller frees. */
char *item_name(const char *base, unsigned revision);
/* base: its name without the revision. course: full key, or the form that tables have. Two messages with one
 * id are versions of the same. The caller frees; NULL: no memory. */
char *item_id(const char *base, const char *course);
/* The base of a course whose name others have too: "A.tar.gpg" -> "A~0123456789abcdef.tar.gpg", with the hash
 * of `of`. The caller frees; NULL: no memory. */
char *item_parted(const char *base, const char *of);
