/* SPDX-License-Identifier: Apache-2.0 */
/* What the ledger knows beside objects and members. */
#include "ledger_facts.h"

#include "ledger_internal.h"
#include "limits.h"
#include "str.h"

#define GET(l, text, values, columns, ret, e)                                                                \
        sql_get(&(l)->sql, text, values, columns, ELEMENTSOF(columns), ret, e)

/* What is not known is no error. */
static int known(int r)
{
        return MIN(r, 0);
}

/* --- the audit record --- */

int ledger_audit_tail(struct ledger *l, struct audit_tail *ret, struct error *e)
{
        static const struct sql_column columns[] = {
                COLUMN(NUMBER, struct audit_tail, seq), COLUMN(TEXT, struct audit_tail, head)};
        *ret = (struct audit_tail){};
        return known(GET(l, "SELECT seq, head FROM audit_tail", NULL, columns, ret, e));
}

int ledger_set_audit_tail(struct ledger *l, const struct audit_tail *tail, struct error *e)
{
        return sql_run(&l->sql, "INSERT OR REPLACE INTO audit_tail (id, seq, head) VALUES (1, ?1, ?2)",
                VALUES(V(tail->seq), V(tail->head)), e);
}

/* --- archives --- */

int ledger_set_courses(
        struct ledger *l, int64_t object_id, const char *etag, const struct strv *courses, struct error *e)
{
        int r = ledger_begin(l, e);
        if (r < 0)
                return r;
        r = sql_run(&l->sql, "DELETE FROM archive_course WHERE object_id = ?1", VALUES(V(object_id)), e);
        if (r == 0)
                r = sql_run(&l->sql,
                        "INSERT INTO archive (object_id, courses_etag) VALUES (?1, ?2) "
                        "ON CONFLICT (object_id) DO UPDATE SET courses_etag = excluded.courses_etag",
                        VALUES(V(object_id), V(etag)), e);
        for (size_t i = 0; r == 0 && i < courses->n; i++)
                r = sql_run(&l->sql,
                        "INSERT OR IGNORE INTO archive_course (object_id, course) VALUES (?1, ?2)",
                        VALUES(V(object_id), V(courses->v[i])), e);
        return ledger_end(l, r, e);
}

int ledger_courses(
        struct ledger *l, int64_t object_id, char ret_etag[ETAG_SIZE], struct strv *ret, struct error *e)
{
        static const struct sql_column etag[] = {{COLUMN_TEXT, .size = ETAG_SIZE}},
                                       name = {COLUMN_TEXT, .size = COURSE_SIZE};
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        char course[COURSE_SIZE];
        ret_etag[0] = 0;
        int r = GET(l, "SELECT courses_etag FROM archive WHERE object_id = ?1 AND courses_etag <> ''",
                VALUES(V(object_id)), etag, ret_etag, e);
        if (r <= 0)
                return r;
        r = sql_keep(&l->sql, "SELECT course FROM archive_course WHERE object_id = ?1", VALUES(V(object_id)),
                &s, e);
        while (r == 0 && (r = sql_next(&l->sql, s, &name, 1, course, e)) == 1)
                r = strv_add(ret, course) < 0 ? error_set(e, CAUSE_IO, ENOMEM, "out of memory") : 0;
        return r;
}

int ledger_left_out(struct ledger *l, int64_t object_id, bool *ret, struct error *e)
{
        int r = sql_run(
                &l->sql, "SELECT 1 FROM archive WHERE object_id = ?1 AND left_out", VALUES(V(object_id)), e);
        *ret = r == 1;
        return MIN(r, 0);
}

int ledger_set_left_out(struct ledger *l, int64_t object_id, bool left_out, struct error *e)
{
        return sql_run(&l->sql,
                "INSERT INTO archive (object_id, left_out) VALUES (?1, ?2) "
                "ON CONFLICT (object_id) DO UPDATE SET left_out = excluded.left_out",
                VALUES(V(object_id), V(left_out)), e);
}

int ledger_shortage(struct ledger *l, int64_t object_id, struct ledger_shortage *ret, struct error *e)
{
        static const struct sql_column columns[] = {COLUMN(TEXT, struct ledger_shortage, etag),
                COLUMN(NUMBER, struct ledger_shortage, bytes),
                COLUMN(NUMBER, struct ledger_shortage, pid, .max = INT32_MAX)};
        *ret = (struct ledger_shortage){};
        return known(GET(l,
                "SELECT short_etag, short_bytes, short_pid FROM archive WHERE object_id = ?1 AND "
                "short_etag <> ''",
                VALUES(V(object_id)), columns, ret, e));
}

