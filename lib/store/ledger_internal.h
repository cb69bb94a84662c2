/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the ledger: one connection with its prepared statements, and how rows are bound and read. Only
 * ledger_*.c, members*.c, feed*.c, latest.c and the tests include this. */
#pragma once

#include <sqlite3.h>

#include "ledger.h"

enum ledger_sql {
        SQL_BEGIN,
        SQL_COMMIT,
        SQL_ROLLBACK,
        SQL_META_GET,
        SQL_META_SET,
        SQL_META_DELETE,
        SQL_OBJECT_GET,
        SQL_OBJECT_FIND,
        SQL_OBJECT_INSERT,
        SQL_OBJECT_UPDATE,
        SQL_SEEN,
        SQL_MARK_GONE,
        SQL_LAST_KEY,
        SQL_UNREADABLE_ADD,
        SQL_UNREADABLE_SETTLE,
        SQL_UNREADABLE_SETTLE_ALL,
        SQL_RECONSIDER,
        SQL_MEMBERS_REFUSED,
        SQL_MEMBER_SAVE,
        SQL_MEMBER_DELETE,
        SQL_MEMBERS,
        SQL_MEMBERS_DELETE,
        SQL_FIND_PLAINTEXT,
        SQL_FEED_MEMBER,
        SQL_OBJECTS_ALL,
        SQL_MEMBERS_ALL,
        SQL_MAX
};

struct ledger {
        sqlite3 *db;
        sqlite3_stmt *prepared[SQL_MAX]; /* made when first used */
        unsigned depth;                  /* of ledger_begin() */
        bool passing;                    /* ledger_begin_passing(): synchronous=NORMAL until it is over */
        char *file;                      /* ledger.db with its folder */
};

#define LEDGER_VERSION 9

/* One step of the schema: what brings user_version from its index to the next. */
struct ledger_step {
        const char *sql;
};
/* Brings l to version n by steps[user_version .. n-1], in one transaction, after a copy of a ledger that is
 * not new. 0 or -errno; then the ledger is as it was. */
int ledger_migrate(struct ledger *l, const struct ledger_step *steps, int n, struct error *e);

/* What the last failed call of SQLite means, positive. */
int ledger_sqlite_errno(sqlite3 *db);
/* Adds file, as a URI, and query ("?mode=ro"). */
void ledger_uri(struct strbuf *b, const char *file, const char *query);
/* What the last failed call of SQLite on l means: -errno, with "what: why". */
int ledger_fail(struct ledger *l, const char *what, struct error *e);
/* SQL that gives no rows. */
int ledger_exec(struct ledger *l, const char *sql, const char *what, struct error *e);
int ledger_prepared(struct ledger *l, enum ledger_sql which, sqlite3_stmt **ret, struct error *e);
/* The same, but the caller's own, to be finalized: for walks whose callback may begin another. */
int ledger_prepare_own(struct ledger *l, enum ledger_sql which, sqlite3_stmt **ret, struct error *e);
/* One step of s. 1: there is a row. 0: done; s is reset. -errno: failed; s is reset. */
int ledger_step(struct ledger *l, sqlite3_stmt *s, const char *what, struct error *e);
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

/* Binds parameters in order; errors stick. Strings must live until the statement is reset. */
struct ledger_bind {
        sqlite3_stmt *s;
        int at, err; /* 0 or -errno */
};
void ledger_bind_text(struct ledger_bind *b, const char *value);
void ledger_bind_i64(struct ledger_bind *b, int64_t value);
void ledger_bind_u64(struct ledger_bind *b, uint64_t value); /* -ERANGE above INT64_MAX */
void ledger_bind_sha256(struct ledger_bind *b, bool has, const uint8_t sha256[SHA256_SIZE]);

/* Reads columns in order and checks them: the ledger is outside input too. Errors stick. */
struct ledger_row {
        sqlite3_stmt *s;
        int at, err; /* 0 or -EUCLEAN */
};
void ledger_row_text(struct ledger_row *r, char *ret, size_t size);
int64_t ledger_row_i64(struct ledger_row *r, int64_t min, int64_t max);
bool ledger_row_sha256(struct ledger_row *r, uint8_t ret[SHA256_SIZE]);
/* The cause of that name; one that a newer czard wrote is INTERNAL. */
enum cause ledger_row_cause(struct ledger_row *r);

/* The columns of an object in the order in which they are bound and read; id comes before. */
#define LEDGER_OBJECT_COLUMNS                                                                                \
        "bucket, key, etag, size, last_modified, category, org, site, date, request, is_zip, state, path, "  \
        "plain_size, sha256, checks, fingerprint, staged_etag, cause, detail, attempts, next_try, "          \
        "first_seen, published_at, refusals"
/* The row at s, id first. 0 or -EUCLEAN. */
int ledger_object_read(sqlite3_stmt *s, struct ledger_object *ret, struct error *e);
/* The same of a member, without an id. */
#define LEDGER_MEMBER_COLUMNS                                                                                \
        "object_id, name, path, course, \"table\", failed, state, size, plain_size, sha256, checks, cause, " \
        "detail, attempts"
int ledger_member_read(sqlite3_stmt *s, struct ledger_member *ret, struct error *e);

/* The least string greater than every key that begins with prefix, by bytes. */
#define LEDGER_PREFIX_END (1025 + 4)
void ledger_prefix_end(const char *prefix, char ret[LEDGER_PREFIX_END]);
