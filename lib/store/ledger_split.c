/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger_split.h"

#include "ledger_internal.h"
#include "str.h"

#define COLUMNS                                                                                              \
        "object_id, path, rule, source_sha256, sums_sha256, lines_in, lines_of_courses, no_course, "         \
        "invalid, unparsed, courses, courses_left_out, files_size, tried_rule, tried_sha256, cause, "        \
        "detail, attempts, next_try"

static int prepare(struct ledger *l, const char *sql, sqlite3_stmt **ret, struct error *e)
{
        return sqlite3_prepare_v2(l->db, sql, -1, ret, NULL) == SQLITE_OK
                       ? 0
                       : ledger_fail(l, "reading the schema", e);
}

static int unfit(int err, struct error *e)
{
        return error_set(e, CAUSE_INTERNAL, -err, "the ledger cannot hold that value");
}

static enum event_rule row_rule(struct ledger_row *row)
{
        char name[16];
        ledger_row_text(row, name, sizeof(name));
        enum event_rule rule = event_rule_from_name(name);
        if (rule != EVENT_RULE_MAX)
                return rule;
        row->err = row->err ? row->err : -EUCLEAN;
        return EVENT_RULE_NONE;
}

static int read_row(sqlite3_stmt *s, struct ledger_split *ret, struct error *e)
{
        struct ledger_row row = {.s = s};
        *ret = (struct ledger_split){.object_id = ledger_row_i64(&row, 1, INT64_MAX)};
        ledger_row_text(&row, ret->path, sizeof(ret->path));
        ret->rule = row_rule(&row);
        ledger_row_sha256(&row, ret->source_sha256);
        ledger_row_sha256(&row, ret->sums_sha256);
        uint64_t *const numbers[] = {&ret->lines_in, &ret->lines_of_courses, &ret->no_course, &ret->invalid,
                &ret->unparsed, &ret->courses, &ret->courses_left_out, &ret->files_size};
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                *numbers[i] = (uint64_t)ledger_row_i64(&row, 0, INT64_MAX);
        ret->tried_rule = row_rule(&row);
        ledger_row_sha256(&row, ret->tried_sha256);
        ret->cause = ledger_row_cause(&row);
        ledger_row_text(&row, ret->detail, sizeof(ret->detail));
        ret->attempts = (unsigned)ledger_row_i64(&row, 0, UINT32_MAX);
        ret->next_try = ledger_row_i64(&row, 0, INT64_MAX);
        return row.err ? error_set(e, CAUSE_IO, -row.err, "the ledger is damaged: a day by course") : 0;
}

int ledger_split_get(struct ledger *l, int64_t object_id, struct ledger_split *ret, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = prepare(l, "SELECT " COLUMNS " FROM split WHERE object_id = ?1", &s, e);
        struct ledger_bind b = {.s = s};
        if (r < 0)
                return r;
        ledger_bind_i64(&b, object_id);
        r = ledger_step(l, s, "reading", e);
        return r < 0 ? r : r == 0 ? -ENOENT : read_row(s, ret, e);
}

