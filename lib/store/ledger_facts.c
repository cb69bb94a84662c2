/* SPDX-License-Identifier: Apache-2.0 */
/* These are asked for rarely: each statement is prepared when it is used. */
#include "ledger_facts.h"

#include <stdarg.h>

#include "ledger_internal.h"
#include "limits.h"
#include "str.h"

/* Prepares sql and binds by types: t text, i int64_t. */
static int query(
        struct ledger *l, const char *sql, sqlite3_stmt **ret, struct error *e, const char *types, ...)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        if (sqlite3_prepare_v2(l->db, sql, -1, &s, NULL) != SQLITE_OK)
                return ledger_fail(l, "reading the schema", e);
        struct ledger_bind b = {.s = s};
        va_list ap;
        va_start(ap, types);
        for (; *types; types++)
                if (*types == 't')
                        ledger_bind_text(&b, va_arg(ap, const char *));
                else
                        ledger_bind_i64(&b, va_arg(ap, int64_t));
        va_end(ap);
        if (b.err)
                return error_set(e, CAUSE_INTERNAL, -b.err, "the ledger cannot hold that value");
        *ret = take_ptr(&s);
        return 0;
}

#define WRITE(l, e, sql, ...)                                                                                \
        ({                                                                                                   \
                _cleanup_finalize_ sqlite3_stmt *s_ = NULL;                                                  \
                int r_ = query(l, sql, &s_, e, __VA_ARGS__);                                                 \
                r_ < 0 ? r_ : ledger_step(l, s_, "writing", e);                                              \
        })

static int damaged(const struct ledger_row *row, const char *what, struct error *e)
{
        return row->err ? error_set(e, CAUSE_IO, -row->err, "the ledger is damaged: %s", what) : 0;
}

/* --- the audit record --- */

int ledger_audit_tail(struct ledger *l, struct audit_tail *ret, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = query(l, "SELECT seq, head FROM audit_tail", &s, e, "");
        *ret = (struct audit_tail){};
        if (r == 0)
                r = ledger_step(l, s, "reading", e);
        if (r <= 0)
                return r;
        struct ledger_row row = {.s = s};
        ret->seq = (uint64_t)ledger_row_i64(&row, 0, INT64_MAX);
        ledger_row_text(&row, ret->head, sizeof(ret->head));
        return damaged(&row, "the audit record's last line", e);
}

int ledger_set_audit_tail(struct ledger *l, const struct audit_tail *tail, struct error *e)
{
        return WRITE(l, e, "INSERT OR REPLACE INTO audit_tail (id, seq, head) VALUES (1, ?1, ?2)", "it",
                (int64_t)tail->seq, tail->head);
}

/* --- archives --- */

int ledger_set_courses(
        struct ledger *l, int64_t object_id, const char *etag, const struct strv *courses, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = ledger_begin(l, e);
        if (r < 0)
                return r;
        r = WRITE(l, e, "DELETE FROM archive_course WHERE object_id = ?1", "i", object_id);
        if (r == 0)
                r = WRITE(l, e,
                        "INSERT INTO archive (object_id, courses_etag) VALUES (?1, ?2) "
                        "ON CONFLICT (object_id) DO UPDATE SET courses_etag = excluded.courses_etag",
                        "it", object_id, etag);
        if (r == 0)
                r = query(l, "INSERT OR IGNORE INTO archive_course (object_id, course) VALUES (?1, ?2)", &s,
                        e, "i", object_id);
        for (size_t i = 0; r == 0 && i < courses->n; i++) {
                struct ledger_bind b = {.s = s, .at = 1};
                ledger_bind_text(&b, courses->v[i]);
                r = b.err ? error_set(e, CAUSE_INTERNAL, -b.err, "the ledger cannot hold that course")
                          : ledger_step(l, s, "writing", e);
                sqlite3_reset(s);
        }
        if (r == 0)
                return ledger_commit(l, e);
        ledger_rollback(l);
        return r;
}

