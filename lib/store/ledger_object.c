/* SPDX-License-Identifier: Apache-2.0 */
/* One object at a time: read, written, listed, its state changed; and the members of a snapshot. */
#include <assert.h>
#include <time.h>

#include "ledger.h"
#include "ledger_internal.h"
#include "limits.h"
#include "str.h"
#include "timespan.h"

/* The columns of an object in the order in which they are bound and read; id comes before. */
#define OBJECT_COLUMNS                                                                                       \
        "bucket, key, etag, size, last_modified, category, org, site, date, request, is_zip, state, path, "  \
        "plain_size, sha256, checks, fingerprint, staged_etag, cause, detail, attempts, next_try, "          \
        "first_seen, published_at, refusals"
#define COLUMN_(kind, field, ...) COLUMN(kind, struct ledger_object, field, __VA_ARGS__)
/* id, then as OBJECT_COLUMNS */
static const struct sql_column columns[] = {
        COLUMN_(NUMBER, id, .min = 1),
        COLUMN_(TEXT, bucket),
        COLUMN_(TEXT, key),
        COLUMN_(TEXT, etag),
        COLUMN_(NUMBER, size),
        COLUMN_(NUMBER, last_modified, .min = INT64_MIN),
        COLUMN_(NUMBER, category, .max = CATEGORY_MAX - 1),
        COLUMN_(TEXT, org),
        COLUMN_(TEXT, site),
        COLUMN_(TEXT, date),
        COLUMN_(TEXT, request),
        COLUMN_(NUMBER, is_zip, .max = 1),
        COLUMN_(NUMBER, state, .max = OBJECT_STATE_MAX - 1),
        COLUMN_(TEXT, path),
        COLUMN_(NUMBER, plain_size, .min = -1),
        COLUMN_(SHA256, sha256, .has = offsetof(struct ledger_object, has_sha256)),
        COLUMN_(NUMBER, checks),
        COLUMN_(TEXT, fingerprint),
        COLUMN_(TEXT, staged_etag),
        COLUMN_(CAUSE, cause),
        COLUMN_(TEXT, detail),
        COLUMN_(NUMBER, attempts),
        COLUMN_(NUMBER, next_try),
        COLUMN_(NUMBER, first_seen),
        COLUMN_(NUMBER, published_at),
        COLUMN_(NUMBER, refusals),
};
#define PARAMETERS                                                                                           \
        "(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23,?24,?25)"

/* A query for one object. 0 or -ENOENT. */
static int get(struct ledger *l, const char *sql, const struct sql_value *values, struct ledger_object *ret,
        struct error *e)
{
        struct ledger_object o = {};
        int r = sql_get(&l->sql, sql, values, columns, ELEMENTSOF(columns), &o, e);
        if (r == 1)
                *ret = o;
        return r == 0 ? error_set(e, CAUSE_GONE, ENOENT, "not in the ledger") : MIN(r, 0);
}

int ledger_get(struct ledger *l, int64_t id, struct ledger_object *ret, struct error *e)
{
        return get(l, "SELECT id, " OBJECT_COLUMNS " FROM object WHERE id = ?1", VALUES(V(id)), ret, e);
}

int ledger_find(
        struct ledger *l, const char *bucket, const char *key, struct ledger_object *ret, struct error *e)
{
        return get(l, "SELECT id, " OBJECT_COLUMNS " FROM object WHERE bucket = ?1 AND key = ?2",
                VALUES(V(bucket), V(key)), ret, e);
}

int ledger_other_staged(struct ledger *l, const struct ledger_object *o, const char *path,
        struct ledger_object *ret, struct error *e)
{
        struct ledger_object other = {};
        if (o->category != CATEGORY_EMAIL_OPT_IN || !*o->date)
                return -ENOENT;
        int r = sql_get(&l->sql,
                "SELECT id, " OBJECT_COLUMNS " FROM object WHERE category = ?1 AND org = ?2 AND date "
                "= ?3 AND path = ?4 AND staged_etag <> '' AND id <> ?5 ORDER BY key, bucket LIMIT 1",
                VALUES(V(o->category), V(o->org), V(o->date), V(path), V(o->id)), columns,
                ELEMENTSOF(columns), &other, e);
        if (r == 1)
                *ret = other;
        return r == 0 ? -ENOENT : MIN(r, 0);
}

