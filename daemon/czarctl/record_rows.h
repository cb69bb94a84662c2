/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of an audit record (czard's, or czard-deliver's) as rows: a table, with --csv all fields, with --json
 * the lines as they stand. */
#pragma once

#include "rows.h"

#define RECORD_FIELDS 24
#define RECORD_FIELD_SIZE 8192

struct record_rows {
        struct rows rows;
        size_t n;
        /* of the line at hand, with room for "what", "why" and an end; "time" is the first */
        struct ctl_field fields[RECORD_FIELDS + 3];
        char values[RECORD_FIELDS][RECORD_FIELD_SIZE];
};

/* names: n fields, the columns of the CSV. columns: those of the table (rows.h), of these and of "what" and
 * "why", which record_rows_add() is told. 0, or an exit status after a text; the caller calls
 * record_rows_finish() then. */
int record_rows_open(
        struct ctl *c, const char *const *names, size_t n, const char *columns, struct record_rows **ret);
/* Reads the fields of the line; those that it has not are "". */
void record_rows_read(struct record_rows *r, const char *line, size_t len);
/* The text of one of them. */
const char *record_text(const struct record_rows *r, const char *name);
/* Of the line at hand; text is borrowed until it was added. */
void record_rows_set(struct record_rows *r, const char *name, const char *text);
void record_rows_add(struct record_rows *r, const char *what, const char *why);
/* Prints, with `none` for an empty table, unless result is negative, which is told by e. Frees r. Returns an
 * exit status. */
int record_rows_finish(struct record_rows *r, const char *none, int result, const struct error *e);
