/* SPDX-License-Identifier: Apache-2.0 */
/* The choice is made from the ledger alone, newest snapshot first: nothing in it depends on what runs. */
#include "latest.h"

#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ledger.h"
#include "ledger_facts.h"
#include "ledger_internal.h"
#include "limits.h"
#include "str.h"
#include "timespan.h"

/* ?1 org, ?2 category, ?3 PUBLISHED, ?4 GONE. Staged snapshots, the newest first, each with the two before.
 */
static const char staged_sql[] =
        "SELECT date, id, lead(id, 1, 0) OVER w, lead(id, 2, 0) OVER w FROM object WHERE org = ?1 AND "
        "category = ?2 AND is_zip AND staged_etag <> '' AND state IN (?3, ?4) WINDOW w AS (ORDER BY date "
        "DESC, key) ORDER BY date DESC, key";

/* ?1 snapshot, ?2 the one before, ?3 the one before that, ?4 PUBLISHED, ?5 REJECTED, ?6 IGNORED. A row: it is
 * not one to go on with. A course is lost when the snapshot before has it and this one has not, not even left
 * out by a filter; it was alive when some table of it differed from the one before that. (The courses that
 * this one has are put together once: asked for one by one, they took the square of their number.) */
static const char spoilt_sql[] =
        "SELECT 1 FROM member WHERE object_id = ?1 AND state = ?5 UNION ALL SELECT 1 FROM member b WHERE "
        "b.object_id = ?2 AND b.state = ?4 AND b.course <> '' AND NOT b.failed AND b.course NOT IN (SELECT "
        "course FROM member WHERE object_id = ?1 AND state IN (?4, ?6) AND NOT failed) AND NOT EXISTS "
        "(SELECT 1 FROM member c WHERE c.object_id = ?3 AND c.state = ?4 AND c.course = b.course AND "
        "c.\"table\" = b.\"table\" AND c.sha256 = b.sha256) LIMIT 1";

/* The staged snapshots of that organisation and category; the caller finalizes *ret. 0 or -errno. */
static int prepare_staged(
        struct ledger *l, const char *org, enum category c, sqlite3_stmt **ret, struct error *e)
{
        return sql_prepare(
                &l->sql, staged_sql, VALUES(V(org), V(c), V(OBJECT_PUBLISHED), V(OBJECT_GONE)), ret, e);
}

/* The next one: 1, its date and the ids of it and of the two before (0: none). 0: that was all. Or -errno. */
static int next_staged(struct ledger *l, sqlite3_stmt *s, char date[11], int64_t ids[3], struct error *e)
{
        int r = sql_step(&l->sql, s, e);
        if (r <= 0)
                return r;
        struct sql_row row = {.s = s};
        sql_row_text(&row, date, 11);
        for (size_t i = 0; i < 3; i++)
                ids[i] = sql_row_i64(&row, 0, INT64_MAX);
        r = sql_row_end(&row, &l->sql, e);
        return r < 0 ? r : 1;
}

/* ret "": there is none. */
static int choose(struct ledger *l, const char *org, enum category c, char ret[11], struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *staged = NULL;
        char date[11];
        int64_t ids[3];
        int r = prepare_staged(l, org, c, &staged, e);
        if (r < 0)
                return r;
        ret[0] = 0;
        while ((r = next_staged(l, staged, date, ids, e)) > 0) {
                r = sql_run(&l->sql, spoilt_sql,
                        VALUES(V(ids[0]), V(ids[1]), V(ids[2]), V(OBJECT_PUBLISHED), V(OBJECT_REJECTED),
                                V(OBJECT_IGNORED)),
                        e);
                if (r == 0)
                        snprintf(ret, 11, "%s", date);
                if (r <= 0)
                        return r;
        }
        return r;
}

int latest_choose(
        struct ledger *l, const char *org, enum category c, char ret[11], bool *ret_pinned, struct error *e)
{
        char pin[11] = "", date[11] = "";
        int r = ledger_pin(l, org, c, pin, e);
        if (r == 0 && !*pin)
                r = choose(l, org, c, date, e);
        if (r < 0)
                return r;
        *ret_pinned = *pin;
        snprintf(ret, 11, "%s", *pin ? pin : date);
        return 0;
}

/* --- patterns --- */

static const char names_sql[] =
        "SELECT DISTINCT m.course, m.\"table\" FROM member m JOIN object o ON o.id = m.object_id WHERE o.org "
        "= ?1 AND o.category = ?2 AND o.date = ?3 AND o.is_zip AND o.staged_etag <> ''";

