/* SPDX-License-Identifier: Apache-2.0 */
/* The database, and how a directory becomes its rows. It has no journal and is never synced: when a write
 * fails, this attempt at the archive ends, and with it the database. */
#include "members.h"

#include <stdlib.h>

#include "ledger.h"
#include "ledger_internal.h"
#include "members_internal.h"
#include "package.h"
#include "str.h"
#include "terms.h"

#define CACHE_KIB 4096 /* of memory for each database; what is more goes to the disk */
#define TRY_BYTES (CACHE_KIB * KIB + MIB)
#define MEMBER_DEPTH 8 /* folders; an archive of edX has one, ora/ */
#define FILE_TYPE(mode) ((mode)&0170000)
#define FILE_REGULAR 0100000
#define LOCAL_HEADER 30 /* bytes of one, without its name */

static const char schema[] =
        "CREATE TABLE member (number INTEGER PRIMARY KEY, name BLOB NOT NULL, \"offset\" INTEGER NOT NULL, "
        "extent INTEGER NOT NULL DEFAULT 0, packed INTEGER NOT NULL, size INTEGER NOT NULL, crc INTEGER NOT "
        "NULL, mode INTEGER NOT NULL, method INTEGER NOT NULL, flags INTEGER NOT NULL, step INTEGER NOT "
        "NULL, path TEXT NOT NULL, course TEXT NOT NULL, \"table\" TEXT NOT NULL, site TEXT NOT NULL, failed "
        "INTEGER NOT NULL, linked INTEGER NOT NULL DEFAULT 0, filtered INTEGER NOT NULL DEFAULT 0, tries "
        "INTEGER NOT NULL DEFAULT 0, cause INTEGER NOT NULL, detail TEXT NOT NULL, plain_size INTEGER NOT "
        "NULL DEFAULT -1, rows INTEGER NOT NULL DEFAULT 0, sha256 BLOB, checks INTEGER NOT NULL DEFAULT 0, "
        "run INTEGER NOT NULL DEFAULT 0) STRICT;";

/* Made once all rows are there. By name, so that the walk that records an archive needs no room for sorting.
 */
static const char indices[] =
        "CREATE INDEX member_name ON member (name);CREATE INDEX member_wanted ON member (\"offset\") WHERE "
        "step = 0;"                                                            /* MEMBER_WANTED */
        "CREATE INDEX member_run ON member (run, \"offset\") WHERE step = 1;"; /* MEMBER_TAKEN */
_Static_assert(MEMBER_WANTED == 0 && MEMBER_TAKEN == 1 && MEMBER_STAGED == 2 && MEMBER_REJECTED == 3 &&
                       MEMBER_IGNORED == 4,
        "the numbers that stand in SQL");

void member_done(struct member *m)
{
        free(m->name);
        m->name = NULL;
}

#define COLUMN_(kind, field, ...) COLUMN(kind, struct member, field, __VA_ARGS__)
/* as MEMBERS_COLUMNS */
static const struct sql_column columns[] = {
        COLUMN_(NUMBER, number, .min = 1),
        COLUMN_(BYTES, name),
        COLUMN_(NUMBER, entry.place.offset),
        COLUMN_(NUMBER, entry.place.extent),
        COLUMN_(NUMBER, entry.packed),
        COLUMN_(NUMBER, entry.size),
        COLUMN_(NUMBER, entry.crc),
        COLUMN_(NUMBER, entry.mode),
        COLUMN_(NUMBER, entry.method, .max = UINT16_MAX),
        COLUMN_(NUMBER, entry.flags, .max = UINT16_MAX),
        COLUMN_(NUMBER, step, .max = MEMBER_STEP_MAX - 1),
        COLUMN_(TEXT, path),
        COLUMN_(TEXT, course),
        COLUMN_(TEXT, table),
        COLUMN_(TEXT, site),
        COLUMN_(NUMBER, failed_at_source, .max = 1),
        COLUMN_(NUMBER, linked, .max = 1),
        COLUMN_(NUMBER, filtered, .max = 1),
        COLUMN_(NUMBER, tries),
        COLUMN_(NUMBER, cause, .max = CAUSE_MAX - 1),
        COLUMN_(TEXT, detail),
        COLUMN_(NUMBER, plain_size, .min = -1),
        COLUMN_(NUMBER, rows),
        COLUMN_(SHA256, sha256, .has = offsetof(struct member, has_sha256)),
        COLUMN_(NUMBER, checks),
};