int ledger_set_shortage(
        struct ledger *l, int64_t object_id, const struct ledger_shortage *shortage, struct error *e)
{
        static const struct ledger_shortage none = {};
        const struct ledger_shortage *v = shortage ? shortage : &none;
        return sql_run(&l->sql,
                "INSERT INTO archive (object_id, short_etag, short_bytes, short_pid) VALUES (?1, ?2, ?3, ?4) "
                "ON CONFLICT (object_id) DO UPDATE SET short_etag = excluded.short_etag, "
                "short_bytes = excluded.short_bytes, short_pid = excluded.short_pid",
                VALUES(V(object_id), V(v->etag), V(MIN(v->bytes, (uint64_t)INT64_MAX)), V(v->pid)), e);
}

/* --- series of archives --- */

int ledger_growth(
        struct ledger *l, const char *org, enum category c, struct ledger_growth *ret, struct error *e)
{
        static const struct sql_column columns[] = {
                COLUMN(NUMBER, struct ledger_growth, expansion, .max = UINT32_MAX),
                COLUMN(NUMBER, struct ledger_growth, new_share, .max = UINT32_MAX)};
        *ret = (struct ledger_growth){};
        return known(GET(l, "SELECT expansion, new_share FROM series WHERE org = ?1 AND category = ?2",
                VALUES(V(org), V(c)), columns, ret, e));
}

int ledger_set_growth(
        struct ledger *l, const char *org, enum category c, const struct ledger_growth *g, struct error *e)
{
        return sql_run(&l->sql,
                "INSERT INTO series (org, category, expansion, new_share) VALUES (?1, ?2, ?3, ?4) "
                "ON CONFLICT (org, category) DO UPDATE SET expansion = excluded.expansion, "
                "new_share = excluded.new_share",
                VALUES(V(org), V(c), V(g->expansion), V(g->new_share)), e);
}

int ledger_pin(struct ledger *l, const char *org, enum category c, char ret[DATE_SIZE], struct error *e)
{
        static const struct sql_column pin[] = {{COLUMN_TEXT, .size = DATE_SIZE}};
        ret[0] = 0;
        return known(GET(l, "SELECT pin FROM series WHERE org = ?1 AND category = ?2", VALUES(V(org), V(c)),
                pin, ret, e));
}

int ledger_set_pin(struct ledger *l, const char *org, enum category c, const char *date, struct error *e)
{
        return sql_run(&l->sql,
                "INSERT INTO series (org, category, pin) VALUES (?1, ?2, ?3) "
                "ON CONFLICT (org, category) DO UPDATE SET pin = excluded.pin",
                VALUES(V(org), V(c), V(date)), e);
}

/* --- times, left-overs, keys --- */

int ledger_took(struct ledger *l, const char *what, uint64_t *ret_usec, struct error *e)
{
        static const struct sql_column usec[] = {{COLUMN_NUMBER, .size = sizeof(*ret_usec)}};
        *ret_usec = 0;
        return known(GET(l, "SELECT usec FROM took WHERE what = ?1", VALUES(V(what)), usec, ret_usec, e));
}

int ledger_set_took(struct ledger *l, const char *what, uint64_t usec, struct error *e)
{
        return sql_run(&l->sql, "INSERT OR REPLACE INTO took (what, usec) VALUES (?1, ?2)",
                VALUES(V(what), V(MIN(usec, (uint64_t)INT64_MAX))), e);
}

static const struct sql_column leftover_columns[] = {COLUMN(NUMBER, struct ledger_leftover, object_id),
        COLUMN(TEXT, struct ledger_leftover, path), COLUMN(TEXT, struct ledger_leftover, keep_as)};

int ledger_leftover_add(struct ledger *l, const struct ledger_leftover *leftover, struct error *e)
{
        return sql_put(&l->sql,
                "INSERT OR REPLACE INTO leftover (object_id, path, keep_as) VALUES (?1, ?2, ?3)",
                leftover_columns, ELEMENTSOF(leftover_columns), leftover, NULL, e);
}

int ledger_leftover_remove(struct ledger *l, const char *path, struct error *e)
{
        return sql_run(&l->sql, "DELETE FROM leftover WHERE path = ?1", VALUES(V(path)), e);
}

int ledger_leftovers_delete(struct ledger *l, int64_t object_id, struct error *e)
{
        return sql_run(&l->sql, "DELETE FROM leftover WHERE object_id = ?1", VALUES(V(object_id)), e);
}

int ledger_leftover_next(struct ledger *l, const char *after, struct ledger_leftover *ret, struct error *e)
{
        return GET(l, "SELECT object_id, path, keep_as FROM leftover WHERE path > ?1 ORDER BY path LIMIT 1",
                VALUES(V(after)), leftover_columns, ret, e);
}

static const struct sql_column key_columns[] = {COLUMN(TEXT, struct ledger_key, fingerprint),
        COLUMN(NUMBER, struct ledger_key, created, .min = INT64_MIN),
        COLUMN(NUMBER, struct ledger_key, expires, .min = INT64_MIN),
        COLUMN(TEXT, struct ledger_key, user_id), COLUMN(TEXT, struct ledger_key, homedir)};

