/* SPDX-License-Identifier: Apache-2.0 */
/* A row is believed only after its numbers are in range and its strings fit: anything else is -EUCLEAN, a
 * damaged database. */
#include "sql.h"

#include <assert.h>
#include <string.h>

#include "macro.h"
#include "str.h"
#include "terms.h"

static int errno_of(sqlite3 *db)
{
        int system = sqlite3_system_errno(db);
        switch (sqlite3_errcode(db)) {
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                return EUCLEAN;
        case SQLITE_FULL:
                return ENOSPC;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return EBUSY;
        case SQLITE_READONLY:
                return EROFS;
        case SQLITE_PERM:
                return EACCES;
        case SQLITE_NOMEM:
                return ENOMEM;
        case SQLITE_CANTOPEN:
                return system ? system : ENOENT;
        case SQLITE_ERROR: /* in statements of ours: a table or column is not there */
                return EUCLEAN;
        case SQLITE_CONSTRAINT:
        case SQLITE_MISUSE:
        case SQLITE_RANGE:
        case SQLITE_MISMATCH:
                return EINVAL;
        default:
                return system ? system : EIO;
        }
}

int sql_fail(struct sql *c, const char *what, struct error *e)
{
        int err = errno_of(c->db);
        enum cause cause = err == EINVAL ? CAUSE_INTERNAL : cause_from_errno(err);
        if (cause == CAUSE_STAGING || c->is_temporary)
                cause = CAUSE_IO; /* it is not the staging volume that should be looked at */
        return error_set(e, cause, err, "%s: %s: %s", c->name, what, sqlite3_errmsg(c->db));
}