int members_next(struct members *m, sqlite3_stmt *s, struct member *ret, struct error *e)
{
        struct member v = {};
        int r = sql_next(&m->sql, s, columns, ELEMENTSOF(columns), &v, e);
        v.entry.name = v.name;
        if (r == 1)
                *ret = v;
        else
                member_done(&v);
        return r;
}

void member_to_ledger(const struct member *m, int64_t object_id, struct ledger_member *ret)
{
        static const enum object_state states[] = {[MEMBER_WANTED] = OBJECT_NEW,
                [MEMBER_TAKEN] = OBJECT_NEW,
                [MEMBER_STAGED] = OBJECT_PUBLISHED,
                [MEMBER_REJECTED] = OBJECT_REJECTED,
                [MEMBER_IGNORED] = OBJECT_IGNORED};
        *ret = (struct ledger_member){.object_id = object_id,
                .failed = m->failed_at_source,
                .state = states[m->step],
                .size = m->entry.size,
                .plain_size = m->has_sha256 ? m->plain_size : -1,
                .has_sha256 = m->has_sha256,
                .checks = m->checks,
                .cause = m->step == MEMBER_REJECTED ? m->cause : CAUSE_NONE,
                .attempts = m->tries};
        str_visible(m->name, ret->name, sizeof(ret->name));
        snprintf(ret->path, sizeof(ret->path), "%s", m->path);
        snprintf(ret->course, sizeof(ret->course), "%s", m->course);
        snprintf(ret->table, sizeof(ret->table), "%s", m->table);
        if (m->step == MEMBER_REJECTED)
                snprintf(ret->detail, sizeof(ret->detail), "%s", m->detail);
        memcpy(ret->sha256, m->sha256, sizeof(ret->sha256));
}

/* --- open --- */

static int attach(struct members *m, struct ledger *l, struct error *e)
{
        _cleanup_strbuf_ struct strbuf uri = {};
        ledger_uri(&uri, l->file, "?mode=ro");
        if (uri.err)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        return sql_run(&m->sql, "ATTACH ?1 AS ledger", VALUES(V(uri.s)), e);
}