struct hits {
        const struct strv *patterns;
        bool *hit;
};

static void match(struct hits *h, const char *name)
{
        for (size_t i = 0; h->hit && i < h->patterns->n; i++)
                h->hit[i] = h->hit[i] || (*name && fnmatch(h->patterns->v[i], name, 0) == 0);
}

static int add_missed(const struct hits *h, const char *key, struct strv *ret)
{
        int r = 0;
        for (size_t i = 0; r == 0 && i < h->patterns->n; i++) {
                if (*h->patterns->v[i] == '!' || h->hit[i])
                        continue;
                _cleanup_free_ char *text = str_printf("%s %s", key, h->patterns->v[i]);
                r = text ? strv_add(ret, text) : -ENOMEM;
        }
        return r;
}

int latest_unmatched(struct ledger *l, const struct config *config, const char *org, enum category c,
        const char *date, struct strv *ret, struct error *e)
{
        const struct config_package *p = config ? config_find_package(config, org) : NULL;
        if (!p || c != CATEGORY_DATABASE || (p->courses.n == 0 && p->tables.n == 0))
                return 0;
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        _cleanup_free_ bool *courses = calloc(p->courses.n + 1, sizeof(bool)),
                            *tables = calloc(p->tables.n + 1, sizeof(bool));
        struct hits by_course = {&p->courses, courses}, by_table = {&p->tables, tables};
        char course[COURSE_SIZE], table[TABLE_SIZE];
        if (!courses || !tables)
                return error_set(e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        int r = sql_prepare(&l->sql, names_sql, VALUES(V(p->spec.org), V(c), V(date)), &s, e);
        if (r < 0)
                return r;
        bool any = false;
        while ((r = sql_step(&l->sql, s, e)) > 0) {
                struct sql_row row = {.s = s};
                sql_row_text(&row, course, sizeof(course));
                sql_row_text(&row, table, sizeof(table));
                r = sql_row_end(&row, &l->sql, e);
                if (r < 0)
                        return r;
                match(&by_course, course);
                match(&by_table, table);
                any = true;
        }
        if (r == 0 && any)
                r = add_missed(&by_course, "courses", ret);
        if (r == 0 && any)
                r = add_missed(&by_table, "tables", ret);
        return r;
}

int latest_move(struct ledger *l, struct staging *s, const struct config *config, const char *org,
        enum category c, struct strv *ret, struct error *e)
{
        char date[11], now[NAME_MAX + 1];
        bool pinned;
        int r = latest_choose(l, org, c, date, &pinned, e);
        if (r == 0 && *date && !pinned)
                r = latest_unmatched(l, config, org, c, date, ret, e);
        if (ret->n > 0)
                *date = 0;
        _cleanup_free_ char *dir = str_printf("%s/%s", org, category_name(c));
        if (r < 0 || !dir)
                return r < 0 ? r : error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        staging_read_latest(s, dir, now, sizeof(now));
        if (streq(now, date))
                return 0;
        if (*date)
                return staging_latest(s, dir, date, e);
        /* None is to be chosen: a link to what is still there stays. */
        _cleanup_free_ char *target = str_printf("%s/%s", dir, now);
        uint64_t size;
        int64_t mtime;
        bool is_dir;
        if (!target)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        return staging_stat(s, target, &size, &mtime, &is_dir) == -ENOENT ? staging_latest(s, dir, NULL, e)
                                                                          : 0;
}

/* The newest staged snapshot, and the oldest: behind which latest is that points nowhere. */
static int ends(
        struct ledger *l, const char *org, enum category c, char newest[11], char oldest[11], struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int64_t ids[3];
        int r = prepare_staged(l, org, c, &s, e);
        if (r < 0)
                return r;
        newest[0] = oldest[0] = 0;
        while ((r = next_staged(l, s, oldest, ids, e)) > 0)
                if (!*newest)
                        memcpy(newest, oldest, 11);
        return r;
}

int latest_look(struct ledger *l, const char *org, enum category c, struct latest_state *ret, struct error *e)
{
        struct latest_state s = {};
        char oldest[11];
        int newest, at;
        int r = latest_choose(l, org, c, s.date, &s.pinned, e);
        if (r == 0)
                r = ends(l, org, c, s.newest, oldest, e);
        if (r < 0)
                return r;
        if (*s.newest && date_parse(s.newest, &newest) == 0 &&
                date_parse(*s.date ? s.date : oldest, &at) == 0 && at < newest)
                s.behind_days = newest - at;
        *ret = s;
        return 0;
}
