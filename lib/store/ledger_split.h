/* SPDX-License-Identifier: Apache-2.0 */
/* Events by course, in the ledger: one row a day, beside the row of its file of events. A day is due when its
 * file is staged, whatever became of the object in S3, and the folder is not, or was made from another file
 * or by another rule. */
#pragma once

#include "ledger.h"
#include "limits.h"
#include "terms.h"

struct ledger_split {
        int64_t object_id;
        /* the folder that is staged; path "": none */
        char path[STAGED_PATH_SIZE];
        enum event_rule rule;
        uint8_t source_sha256[SHA256_SIZE];   /* of the file it was made from */
        uint8_t sums_sha256[SHA256_SIZE];     /* of its SHA256SUMS */
        uint8_t manifest_sha256[SHA256_SIZE]; /* of its MANIFEST.jsonl, unless an older czard made it */
        bool has_manifest;
        uint64_t lines_in, lines_of_courses, no_course, invalid, unparsed;
        uint64_t courses, courses_left_out, files_size;
        /* the last attempt, when it failed: cause is not CAUSE_NONE then */
        enum event_rule tried_rule;
        uint8_t tried_sha256[SHA256_SIZE];
        enum cause cause;
        char detail[DETAIL_SIZE];
        unsigned attempts;
        int64_t next_try; /* seconds; 0: not before the file or the rule is another one */
};

/* Is the folder the one that this rule makes of the staged file of o? */
bool ledger_split_is_done(const struct ledger_split *s, const struct ledger_object *o, enum event_rule rule);

/* 0, -ENOENT (e not set) or -errno. */
int ledger_split_get(struct ledger *l, int64_t object_id, struct ledger_split *ret, struct error *e);
int ledger_split_save(struct ledger *l, const struct ledger_split *s, struct error *e);
/* 0 also when there is none. */
int ledger_split_delete(struct ledger *l, int64_t object_id, struct error *e);

/* Whatever stands there, it is to be made again; and was that said already? */
bool ledger_split_is_again(const struct ledger_split *s);
int ledger_split_again(struct ledger *l, int64_t object_id, struct error *e);

/* The days of the organisation that are due by that rule, newest first; the caller frees *ret. Lowers *next
 * (0: none yet) to the time of the next attempt at one that failed, if that is in the future. */
int ledger_splits_due(struct ledger *l, const char *org, enum event_rule rule, int64_t now, int64_t **ret,
        size_t *ret_n, int64_t *next, struct error *e);

/* Those that failed and are to be tried again are so now. */
int ledger_splits_retry(struct ledger *l, struct error *e);

/* The most courses that a day of that organisation and site has had. */
int ledger_splits_courses(
        struct ledger *l, const char *org, const char *site, uint64_t *ret, struct error *e);

/* Those with a row, by path; a non-zero return ends the walk and is returned. */
typedef int ledger_split_fn(const struct ledger_split *s, void *arg);
int ledger_splits(struct ledger *l, ledger_split_fn *each, void *arg, struct error *e);
