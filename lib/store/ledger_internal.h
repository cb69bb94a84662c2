/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the ledger: one connection with its prepared statements, and how rows are bound and read. Only
 * ledger_*.c, members*.c, feed*.c, latest.c and the tests include this. */
#pragma once

#include "limits.h"
#include "sql.h"

struct ledger_member;
struct ledger_object;

struct ledger {
        struct sql sql;
        unsigned depth; /* of ledger_begin() */
        bool passing;   /* ledger_begin_passing(): synchronous=NORMAL until it is over */
        char *file;     /* ledger.db with its folder */
};

#define LEDGER_VERSION 10

/* One step of the schema: what brings user_version from its index to the next. */
struct ledger_step {
        const char *sql;
};
/* Brings l to version n by steps[user_version .. n-1], in one transaction, after a copy of a ledger that is
 * not new. 0 or -errno; then the ledger is as it was. */
int ledger_migrate(struct ledger *l, const struct ledger_step *steps, int n, struct error *e);

/* An empty ledger in memory, for tables that are filled once more only to be compared. */
int ledger_open_memory(struct ledger **ret, struct error *e);

/* Adds file, as a URI, and query ("?mode=ro"). */
void ledger_uri(struct strbuf *b, const char *file, const char *query);

/* The numbers that the rows of s have first, of those whose second column matches key_glob (NULL: all); the
 * caller frees *ret. */
int ledger_collect(struct ledger *l, sqlite3_stmt *s, const char *key_glob, int64_t **ret, size_t *ret_n,
        struct error *e);

/* The least string greater than every key that begins with prefix, by bytes. */
#define LEDGER_PREFIX_END (KEY_SIZE + 4)
void ledger_prefix_end(const char *prefix, char ret[LEDGER_PREFIX_END]);

/* Sizes come from outside, and their sum may be more than a number holds: sum() would be an error then. */
#define LEDGER_SUM(what) "CAST(min(total(" what "), 9e18) AS INTEGER)"
