/* SPDX-License-Identifier: Apache-2.0 */
/* What all of the ledger shares: errors, prepared statements, transactions,
 * binding and checked reading. A row is believed only after its numbers are in range and its strings fit:
 * anything else is -EUCLEAN, a damaged ledger. ledger_schema.c opens, ledger_object.c and ledger_query.c hold
 * the objects, ledger_member.c the members. */
#include "ledger.h"

#include <inttypes.h>

#include "ledger_internal.h"
#include "str.h"

static const char *const sql_text[SQL_MAX] = {
        [SQL_BEGIN] = "BEGIN IMMEDIATE",
        [SQL_COMMIT] = "COMMIT",
        [SQL_ROLLBACK] = "ROLLBACK",
        [SQL_META_GET] = "SELECT value FROM meta WHERE name = ?1",
        [SQL_META_DELETE] = "DELETE FROM meta WHERE name = ?1",
        [SQL_META_SET] = "INSERT INTO meta (name, value) VALUES (?1, ?2) "
                         "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        [SQL_OBJECT_GET] = "SELECT id, " LEDGER_OBJECT_COLUMNS " FROM object WHERE id = ?1",
        [SQL_OBJECT_FIND] = "SELECT id, " LEDGER_OBJECT_COLUMNS " FROM object WHERE bucket = ?1 AND key = ?2",
        [SQL_OBJECT_INSERT] = "INSERT INTO object (" LEDGER_OBJECT_COLUMNS ") VALUES "
                              "(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?"
                              "22,?23,?24,?25)",
        [SQL_OBJECT_UPDATE] = "UPDATE object SET (" LEDGER_OBJECT_COLUMNS ") = "
                              "(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?"
                              "22,?23,?24,?25) "
                              "WHERE id = ?26 AND bucket = ?1 AND key = ?2",
        [SQL_SEEN] = "INSERT INTO seen (object_id, generation) VALUES (?1, ?2) "
                     "ON CONFLICT (object_id) DO UPDATE SET generation = excluded.generation",
        /* ?1 bucket, ?2 prefix, ?3 its end, ?4 org, ?5 category, ?6 generation, ?7 GONE, ?8 ?9 ?10 states
         * that stay */
        [SQL_MARK_GONE] = "UPDATE object SET state = ?7 WHERE bucket = ?1 AND key >= ?2 AND key < ?3 "
                          "AND org = ?4 AND category = ?5 AND state NOT IN (?7, ?8, ?9, ?10) AND NOT EXISTS "
                          "(SELECT 1 FROM seen WHERE object_id = object.id AND generation = ?6)",
        [SQL_LAST_KEY] = "SELECT key FROM object WHERE bucket = ?1 AND key >= ?2 AND key < ?3 "
                         "AND org = ?4 AND category = ?5 ORDER BY key DESC LIMIT 1",
        [SQL_UNREADABLE_ADD] = "INSERT INTO unreadable (bucket, key, org, category, site, date, generation) "
                               "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (bucket, key) DO UPDATE SET "
                               "org = excluded.org, category = excluded.category, "
                               "generation = excluded.generation",
        /* as SQL_MARK_GONE, ?7 start-after */
        [SQL_UNREADABLE_SETTLE] =
                "DELETE FROM unreadable WHERE bucket = ?1 AND key >= ?2 AND key < ?3 AND org = ?4 "
                "AND category = ?5 AND generation <> ?6 AND key > ?7",
        [SQL_UNREADABLE_SETTLE_ALL] = "DELETE FROM unreadable WHERE generation <> ?1",
        /* ?1 NEW, ?2 REJECTED, ?3 now */
        [SQL_RECONSIDER] = "UPDATE object SET state = ?1, attempts = 0, next_try = 0 "
                           "WHERE state = ?2 AND next_try BETWEEN 1 AND ?3",
        [SQL_MEMBERS_REFUSED] = "SELECT 1 FROM member WHERE object_id = ?1 AND state = ?2 LIMIT 1",
        [SQL_MEMBER_SAVE] =
                "INSERT INTO member (" LEDGER_MEMBER_COLUMNS ") "
                "VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14) "
                "ON CONFLICT (object_id, name) DO UPDATE SET path = excluded.path, course = excluded.course, "
                "\"table\" = excluded.\"table\", failed = excluded.failed, state = excluded.state, "
                "size = excluded.size, plain_size = excluded.plain_size, sha256 = excluded.sha256, "
                "checks = excluded.checks, cause = excluded.cause, detail = excluded.detail, "
                "attempts = excluded.attempts",
        [SQL_MEMBER_DELETE] = "DELETE FROM member WHERE object_id = ?1 AND name = ?2",
        [SQL_MEMBERS] = "SELECT " LEDGER_MEMBER_COLUMNS " FROM member WHERE object_id = ?1 AND path >= ?2 "
                        "ORDER BY path, rowid",
        /* a part of them: SQLite keeps the rows that it is to delete in memory */
        [SQL_FEED_MEMBER] = "INSERT OR REPLACE INTO feed_member (kind, org, category, path, sha256, size, "
                            "course, \"table\") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        [SQL_MEMBERS_DELETE] = "DELETE FROM member WHERE rowid IN "
                               "(SELECT rowid FROM member WHERE object_id = ?1 LIMIT 1000)",
        /* ?1 sha256, ?2 size, ?3 org, ?4 category, ?5 PUBLISHED, ?6 GONE. Only where the members are those of
         * what is staged: while a replaced snapshot is made anew its rows speak of another folder. Snapshot
         * by snapshot, the newest first as the index has them: an empty table is in there a thousand times.
         */
        [SQL_FIND_PLAINTEXT] =
                "SELECT o.path, m.path FROM object o INDEXED BY object_state "
                "CROSS JOIN member m INDEXED BY member_plaintext ON m.sha256 = ?1 AND m.object_id = o.id "
                "WHERE o.state IN (?5, ?6) AND o.category = ?4 AND o.org = ?3 "
                "AND o.staged_etag = o.etag AND o.staged_etag <> '' AND m.plain_size = ?2 AND m.state = ?5 "
                "AND EXISTS (SELECT 1 FROM member WHERE sha256 = ?1) LIMIT 1",
        [SQL_OBJECTS_ALL] = "SELECT id, " LEDGER_OBJECT_COLUMNS " FROM object",
        [SQL_MEMBERS_ALL] = "SELECT " LEDGER_MEMBER_COLUMNS " FROM member",
};

