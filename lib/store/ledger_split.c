/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger_split.h"

#include "ledger.h"
#include "ledger_internal.h"

#define COLUMNS                                                                                              \
        "object_id, path, rule, source_sha256, sums_sha256, lines_in, lines_of_courses, no_course, "         \
        "invalid, unparsed, courses, courses_left_out, files_size, tried_rule, tried_sha256, cause, "        \
        "detail, attempts, next_try, manifest_sha256"

#define COLUMN_(kind, field, ...) COLUMN(kind, struct ledger_split, field, __VA_ARGS__)
static const struct sql_column columns[] = {
        COLUMN_(NUMBER, object_id, .min = 1),
        COLUMN_(TEXT, path),
        COLUMN_(RULE, rule),
        COLUMN_(SHA256, source_sha256),
        COLUMN_(SHA256, sums_sha256),
        COLUMN_(NUMBER, lines_in),
        COLUMN_(NUMBER, lines_of_courses),
        COLUMN_(NUMBER, no_course),
        COLUMN_(NUMBER, invalid),
        COLUMN_(NUMBER, unparsed),
        COLUMN_(NUMBER, courses),
        COLUMN_(NUMBER, courses_left_out),
        COLUMN_(NUMBER, files_size),
        COLUMN_(RULE, tried_rule),
        COLUMN_(SHA256, tried_sha256),
        COLUMN_(CAUSE, cause),
        COLUMN_(TEXT, detail),
        COLUMN_(NUMBER, attempts),
        COLUMN_(NUMBER, next_try),
        COLUMN_(SHA256, manifest_sha256, .has = offsetof(struct ledger_split, has_manifest)),
};

bool ledger_split_is_done(const struct ledger_split *s, const struct ledger_object *o, enum event_rule rule)
{
        return *s->path && s->rule == rule && memcmp(s->source_sha256, o->sha256, SHA256_SIZE) == 0;
}

int ledger_split_get(struct ledger *l, int64_t object_id, struct ledger_split *ret, struct error *e)
{
        *ret = (struct ledger_split){};
        int r = sql_get(&l->sql, "SELECT " COLUMNS " FROM split WHERE object_id = ?1", VALUES(V(object_id)),
                columns, ELEMENTSOF(columns), ret, e);
        return r == 0 ? -ENOENT : MIN(r, 0);
}

int ledger_split_save(struct ledger *l, const struct ledger_split *v, struct error *e)
{
        return sql_put(&l->sql,
                "INSERT OR REPLACE INTO split (" COLUMNS
                ") VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20)",
                columns, ELEMENTSOF(columns), v, NULL, e);
}

int ledger_split_delete(struct ledger *l, int64_t object_id, struct error *e)
{
        return sql_run(&l->sql, "DELETE FROM split WHERE object_id = ?1", VALUES(V(object_id)), e);
}

bool ledger_split_is_again(const struct ledger_split *s)
{
        static const uint8_t none[SHA256_SIZE];
        return memcmp(s->source_sha256, none, SHA256_SIZE) == 0;
}

int ledger_split_again(struct ledger *l, int64_t object_id, struct error *e)
{
        return sql_run(&l->sql, "UPDATE split SET source_sha256 = NULL, cause = 'none' WHERE object_id = ?1",
                VALUES(V(object_id)), e);
}

#define DUE                                                                                                  \
        "FROM object o LEFT JOIN split s ON s.object_id = o.id "                                             \
        "WHERE o.state <> ?1 AND o.category = ?2 AND o.org = ?3 "                                            \
        "AND o.staged_etag <> '' AND o.sha256 IS NOT NULL "                                                  \
        "AND NOT EXISTS (SELECT 1 FROM feed_staged f WHERE f.path = o.path AND f.kind = 0 AND f.missing) "   \
        "AND (s.object_id IS NULL OR s.path = '' OR s.source_sha256 IS NOT o.sha256 OR s.rule <> ?4) "
#define UNTRIED                                                                                              \
        "(s.object_id IS NULL OR s.cause = 'none' OR s.tried_sha256 IS NOT o.sha256 OR s.tried_rule <> ?4)"

int ledger_splits_due(struct ledger *l, const char *org, enum event_rule rule, int64_t now, int64_t **ret,
        size_t *ret_n, int64_t *next, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL, *later = NULL;
        const struct sql_value *values =
                VALUES(V(OBJECT_MISSING), V(CATEGORY_EVENTS), V(org), V(event_rule_name(rule)), V(now));
        int r = sql_prepare(&l->sql,
                "SELECT o.id " DUE "AND (" UNTRIED " OR (s.next_try > 0 AND s.next_try <= ?5)) "
                "ORDER BY o.date DESC, o.site, o.id",
                values, &s, e);
        if (r == 0)
                r = sql_prepare(&l->sql,
                        "SELECT min(s.next_try) " DUE "AND NOT " UNTRIED " AND s.next_try > ?5", values,
                        &later, e);
        if (r == 0)
                r = sql_step(&l->sql, later, e);
        if (r < 0)
                return r;
        int64_t when = sqlite3_column_int64(later, 0);
        if (when > 0 && (*next == 0 || when < *next))
                *next = when;
        return ledger_collect(l, s, NULL, ret, ret_n, e);
}

int ledger_splits_retry(struct ledger *l, struct error *e)
{
        return sql_run(&l->sql, "UPDATE split SET next_try = 1 WHERE next_try > 1", NULL, e);
}

int ledger_splits_courses(struct ledger *l, const char *org, const char *site, uint64_t *ret, struct error *e)
{
        int64_t n = 0;
        int r = sql_get_i64(&l->sql,
                "SELECT coalesce(max(s.courses), 0) FROM split s JOIN object o ON o.id = s.object_id "
                "WHERE o.org = ?1 AND o.site = ?2",
                VALUES(V(org), V(site)), 0, &n, e);
        *ret = (uint64_t)n;
        return MIN(r, 0);
}

int ledger_splits(struct ledger *l, ledger_split_fn *each, void *arg, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        struct ledger_split v = {};
        int r = sql_prepare(&l->sql, "SELECT " COLUMNS " FROM split ORDER BY path, object_id", NULL, &s, e);
        while (r == 0 && (r = sql_next(&l->sql, s, columns, ELEMENTSOF(columns), &v, e)) == 1)
                r = each(&v, arg);
        return r;
}