int ledger_keys_clear(struct ledger *l, struct error *e)
{
        return sql_run(&l->sql, "DELETE FROM secret_key", NULL, e);
}

int ledger_key_add(struct ledger *l, const struct ledger_key *key, struct error *e)
{
        return sql_put(&l->sql,
                "INSERT INTO secret_key (fingerprint, created, expires, user_id, homedir) VALUES (?1, ?2, "
                "?3, ?4, ?5)",
                key_columns, ELEMENTSOF(key_columns), key, NULL, e);
}

int ledger_keys(struct ledger *l, struct ledger_key *ret, size_t n, size_t *ret_n, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        *ret_n = 0;
        int r = sql_keep(&l->sql,
                "SELECT fingerprint, created, expires, user_id, homedir FROM secret_key ORDER BY id LIMIT ?1",
                VALUES(V(n)), &s, e);
        while (r == 0 && *ret_n < n &&
                (r = sql_next(&l->sql, s, key_columns, ELEMENTSOF(key_columns), &ret[*ret_n], e)) == 1) {
                ++*ret_n;
                r = 0;
        }
        return r;
}

/* --- events by course --- */

#define SPLIT_COLUMNS                                                                                        \
        "object_id, path, rule, source_sha256, sums_sha256, lines_in, lines_of_courses, no_course, "         \
        "invalid, unparsed, courses, courses_left_out, files_size, tried_rule, tried_sha256, cause, "        \
        "detail, attempts, next_try, manifest_sha256"

#define SPLIT(kind, field, ...) COLUMN(kind, struct ledger_split, field, __VA_ARGS__)
static const struct sql_column split_columns[] = {
        SPLIT(NUMBER, object_id, .min = 1),
        SPLIT(TEXT, path),
        SPLIT(RULE, rule),
        SPLIT(SHA256, source_sha256),
        SPLIT(SHA256, sums_sha256),
        SPLIT(NUMBER, lines_in),
        SPLIT(NUMBER, lines_of_courses),
        SPLIT(NUMBER, no_course),
        SPLIT(NUMBER, invalid),
        SPLIT(NUMBER, unparsed),
        SPLIT(NUMBER, courses),
        SPLIT(NUMBER, courses_left_out),
        SPLIT(NUMBER, files_size),
        SPLIT(RULE, tried_rule),
        SPLIT(SHA256, tried_sha256),
        SPLIT(CAUSE, cause),
        SPLIT(TEXT, detail),
        SPLIT(NUMBER, attempts),
        SPLIT(NUMBER, next_try),
        SPLIT(SHA256, manifest_sha256, .has = offsetof(struct ledger_split, has_manifest)),
};

bool ledger_split_is_done(const struct ledger_split *s, const struct ledger_object *o, enum event_rule rule)
{
        return *s->path && s->rule == rule && memcmp(s->source_sha256, o->sha256, SHA256_SIZE) == 0;
}

int ledger_split_get(struct ledger *l, int64_t object_id, struct ledger_split *ret, struct error *e)
{
        *ret = (struct ledger_split){};
        int r = sql_get(&l->sql, "SELECT " SPLIT_COLUMNS " FROM split WHERE object_id = ?1",
                VALUES(V(object_id)), split_columns, ELEMENTSOF(split_columns), ret, e);
        return r == 0 ? -ENOENT : MIN(r, 0);
}

int ledger_split_save(struct ledger *l, const struct ledger_split *v, struct error *e)
{
        return sql_put(&l->sql,
                "INSERT OR REPLACE INTO split (" SPLIT_COLUMNS
                ") VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20)",
                split_columns, ELEMENTSOF(split_columns), v, NULL, e);
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
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int64_t when = 0;
        const struct sql_value *values =
                VALUES(V(OBJECT_MISSING), V(CATEGORY_EVENTS), V(org), V(event_rule_name(rule)), V(now));
        int r = sql_prepare(&l->sql,
                "SELECT o.id " DUE "AND (" UNTRIED " OR (s.next_try > 0 AND s.next_try <= ?5)) "
                "ORDER BY o.date DESC, o.site, o.id",
                values, &s, e);
        if (r == 0)
                r = sql_get_i64(&l->sql,
                        "SELECT coalesce(min(s.next_try), 0) " DUE "AND NOT " UNTRIED " AND s.next_try > ?5",
                        values, 0, &when, e);
        if (r < 0)
                return r;
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
        int r = sql_prepare(
                &l->sql, "SELECT " SPLIT_COLUMNS " FROM split ORDER BY path, object_id", NULL, &s, e);
        while (r == 0 && (r = sql_next(&l->sql, s, split_columns, ELEMENTSOF(split_columns), &v, e)) == 1)
                r = each(&v, arg);
        return r;
}
