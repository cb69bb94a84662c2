/* SPDX-License-Identifier: Apache-2.0 */
/* Members in some order, and against those of an earlier snapshot. */
#include "members.h"
#include "members_internal.h"

/* 2: STAGED, 3: REJECTED, 4: IGNORED */
#define SELECT "SELECT " MEMBERS_COLUMNS " FROM member WHERE "
static const char *const lists[MEMBERS_LIST_MAX] = {
        [MEMBERS_BY_NAME] = "SELECT " MEMBERS_COLUMNS
                            " FROM member INDEXED BY member_name WHERE step <> 4 OR path <> '' ORDER BY name",
        [MEMBERS_BY_PATH] = SELECT "step = 2 ORDER BY path",
        [MEMBERS_REJECTED] = SELECT "step = 3 ORDER BY name",
        [MEMBERS_KNOWN] = SELECT "sha256 IS NOT NULL AND step <> 2",
        [MEMBERS_LARGE] = SELECT "step = 2 AND plain_size > 33554432",
        /* 64: CHECK_INTEGRITY */
        [MEMBERS_UNENCRYPTED] = SELECT "step = 2 AND NOT checks & 64 ORDER BY name",
};
_Static_assert(CHECK_INTEGRITY == 64 && MEMBERS_LARGE_BYTES == 33554432, "the numbers that stand in SQL");

int members_walk(struct members *m, const char *sql, const struct sql_value *values, member_fn *each,
        void *arg, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = sql_prepare(&m->sql, sql, values, &s, e);
        while (r == 0 && (r = sql_step(&m->sql, s, e)) == 1) {
                _cleanup_member_ struct member v = {};
                r = members_read(m, s, &v, e);
                if (r == 0)
                        r = each(&v, arg, e);
                if (r != 0)
                        break;
        }
        return r;
}

int members_each(struct members *m, enum members_list list, member_fn *each, void *arg, struct error *e)
{
        return members_walk(m, lists[list], NULL, each, arg, e);
}

int members_has_path(struct members *m, const char *path, struct error *e)
{
        return sql_run(&m->sql, "SELECT 1 FROM member WHERE path = ?1 AND step = 2", VALUES(V(path)), e);
}

/* --- against an earlier snapshot --- */

/* now and old: the tables of courses that are staged, or were left out by a filter or failed at edX (not
 * staged). Each may have a table more than once: its export failed, and there is the old one. */
static const char prepare_tables[] =
        "DROP TABLE IF EXISTS now; DROP TABLE IF EXISTS old;CREATE TABLE now AS SELECT course, \"table\" AS "
        "tab, plain_size AS size, step = 2 AND NOT failed AS staged FROM member WHERE step IN (2, 4) AND "
        "course <> '' AND path <> '';CREATE TABLE old AS SELECT course, \"table\" AS tab, plain_size AS "
        "size, state = %d AND NOT failed AS staged FROM ledger.member WHERE object_id = %lld AND state IN "
        "(%d, %d) AND course <> '';CREATE INDEX now_tab ON now (course, tab); CREATE INDEX old_tab ON old "
        "(course, tab);";

static const char *const changes[MEMBERS_CHANGE_MAX] = {
        [COURSES_NEW] = "SELECT course, NULL FROM now EXCEPT SELECT course, NULL FROM old ORDER BY 1",
        [COURSES_GONE] = "SELECT course, NULL FROM old EXCEPT SELECT course, NULL FROM now ORDER BY 1",
        [TABLES_NEW] = "SELECT course, tab FROM now WHERE course IN (SELECT course FROM old) EXCEPT SELECT "
                       "course, tab FROM old ORDER BY 1, 2",
        [TABLES_GONE] = "SELECT course, tab FROM old WHERE course IN (SELECT course FROM now) EXCEPT SELECT "
                        "course, tab FROM now ORDER BY 1, 2",
        [TABLES_SHRUNK] = "SELECT DISTINCT n.course, n.tab FROM now n, old o WHERE o.course = n.course AND "
                          "o.tab = n.tab AND n.staged AND o.staged AND n.size < o.size / 2 ORDER BY 1, 2",
        [TABLES_EMPTY] = "SELECT DISTINCT course, tab FROM now WHERE staged AND size = 0 ORDER BY 1, 2",
};

int members_compare(struct members *m, int64_t object_id, members_change_fn *each, void *arg, struct error *e)
{
        char sql[1024];
        snprintf(sql, sizeof(sql), prepare_tables, OBJECT_PUBLISHED, (long long)object_id, OBJECT_PUBLISHED,
                OBJECT_IGNORED);
        int r = sql_exec(&m->sql, sql, e);
        for (size_t i = 0; r >= 0 && i < MEMBERS_CHANGE_MAX; i++) {
                _cleanup_finalize_ sqlite3_stmt *s = NULL;
                r = sql_prepare(&m->sql, changes[i], NULL, &s, e);
                while (r >= 0 && (r = sql_step(&m->sql, s, e)) == 1)
                        each(arg, (enum members_change)i, (const char *)sqlite3_column_text(s, 0),
                                (const char *)sqlite3_column_text(s, 1));
        }
        return r;
}
