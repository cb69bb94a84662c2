/* SPDX-License-Identifier: Apache-2.0 */
/* state_dir/ledger.db (SQLite, persistent WAL): what czard knows of each object and member. It is an index:
 * when lost it is rebuilt from audit.jsonl and the staging tree. One writer (czard, holding state_dir/lock);
 * readers beside it (czarctl) open read-only, also when czard is stopped and only the group may read. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "digest.h"
#include "error.h"
#include "limits.h"
#include "outcome.h"
#include "package.h"
#include "terms.h"
#include "timespan.h"

struct ledger;

struct ledger_object {
        int64_t id; /* 0: not in the ledger yet */
        char bucket[BUCKET_SIZE], key[KEY_SIZE], etag[ETAG_SIZE];
        uint64_t size;
        int64_t last_modified; /* seconds */
        enum category category;
        char org[ORG_SIZE], site[SITE_SIZE], date[DATE_SIZE], request[REQUEST_SIZE];
        bool is_zip;
        enum object_state state;
        char path[STAGED_PATH_SIZE]; /* file or snapshot folder, relative to the staging root; "" before it is
                                        known */
        int64_t plain_size;          /* -1: unknown; of a snapshot: the sum of its staged members */
        bool has_sha256;
        uint8_t sha256[SHA256_SIZE]; /* of an archive: of its MANIFEST.jsonl */
        uint32_t checks;
        char fingerprint[FINGERPRINT_SIZE]; /* of the decrypting key */
        char staged_etag[ETAG_SIZE]; /* ETag of what is staged at path, "" when nothing is: differs from etag
                                      * while a replaced object is not yet published again */
        enum cause cause;
        char detail[DETAIL_SIZE];
        unsigned attempts;
        unsigned refusals; /* of the bytes as they are now: by causes that are tried a few times only */
        int64_t next_try;  /* seconds; RETRY: 0: at once; REJECTED: one more try then, 0: none */
        int64_t first_seen, published_at; /* seconds, 0: never */
};

/* Should the file or folder at path be there, as the row says? Not while a replaced object is not here again:
 * then the row speaks of what is to come; nor when it was found missing. What is gone from S3 stays staged.
 */
bool ledger_should_be_staged(const struct ledger_object *o);

/* Its row tells of what is to come or was refused, and what was staged before it stays, with the row's path
 * and hash. The row's times are those of the other. */
bool ledger_is_kept(const struct ledger_object *o);
/* Of its content nothing stays in it: FORGOTTEN. */
void ledger_forget(struct ledger_object *o);

struct ledger_member {
        int64_t object_id;
        char name[KEY_SIZE];         /* as in the archive; unique within the object */
        char path[STAGED_PATH_SIZE]; /* below the snapshot folder */
        char course[COURSE_SIZE], table[TABLE_SIZE];
        bool failed; /* the export failed at edX */
        enum object_state
                state; /* NEW, PUBLISHED (linked into the partial or final folder), REJECTED, IGNORED */
        uint64_t size; /* of the encrypted member, unpacked */
        int64_t plain_size;
        bool has_sha256;
        uint8_t sha256[SHA256_SIZE];
        uint32_t checks;
        enum cause cause;
        char detail[DETAIL_SIZE];
        unsigned attempts;
};

/* Opens for writing, makes or migrates the schema (PRAGMA user_version; a copy ledger.db.vN is made before a
 * migration). A newer ledger: -EPROTONOSUPPORT. A damaged one: -EUCLEAN (the caller moves it away and
 * rebuilds). */
int ledger_open(const char *state_dir, struct ledger **ret, struct error *e);
/* For readers. Needs no write permission on the folder when the WAL files are there or czard is stopped. */
int ledger_open_readonly(const char *state_dir, struct ledger **ret, struct error *e);
/* Reads all of its pages and rows (a second for 200,000 objects with as many members): 0, or -EUCLEAN. */
int ledger_check(struct ledger *l, struct error *e);
/* Moves a damaged ledger away (ledger.db.damaged-TIME) so that ledger_open() makes a new one. */
int ledger_set_aside(const char *state_dir, struct error *e);
struct ledger *ledger_free(struct ledger *l);