int ledger_sqlite_errno(sqlite3 *db)
{
        int system = sqlite3_system_errno(db);
        switch (sqlite3_errcode(db)) {
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                return EUCLEAN;
        case SQLITE_FULL:
                return ENOSPC;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return EBUSY;
        case SQLITE_READONLY:
                return EROFS;
        case SQLITE_PERM:
                return EACCES;
        case SQLITE_NOMEM:
                return ENOMEM;
        case SQLITE_CANTOPEN:
                return system ? system : ENOENT;
        case SQLITE_ERROR: /* in statements of ours: a table or column is not there */
                return EUCLEAN;
        case SQLITE_CONSTRAINT:
        case SQLITE_MISUSE:
        case SQLITE_RANGE:
        case SQLITE_MISMATCH:
                return EINVAL;
        default:
                return system ? system : EIO;
        }
}

int ledger_fail(struct ledger *l, const char *what, struct error *e)
{
        int err = ledger_sqlite_errno(l->db);
        enum cause c = err == EINVAL ? CAUSE_INTERNAL : cause_from_errno(err);
        if (c == CAUSE_STAGING)
                c = CAUSE_IO; /* it is not the staging volume that should be looked at */
        return error_set(e, c, err, "%s: %s: %s", l->file, what, sqlite3_errmsg(l->db));
}