int ledger_save(struct ledger *l, const struct ledger_object *o, struct error *e)
{
        assert(o->id > 0);
        int r = sql_put(&l->sql,
                "UPDATE object SET (" OBJECT_COLUMNS ") = " PARAMETERS
                " WHERE id = ?26 AND bucket = ?1 AND key = ?2",
                columns + 1, ELEMENTSOF(columns) - 1, o, VALUES(V(o->id)), e);
        if (r == 0 && sqlite3_changes(l->sql.db) != 1)
                return error_set(
                        e, CAUSE_INTERNAL, ENOENT, "object %lld is not in the ledger", (long long)o->id);
        return r;
}

int ledger_enter(struct ledger *l, struct ledger_object *o, enum object_state next, struct error *e)
{
        assert(object_may_enter(o->state, next));
        enum object_state before = o->state;
        o->state = next;
        int r = ledger_save(l, o, e);
        if (r < 0)
                o->state = before;
        return r;
}

static int insert_new(struct ledger *l, struct ledger_object *o, struct error *e)
{
        o->state = OBJECT_NEW;
        o->plain_size = -1;
        o->has_sha256 = false;
        o->checks = 0;
        o->fingerprint[0] = o->staged_etag[0] = o->detail[0] = 0;
        o->cause = CAUSE_NONE;
        o->attempts = o->refusals = 0;
        o->next_try = o->published_at = 0;
        o->first_seen = (int64_t)(now_usec(CLOCK_REALTIME) / USEC_PER_SEC);
        int r = sql_put(&l->sql, "INSERT INTO object (" OBJECT_COLUMNS ") VALUES " PARAMETERS, columns + 1,
                ELEMENTSOF(columns) - 1, o, NULL, e);
        if (r == 0)
                o->id = sqlite3_last_insert_rowid(l->sql.db);
        return r;
}

static int mark_seen(struct ledger *l, int64_t id, int64_t generation, struct error *e)
{
        if (generation == 0)
                return 0;
        return sql_run(&l->sql,
                "INSERT INTO seen (object_id, generation) VALUES (?1, ?2) "
                "ON CONFLICT (object_id) DO UPDATE SET generation = excluded.generation",
                VALUES(V(id), V(generation)), e);
}

static void begin_anew(struct ledger_object *o)
{
        o->cause = CAUSE_NONE;
        o->detail[0] = 0;
        o->attempts = o->refusals = 0;
        o->next_try = 0;
        o->state = OBJECT_NEW;
}

/* Were bytes of it refused: all of them, or some members of a staged archive? 1, 0 or -errno. */
static int was_refused(struct ledger *l, const struct ledger_object *o, struct error *e)
{
        if (o->state == OBJECT_REJECTED || !o->is_zip || o->state != OBJECT_PUBLISHED)
                return o->state == OBJECT_REJECTED;
        return sql_run(&l->sql, "SELECT 1 FROM member WHERE object_id = ?1 AND state = ?2 LIMIT 1",
                VALUES(V(o->id), V(OBJECT_REJECTED)), e);
}

/* The right bytes have the same ETag as the wrong ones that a server gave: that it was written anew since is
 * all that tells of a repair. */
static int look_at_repair(struct ledger *l, struct ledger_object *known, const struct ledger_object *seen,
        enum listed *what, struct error *e)
{
        if (seen->last_modified <= known->last_modified || !streq(known->etag, seen->etag) ||
                known->size != seen->size)
                return 0;
        int r = was_refused(l, known, e);
        if (r <= 0)
                return r;
        begin_anew(known);
        known->last_modified = seen->last_modified;
        *what = LISTED_REPLACED;
        return 0;
}

/* What the listing changes in a known object. */
static enum listed update_known(struct ledger_object *known, const struct ledger_object *seen)
{
        enum listed what = LISTED_SAME;
        /* No ETag should be that of two sizes; where one is, what was read is not what is there. */
        bool other = !streq(known->etag, seen->etag) || known->size != seen->size;
        bool staged = !other && *known->staged_etag && streq(known->staged_etag, known->etag);
        memcpy(known->etag, seen->etag, sizeof(known->etag));
        known->size = seen->size;
        /* Copied onto itself, an object has another time but the same content: the staged file keeps its own.
         */
        if (!staged)
                known->last_modified = seen->last_modified;
        if (other) {
                what = LISTED_REPLACED;
                enum object_state state = known->state;
                begin_anew(known);
                if (state == OBJECT_FORGOTTEN || state == OBJECT_PRUNED)
                        known->state = state;
        } else if (known->state == OBJECT_GONE) {
                known->state = staged ? OBJECT_PUBLISHED : OBJECT_NEW;
                if (!staged)
                        what = LISTED_NEW;
        }
        return what;
}