int ledger_courses(
        struct ledger *l, int64_t object_id, char ret_etag[ETAG_SIZE], struct strv *ret, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL, *courses = NULL;
        char course[COURSE_SIZE];
        ret_etag[0] = 0;
        int r = query(l, "SELECT courses_etag FROM archive WHERE object_id = ?1 AND courses_etag <> ''", &s,
                e, "i", object_id);
        if (r == 0)
                r = ledger_step(l, s, "reading", e);
        if (r <= 0)
                return r;
        struct ledger_row row = {.s = s};
        ledger_row_text(&row, ret_etag, 129);
        r = query(l, "SELECT course FROM archive_course WHERE object_id = ?1", &courses, e, "i", object_id);
        while (r == 0 && row.err == 0 && (r = ledger_step(l, courses, "reading", e)) == 1) {
                row.s = courses;
                row.at = 0;
                ledger_row_text(&row, course, sizeof(course));
                r = strv_add(ret, course) < 0 ? error_set(e, CAUSE_IO, ENOMEM, "out of memory") : 0;
        }
        return r < 0 ? r : damaged(&row, "the courses of an archive", e);
}

int ledger_left_out(struct ledger *l, int64_t object_id, bool *ret, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = query(l, "SELECT 1 FROM archive WHERE object_id = ?1 AND left_out", &s, e, "i", object_id);
        if (r == 0)
                r = ledger_step(l, s, "reading", e);
        *ret = r == 1;
        return MIN(r, 0);
}

int ledger_set_left_out(struct ledger *l, int64_t object_id, bool left_out, struct error *e)
{
        return WRITE(l, e,
                "INSERT INTO archive (object_id, left_out) VALUES (?1, ?2) "
                "ON CONFLICT (object_id) DO UPDATE SET left_out = excluded.left_out",
                "ii", object_id, (int64_t)left_out);
}

int ledger_shortage(struct ledger *l, int64_t object_id, struct ledger_shortage *ret, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        *ret = (struct ledger_shortage){};
        int r = query(l,
                "SELECT short_etag, short_bytes, short_pid FROM archive WHERE object_id = ?1 AND "
                "short_etag <> ''",
                &s, e, "i", object_id);
        if (r == 0)
                r = ledger_step(l, s, "reading", e);
        if (r <= 0)
                return r;
        struct ledger_row row = {.s = s};
        ledger_row_text(&row, ret->etag, sizeof(ret->etag));
        ret->bytes = (uint64_t)ledger_row_i64(&row, 0, INT64_MAX);
        ret->pid = (int)ledger_row_i64(&row, 0, INT32_MAX);
        return damaged(&row, "an archive that waits for room", e);
}

int ledger_set_shortage(
        struct ledger *l, int64_t object_id, const struct ledger_shortage *shortage, struct error *e)
{
        static const struct ledger_shortage none = {};
        const struct ledger_shortage *v = shortage ? shortage : &none;
        return WRITE(l, e,
                "INSERT INTO archive (object_id, short_etag, short_bytes, short_pid) VALUES (?1, ?2, ?3, ?4) "
                "ON CONFLICT (object_id) DO UPDATE SET short_etag = excluded.short_etag, "
                "short_bytes = excluded.short_bytes, short_pid = excluded.short_pid",
                "itii", object_id, v->etag, (int64_t)MIN(v->bytes, (uint64_t)INT64_MAX), (int64_t)v->pid);
}

/* --- series of archives --- */

int ledger_growth(
        struct ledger *l, const char *org, enum category c, struct ledger_growth *ret, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        *ret = (struct ledger_growth){};
        int r = query(l, "SELECT expansion, new_share FROM series WHERE org = ?1 AND category = ?2", &s, e,
                "ti", org, (int64_t)c);
        if (r == 0)
                r = ledger_step(l, s, "reading", e);
        if (r <= 0)
                return r;
        struct ledger_row row = {.s = s};
        ret->expansion = (uint64_t)ledger_row_i64(&row, 0, UINT32_MAX);
        ret->new_share = (uint64_t)ledger_row_i64(&row, 0, UINT32_MAX);
        return damaged(&row, "how archives grow", e);
}

int ledger_set_growth(
        struct ledger *l, const char *org, enum category c, const struct ledger_growth *g, struct error *e)
{
        return WRITE(l, e,
                "INSERT INTO series (org, category, expansion, new_share) VALUES (?1, ?2, ?3, ?4) "
                "ON CONFLICT (org, category) DO UPDATE SET expansion = excluded.expansion, "
                "new_share = excluded.new_share",
                "tiii", org, (int64_t)c, (int64_t)g->expansion, (int64_t)g->new_share);
}

int ledger_pin(struct ledger *l, const char *org, enum category c, char ret[11], struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        ret[0] = 0;
        int r = query(
                l, "SELECT pin FROM series WHERE org = ?1 AND category = ?2", &s, e, "ti", org, (int64_t)c);
        if (r == 0)
                r = ledger_step(l, s, "reading", e);
        if (r <= 0)
                return r;
        struct ledger_row row = {.s = s};
        ledger_row_text(&row, ret, 11);
        return damaged(&row, "the pinned date of latest", e);
}

