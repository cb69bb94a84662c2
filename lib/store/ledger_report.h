/* SPDX-License-Identifier: Apache-2.0 */
/* What a person wants to know of the ledger as a whole: sums and lists that SQL makes best. For readers
 * (czarctl); each answers in well under 100 ms with 20,000 objects. */
#pragma once

#include "habit.h"
#include "ledger.h"

enum report {
        /* org, category, site, state, how many, bytes in S3, plaintext bytes */
        REPORT_COUNTS,
        /* org, category, site, newest date that is staged, its path, when it was staged, newest date known,
         * how many are staged, when something was staged last, its plaintext bytes */
        REPORT_LAST,
        /* state, cause, how many, key of one, its detail, its next try, org: RETRY, REJECTED and MISSING */
        REPORT_TROUBLES,
        /* how many, path of one: staged before the version that the row tells of, and found missing or
         * altered */
        REPORT_KEPT_MISSING,
        /* org, category, site (""), date, cause, how many, object id, path, name of one, its detail: members
         * that were rejected, of staged snapshots, by snapshot and cause, the newest first */
        REPORT_MEMBERS_REJECTED,
        /* org, category, site, how many, key of one, bucket, least and greatest date: entries of listings
         * that cannot be read */
        REPORT_UNREADABLE,
        /* org, category, site, date, days from the date to the upload, is it at edX or staged, replaced,
         * state: every dated object, in this order */
        REPORT_DATES,
        /* object id, path, date, org, category, how many rejected members, plaintext bytes, members, bytes in
         * S3: every staged snapshot, newest first */
        REPORT_SNAPSHOTS,
        /* course: of the snapshot ?1, those with staged members, in order */
        REPORT_COURSES,
        /* table, course, is it gone: of the snapshot ?2, those that ?1 has not, or less than half of it, in
         * order */
        REPORT_LOST,
        /* org, category, plaintext bytes by name, plaintext bytes when equal members of snapshots are counted
         * once */
        REPORT_STORAGE,
        REPORT_MAX
};

#define REPORT_COLUMNS 10
/* One row. Text is never NULL and is valid until the function returns. */
struct report_row {
        const char *text[REPORT_COLUMNS];
        int64_t number[REPORT_COLUMNS];
};
/* Of a report whose second column is the category: its name, or NULL when a newer czard wrote one that is not
 * known here. */
const char *report_category(const struct report_row *row);
typedef int report_fn(const struct report_row *row, void *arg);
/* Calls each for every row; a non-zero return ends it and is returned. Parameters are NULL or text. */
int report_each(struct ledger *l, enum report which, const char *first, const char *second, report_fn *each,
        void *arg, struct error *e);

/* How many members of staged snapshots were rejected; object_id 0: of all. 0 or -errno. */
int report_rejected(struct ledger *l, int64_t object_id, uint64_t *ret, struct error *e);

/* How many entries of listings cannot be read. 0 or -errno. */
int report_unreadable(struct ledger *l, uint64_t *ret, struct error *e);

/* Adds every dated object that is at edX or staged. 0 or -errno. */
int report_habit(struct ledger *l, struct habit *h, struct error *e);
