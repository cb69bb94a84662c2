/* SPDX-License-Identifier: Apache-2.0 */
/* Many objects. A filter becomes one SELECT; what matches is collected as ids first, so that a callback may
 * change what it is shown. And the SQL of every report in one place: numbers of states and categories are put
 * in as parameters of the text, so that they follow the enums. */
#include "ledger_report.h"

#include <fnmatch.h>

#include "ledger_internal.h"
#include "macro.h"
#include "str.h"
#include "timespan.h"

static void add_in(struct strbuf *b, const char *column, unsigned bits)
{
        if (bits == 0)
                return;
        strbuf_printf(b, " AND %s IN (", column);
        const char *comma = "";
        for (unsigned i = 0; i < 32; i++)
                if (bits & BIT(i)) {
                        strbuf_printf(b, "%s%u", comma, i);
                        comma = ",";
                }
        strbuf_add(b, ")");
}

/* The terms that compare with a string, in the order in which they are bound. */
static const struct {
        const char *sql;
        size_t offset;
} text_terms[] = {
        {" AND org = ?", offsetof(struct ledger_filter, org)},
        {" AND site = ?", offsetof(struct ledger_filter, site)},
        {" AND date >= ?", offsetof(struct ledger_filter, since)},
        {" AND date <= ? AND date <> ''", offsetof(struct ledger_filter, until)},
        {" AND bucket = ?", offsetof(struct ledger_filter, bucket)},
};

static const char *text_of(const struct ledger_filter *f, size_t i)
{
        return *(const char *const *)(const void *)((const char *)f + text_terms[i].offset);
}

static int prepare_filter(struct ledger *l, const char *select, const struct ledger_filter *f,
        const char *tail, sqlite3_stmt **ret, struct error *e)
{
        _cleanup_strbuf_ struct strbuf sql = {};
        struct sql_value values[ELEMENTSOF(text_terms) + 1] = {};
        size_t n = 0;
        strbuf_printf(&sql, "SELECT %s FROM object WHERE 1", select);
        add_in(&sql, "state", f->states);
        add_in(&sql, "category", f->categories);
        for (size_t i = 0; i < ELEMENTSOF(text_terms); i++)
                if (text_of(f, i)) {
                        strbuf_add(&sql, text_terms[i].sql);
                        values[n++] = sql_text(text_of(f, i));
                }
        strbuf_add(&sql, tail);
        if (sql.err)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        return sql_prepare(&l->sql, sql.s, values, ret, e);
}

static bool key_matches(const char *glob, sqlite3_stmt *s, int column)
{
        const char *key = glob ? (const char *)sqlite3_column_text(s, column) : NULL;
        return !glob || (key && fnmatch(glob, key, 0) == 0);
}

int ledger_collect(struct ledger *l, sqlite3_stmt *s, const char *key_glob, int64_t **ret, size_t *ret_n,
        struct error *e)
{
        _cleanup_free_ int64_t *v = NULL;
        size_t n = 0;
        int r;
        while ((r = sql_step(&l->sql, s, e)) == 1) {
                if (!key_matches(key_glob, s, 1))
                        continue;
                if (ARRAY_ROOM(v, n) < 0)
                        return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
                v[n++] = sqlite3_column_int64(s, 0);
        }
        if (r < 0)
                return r;
        *ret = take_ptr(&v);
        *ret_n = n;
        return 0;
}

int ledger_ids(struct ledger *l, const struct ledger_filter *f, int64_t **ret, size_t *ret_n, struct error *e)
{
        static const char by_date[] = " ORDER BY date DESC, key, bucket";
        static const char by_key[] = " ORDER BY key, bucket";
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = prepare_filter(l, "id, key", f, f->newest_first ? by_date : by_key, &s, e);
        return r < 0 ? r : ledger_collect(l, s, f->key_glob, ret, ret_n, e);
}

int ledger_each(
        struct ledger *l, const struct ledger_filter *f, ledger_object_fn *each, void *arg, struct error *e)
{
        _cleanup_free_ int64_t *ids = NULL;
        size_t n = 0;
        int r = ledger_ids(l, f, &ids, &n, e);
        for (size_t i = 0; i < n && r == 0; i++) {
                struct ledger_object o;
                r = ledger_get(l, ids[i], &o, e);
                if (r == 0)
                        r = each(&o, arg);
                else if (r == -ENOENT)
                        r = 0; /* removed since */
        }
        return r;
}