int sql_exec(struct sql *c, const char *text, struct error *e)
{
        return sqlite3_exec(c->db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : sql_fail(c, "writing", e);
}

/* --- binding --- */

/* Binds parameters in order; errors stick. */
struct binding {
        sqlite3_stmt *s;
        int at, err; /* 0 or -errno */
};

static void bound(struct binding *b, int rc)
{
        if (rc != SQLITE_OK && b->err == 0)
                b->err = rc == SQLITE_NOMEM ? -ENOMEM : rc == SQLITE_TOOBIG ? -E2BIG : -EINVAL;
}

static void bind(struct binding *b, struct sql_value v)
{
        int at = ++b->at;
        switch (v.kind) {
        case SQL_TEXT:
                bound(b, sqlite3_bind_text(b->s, at, v.text, -1, SQLITE_STATIC));
                break;
        case SQL_U64:
                if (v.u > INT64_MAX && b->err == 0)
                        b->err = -ERANGE;
                bound(b, sqlite3_bind_int64(b->s, at, (int64_t)(v.u & INT64_MAX)));
                break;
        case SQL_I64:
                bound(b, sqlite3_bind_int64(b->s, at, v.i));
                break;
        case SQL_SHA256:
                bound(b, v.sha256 ? sqlite3_bind_blob(b->s, at, v.sha256, SHA256_SIZE, SQLITE_STATIC)
                                  : sqlite3_bind_null(b->s, at));
                break;
        case SQL_END:
                break;
        }
}

static int bind_values(struct sql *c, struct binding *b, const struct sql_value *v, struct error *e)
{
        for (int n = sqlite3_bind_parameter_count(b->s); v && v->kind != SQL_END && b->at < n; v++)
                bind(b, *v);
        return b->err ? error_set(e, c->is_temporary ? CAUSE_IO : CAUSE_INTERNAL, -b->err,
                                "%s: cannot hold that value", c->name)
                      : 0;
}

/* --- statements --- */

int sql_keep(
        struct sql *c, const char *text, const struct sql_value *values, sqlite3_stmt **ret, struct error *e)
{
        size_t i = 0;
        while (i < SQL_KEPT_MAX && c->kept[i].text && c->kept[i].text != text)
                i++;
        assert(i < SQL_KEPT_MAX);
        if (!c->kept[i].s && sqlite3_prepare_v3(c->db, text, -1, SQLITE_PREPARE_PERSISTENT, &c->kept[i].s,
                                     NULL) != SQLITE_OK)
                return sql_fail(c, "reading the schema", e);
        c->kept[i].text = text;
        *ret = c->kept[i].s;
        return bind_values(c, &(struct binding){.s = *ret}, values, e);
}

int sql_prepare(
        struct sql *c, const char *text, const struct sql_value *values, sqlite3_stmt **ret, struct error *e)
{
        if (sqlite3_prepare_v2(c->db, text, -1, ret, NULL) != SQLITE_OK)
                return sql_fail(c, "reading the schema", e);
        return bind_values(c, &(struct binding){.s = *ret}, values, e);
}

int sql_step(struct sql *c, sqlite3_stmt *s, struct error *e)
{
        int rc = sqlite3_step(s);
        if (rc == SQLITE_ROW)
                return 1;
        int r = rc == SQLITE_DONE ? 0 : sql_fail(c, sqlite3_stmt_readonly(s) ? "reading" : "writing", e);
        sqlite3_reset(s);
        return r;
}

int sql_run(struct sql *c, const char *text, const struct sql_value *values, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = sql_keep(c, text, values, &s, e);
        return r < 0 ? r : sql_step(c, s, e);
}

void sql_close(struct sql *c)
{
        for (size_t i = 0; i < SQL_KEPT_MAX; i++)
                sqlite3_finalize(c->kept[i].s);
        sqlite3_close(c->db);
}

/* --- reading --- */

/* Reads columns in order and checks them: a database is outside input too. Errors stick. */
struct sql_row {
        sqlite3_stmt *s;
        int at, err;     /* 0 or -EUCLEAN */
        const char *bad; /* the column */
};

static void is_bad(struct sql_row *r, int at)
{
        r->err = -EUCLEAN;
        r->bad = sqlite3_column_name(r->s, at);
}

static void row_text(struct sql_row *r, char *ret, size_t size)
{
        int at = r->at++;
        const char *text = sqlite3_column_type(r->s, at) == SQLITE_TEXT
                                   ? (const char *)sqlite3_column_text(r->s, at)
                                   : NULL;
        size_t n = (size_t)sqlite3_column_bytes(r->s, at);
        ret[0] = 0;
        if (text && n < size && strlen(text) == n)
                memcpy(ret, text, n + 1);
        else
                is_bad(r, at);
}

static int64_t row_i64(struct sql_row *r, int64_t min, int64_t max)
{
        int at = r->at++;
        int64_t v = sqlite3_column_int64(r->s, at);
        if (sqlite3_column_type(r->s, at) == SQLITE_INTEGER && v >= min && v <= max)
                return v;
        is_bad(r, at);
        return min;
}

static bool row_sha256(struct sql_row *r, uint8_t ret[SHA256_SIZE])
{
        int at = r->at++, type = sqlite3_column_type(r->s, at);
        const void *p = type == SQLITE_BLOB ? sqlite3_column_blob(r->s, at) : NULL;
        bool fits = p && sqlite3_column_bytes(r->s, at) == SHA256_SIZE;
        memset(ret, 0, SHA256_SIZE);
        if (fits)
                memcpy(ret, p, SHA256_SIZE);
        else if (type != SQLITE_NULL)
                is_bad(r, at);
        return fits;
}

static char *row_bytes(struct sql_row *r)
{
        int at = r->at++;
        const void *p = sqlite3_column_blob(r->s, at);
        char *copy = strndup(p ? p : "", (size_t)sqlite3_column_bytes(r->s, at));
        if (!copy)
                r->err = -ENOMEM;
        return copy;
}

/* --- fields of a struct --- */

static int64_t greatest(const struct sql_column *c)
{
        return c->max ? c->max : c->size == 4 ? UINT32_MAX : INT64_MAX;
}

static const char *name_of(const struct sql_column *c, int64_t value)
{
        return c->kind == COLUMN_CAUSE ? cause_name((enum cause)value)
                                       : event_rule_name((enum event_rule)value);
}

static void bind_field(struct binding *b, const struct sql_column *c, const char *record)
{
        static const uint8_t none[SHA256_SIZE];
        const char *at = record + c->offset;
        const uint8_t *sha256 = (const uint8_t *)at;
        int64_t number = c->size <= 8 ? (int64_t)number_load(at, c->size) : 0;
        bool has = c->has ? record[c->has] : c->kind == COLUMN_SHA256 && memcmp(sha256, none, SHA256_SIZE);
        switch (c->kind) {
        case COLUMN_TEXT:
                bind(b, sql_text(at));
                break;
        case COLUMN_NUMBER:
                if ((number < c->min || number > greatest(c)) && b->err == 0)
                        b->err = -ERANGE;
                bind(b, sql_i64(number));
                break;
        case COLUMN_SHA256:
                bind(b, sql_sha256(has ? sha256 : NULL));
                break;
        case COLUMN_CAUSE:
        case COLUMN_RULE:
                bind(b, sql_text(name_of(c, number)));
                break;
        case COLUMN_BYTES:
                b->err = -EINVAL;
                break;
        }
}

/* A cause that a newer czard wrote is INTERNAL. */
static uint64_t row_enum(struct sql_row *r, const struct sql_column *c)
{
        char name[64];
        row_text(r, name, sizeof(name));
        enum cause cause = cause_from_name(name);
        enum event_rule rule = event_rule_from_name(name);
        if (c->kind == COLUMN_CAUSE)
                return cause == CAUSE_MAX ? CAUSE_INTERNAL : cause;
        if (rule == EVENT_RULE_MAX)
                is_bad(r, r->at - 1);
        return rule == EVENT_RULE_MAX ? EVENT_RULE_NONE : rule;
}

static void row_field(struct sql_row *r, const struct sql_column *c, char *record)
{
        char *at = record + c->offset;
        bool has;
        switch (c->kind) {
        case COLUMN_TEXT:
                row_text(r, at, c->size);
                break;
        case COLUMN_NUMBER:
                number_store(at, c->size, (uint64_t)row_i64(r, c->min, greatest(c)));
                break;
        case COLUMN_SHA256:
                has = row_sha256(r, (uint8_t *)at);
                if (c->has)
                        record[c->has] = has;
                break;
        case COLUMN_CAUSE:
        case COLUMN_RULE:
                number_store(at, c->size, row_enum(r, c));
                break;
        case COLUMN_BYTES:
                *(char **)(void *)at = row_bytes(r);
                break;
        }
}

int sql_next(struct sql *c, sqlite3_stmt *s, const struct sql_column *columns, size_t n, void *record,
        struct error *e)
{
        int r = sql_step(c, s, e);
        if (r <= 0)
                return r;
        struct sql_row row = {.s = s};
        for (size_t i = 0; i < n; i++)
                row_field(&row, &columns[i], record);
        if (row.err == -ENOMEM)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        return row.err ? error_set(e, CAUSE_IO, -row.err, "%s is damaged: no such %s can be", c->name,
                                 row.bad ? row.bad : "value")
                       : 1;
}

int sql_get(struct sql *c, const char *text, const struct sql_value *values, const struct sql_column *columns,
        size_t n, void *record, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = sql_keep(c, text, values, &s, e);
        return r < 0 ? r : sql_next(c, s, columns, n, record, e);
}

int sql_get_i64(struct sql *c, const char *text, const struct sql_value *values, int64_t min, int64_t *ret,
        struct error *e)
{
        const struct sql_column number = {COLUMN_NUMBER, .size = sizeof(*ret), .min = min};
        return sql_get(c, text, values, &number, 1, ret, e);
}

int sql_check(struct sql *c, const char *text, const struct sql_column *columns, size_t n, void *record,
        struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = sql_prepare(c, text, NULL, &s, e);
        while (r == 0 && (r = sql_next(c, s, columns, n, record, e)) == 1)
                r = 0;
        return r;
}

int sql_put(struct sql *c, const char *text, const struct sql_column *columns, size_t n, const void *record,
        const struct sql_value *then, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = sql_keep(c, text, NULL, &s, e);
        if (r < 0)
                return r;
        struct binding b = {.s = s};
        for (size_t i = 0; i < n; i++)
                bind_field(&b, &columns[i], record);
        r = bind_values(c, &b, then, e);
        return r < 0 ? r : sql_step(c, s, e);
}