int ledger_listed(
        struct ledger *l, struct ledger_object *o, int64_t generation, enum listed *ret, struct error *e)
{
        struct ledger_object known;
        enum listed what = LISTED_NEW;
        int r = ledger_find(l, o->bucket, o->key, &known, e);
        if (r == -ENOENT)
                r = insert_new(l, o, e);
        else if (r == 0) {
                const struct ledger_object before = known;
                enum listed repaired = LISTED_SAME;
                r = look_at_repair(l, &known, o, &repaired, e);
                what = update_known(&known, o);
                if (what == LISTED_SAME)
                        what = repaired;
                if (r < 0)
                        return r;
                if (known.state != before.state || !streq(known.etag, before.etag) ||
                        known.size != before.size || known.last_modified != before.last_modified)
                        r = ledger_save(l, &known, e);
                *o = known;
        }
        if (r == 0)
                r = mark_seen(l, o->id, generation, e);
        if (r == 0)
                *ret = what;
        return r;
}

int ledger_still_there(
        struct ledger *l, const char *bucket, const char *key, int64_t generation, struct error *e)
{
        struct ledger_object known;
        int r = ledger_find(l, bucket, key, &known, e);
        return r == -ENOENT ? 0 : r < 0 ? r : mark_seen(l, known.id, generation, e);
}

int ledger_reconsider(struct ledger *l, int64_t now, struct error *e)
{
        return sql_run(&l->sql,
                "UPDATE object SET state = ?1, attempts = 0, next_try = 0 "
                "WHERE state = ?2 AND next_try BETWEEN 1 AND ?3",
                VALUES(V(OBJECT_NEW), V(OBJECT_REJECTED), V(now)), e);
}

void ledger_prefix_end(const char *prefix, char ret[LEDGER_PREFIX_END])
{
        size_t n = strnlen(prefix, LEDGER_PREFIX_END - 5);
        memcpy(ret, prefix, n);
        while (n > 0 && (unsigned char)ret[n - 1] == 0xff)
                n--;
        if (n > 0) {
                ret[n - 1] = (char)((unsigned char)ret[n - 1] + 1);
                ret[n] = 0;
        } else
                strcpy(ret, "\xff\xff\xff\xff"); /* no key, which is UTF-8, has that byte */
}

bool ledger_should_be_staged(const struct ledger_object *o)
{
        return o->state == OBJECT_PUBLISHED ||
               (o->state == OBJECT_GONE && *o->staged_etag && streq(o->staged_etag, o->etag));
}

bool ledger_is_kept(const struct ledger_object *o)
{
        return *o->staged_etag && *o->path && o->state != OBJECT_MISSING && !ledger_should_be_staged(o);
}

void ledger_forget(struct ledger_object *o)
{
        o->path[0] = o->staged_etag[0] = o->detail[0] = o->fingerprint[0] = 0;
        o->has_sha256 = false;
        o->plain_size = -1;
        o->checks = 0;
        o->cause = CAUSE_NONE;
}

int ledger_mark_gone(struct ledger *l, const struct ledger_listing *of, int64_t generation, uint64_t *ret_n,
        struct error *e)
{
        char end[LEDGER_PREFIX_END];
        ledger_prefix_end(of->prefix, end);
        int r = sql_run(&l->sql,
                "UPDATE object SET state = ?7 WHERE bucket = ?1 AND key >= ?2 AND key < ?3 "
                "AND org = ?4 AND category = ?5 AND state NOT IN (?7, ?8, ?9, ?10) AND NOT EXISTS "
                "(SELECT 1 FROM seen WHERE object_id = object.id AND generation = ?6)",
                VALUES(V(of->bucket), V(of->prefix), V(end), V(of->org), V(of->category), V(generation),
                        V(OBJECT_GONE), V(OBJECT_FORGOTTEN), V(OBJECT_PRUNED), V(OBJECT_MISSING)),
                e);
        if (r == 0)
                *ret_n = (uint64_t)sqlite3_changes64(l->sql.db);
        return r;
}