int ledger_set_pin(struct ledger *l, const char *org, enum category c, const char *date, struct error *e)
{
        return WRITE(l, e,
                "INSERT INTO series (org, category, pin) VALUES (?1, ?2, ?3) "
                "ON CONFLICT (org, category) DO UPDATE SET pin = excluded.pin",
                "tit", org, (int64_t)c, date);
}

/* --- times, left-overs, keys --- */

int ledger_took(struct ledger *l, const char *what, uint64_t *ret_usec, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        *ret_usec = 0;
        int r = query(l, "SELECT usec FROM took WHERE what = ?1", &s, e, "t", what);
        if (r == 0)
                r = ledger_step(l, s, "reading", e);
        if (r <= 0)
                return r;
        struct ledger_row row = {.s = s};
        *ret_usec = (uint64_t)ledger_row_i64(&row, 0, INT64_MAX);
        return damaged(&row, "how long something took", e);
}

int ledger_set_took(struct ledger *l, const char *what, uint64_t usec, struct error *e)
{
        return WRITE(l, e, "INSERT OR REPLACE INTO took (what, usec) VALUES (?1, ?2)", "ti", what,
                (int64_t)MIN(usec, (uint64_t)INT64_MAX));
}

int ledger_leftover_add(struct ledger *l, const struct ledger_leftover *leftover, struct error *e)
{
        return WRITE(l, e, "INSERT OR REPLACE INTO leftover (path, object_id, keep_as) VALUES (?1, ?2, ?3)",
                "tit", leftover->path, leftover->object_id, leftover->keep_as);
}

int ledger_leftover_remove(struct ledger *l, const char *path, struct error *e)
{
        return WRITE(l, e, "DELETE FROM leftover WHERE path = ?1", "t", path);
}

int ledger_leftovers_delete(struct ledger *l, int64_t object_id, struct error *e)
{
        return WRITE(l, e, "DELETE FROM leftover WHERE object_id = ?1", "i", object_id);
}

int ledger_leftover_next(struct ledger *l, const char *after, struct ledger_leftover *ret, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = query(l,
                "SELECT object_id, path, keep_as FROM leftover WHERE path > ?1 ORDER BY path LIMIT 1", &s, e,
                "t", after);
        if (r == 0)
                r = ledger_step(l, s, "reading", e);
        if (r <= 0)
                return r;
        struct ledger_row row = {.s = s};
        ret->object_id = ledger_row_i64(&row, 0, INT64_MAX);
        ledger_row_text(&row, ret->path, sizeof(ret->path));
        ledger_row_text(&row, ret->keep_as, sizeof(ret->keep_as));
        return row.err ? damaged(&row, "what is left at another path", e) : 1;
}

int ledger_keys_clear(struct ledger *l, struct error *e)
{
        return WRITE(l, e, "DELETE FROM secret_key", "");
}

int ledger_key_add(struct ledger *l, const struct ledger_key *key, struct error *e)
{
        return WRITE(l, e,
                "INSERT INTO secret_key (fingerprint, created, expires, user_id, homedir) VALUES (?1, ?2, "
                "?3, ?4, ?5)",
                "tiitt", key->fingerprint, key->created, key->expires, key->user_id, key->homedir);
}

int ledger_keys(struct ledger *l, struct ledger_key *ret, size_t n, size_t *ret_n, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        *ret_n = 0;
        int r = query(l,
                "SELECT fingerprint, created, expires, user_id, homedir FROM secret_key ORDER BY id LIMIT ?1",
                &s, e, "i", (int64_t)n);
        while (r == 0 && (r = ledger_step(l, s, "reading", e)) == 1) {
                struct ledger_row row = {.s = s};
                struct ledger_key *k = &ret[*ret_n];
                ledger_row_text(&row, k->fingerprint, sizeof(k->fingerprint));
                k->created = ledger_row_i64(&row, INT64_MIN, INT64_MAX);
                k->expires = ledger_row_i64(&row, INT64_MIN, INT64_MAX);
                ledger_row_text(&row, k->user_id, sizeof(k->user_id));
                ledger_row_text(&row, k->homedir, sizeof(k->homedir));
                r = damaged(&row, "a key", e);
                *ret_n += r == 0;
        }
        return MIN(r, 0);
}
