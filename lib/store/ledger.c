/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions, and small facts. ledger_schema.c opens, ledger_object.c and ledger_query.c hold the objects,
 * ledger_member.c the members, sql.c the connection. */
#include "ledger.h"

#include "ledger_internal.h"

/* SQLite takes the other setting only outside of a transaction. */
static int set_passing(struct ledger *l, bool passing, struct error *e)
{
        if (l->passing == passing)
                return 0;
        int r = sql_exec(&l->sql, passing ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL", e);
        if (r == 0)
                l->passing = passing;
        return r;
}

static int begin(struct ledger *l, bool passing, struct error *e)
{
        int r = 0, moved = 0;
        /* What is written to a file without a name is gone when it is closed. */
        if (l->depth == 0 &&
                sqlite3_file_control(l->sql.db, NULL, SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved)
                return error_set(e, CAUSE_IO, ESTALE, "%s was removed or replaced: restart czard", l->file);
        if (l->depth == 0)
                r = set_passing(l, passing, e);
        if (r == 0 && l->depth == 0)
                r = sql_run(&l->sql, "BEGIN IMMEDIATE", NULL, e);
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
        if (sqlite3_get_autocommit(l->sql.db))
                return error_set(e, CAUSE_IO, EIO, "%s: the changes were given up after an error", l->file);
        int r = sql_run(&l->sql, "COMMIT", NULL, e);
        if (r < 0)
                ledger_rollback(l);
        else
                r = set_passing(l, false, e);
        return r;
}

void ledger_rollback(struct ledger *l)
{
        l->depth = 0;
        if (!sqlite3_get_autocommit(l->sql.db))
                (void)sql_run(&l->sql, "ROLLBACK", NULL, NULL);
        (void)set_passing(l, false, NULL);
}

int ledger_end(struct ledger *l, int r, struct error *e)
{
        if (r == 0)
                return ledger_commit(l, e);
        ledger_rollback(l);
        return r;
}

int ledger_meta_get(struct ledger *l, const char *name, char *ret, size_t size, struct error *e)
{
        const struct sql_column value = {COLUMN_TEXT, .size = size};
        ret[0] = 0;
        int r = sql_get(
                &l->sql, "SELECT value FROM meta WHERE name = ?1", VALUES(V(name)), &value, 1, ret, e);
        return MIN(r, 0);
}

int ledger_meta_set(struct ledger *l, const char *name, const char *value, struct error *e)
{
        if (!*value)
                return sql_run(&l->sql, "DELETE FROM meta WHERE name = ?1", VALUES(V(name)), e);
        return sql_run(&l->sql,
                "INSERT INTO meta (name, value) VALUES (?1, ?2) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                VALUES(V(name), V(value)), e);
}