int ledger_last_key(struct ledger *l, const struct ledger_listing *of, char ret[KEY_SIZE], struct error *e)
{
        static const struct sql_column key = {COLUMN_TEXT, .size = KEY_SIZE};
        char end[LEDGER_PREFIX_END];
        ledger_prefix_end(of->prefix, end);
        int r = sql_get(&l->sql,
                "SELECT key FROM object WHERE bucket = ?1 AND key >= ?2 AND key < ?3 "
                "AND org = ?4 AND category = ?5 ORDER BY key DESC LIMIT 1",
                VALUES(V(of->bucket), V(of->prefix), V(end), V(of->org), V(of->category)), &key, 1, ret, e);
        if (r <= 0)
                ret[0] = 0;
        return MIN(r, 0);
}

/* --- entries of listings that could not be read --- */

int ledger_unreadable_add(
        struct ledger *l, const struct ledger_object *o, int64_t generation, struct error *e)
{
        char today[DATE_SIZE];
        date_format((int)(now_usec(CLOCK_REALTIME) / USEC_PER_DAY), today);
        return sql_run(&l->sql,
                "INSERT INTO unreadable (bucket, key, org, category, site, date, generation) "
                "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (bucket, key) DO UPDATE SET "
                "org = excluded.org, category = excluded.category, generation = excluded.generation",
                VALUES(V(o->bucket), V(o->key), V(o->org), V(o->category), V(o->site),
                        V(*o->date ? o->date : today), V(generation)),
                e);
}

/* As ledger_mark_gone(). */
int ledger_unreadable_settle(struct ledger *l, const struct ledger_listing *of, const char *start_after,
        int64_t generation, struct error *e)
{
        char end[LEDGER_PREFIX_END];
        ledger_prefix_end(of->prefix, end);
        return sql_run(&l->sql,
                "DELETE FROM unreadable WHERE bucket = ?1 AND key >= ?2 AND key < ?3 AND org = ?4 "
                "AND category = ?5 AND generation <> ?6 AND key > ?7",
                VALUES(V(of->bucket), V(of->prefix), V(end), V(of->org), V(of->category), V(generation),
                        V(start_after)),
                e);
}

int ledger_unreadable_settle_all(struct ledger *l, int64_t generation, struct error *e)
{
        return sql_run(&l->sql, "DELETE FROM unreadable WHERE generation <> ?1", VALUES(V(generation)), e);
}

/* --- members --- */

/* The same of a member, without an id. */
#define MEMBER_COLUMNS                                                                                       \
        "object_id, name, path, course, \"table\", failed, state, size, plain_size, sha256, checks, cause, " \
        "detail, attempts"
#undef COLUMN_
#define COLUMN_(kind, field, ...) COLUMN(kind, struct ledger_member, field, __VA_ARGS__)
static const struct sql_column member_columns[] = {
        COLUMN_(NUMBER, object_id, .min = 1),
        COLUMN_(TEXT, name),
        COLUMN_(TEXT, path),
        COLUMN_(TEXT, course),
        COLUMN_(TEXT, table),
        COLUMN_(NUMBER, failed, .max = 1),
        COLUMN_(NUMBER, state, .max = OBJECT_STATE_MAX - 1),
        COLUMN_(NUMBER, size),
        COLUMN_(NUMBER, plain_size, .min = -1),
        COLUMN_(SHA256, sha256, .has = offsetof(struct ledger_member, has_sha256)),
        COLUMN_(NUMBER, checks),
        COLUMN_(CAUSE, cause),
        COLUMN_(TEXT, detail),
        COLUMN_(NUMBER, attempts),
};

int ledger_member_save(struct ledger *l, const struct ledger_member *m, struct error *e)
{
        return sql_put(&l->sql,
                "INSERT INTO member (" MEMBER_COLUMNS
                ") VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14) ON CONFLICT (object_id, name) DO "
                "UPDATE SET path = excluded.path, course = excluded.course, \"table\" = excluded.\"table\", "
                "failed = excluded.failed, state = excluded.state, size = excluded.size, plain_size = "
                "excluded.plain_size, sha256 = excluded.sha256, checks = excluded.checks, cause = "
                "excluded.cause, detail = excluded.detail, attempts = excluded.attempts",
                member_columns, ELEMENTSOF(member_columns), m, NULL, e);
}

int ledger_member_delete(struct ledger *l, const struct ledger_member *m, struct error *e)
{
        return sql_run(&l->sql, "DELETE FROM member WHERE object_id = ?1 AND name = ?2",
                VALUES(V(m->object_id), V(m->name)), e);
}

