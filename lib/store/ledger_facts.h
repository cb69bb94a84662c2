/* SPDX-License-Identifier: Apache-2.0 */
/* What the ledger knows beside objects and members, each kind with a table of its own. Every function returns
 * 0 or -errno; what is not known is said to be so in *ret, not by an error (but ledger_split_get() says
 * -ENOENT). */
#pragma once

#include "audit.h"
#include "ledger.h"
#include "limits.h"
#include "terms.h"
#include "timespan.h"

/* The last line of the audit record that was durable when this was committed. seq 0: not known. */
int ledger_audit_tail(struct ledger *l, struct audit_tail *ret, struct error *e);
int ledger_set_audit_tail(struct ledger *l, const struct audit_tail *tail, struct error *e);

/* The courses of an archive, of its version etag: they replace what was known. */
int ledger_set_courses(
        struct ledger *l, int64_t object_id, const char *etag, const struct strv *courses, struct error *e);
/* Adds them to ret. ret_etag "": they are not known. */
int ledger_courses(
        struct ledger *l, int64_t object_id, char ret_etag[ETAG_SIZE], struct strv *ret, struct error *e);

/* Were members of the archive left out by a filter that the ledger does not know? After a rebuild. */
int ledger_left_out(struct ledger *l, int64_t object_id, bool *ret, struct error *e);
int ledger_set_left_out(struct ledger *l, int64_t object_id, bool left_out, struct error *e);

/* An archive that does not fit on the disk. etag "": it is not known to. */
struct ledger_shortage {
        char etag[ETAG_SIZE];
        uint64_t bytes; /* that it needs */
        int pid;        /* of the czard that said so */
};
int ledger_shortage(struct ledger *l, int64_t object_id, struct ledger_shortage *ret, struct error *e);
/* NULL: it is not short of room any more. */
int ledger_set_shortage(
        struct ledger *l, int64_t object_id, const struct ledger_shortage *shortage, struct error *e);

/* What the last archive of an organisation and category taught. 0: not known. */
struct ledger_growth {
        uint64_t expansion; /* percent of its members' encrypted size that they have decrypted */
        uint64_t new_share; /* percent of that which shared no storage */
};
int ledger_growth(
        struct ledger *l, const char *org, enum category c, struct ledger_growth *ret, struct error *e);
int ledger_set_growth(
        struct ledger *l, const char *org, enum category c, const struct ledger_growth *g, struct error *e);

/* The date that an admin pinned `latest` to, "" none. */
int ledger_pin(struct ledger *l, const char *org, enum category c, char ret[DATE_SIZE], struct error *e);
int ledger_set_pin(struct ledger *l, const char *org, enum category c, const char *date, struct error *e);

/* For metrics: how long the last poll ("poll"), or the last object of a category (by its name), took. 0: not
 * known. */
int ledger_took(struct ledger *l, const char *what, uint64_t *ret_usec, struct error *e);
int ledger_set_took(struct ledger *l, const char *what, uint64_t usec, struct error *e);

/* Plaintext that is staged elsewhere now, and could not be removed, or moved to keep_as, at path. */
struct ledger_leftover {
        int64_t object_id; /* 0: not known */
        char path[STAGED_PATH_SIZE], keep_as[384];
};
int ledger_leftover_add(struct ledger *l, const struct ledger_leftover *leftover, struct error *e);
int ledger_leftover_remove(struct ledger *l, const char *path, struct error *e);
/* Those of the object. */
int ledger_leftovers_delete(struct ledger *l, int64_t object_id, struct error *e);
/* The first one by path after `after` ("" from the start). 1, 0: there is none, or -errno. */
int ledger_leftover_next(struct ledger *l, const char *after, struct ledger_leftover *ret, struct error *e);

/* The secret keys that the workers found. */
struct ledger_key {
        char fingerprint[FINGERPRINT_SIZE], user_id[1024 + 1];
        char homedir[LIMIT_PATH + 1]; /* the GnuPG home that has it, "" not known */
        int64_t created, expires;     /* seconds; expires 0: never */
};
int ledger_keys_clear(struct ledger *l, struct error *e);
int ledger_key_add(struct ledger *l, const struct ledger_key *key, struct error *e);
/* In the order in which they were added, at most n. */
int ledger_keys(struct ledger *l, struct ledger_key *ret, size_t n, size_t *ret_n, struct error *e);

/* --- events by course: one row a day, beside the row of its file of events. A day is due when its file is
 * staged, whatever became of the object in S3, and the folder is not, or was made from another file or by
 * another rule. --- */

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
