/* SPDX-License-Identifier: Apache-2.0 */
/* One connection to SQLite: statements are kept under their text, values are bound and rows read with their
 * bounds. The ledger and the temporary database of members are such connections. */
#pragma once

#include <sqlite3.h>

#include "digest.h"
#include "error.h"

#define SQL_KEPT_MAX 96

struct sql {
        sqlite3 *db;
        const char *name;  /* in errors; of the owner of the connection */
        bool is_temporary; /* what fails is CAUSE_IO, also without room: it is not staging that is full */
        struct {
                const char *text;
                sqlite3_stmt *s;
        } kept[SQL_KEPT_MAX];
};

/* What is bound to a parameter. Texts and hashes must live until the statement is reset. */
struct sql_value {
        enum { SQL_END, SQL_TEXT, SQL_I64, SQL_U64, SQL_SHA256 } kind;
        union {
                const char *text;
                int64_t i;
                uint64_t u;            /* refused above INT64_MAX */
                const uint8_t *sha256; /* NULL: none */
        };
};
static inline struct sql_value sql_text(const char *text)
{
        return (struct sql_value){SQL_TEXT, {.text = text}};
}
static inline struct sql_value sql_i64(int64_t i)
{
        return (struct sql_value){SQL_I64, {.i = i}};
}
static inline struct sql_value sql_u64(uint64_t u)
{
        return (struct sql_value){SQL_U64, {.u = u}};
}
static inline struct sql_value sql_sha256(const uint8_t *sha256)
{
        return (struct sql_value){SQL_SHA256, {.sha256 = sha256}};
}
/* By its type: a text, a SHA-256 or a number. */
/* clang-format off */
#define V(x) _Generic((x), \
        char *: sql_text, const char *: sql_text, \
        uint8_t *: sql_sha256, const uint8_t *: sql_sha256, \
        uint64_t: sql_u64, default: sql_i64)(x)
#define VALUES(...) ((const struct sql_value[]){__VA_ARGS__, {SQL_END, {}}})
/* clang-format on */

/* What the last failed call of SQLite means: -errno, with "name: what: why". */
int sql_fail(struct sql *c, const char *what, struct error *e);
/* Text of ours that gives no rows. */
int sql_exec(struct sql *c, const char *text, struct error *e);
/* Prepares text, a literal, when it is asked for the first time, and binds values (NULL: there are none; more
 * than its parameters: the rest is left out). The statement is the connection's: reset it, with
 * _cleanup_reset_, before it is asked for again. */
int sql_keep(
        struct sql *c, const char *text, const struct sql_value *values, sqlite3_stmt **ret, struct error *e);
/* The caller's own, to be finalized: for walks whose callback may begin another. */
int sql_prepare(
        struct sql *c, const char *text, const struct sql_value *values, sqlite3_stmt **ret, struct error *e);
/* One step of s. 1: there is a row. 0: done; s is reset. -errno: failed; s is reset. */
int sql_step(struct sql *c, sqlite3_stmt *s, struct error *e);
/* sql_keep(), one step and a reset. 1: there was a row. 0 or -errno. */
int sql_run(struct sql *c, const char *text, const struct sql_value *values, struct error *e);
/* Finalizes what is kept and closes. */
void sql_close(struct sql *c);

/* Statements are reset by the scope, so that no read transaction outlives it. */
static inline void cleanup_reset(sqlite3_stmt **s)
{
        sqlite3_reset(*s);
        if (*s)
                sqlite3_clear_bindings(*s);
}
#define _cleanup_reset_ _cleanup_(cleanup_reset)
static inline void cleanup_finalize(sqlite3_stmt **s)
{
        sqlite3_finalize(*s);
}
#define _cleanup_finalize_ _cleanup_(cleanup_finalize)

/* A column that is a field of a struct. One table serves for binding and for reading. */
struct sql_column {
        /* CAUSE, RULE: enums, as names. BYTES: a char *, which the record owns: it is only read, of a BLOB
         * without NUL */
        enum { COLUMN_TEXT, COLUMN_NUMBER, COLUMN_SHA256, COLUMN_CAUSE, COLUMN_RULE, COLUMN_BYTES } kind;
        size_t offset, size; /* of the field: chars with their NUL; or 1, 2, 4 or 8 bytes of a number */
        int64_t min, max;    /* of a number; max 0: INT64_MAX, or what fits into 4 bytes */
        size_t has;          /* COLUMN_SHA256: where a bool says so; 0: NULL is a hash of zeros */
};
/* clang-format off */
#define COLUMN(kind_, type, field, ...) \
        {.kind = COLUMN_##kind_, .offset = offsetof(type, field), .size = sizeof(((type *)0)->field), __VA_ARGS__}
/* clang-format on */
/* One step of s, whose row is read into *record and checked: a database is outside input too. 1. 0: done; s
 * is reset. Or -errno: s may not be, and the BYTES of *record are to be freed as of any other. */
int sql_next(struct sql *c, sqlite3_stmt *s, const struct sql_column *columns, size_t n, void *record,
        struct error *e);
/* The first row of a query. 1, and *record is read. 0: there is none. Or -errno; then *record is undefined.
 */
int sql_get(struct sql *c, const char *text, const struct sql_value *values, const struct sql_column *columns,
        size_t n, void *record, struct error *e);
/* The same for a query of one number, which is at least min. */
int sql_get_i64(struct sql *c, const char *text, const struct sql_value *values, int64_t min, int64_t *ret,
        struct error *e);
/* Reads all rows of a query, to see whether they can be. 0 or -errno. */
int sql_check(struct sql *c, const char *text, const struct sql_column *columns, size_t n, void *record,
        struct error *e);
/* Binds the fields of a record and then those values, and runs text. */
int sql_put(struct sql *c, const char *text, const struct sql_column *columns, size_t n, const void *record,
        const struct sql_value *then, struct error *e);