int ledger_members(struct ledger *l, int64_t object_id, ledger_member_fn *each, void *arg, struct error *e)
{
        return ledger_members_from(l, object_id, "", each, arg, e);
}

int ledger_members_from(struct ledger *l, int64_t object_id, const char *path, ledger_member_fn *each,
        void *arg, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        struct ledger_member m = {};
        int r = sql_prepare(&l->sql,
                "SELECT " MEMBER_COLUMNS
                " FROM member WHERE object_id = ?1 AND path >= ?2 ORDER BY path, rowid",
                VALUES(V(object_id), V(path)), &s, e);
        while (r == 0 && (r = sql_next(&l->sql, s, member_columns, ELEMENTSOF(member_columns), &m, e)) == 1)
                r = each(&m, arg);
        return r;
}

int ledger_members_delete(struct ledger *l, int64_t object_id, struct error *e)
{
        int r;
        do /* a part of them: SQLite keeps the rows that it is to delete in memory */
                r = sql_run(&l->sql,
                        "DELETE FROM member WHERE rowid IN (SELECT rowid FROM member WHERE object_id = ?1 "
                        "LIMIT 1000)",
                        VALUES(V(object_id)), e);
        while (r == 0 && sqlite3_changes(l->sql.db) > 0);
        return r;
}

/* Only where the members are those of what is staged: while a replaced snapshot is made anew its rows speak
 * of another folder. Snapshot by snapshot, the newest first as the index has them: an empty table is in there
 * a thousand times. */
static const char find_plaintext[] =
        "SELECT o.path, m.path FROM object o INDEXED BY object_state CROSS JOIN member m INDEXED BY "
        "member_plaintext ON m.sha256 = ?1 AND m.object_id = o.id WHERE o.state IN (?5, ?6) AND o.category = "
        "?4 AND o.org = ?3 AND o.staged_etag = o.etag AND o.staged_etag <> '' AND m.plain_size = ?2 AND "
        "m.state = ?5 AND EXISTS (SELECT 1 FROM member WHERE sha256 = ?1) LIMIT 1";

int ledger_find_plaintext(struct ledger *l, const char *org, enum category c,
        const uint8_t sha256[SHA256_SIZE], int64_t plain_size, char ret_path[STAGED_MEMBER_SIZE],
        struct error *e)
{
        struct found {
                char folder[STAGED_PATH_SIZE], name[STAGED_PATH_SIZE];
        } found;
        static const struct sql_column paths[] = {
                COLUMN(TEXT, struct found, folder), COLUMN(TEXT, struct found, name)};
        int r = sql_get(&l->sql, find_plaintext,
                VALUES(V(sha256), V(plain_size), V(org), V(c), V(OBJECT_PUBLISHED), V(OBJECT_GONE)), paths,
                ELEMENTSOF(paths), &found, e);
        if (r < 0)
                return r;
        if (r == 0)
                return error_set(e, CAUSE_GONE, ENOENT, "no staged member has that plaintext");
        if (!*found.folder || !*found.name)
                return error_set(e, CAUSE_IO, EUCLEAN, "the ledger is damaged at a member's path");
        snprintf(ret_path, STAGED_MEMBER_SIZE, "%s/%s", found.folder, found.name);
        return 0;
}

/* --- are they whole? --- */

static int check_pages(struct ledger *l, struct error *e)
{
        static const struct sql_column answer = {COLUMN_TEXT, .size = 256};
        char text[256] = "";
        int r = sql_get(&l->sql, "PRAGMA quick_check(1)", NULL, &answer, 1, text, e);
        return r < 0 || streq(text, "ok")
                       ? MIN(r, 0)
                       : error_set(e, CAUSE_IO, EUCLEAN, "%s: %s", l->file, *text ? text : "damaged");
}

int ledger_check(struct ledger *l, struct error *e)
{
        struct ledger_object o;
        struct ledger_member m;
        int r = check_pages(l, e);
        /* Sound pages may hold values that are none of ours. */
        if (r == 0)
                r = sql_check(&l->sql, "SELECT id, " OBJECT_COLUMNS " FROM object", columns,
                        ELEMENTSOF(columns), &o, e);
        return r < 0 ? r
                     : sql_check(&l->sql, "SELECT " MEMBER_COLUMNS " FROM member", member_columns,
                               ELEMENTSOF(member_columns), &m, e);
}