/* Everything written between the two is durable together. Calls nest; the outermost counts. */
int ledger_begin(struct ledger *l, struct error *e);
/* For what nobody misses after a power cut, which may undo it; a crash of ours does not. As the outermost one
 * only, and for all that is begun within it: it saves the wait for the disk. */
int ledger_begin_passing(struct ledger *l, struct error *e);
int ledger_commit(struct ledger *l, struct error *e);
/* Ends it: commits when r is 0, else undoes all of it and returns r. */
int ledger_end(struct ledger *l, int r, struct error *e);
/* Undoes all since the outermost begin, whose commit then fails. After an error between the two: this, not
 * commit. */
void ledger_rollback(struct ledger *l);

/* Small facts: "staging-id", "config-sha256", ... get: value copied into ret ("" when absent). set: ""
 * deletes it. */
int ledger_meta_get(struct ledger *l, const char *name, char *ret, size_t size, struct error *e);
int ledger_meta_set(struct ledger *l, const char *name, const char *value, struct error *e);

/* What a listing said of an object. */
enum listed { LISTED_SAME, LISTED_NEW, LISTED_REPLACED };
/* Upserts bucket, key, etag, size, last_modified (which a staged object keeps while its ETag is the same) and
 * (for a new one) the identity fields of o, state NEW and first_seen; marks it seen in listing `generation`
 * (0: not marked, an incremental listing; then an unchanged object costs no write). A replaced one (other
 * ETag, or other size): cause, attempts, next_try cleared, state NEW, unless it is FORGOTTEN or PRUNED (these
 * stay, with the new ETag). So does what was refused, also members of a staged archive, when it was written
 * anew since (a newer Last-Modified). GONE objects that are back with the same ETag and staged become
 * PUBLISHED (LISTED_SAME), else NEW (LISTED_NEW). o is filled with the row as it is afterwards. */
int ledger_listed(
        struct ledger *l, struct ledger_object *o, int64_t generation, enum listed *ret, struct error *e);
/* It was listed, but what is there cannot be told: a known object is marked as seen in `generation`. */
int ledger_still_there(
        struct ledger *l, const char *bucket, const char *key, int64_t generation, struct error *e);
/* The objects that one listing is of. A prefix alone does not say: "mitx-" also begins the keys of mitx-pro.
 */
struct ledger_listing {
        const char *bucket, *prefix, *org;
        enum category category;
};
/* After a full listing: each of its objects that was not seen in `generation` becomes GONE (but FORGOTTEN,
 * PRUNED, MISSING stay). *ret_n: how many. */
int ledger_mark_gone(struct ledger *l, const struct ledger_listing *of, int64_t generation, uint64_t *ret_n,
        struct error *e);

/* Entries of listings that could not be read: no ETag, size, date or key. What they are is not known, and
 * nothing is fetched of them; that they are there is kept here, so that whoever asks is told until a listing
 * is as it should be. */
/* Of o its identity: bucket, key (the listing's prefix where the key is what is missing), org, category, site
 * and date. Without a date it has that of today. */
int ledger_unreadable_add(
        struct ledger *l, const struct ledger_object *o, int64_t generation, struct error *e);
/* The listing was read to its end, from start_after ("": its beginning) on: what it no longer had as
 * unreadable in `generation` goes. */
int ledger_unreadable_settle(struct ledger *l, const struct ledger_listing *of, const char *start_after,
        int64_t generation, struct error *e);
/* All listings were read, whole: also what is none of theirs any more goes. */
int ledger_unreadable_settle_all(struct ledger *l, int64_t generation, struct error *e);

/* REJECTED objects whose time for one more try (next_try) has come become NEW. now: seconds. */
int ledger_reconsider(struct ledger *l, int64_t now, struct error *e);