int ledger_split_save(struct ledger *l, const struct ledger_split *v, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = prepare(l,
                "INSERT OR REPLACE INTO split VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, "
                "?13, "
                "?14, ?15, ?16, ?17, ?18, ?19)",
                &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_i64(&b, v->object_id);
        ledger_bind_text(&b, v->path);
        ledger_bind_text(&b, event_rule_name(v->rule));
        ledger_bind_sha256(&b, *v->path, v->source_sha256);
        ledger_bind_sha256(&b, *v->path, v->sums_sha256);
        const uint64_t numbers[] = {v->lines_in, v->lines_of_courses, v->no_course, v->invalid, v->unparsed,
                v->courses, v->courses_left_out, v->files_size};
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                ledger_bind_u64(&b, numbers[i]);
        ledger_bind_text(&b, event_rule_name(v->tried_rule));
        ledger_bind_sha256(&b, v->cause != CAUSE_NONE, v->tried_sha256);
        ledger_bind_text(&b, cause_name(v->cause));
        ledger_bind_text(&b, v->detail);
        ledger_bind_i64(&b, v->attempts);
        ledger_bind_i64(&b, v->next_try);
        return b.err ? unfit(b.err, e) : ledger_step(l, s, "writing", e);
}

int ledger_split_delete(struct ledger *l, int64_t object_id, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = prepare(l, "DELETE FROM split WHERE object_id = ?1", &s, e);
        struct ledger_bind b = {.s = s};
        if (r < 0)
                return r;
        ledger_bind_i64(&b, object_id);
        return ledger_step(l, s, "writing", e);
}

#define DUE                                                                                                  \
        "FROM object o LEFT JOIN split s ON s.object_id = o.id "                                             \
        "WHERE o.state = ?1 AND o.category = ?2 AND o.org = ?3 AND o.sha256 IS NOT NULL "                    \
        "AND (s.object_id IS NULL OR s.path = '' OR s.source_sha256 IS NOT o.sha256 OR s.rule <> ?4) "
#define UNTRIED                                                                                              \
        "(s.object_id IS NULL OR s.cause = 'none' OR s.tried_sha256 IS NOT o.sha256 OR s.tried_rule <> ?4)"

static int prepare_due(struct ledger *l, const char *sql, const char *org, enum event_rule rule, int64_t now,
        sqlite3_stmt **ret, struct error *e)
{
        int r = prepare(l, sql, ret, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = *ret};
        ledger_bind_i64(&b, OBJECT_PUBLISHED);
        ledger_bind_i64(&b, CATEGORY_EVENTS);
        ledger_bind_text(&b, org);
        ledger_bind_text(&b, event_rule_name(rule));
        ledger_bind_i64(&b, now);
        return b.err ? unfit(b.err, e) : 0;
}

static int collect(struct ledger *l, sqlite3_stmt *s, int64_t **ret, size_t *ret_n, struct error *e)
{
        _cleanup_free_ int64_t *v = NULL;
        size_t n = 0;
        int r;
        while ((r = ledger_step(l, s, "reading", e)) == 1) {
                if (n % 256 == 0) {
                        int64_t *grown = reallocarray(v, n + 256, sizeof(*v));
                        if (!grown)
                                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
                        v = grown;
                }
                v[n++] = sqlite3_column_int64(s, 0);
        }
        if (r < 0)
                return r;
        *ret = take_ptr(&v);
        *ret_n = n;
        return 0;
}

int ledger_splits_due(struct ledger *l, const char *org, enum event_rule rule, int64_t now, int64_t **ret,
        size_t *ret_n, int64_t *next, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL, *later = NULL;
        int r = prepare_due(l,
                "SELECT o.id " DUE "AND (" UNTRIED " OR (s.next_try > 0 AND s.next_try <= ?5)) "
                "ORDER BY o.date DESC, o.site, o.id",
                org, rule, now, &s, e);
        if (r == 0)
                r = prepare_due(l, "SELECT min(s.next_try) " DUE "AND NOT " UNTRIED " AND s.next_try > ?5",
                        org, rule, now, &later, e);
        if (r == 0)
                r = ledger_step(l, later, "reading", e);
        if (r < 0)
                return r;
        int64_t when = sqlite3_column_int64(later, 0);
        if (when > 0 && (*next == 0 || when < *next))
                *next = when;
        return collect(l, s, ret, ret_n, e);
}

int ledger_splits_retry(struct ledger *l, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = prepare(l, "UPDATE split SET next_try = 1 WHERE next_try > 1", &s, e);
        return r < 0 ? r : ledger_step(l, s, "writing", e);
}

int ledger_splits(struct ledger *l, ledger_split_fn *each, void *arg, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        struct ledger_split v;
        int r = prepare(l, "SELECT " COLUMNS " FROM split ORDER BY path, object_id", &s, e);
        while (r == 0 && (r = ledger_step(l, s, "reading", e)) == 1) {
                r = read_row(s, &v, e);
                if (r == 0)
                        r = each(&v, arg);
        }
        return r;
}