bool ledger_is_beaten_by(const struct ledger_object *o, const struct ledger_object *other)
{
        if (o->category != CATEGORY_EMAIL_OPT_IN || other->category != o->category ||
                !streq(other->org, o->org) || !streq(other->date, o->date) || streq(other->key, o->key))
                return false;
        if (other->state == OBJECT_FORGOTTEN || other->state == OBJECT_PRUNED ||
                (other->state == OBJECT_GONE && !*other->staged_etag))
                return false;
        return other->last_modified > o->last_modified ||
               (other->last_modified == o->last_modified && strcmp(other->key, o->key) > 0);
}

struct rivals {
        const struct ledger_object *o;
        bool beaten;
};

static int on_rival(struct ledger_object *other, void *arg)
{
        struct rivals *r = arg;
        r->beaten |= ledger_is_beaten_by(r->o, other);
        return 0;
}

int ledger_is_beaten(struct ledger *l, const struct ledger_object *o, bool *ret, struct error *e)
{
        struct rivals r = {.o = o};
        struct ledger_filter f = {
                .categories = BIT(CATEGORY_EMAIL_OPT_IN), .org = o->org, .since = o->date, .until = o->date};
        int err = o->category == CATEGORY_EMAIL_OPT_IN ? ledger_each(l, &f, on_rival, &r, e) : 0;
        *ret = r.beaten;
        return MIN(err, 0);
}

int ledger_give_way(struct ledger *l, struct ledger_object *other, struct error *e)
{
        other->path[0] = other->staged_etag[0] = 0;
        if (other->state == OBJECT_PUBLISHED || other->state == OBJECT_MISSING) {
                other->state = OBJECT_IGNORED;
                snprintf(other->detail, sizeof(other->detail), "%s", LEDGER_OTHER_SPELLING);
        }
        int r = ledger_save(l, other, e);
        return r < 0 ? r : ledger_members_delete(l, other->id, e);
}

int ledger_count(struct ledger *l, const struct ledger_filter *f, uint64_t *ret_n, uint64_t *ret_bytes,
        struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = prepare_filter(
                l, f->key_glob ? "1, size, key" : "count(*), " LEDGER_SUM("size"), f, "", &s, e);
        if (r < 0)
                return r;
        uint64_t n = 0, bytes = 0;
        while ((r = sql_step(&l->sql, s, e)) == 1) {
                int64_t k = sqlite3_column_int64(s, 0), size = sqlite3_column_int64(s, 1);
                if (size < 0)
                        return error_set(e, CAUSE_IO, EUCLEAN, "the ledger is damaged: a negative size");
                if (!key_matches(f->key_glob, s, 2))
                        continue;
                n += (uint64_t)k;
                bytes += (uint64_t)size;
        }
        if (r < 0)
                return r;
        *ret_n = n;
        *ret_bytes = bytes;
        return 0;
}

/* --- the ledger as a whole --- */

/* Every statement may use these: p is PUBLISHED and so on. One row, so joining it costs nothing. */
#define STATES                                                                                               \
        "WITH s (new, fetching, decrypting, published, retry, rejected, gone, missing) AS "                  \
        "(VALUES (?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)) "

/* REPORT_LAST names them all: an index on the state is only used for values. */
_Static_assert(OBJECT_STATE_MAX == 11, "REPORT_LAST must name every state");

_Static_assert(OBJECT_REJECTED == 5 && OBJECT_PUBLISHED == 3, "REPORT_MEMBERS_REJECTED and its index");

#define SIZES LEDGER_SUM("size")
#define PLAIN LEDGER_SUM("max(plain_size, 0)")
#define BYTES LEDGER_SUM("bytes")
#define TOTALS LEDGER_SUM("total")
#define ONCES LEDGER_SUM("once")

/* The number stands in the text, or its index would not be used. */
#define REJECTED                                                                                             \
        "FROM member m JOIN object o ON o.id = m.object_id WHERE m.state = 5 AND o.staged_etag <> '' "       \
        "AND o.state = 3 "

