/* SPDX-License-Identifier: Apache-2.0 */
/* The choice is made from the ledger alone, newest snapshot first: nothing in it depends on what runs. */
#include "latest.h"

#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ledger_facts.h"
#include "ledger_internal.h"
#include "limits.h"
#include "str.h"
#include "timespan.h"

#define STAGED                                                                                               \
        "FROM object WHERE org = ?1 AND category = ?2 AND is_zip AND staged_etag <> '' AND state IN (?3, "   \
        "?4) "
#define STAGED_VALUES(org, c) VALUES(V(org), V(c), V(OBJECT_PUBLISHED), V(OBJECT_GONE))
/* Staged snapshots, the newest first, each with the two before. */
static const char staged_sql[] =
        "SELECT date, id, lead(id, 1, 0) OVER w, lead(id, 2, 0) OVER w " STAGED "WINDOW w AS (ORDER BY date "
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

/* ret "": there is none. */
static int choose(struct ledger *l, const char *org, enum category c, char ret[DATE_SIZE], struct error *e)
{
        struct staged {
                char date[DATE_SIZE];
                int64_t id, before, earlier; /* 0: none */
        } s;
        static const struct sql_column columns[] = {COLUMN(TEXT, struct staged, date),
                COLUMN(NUMBER, struct staged, id), COLUMN(NUMBER, struct staged, before),
                COLUMN(NUMBER, struct staged, earlier)};
        _cleanup_finalize_ sqlite3_stmt *staged = NULL;
        int r = sql_prepare(&l->sql, staged_sql, STAGED_VALUES(org, c), &staged, e);
        if (r < 0)
                return r;
        ret[0] = 0;
        while ((r = sql_next(&l->sql, staged, columns, ELEMENTSOF(columns), &s, e)) > 0) {
                r = sql_run(&l->sql, spoilt_sql,
                        VALUES(V(s.id), V(s.before), V(s.earlier), V(OBJECT_PUBLISHED), V(OBJECT_REJECTED),
                                V(OBJECT_IGNORED)),
                        e);
                if (r == 0)
                        snprintf(ret, DATE_SIZE, "%s", s.date);
                if (r <= 0)
                        return r;
        }
        return r;
}

int latest_choose(struct ledger *l, const char *org, enum category c, char ret[DATE_SIZE], bool *ret_pinned,
        struct error *e)
{
        char pin[DATE_SIZE] = "", date[DATE_SIZE] = "";
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
        struct name {
                char course[COURSE_SIZE], table[TABLE_SIZE];
        } name;
        static const struct sql_column columns[] = {
                COLUMN(TEXT, struct name, course), COLUMN(TEXT, struct name, table)};
        if (!courses || !tables)
                return error_set(e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        int r = sql_prepare(&l->sql, names_sql, VALUES(V(p->spec.org), V(c), V(date)), &s, e);
        if (r < 0)
                return r;
        bool any = false;
        while ((r = sql_next(&l->sql, s, columns, ELEMENTSOF(columns), &name, e)) > 0) {
                match(&by_course, name.course);
                match(&by_table, name.table);
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
        char date[DATE_SIZE], now[NAME_MAX + 1] = "";
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
        if (!target)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        return staging_stat(s, target, NULL, NULL, NULL) == -ENOENT ? staging_latest(s, dir, NULL, e) : 0;
}

int latest_look(struct ledger *l, const char *org, enum category c, struct latest_state *ret, struct error *e)
{
        struct latest_state s = {};
        struct ends {
                char newest[DATE_SIZE],
                        oldest[DATE_SIZE]; /* behind the oldest is latest that points nowhere */
        } ends;
        static const struct sql_column columns[] = {
                COLUMN(TEXT, struct ends, newest), COLUMN(TEXT, struct ends, oldest)};
        int newest, at;
        int r = latest_choose(l, org, c, s.date, &s.pinned, e);
        if (r == 0)
                r = sql_get(&l->sql, "SELECT coalesce(max(date), ''), coalesce(min(date), '') " STAGED,
                        STAGED_VALUES(org, c), columns, ELEMENTSOF(columns), &ends, e);
        if (r < 0)
                return r;
        memcpy(s.newest, ends.newest, sizeof(s.newest));
        if (*s.newest && date_parse(s.newest, &newest) == 0 &&
                date_parse(*s.date ? s.date : ends.oldest, &at) == 0 && at < newest)
                s.behind_days = newest - at;
        *ret = s;
        return 0;
}
