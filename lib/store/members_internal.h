/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of members.h share: the connection and its statements. */
#pragma once

#include "ledger_internal.h"
#include "members.h"

enum members_sql {
        MEMBERS_ADD,
        MEMBERS_SET_STAGED,
        MEMBERS_SET_JUDGED,
        MEMBERS_SET_STEP,
        MEMBERS_FIRST_WANTED,
        MEMBERS_TAKE,
        MEMBERS_BATCH,
        MEMBERS_NEXT_JUDGED,
        MEMBERS_RELEASE,
        MEMBERS_STAGED_BY,
        MEMBERS_UNDO,
        MEMBERS_HAS_PATH,
        MEMBERS_SQL_MAX
};

struct members {
        sqlite3 *db;
        sqlite3_stmt *prepared[MEMBERS_SQL_MAX]; /* made when first used */
};

/* In the order in which members_read() reads them. */
#define MEMBERS_COLUMNS                                                                                      \
        "number, name, \"offset\", extent, packed, size, crc, mode, method, flags, step, path, course, "     \
        "\"table\", site, failed, linked, filtered, tries, cause, detail, plain_size, rows, sha256, checks"

int members_fail(struct members *m, const char *what, struct error *e);
int members_exec(struct members *m, const char *sql, struct error *e);
int members_prepared(struct members *m, enum members_sql which, sqlite3_stmt **ret, struct error *e);
/* The caller's own, to be finalized. */
int members_prepare(struct members *m, const char *sql, sqlite3_stmt **ret, struct error *e);
/* 1: there is a row. 0: done. -errno. */
int members_step(struct members *m, sqlite3_stmt *s, struct error *e);
/* The row at s; the caller calls member_done(). */
int members_read(sqlite3_stmt *s, struct member *ret, struct error *e);