static const char *const report_sql[REPORT_MAX] = {
        [REPORT_COUNTS] = "SELECT org, category, site, state, count(*), " SIZES ", " PLAIN " "
                          "FROM object GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
        /* groups as the index on the state has them, then single rows by it: no sorting */
        [REPORT_LAST] = STATES
        ", g (org, category, site, date, n, last) AS (SELECT org, category, site, max(date), "
        "count(*), max(published_at) FROM object, s WHERE state = s.published "
        "GROUP BY state, category, org, site) "
        "SELECT g.org, g.category, g.site, g.date, o.path, o.published_at, "
        "(SELECT max(k.date) FROM object k WHERE k.state IN (0,1,2,3,4,5,6,7,8,9,10) AND k.category = "
        "g.category AND k.org = g.org AND k.site = g.site), g.n, g.last, o.plain_size "
        "FROM g, s JOIN object o ON o.id = (SELECT id FROM object p WHERE p.state = s.published "
        "AND p.category = g.category AND p.org = g.org AND p.site = g.site AND p.date = g.date "
        "LIMIT 1) ORDER BY 1, 2, 3",
        [REPORT_TROUBLES] =
                STATES "SELECT o.state, o.cause, count(*), min(o.key), o.detail, o.next_try, o.org "
                       "FROM object o, s WHERE o.state IN (s.retry, s.rejected, s.missing) "
                       "GROUP BY o.state, o.cause, o.org ORDER BY o.state DESC, 3 DESC, o.cause",
        [REPORT_KEPT_MISSING] =
                STATES "SELECT count(*), min(o.path) FROM object o, s "
                       "WHERE o.state IN (s.retry, s.rejected, s.gone) AND o.staged_etag <> '' "
                       "AND EXISTS (SELECT 1 FROM feed_staged f WHERE f.path = o.path AND f.kind = 0 "
                       "AND f.missing)",
        [REPORT_MEMBERS_REJECTED] =
                "SELECT o.org, o.category, '', o.date, m.cause, count(*), o.id, o.path, "
                "min(m.name), m.detail " REJECTED "GROUP BY o.id, m.cause ORDER BY o.date DESC, o.id, 5",
        [REPORT_UNREADABLE] = "SELECT org, category, site, count(*), min(key), bucket, min(date), "
                              "max(date) FROM unreadable GROUP BY bucket, org, category, site "
                              "ORDER BY 1, 2, 3, 6",
        [REPORT_DATES] = STATES "SELECT o.org, o.category, o.site, o.date, "
                                "o.last_modified / 86400 - CAST(julianday(o.date) - 2440587.5 AS INTEGER), "
                                "o.state <> s.gone OR o.staged_etag <> '', "
                                "o.staged_etag <> '' AND o.staged_etag <> o.etag, o.state "
                                "FROM object o, s WHERE o.date <> '' ORDER BY 1, 2, 3, 4",
        [REPORT_SNAPSHOTS] =
                STATES "SELECT o.id, o.path, o.date, o.org, o.category, "
                       "(SELECT count(*) FROM member m WHERE m.object_id = o.id AND m.state = s.rejected), "
                       "o.plain_size, "
                       "(SELECT count(*) FROM member m WHERE m.object_id = o.id AND m.state = s.published), "
                       "o.size FROM object o, s WHERE o.is_zip AND o.staged_etag <> '' "
                       "AND o.state IN (s.published, s.gone, s.new, s.retry, s.fetching, s.decrypting) "
                       "ORDER BY o.org, o.category, o.date DESC",
        [REPORT_COURSES] =
                /* doubles go first: of the courses of all members SQLite would make an array */
        STATES "SELECT course FROM (SELECT DISTINCT m.course AS course FROM member m, s "
               "WHERE m.object_id = CAST(?1 AS INTEGER) AND m.state = s.published AND m.course <> '' "
               "AND NOT m.failed) ORDER BY 1",
        [REPORT_LOST] = STATES ", part (id, name, course, bytes) AS MATERIALIZED ("
                               "SELECT m.object_id, m.\"table\", m.course, " PLAIN " FROM member m, s "
                               "WHERE m.object_id IN (CAST(?1 AS INTEGER), CAST(?2 AS INTEGER)) "
                               "AND m.state = s.published AND NOT m.failed GROUP BY 1, 2, 3) "
                               "SELECT b.name, b.course, n.id IS NULL FROM part b LEFT JOIN part n "
                               "ON n.id = CAST(?1 AS INTEGER) AND n.name = b.name AND n.course = b.course "
                               "WHERE b.id = CAST(?2 AS INTEGER) AND (n.id IS NULL OR n.bytes * 2 < b.bytes) "
                               "ORDER BY 1, 2",
        [REPORT_STORAGE] = STATES
        ", file (org, category, sha256, bytes) AS ("
        "SELECT org, category, 'object' || id, plain_size FROM object, s "
        "WHERE NOT is_zip AND state IN (s.published, s.gone) AND path <> '' AND plain_size > 0 "
        "UNION ALL SELECT o.org, o.category, m.sha256, m.plain_size FROM member m "
        "JOIN object o ON o.id = m.object_id, s WHERE m.state = s.published "
        "AND o.state IN (s.published, s.gone) AND m.plain_size > 0), "
        "each (org, category, total, once) AS (SELECT org, category, " BYTES ", max(bytes) "
        "FROM file GROUP BY org, category, sha256) "
        "SELECT org, category, " TOTALS ", " ONCES " FROM each GROUP BY 1, 2 ORDER BY 1, 2",
};