/* 0 or -ENOENT. */
int ledger_get(struct ledger *l, int64_t id, struct ledger_object *ret, struct error *e);
int ledger_find(
        struct ledger *l, const char *bucket, const char *key, struct ledger_object *ret, struct error *e);
/* Writes every field of an object that has an id. -ENOENT: its row is not there (any more), or the id is
 * another object's now. */
int ledger_save(struct ledger *l, const struct ledger_object *o, struct error *e);
/* The one place where a state changes: asserts the edge, sets it, saves. */
int ledger_enter(struct ledger *l, struct ledger_object *o, enum object_state next, struct error *e);

/* Which objects; zero and NULL fields do not filter. */
struct ledger_filter {
        unsigned states;                        /* BIT(OBJECT_...) */
        unsigned categories;                    /* BIT(CATEGORY_...) */
        const char *org, *site, *since, *until; /* dates inclusive */
        const char *bucket, *key_glob;          /* fnmatch(3) */
        bool newest_first;                      /* by date, then key; else by key */
};
/* Calls each with every matching object; a non-zero return ends the walk and is returned. each may save that
 * very object, and may not start other walks on objects. */
typedef int ledger_object_fn(struct ledger_object *o, void *arg);
int ledger_each(
        struct ledger *l, const struct ledger_filter *f, ledger_object_fn *each, void *arg, struct error *e);
/* Just their ids, in that order, as an array that the caller frees: to walk a queue without holding rows. */
int ledger_ids(
        struct ledger *l, const struct ledger_filter *f, int64_t **ret, size_t *ret_n, struct error *e);
/* Two keys may be one folder: both spellings of an opt-in archive. Is other such a key, uploaded later? Also
 * one that is gone but staged. */
bool ledger_is_beaten_by(const struct ledger_object *o, const struct ledger_object *other);
#define LEDGER_OTHER_SPELLING "the other spelling of this archive's key is newer"
/* Is there one in the ledger? 0 or -errno. */
int ledger_is_beaten(struct ledger *l, const struct ledger_object *o, bool *ret, struct error *e);
/* The other object that is staged where o would be (path): 0, or -ENOENT. */
int ledger_other_staged(struct ledger *l, const struct ledger_object *o, const char *path,
        struct ledger_object *ret, struct error *e);
/* It is not any more: o has taken its place. Its members go, and it is IGNORED unless it waits or is GONE. */
int ledger_give_way(struct ledger *l, struct ledger_object *other, struct error *e);
/* How many, and their sizes. */
int ledger_count(struct ledger *l, const struct ledger_filter *f, uint64_t *ret_n, uint64_t *ret_bytes,
        struct error *e);
/* The greatest key of its objects that is known, "" when none: for start-after. */
int ledger_last_key(struct ledger *l, const struct ledger_listing *of, char ret[KEY_SIZE], struct error *e);

int ledger_member_save(struct ledger *l, const struct ledger_member *m, struct error *e);
/* Forgets that one, by its object and name. */
int ledger_member_delete(struct ledger *l, const struct ledger_member *m, struct error *e);
/* By path order (bytes). */
typedef int ledger_member_fn(struct ledger_member *m, void *arg);
int ledger_members(struct ledger *l, int64_t object_id, ledger_member_fn *each, void *arg, struct error *e);
/* Those from that path on: for who goes on later where it was. */
int ledger_members_from(struct ledger *l, int64_t object_id, const char *path, ledger_member_fn *each,
        void *arg, struct error *e);
/* In parts, so between begin and commit. */
int ledger_members_delete(struct ledger *l, int64_t object_id, struct error *e);
/* A staged member of that plaintext in another snapshot of the org and category: its staging path, for
 * deduplication. 0 or -ENOENT. */
int ledger_find_plaintext(struct ledger *l, const char *org, enum category c,
        const uint8_t sha256[SHA256_SIZE], int64_t plain_size, char ret_path[STAGED_MEMBER_SIZE],
        struct error *e);

/* Consistent copy while czard runs (SQLite backup API). */
int ledger_backup(struct ledger *l, const char *file, struct error *e);
