/* SPDX-License-Identifier: Apache-2.0 */
/* When files come, and which did not: judged by what each organisation, category and site did before. A day
 * without events has no file, so a missing day is only a gap where that weekday usually has one. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "limits.h"
#include "package.h"

/* One dated object. Days are days since the epoch. */
struct habit_day {
        int day;
        int delay; /* days from the date to the upload */
};

struct habit_series {
        char org[ORG_SIZE], site[SITE_SIZE];
        enum category category;
        struct habit_day *days; /* ascending; equal days are fine */
        size_t n;
};

struct habit_gap {
        size_t series;    /* index */
        int from, to;     /* first and last missing date */
        unsigned missing; /* how many dates between them should have come */
        bool open;        /* nothing came after it yet */
        bool together;    /* every other series of the organisation stopped at about the same time */
};
struct habit_gaps {
        struct habit_gap *v;
        size_t n;
};

/* Adds a day to its series, which is made when it is new. 0 or -ENOMEM. Days of a series come in order. */
struct habit {
        struct habit_series *series;
        size_t n;
};
int habit_add(struct habit *h, const char *org, enum category c, const char *site, struct habit_day day);
void habit_done(struct habit *h);
#define _cleanup_habit_ _cleanup_(habit_done)

/* Days between two files: 1 daily, 7 weekly, ...; 0: too few to tell. */
int habit_step(const struct habit_series *s);
/* The last date that should be there on the day `today`, by how late files usually come. */
int habit_last_due(const struct habit_series *s, int today);

/* Of a daily series: does that weekday usually have a file, by what is known of the time before the day? */
bool habit_is_usual(const struct habit_series *s, int day);

/* All gaps, by series and date. 0 or -ENOMEM. */
int habit_find_gaps(const struct habit *h, int today, struct habit_gaps *ret);
void habit_gaps_done(struct habit_gaps *g);
#define _cleanup_habit_gaps_ _cleanup_(habit_gaps_done)