static void read_row(sqlite3_stmt *s, struct report_row *row)
{
        int n = MIN(sqlite3_column_count(s), REPORT_COLUMNS);
        for (int i = 0; i < REPORT_COLUMNS; i++) {
                const char *text = i < n ? (const char *)sqlite3_column_text(s, i) : NULL;
                row->text[i] = text ? text : "";
                row->number[i] = i < n ? sqlite3_column_int64(s, i) : 0;
        }
}

const char *report_category(const struct report_row *row)
{
        int64_t c = row->number[1];
        return c >= 0 && c < CATEGORY_MAX ? category_name((enum category)c) : NULL;
}

int report_each(struct ledger *l, enum report which, const char *first, const char *second, report_fn *each,
        void *arg, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        const struct sql_value *values = VALUES(V(first), V(second), V(OBJECT_NEW), V(OBJECT_FETCHING),
                V(OBJECT_DECRYPTING), V(OBJECT_PUBLISHED), V(OBJECT_RETRY), V(OBJECT_REJECTED),
                V(OBJECT_GONE), V(OBJECT_MISSING));
        int r = sql_prepare(&l->sql, report_sql[which], values, &s, e);
        while (r == 0 && (r = sql_step(&l->sql, s, e)) == 1) {
                struct report_row row;
                read_row(s, &row);
                r = each(&row, arg);
        }
        return r;
}

int report_rejected(struct ledger *l, int64_t object_id, uint64_t *ret, struct error *e)
{
        int64_t n = 0;
        int r = sql_get_i64(
                &l->sql, "SELECT count(*) " REJECTED "AND ?1 IN (0, o.id)", VALUES(V(object_id)), 0, &n, e);
        *ret = (uint64_t)n;
        return MIN(r, 0);
}

int report_unreadable(struct ledger *l, uint64_t *ret, struct error *e)
{
        int64_t n = 0;
        int r = sql_get_i64(&l->sql, "SELECT count(*) FROM unreadable", NULL, 0, &n, e);
        *ret = (uint64_t)n;
        return MIN(r, 0);
}

static int on_date(const struct report_row *row, void *arg)
{
        struct habit_day day = {.delay = (int)row->number[4]};
        int64_t category = row->number[1];
        if (!row->number[5] || date_parse(row->text[3], &day.day) < 0 || category < 0 ||
                category >= CATEGORY_MAX)
                return 0;
        return habit_add(arg, row->text[0], (enum category)category, row->text[2], day);
}

int report_habit(struct ledger *l, struct habit *h, struct error *e)
{
        return report_each(l, REPORT_DATES, NULL, NULL, on_date, h, e);
}