int ledger_exec(struct ledger *l, const char *sql, const char *what, struct error *e)
{
        if (sqlite3_exec(l->db, sql, NULL, NULL, NULL) != SQLITE_OK)
                return ledger_fail(l, what, e);
        return 0;
}

int ledger_prepared(struct ledger *l, enum ledger_sql which, sqlite3_stmt **ret, struct error *e)
{
        if (!l->prepared[which] && sqlite3_prepare_v3(l->db, sql_text[which], -1, SQLITE_PREPARE_PERSISTENT,
                                           &l->prepared[which], NULL) != SQLITE_OK)
                return ledger_fail(l, "reading the schema", e);
        *ret = l->prepared[which];
        return 0;
}

int ledger_prepare_own(struct ledger *l, enum ledger_sql which, sqlite3_stmt **ret, struct error *e)
{
        if (sqlite3_prepare_v2(l->db, sql_text[which], -1, ret, NULL) != SQLITE_OK)
                return ledger_fail(l, "reading the schema", e);
        return 0;
}

int ledger_step(struct ledger *l, sqlite3_stmt *s, const char *what, struct error *e)
{
        int rc = sqlite3_step(s);
        if (rc == SQLITE_ROW)
                return 1;
        int r = rc == SQLITE_DONE ? 0 : ledger_fail(l, what, e);
        sqlite3_reset(s);
        return r;
}

static int run(struct ledger *l, enum ledger_sql which, const char *what, struct error *e)
{
        sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, which, &s, e);
        return r < 0 ? r : ledger_step(l, s, what, e);
}

/* SQLite takes the other setting only outside of a transaction. */
static int set_passing(struct ledger *l, bool passing, struct error *e)
{
        if (l->passing == passing)
                return 0;
        int r = ledger_exec(l, passing ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL",
                "setting how durable", e);
        if (r == 0)
                l->passing = passing;
        return r;
}