static int open_database(sqlite3 **ret)
{
        const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX;
        char sql[256];
        if (sqlite3_open_v2("", ret, flags, NULL) != SQLITE_OK)
                return -EIO;
        snprintf(sql, sizeof(sql),
                "PRAGMA temp_store = FILE; PRAGMA cache_size = -%d; PRAGMA journal_mode = OFF; PRAGMA "
                "synchronous = OFF;",
                CACHE_KIB);
        if (sqlite3_exec(*ret, sql, NULL, NULL, NULL) != SQLITE_OK)
                return -EIO;
        sqlite3_db_config(*ret, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL); /* allows no journal_mode */
        sqlite3_db_config(*ret, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        return 0;
}

int members_open(struct ledger *l, struct members **ret, struct error *e)
{
        struct members *m = calloc(1, sizeof(*m));
        if (!m)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        m->sql.name = "the temporary database of members in state_dir";
        m->sql.is_temporary = true;
        int r = open_database(&m->sql.db);
        if (r < 0)
                r = sql_fail(&m->sql, "opening", e);
        if (r == 0 && l)
                r = attach(m, l, e);
        if (r < 0) {
                members_free(m);
                return r;
        }
        *ret = m;
        return 0;
}

struct members *members_free(struct members *m)
{
        if (!m)
                return NULL;
        sql_close(&m->sql);
        free(m);
        return NULL;
}

/* More than what is kept in memory, so that a file is made and written. A disk that is full is no fault of
 * the folder's: there may be room when it is needed. */
static int try_folder(struct error *e)
{
        char sql[128];
        struct members *m = NULL;
        int r = members_open(NULL, &m, e);
        if (r < 0)
                return r;
        snprintf(sql, sizeof(sql), "CREATE TABLE t (b); INSERT INTO t VALUES (zeroblob(%d))", (int)TRY_BYTES);
        r = sql_exec(&m->sql, sql, e);
        members_free(m);
        return r == -ENOSPC ? 0 : r;
}

int members_set_folder(const char *folder, struct error *e)
{
        sqlite3_free(sqlite3_temp_directory);
        sqlite3_temp_directory = sqlite3_mprintf("%s", folder);
        if (!sqlite3_temp_directory)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        /* SQLite would look elsewhere, and say nothing */
        if (access(folder, W_OK | X_OK) < 0)
                return error_set(e, CAUSE_IO, errno, "%s: %s", folder, strerror(errno));
        return try_folder(e);
}

/* --- from the directory --- */

int members_begin(struct members *m, struct error *e)
{
        int r = sql_exec(&m->sql, "DROP TABLE IF EXISTS main.member", e);
        return r < 0 ? r : sql_exec(&m->sql, schema, e);
}

static unsigned depth_of(const char *path)
{
        unsigned n = 0;
        for (; (path = strchr(path, '/')); path++)
                n++;
        return n;
}

/* A name whose table is unknown may not be told apart into course and table: then the filter looks at all of
 * it, so that it does not let through what an exclusion is meant for. Names with fewer hyphens are the
 * organisation's own. */
static const char *filtered_course(const struct package_member *p)
{
        const char *first = strchr(p->table, '-');
        return !*p->course && first && strchr(first + 1, '-') ? p->table : p->course;
}

static const char *site_of(const struct package_member *p)
{
        return !*p->env ? "" : streq(p->env, "prod") ? "edx" : "edge";
}

/* What it becomes; why is filled when it is refused. */
static enum member_step classify(const struct archive_entry *entry, const struct members_rules *rules,
        struct package_member *p, struct error *why)
{
        unsigned type = FILE_TYPE(entry->mode);
        int r = package_parse_member(rules->top, entry->name, rules->max_name, p, why);
        if (r == -EISDIR)
                return MEMBER_IGNORED;
        if (r >= 0 && depth_of(p->path) > MEMBER_DEPTH)
                r = error_set(why, CAUSE_LIMIT, EBADMSG, "it lies too many folders deep");
        if (r >= 0 && type != 0 && type != FILE_REGULAR)
                r = error_set(why, CAUSE_UNSAFE_NAME, EBADMSG, "not a regular file but a link or device");
        if (r < 0)
                *p = (struct package_member){};
        if (r < 0)
                return MEMBER_REJECTED;
        return rules->wants(rules->arg, filtered_course(p), p->table) ? MEMBER_WANTED : MEMBER_IGNORED;
}

int members_add(struct members *m, const struct archive_entry *entry, const struct members_rules *rules,
        struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        struct package_member p = {};
        struct error why = {};
        enum member_step step = classify(entry, rules, &p, &why);
        int r = sql_keep(&m->sql,
                "INSERT INTO member (\"offset\", packed, size, crc, mode, method, flags, step, path, course, "
                "\"table\", site, failed, cause, detail, name) VALUES "
                "(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16)",
                VALUES(V(entry->place.offset), V(entry->packed), V(entry->size), V(entry->crc),
                        V(entry->mode), V(entry->method), V(entry->flags), V(step), V(p.path), V(p.course),
                        V(p.table), V(site_of(&p)), V(p.failed), V(why.cause), V(why.text)),
                &s, e);
        if (r < 0)
                return r;
        if (sqlite3_bind_blob64(s, 16, entry->name, strlen(entry->name), SQLITE_STATIC) != SQLITE_OK)
                return sql_fail(&m->sql, "writing", e);
        return sql_step(&m->sql, s, e);
}

/* A record that stands twice for the same bytes, or for equal ones, is one member. */
static const char drop_doubles[] =
        "DELETE FROM member WHERE path <> '' AND number NOT IN (SELECT min(number) FROM member GROUP BY "
        "path, name, packed, size, crc, method, \"offset\");UPDATE member SET step = 4, path = '' WHERE path "
        "<> '' AND number NOT IN (SELECT min(number) FROM member GROUP BY path, name, packed, size, crc, "
        "method);";
static const char any_twins[] =
        "SELECT EXISTS (SELECT 1 FROM member WHERE path <> '' GROUP BY path HAVING count(*) > 1)";

/* Of members that have one path none is more right than the other. */
static const char twins[] =
        "path IN (SELECT path FROM member WHERE path <> '' GROUP BY path HAVING count(*) > 1)";
static const char folded_twins[] = "path COLLATE NOCASE IN (SELECT path FROM member WHERE path <> '' GROUP "
                                   "BY path COLLATE NOCASE HAVING count(*) > 1)";
/* A file where other members have a folder gives way to them. */
#define FILES_FOR_FOLDERS(collation)                                                                         \
        "EXISTS (SELECT 1 FROM member o WHERE o.path COLLATE " collation " > member.path || '/' AND "        \
        "o.path COLLATE " collation " < member.path || '0')"

static int refuse(struct members *m, const char *which, const char *why, struct error *e)
{
        char sql[1024];
        snprintf(sql, sizeof(sql),
                "UPDATE member SET step = 3, cause = %d, detail = '%s' WHERE step = 0 AND %s",
                CAUSE_UNSAFE_NAME, why, which);
        return sql_exec(&m->sql, sql, e);
}

/* Of refused members of one name one row is left: the ledger, REJECTED and what is counted go by names. */
static const char one_a_name[] = "DELETE FROM member WHERE step = 3 AND number NOT IN (SELECT min(number) "
                                 "FROM member WHERE step = 3 GROUP BY name)";

static int refuse_collisions(struct members *m, bool folds_case, struct error *e)
{
        int r = refuse(m, twins, "another member has the same name", e);
        if (r == 0 && folds_case)
                r = refuse(m, folded_twins,
                        "another name differs only in case, which the staging file system does not tell "
                        "apart",
                        e);
        if (r == 0)
                r = refuse(m, folds_case ? FILES_FOR_FOLDERS("NOCASE") : FILES_FOR_FOLDERS("BINARY"),
                        "its name is a folder to other members", e);
        return r < 0 ? r : sql_exec(&m->sql, one_a_name, e);
}

/* ?1: where the directory begins. Up to the next header, or to there. */
static const char set_extents[] =
        "UPDATE member SET extent = n.next - \"offset\" FROM (SELECT number, lead(\"offset\", 1, ?1) OVER "
        "(ORDER BY \"offset\") AS next FROM member) n WHERE n.number = member.number";

static int refuse_when(struct members *m, const char *sql, uint64_t bound, const char *text, struct error *e)
{
        int64_t found = 0;
        int r = sql_get_i64(&m->sql, sql, VALUES(V(bound)), 0, &found, e);
        return r < 0 || !found ? MIN(r, 0) : error_set(e, CAUSE_BAD_ZIP, EBADMSG, "%s", text);
}

static int place_run(struct members *m, uint64_t end, struct error *e)
{
        int r = refuse_when(m, "SELECT EXISTS (SELECT 1 FROM member WHERE \"offset\" > ?1)", end,
                "a member lies behind the directory", e);
        if (r == 0)
                r = sql_run(&m->sql, set_extents, VALUES(V(end)), e);
        return r < 0 ? r
                     : refuse_when(m,
                               "SELECT EXISTS (SELECT 1 FROM member WHERE extent < ?1 + length(name) + "
                               "packed)",
                               LOCAL_HEADER, "members overlap", e);
}

int members_complete(struct members *m, uint64_t end, bool folds_case, struct error *e)
{
        int64_t doubles = 0;
        int r = sql_exec(&m->sql,
                folds_case ? "CREATE INDEX member_path ON member (path);CREATE INDEX member_folded ON member "
                             "(path COLLATE NOCASE)"
                           : "CREATE INDEX member_path ON member (path)",
                e);
        if (r == 0)
                r = sql_get_i64(&m->sql, any_twins, NULL, 0, &doubles, e);
        if (r >= 0 && doubles)
                r = sql_exec(&m->sql, drop_doubles, e);
        if (r >= 0)
                r = place_run(m, end, e);
        if (r == 0)
                r = refuse_collisions(m, folds_case, e);
        if (r == 0)
                r = sql_exec(&m->sql, indices, e);
        return r < 0 ? r
                     : refuse_when(m,
                               "SELECT NOT EXISTS (SELECT 1 FROM member WHERE step <> 4 OR path <> '')", 0,
                               "it has no members", e);
}

int members_settle(struct members *m, struct error *e)
{
        return sqlite3_db_cacheflush(m->sql.db) == SQLITE_OK ? 0 : sql_fail(&m->sql, "writing", e);
}

int members_courses(struct members *m, struct strv *ret, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = sql_prepare(&m->sql,
                "SELECT DISTINCT course FROM member WHERE course <> '' AND NOT failed AND path <> ''", NULL,
                &s, e);
        while (r >= 0 && (r = sql_step(&m->sql, s, e)) == 1)
                if (strv_add(ret, (const char *)sqlite3_column_text(s, 0)) < 0)
                        r = error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        return r;
}

int members_take_known(struct members *m, int64_t object_id, bool same_version, struct error *e)
{
        char sql[512];
        snprintf(sql, sizeof(sql),
                "UPDATE member SET plain_size = k.plain_size, sha256 = k.sha256, checks = k.checks, filtered "
                "= (step = 4) FROM ledger.member k WHERE k.object_id = %lld AND k.path = member.path AND "
                "k.state = %d AND k.sha256 IS NOT NULL AND member.path <> '' AND step IN (0, %d)",
                (long long)object_id, OBJECT_PUBLISHED, same_version ? 4 : 0);
        return sql_exec(&m->sql, sql, e);
}

int members_drop_known(struct members *m, struct error *e)
{
        return sql_exec(&m->sql,
                "UPDATE member SET plain_size = -1, sha256 = NULL, checks = 0, filtered = 0 WHERE step <> 2 "
                "AND sha256 IS NOT NULL",
                e);
}

/* --- sums --- */

#define SUM LEDGER_SUM
static const char sums[] = "SELECT step, count(*), " SUM("extent") ", " SUM("size") ", " SUM(
        "max(plain_size, 0)") ", " SUM("linked * max(plain_size, 0)") " FROM member GROUP BY step";

static int add_checks(struct members *m, struct members_sums *ret, struct error *e)
{
        struct some {
                uint32_t checks;
                uint64_t n;
        } some;
        static const struct sql_column some_columns[] = {
                COLUMN(NUMBER, struct some, checks), COLUMN(NUMBER, struct some, n)};
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        uint32_t all = UINT32_MAX, any = 0;
        int r = sql_prepare(
                &m->sql, "SELECT checks, count(*) FROM member WHERE step = 2 GROUP BY checks", NULL, &s, e);
        while (r >= 0 && (r = sql_next(&m->sql, s, some_columns, ELEMENTSOF(some_columns), &some, e)) == 1) {
                all &= some.checks;
                any |= some.checks;
                if (!(some.checks & CHECK_INTEGRITY))
                        ret->not_encrypted += some.n;
        }
        ret->checks = any & (all | CHECKS_MISSING);
        return r;
}

int members_sums(struct members *m, struct members_sums *ret, struct error *e)
{
        struct sum {
                int step;
                uint64_t n, extent, size, plain, linked;
        } sum;
        static const struct sql_column sum_columns[] = {
                COLUMN(NUMBER, struct sum, step, .max = MEMBER_STEP_MAX - 1), COLUMN(NUMBER, struct sum, n),
                COLUMN(NUMBER, struct sum, extent), COLUMN(NUMBER, struct sum, size),
                COLUMN(NUMBER, struct sum, plain), COLUMN(NUMBER, struct sum, linked)};
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        struct members_sums v = {};
        int r = sql_prepare(&m->sql, sums, NULL, &s, e);
        while (r >= 0 && (r = sql_next(&m->sql, s, sum_columns, ELEMENTSOF(sum_columns), &sum, e)) == 1) {
                v.n[sum.step] = sum.n;
                if (sum.step == MEMBER_WANTED) {
                        v.wanted_bytes = sum.extent;
                        v.wanted_size = sum.size;
                } else if (sum.step == MEMBER_STAGED) {
                        v.staged_size = sum.size;
                        v.plain_bytes = sum.plain;
                        v.linked_bytes = sum.linked;
                }
        }
        if (r == 0)
                r = add_checks(m, &v, e);
        if (r == 0)
                *ret = v;
        return r;
}

/* --- walks, in some order --- */

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
        while (r == 0) {
                _cleanup_member_ struct member v = {};
                r = members_next(m, s, &v, e);
                if (r <= 0)
                        break;
                r = each(&v, arg, e);
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
