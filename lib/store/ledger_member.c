/* SPDX-License-Identifier: Apache-2.0 */
/* The members of snapshots. */

#include "ledger.h"
#include "ledger_internal.h"
#include "str.h"

#define COLUMN_(kind, field, ...) COLUMN(kind, struct ledger_member, field, __VA_ARGS__)
/* as LEDGER_MEMBER_COLUMNS */
static const struct sql_column columns[] = {
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
                "INSERT INTO member (" LEDGER_MEMBER_COLUMNS
                ") VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14) ON CONFLICT (object_id, name) DO "
                "UPDATE SET path = excluded.path, course = excluded.course, \"table\" = excluded.\"table\", "
                "failed = excluded.failed, state = excluded.state, size = excluded.size, plain_size = "
                "excluded.plain_size, sha256 = excluded.sha256, checks = excluded.checks, cause = "
                "excluded.cause, detail = excluded.detail, attempts = excluded.attempts",
                columns, ELEMENTSOF(columns), m, NULL, e);
}

int ledger_member_delete(struct ledger *l, const struct ledger_member *m, struct error *e)
{
        return sql_run(&l->sql, "DELETE FROM member WHERE object_id = ?1 AND name = ?2",
                VALUES(V(m->object_id), V(m->name)), e);
}

int ledger_members_check(struct ledger *l, struct error *e)
{
        struct ledger_member m;
        return sql_check(
                &l->sql, "SELECT " LEDGER_MEMBER_COLUMNS " FROM member", columns, ELEMENTSOF(columns), &m, e);
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
                "SELECT " LEDGER_MEMBER_COLUMNS
                " FROM member WHERE object_id = ?1 AND path >= ?2 ORDER BY path, rowid",
                VALUES(V(object_id), V(path)), &s, e);
        while (r == 0 && (r = sql_next(&l->sql, s, columns, ELEMENTSOF(columns), &m, e)) == 1)
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
