/* SPDX-License-Identifier: Apache-2.0 */
/* The one shape of an answer: a list of rows, for people a table, with --json a list of objects. A row is a
 * list of fields; a field is given once and shown by its kind in both. Beside it what else a terminal has:
 * colours and progress. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl.h"

enum colour { PLAIN, GREEN, YELLOW, RED, BOLD, DIM };
/* On a terminal the text has that colour. */
void shown_colour(enum colour c, const char *text);

enum field_kind {
        FIELD_TEXT,   /* in JSON a string also when it is "", null when it is NULL */
        FIELD_NAME,   /* "" or NULL: null, in the table "-" */
        FIELD_NUMBER, /* decimal */
        FIELD_BYTES,  /* negative: null and "-"; in the table with a unit */
        FIELD_TIME,   /* seconds, 0: null and "-"; in JSON UTC, in the table local */
        FIELD_DAY,    /* the same, in the table the date alone; 0: "never" */
        FIELD_BOOL,
        FIELD_CELL,  /* text of the table alone */
        FIELD_COUNT, /* a number of the table alone */
};
struct ctl_field {
        const char *name;
        enum field_kind kind;
        enum colour colour; /* in the table */
        const char *text;
        int64_t number;
};
/* More members, such as .colour, may follow. */
/* clang-format off */
#define FIELD_(kind_, name_, member, value, ...) {.name = (name_), .kind = FIELD_##kind_, .member = (value), __VA_ARGS__}
/* clang-format on */
#define F_TEXT(name, s, ...) FIELD_(TEXT, name, text, s, __VA_ARGS__)
#define F_NAME(name, s, ...) FIELD_(NAME, name, text, s, __VA_ARGS__)
#define F_CELL(name, s, ...) FIELD_(CELL, name, text, s, __VA_ARGS__)
#define F_COUNT(name, v, ...) FIELD_(COUNT, name, number, (int64_t)(v), __VA_ARGS__)
#define F_NUMBER(name, v, ...) FIELD_(NUMBER, name, number, (int64_t)(v), __VA_ARGS__)
#define F_BYTES(name, v, ...) FIELD_(BYTES, name, number, (int64_t)(v), __VA_ARGS__)
#define F_TIME(name, v, ...) FIELD_(TIME, name, number, v, __VA_ARGS__)
#define F_DAY(name, v, ...) FIELD_(DAY, name, number, v, __VA_ARGS__)
#define F_BOOL(name, v, ...) FIELD_(BOOL, name, number, v, __VA_ARGS__)
#define FIELDS(...) ((const struct ctl_field[]){__VA_ARGS__, {.name = NULL}})

/* The members of a JSON object that is open; or an object with these and no others. */
void json_fields(struct json *j, const struct ctl_field *f);
void json_object(struct json *j, const char *name, const struct ctl_field *f);
/* An answer that is these and no more. An exit status. */
int answer_fields(const struct ctl_field *f);
/* An array of strings. */
void json_strings(struct json *j, const char *name, const struct strv *v);

struct rows {
        struct ctl *c;
        struct json json;
        struct table *table; /* NULL with --json */
        char *spec;
        const char *columns[24];
        size_t n_columns, n;
        bool csv;
};
/* Opens the answer and, in JSON, the list of that name. columns: names of fields, those of the table, in
 * order and separated by '|': NAME or NAME=HEAD, with '>' in front when aligned to the right. A name is its
 * own head in capitals. list NULL: the caller opens it in r->json, behind members of its own. */
void rows_open(struct rows *r, struct ctl *c, const char *list, const char *columns);
void rows_add(struct rows *r, const struct ctl_field *f);
/* An item of the list in JSON, as it stands in a file. */
void rows_add_line(struct rows *r, const char *line, size_t len);
/* The same, but the caller ends the JSON object with rows_end_item(), after members of its own. */
void rows_begin_item(struct rows *r, const struct ctl_field *f);
void rows_end_item(struct rows *r);
/* Ends the list; the table is printed, or, when it has no rows, the line `none`, unless that is NULL. In JSON
 * more members may be added to the answer then. */
void rows_end(struct rows *r, const char *none);
/* Prints the JSON answer, unless result is negative, which is told by e. Frees. Returns an exit status. */
int rows_finish(struct rows *r, int result, const struct error *e);
/* Frees; prints nothing. */
void rows_drop(struct rows *r);

/* Lines of an audit record (czard's, or czard-deliver's) as rows: a table, with --csv all fields, with --json
 * the lines as they stand. */

#define RECORD_FIELDS 24
#define RECORD_FIELD_SIZE 8192

struct record_rows {
        struct rows rows;
        size_t n;
        /* of the line at hand, with room for "what", "why" and an end; "time" is the first */
        struct ctl_field fields[RECORD_FIELDS + 3];
        char values[RECORD_FIELDS][RECORD_FIELD_SIZE];
};

/* names: n fields, the columns of the CSV. columns: those of the table, as for rows_open(), of these and of
 * "what" and "why", which record_rows_add() is told. 0, or an exit status after a text; the caller calls
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

/* Something that may take long: after two seconds a line with rate and time left on stderr, renewed in place
 * on a terminal, every ten seconds elsewhere. Start with {} and what, total (0: unknown) and unit set. */
struct progress_line {
        const char *what; /* "hashing" */
        bool bytes;       /* total and done count bytes */
        uint64_t total, done;
        uint64_t began_usec, began_at, shown_usec; /* began_at: done, then */
        bool shown, quiet;
};
void progress_to(struct progress_line *p, uint64_t done);
void progress_end(struct progress_line *p);