static int begin(struct ledger *l, bool passing, struct error *e)
{
        int r = 0, moved = 0;
        /* What is written to a file without a name is gone when it is closed. */
        if (l->depth == 0 && sqlite3_file_control(l->db, NULL, SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
                moved)
                return error_set(e, CAUSE_IO, ESTALE, "%s was removed or replaced: restart czard", l->file);
        if (l->depth == 0)
                r = set_passing(l, passing, e);
        if (r == 0 && l->depth == 0)
                r = run(l, SQL_BEGIN, "beginning", e);
        if (r == 0)
                l->depth++;
        return r;
}

int ledger_begin(struct ledger *l, struct error *e)
{
        return begin(l, false, e);
}

int ledger_begin_passing(struct ledger *l, struct error *e)
{
        return begin(l, true, e);
}

int ledger_commit(struct ledger *l, struct error *e)
{
        if (l->depth == 0) /* somebody within has undone all of it */
                return error_set(e, CAUSE_IO, EIO, "%s: the changes were undone", l->file);
        if (--l->depth > 0)
                return 0;
        /* SQLite itself gives a transaction up on a full disk or a failed write: nothing of it is there. */
        if (sqlite3_get_autocommit(l->db))
                return error_set(e, CAUSE_IO, EIO, "%s: the changes were given up after an error", l->file);
        int r = run(l, SQL_COMMIT, "committing", e);
        if (r < 0)
                ledger_rollback(l);
        else
                r = set_passing(l, false, e);
        return r;
}

void ledger_rollback(struct ledger *l)
{
        l->depth = 0;
        if (!sqlite3_get_autocommit(l->db))
                (void)run(l, SQL_ROLLBACK, "undoing", NULL);
        (void)set_passing(l, false, NULL);
}

int ledger_meta_get(struct ledger *l, const char *name, char *ret, size_t size, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, SQL_META_GET, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_text(&b, name);
        if (b.err)
                return error_set(e, CAUSE_INTERNAL, -b.err, "%s: cannot bind", l->file);
        r = ledger_step(l, s, "reading", e);
        if (r < 0)
                return r;
        if (r == 0) {
                ret[0] = 0;
                return 0;
        }
        struct ledger_row row = {.s = s};
        ledger_row_text(&row, ret, size);
        if (row.err)
                return error_set(e, CAUSE_IO, -row.err, "%s: %s is damaged", l->file, name);
        return 0;
}

int ledger_meta_set(struct ledger *l, const char *name, const char *value, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, *value ? SQL_META_SET : SQL_META_DELETE, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_text(&b, name);
        if (*value)
                ledger_bind_text(&b, value);
        if (b.err)
                return error_set(e, CAUSE_INTERNAL, -b.err, "%s: cannot bind", l->file);
        return ledger_step(l, s, "writing", e);
}

static void bound(struct ledger_bind *b, int rc)
{
        if (rc != SQLITE_OK && b->err == 0)
                b->err = rc == SQLITE_NOMEM ? -ENOMEM : rc == SQLITE_TOOBIG ? -E2BIG : -EINVAL;
}

void ledger_bind_text(struct ledger_bind *b, const char *value)
{
        bound(b, sqlite3_bind_text(b->s, ++b->at, value, -1, SQLITE_STATIC));
}

void ledger_bind_i64(struct ledger_bind *b, int64_t value)
{
        bound(b, sqlite3_bind_int64(b->s, ++b->at, value));
}

void ledger_bind_u64(struct ledger_bind *b, uint64_t value)
{
        if (value > INT64_MAX && b->err == 0)
                b->err = -ERANGE;
        ledger_bind_i64(b, (int64_t)(value & INT64_MAX));
}

void ledger_bind_sha256(struct ledger_bind *b, bool has, const uint8_t sha256[SHA256_SIZE])
{
        b->at++;
        bound(b, has ? sqlite3_bind_blob(b->s, b->at, sha256, SHA256_SIZE, SQLITE_STATIC)
                     : sqlite3_bind_null(b->s, b->at));
}

void ledger_row_text(struct ledger_row *r, char *ret, size_t size)
{
        int at = r->at++;
        ret[0] = 0;
        if (sqlite3_column_type(r->s, at) != SQLITE_TEXT) {
                r->err = -EUCLEAN;
                return;
        }
        const char *text = (const char *)sqlite3_column_text(r->s, at);
        size_t n = (size_t)sqlite3_column_bytes(r->s, at);
        if (!text || n >= size || strlen(text) != n) {
                r->err = -EUCLEAN;
                return;
        }
        memcpy(ret, text, n + 1);
}

int64_t ledger_row_i64(struct ledger_row *r, int64_t min, int64_t max)
{
        int at = r->at++;
        int64_t v = sqlite3_column_int64(r->s, at);
        if (sqlite3_column_type(r->s, at) == SQLITE_INTEGER && v >= min && v <= max)
                return v;
        r->err = -EUCLEAN;
        return min;
}

bool ledger_row_sha256(struct ledger_row *r, uint8_t ret[SHA256_SIZE])
{
        int at = r->at++;
        memset(ret, 0, SHA256_SIZE);
        if (sqlite3_column_type(r->s, at) == SQLITE_NULL)
                return false;
        const void *p = sqlite3_column_blob(r->s, at);
        if (sqlite3_column_type(r->s, at) != SQLITE_BLOB || !p ||
                sqlite3_column_bytes(r->s, at) != SHA256_SIZE) {
                r->err = -EUCLEAN;
                return false;
        }
        memcpy(ret, p, SHA256_SIZE);
        return true;
}

enum cause ledger_row_cause(struct ledger_row *r)
{
        char name[64];
        ledger_row_text(r, name, sizeof(name));
        enum cause c = cause_from_name(name);
        return c == CAUSE_MAX ? CAUSE_INTERNAL : c;
}
