/* SPDX-License-Identifier: Apache-2.0 */
/* What a person sees: tables, colours on a terminal only, local times, progress. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "macro.h"
#include "timespan.h"

/* With the NUL: of local_time() and ago(). */
#define WHEN_SIZE 40

enum colour { PLAIN, GREEN, YELLOW, RED, BOLD, DIM };
/* Text in that colour when standard output is a terminal; the two end in this order around it. */
const char *colour_on(enum colour c);
const char *colour_off(enum colour c);

/* The text, which is ours, in that colour. */
void shown_colour(enum colour c, const char *text);

struct table;
/* Names separated by '|', each with '>' in front when its column is aligned to the right. */
struct table *table_new(const char *columns);
/* The next cell, row by row. What a terminal would obey becomes \xNN. */
void table_cell(struct table *t, enum colour c, const char *format, ...) _printf_(3, 4);
struct table *table_free(struct table *t);
/* Prints it; on a terminal the widest texts are cut to its width. Without rows it prints nothing, not even
 * the heads: false, and the caller says in words what is so. Frees it. */
bool table_print(struct table *t);

/* "2024-07-07 09:02:03 +02:00", "-" for 0. Returns ret. */
const char *local_time(int64_t sec, char ret[WHEN_SIZE]);
/* "3 h ago", "in 2 d". Returns ret. */
const char *ago(int64_t sec, char ret[WHEN_SIZE]);
/* "12.3 MiB", "-" when negative. Returns ret. */
const char *bytes_text(int64_t bytes, char ret[BYTES_SIZE]);

/* One cell of CSV; last: it ends the line. */
void csv_cell(const char *s, bool last);

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
