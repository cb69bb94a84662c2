/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of members.h share: the connection and its statements. */
#pragma once

#include "sql.h"

struct member;

struct members {
        struct sql sql;
};

/* In the order in which members_next() reads them. */
#define MEMBERS_COLUMNS                                                                                      \
        "number, name, \"offset\", extent, packed, size, crc, mode, method, flags, step, path, course, "     \
        "\"table\", site, failed, linked, filtered, tries, cause, detail, plain_size, rows, sha256, checks"

/* The next row of s; the caller calls member_done(). 1, 0 or -errno. */
int members_next(struct members *m, sqlite3_stmt *s, struct member *ret, struct error *e);
/* Calls each with the rows of a query, MEMBERS_COLUMNS; a non-zero return ends the walk and is returned. */
int members_walk(struct members *m, const char *sql, const struct sql_value *values,
        int (*each)(const struct member *m, void *arg, struct error *e), void *arg, struct error *e);
