/* SPDX-License-Identifier: Apache-2.0 */
/* An HTML page in one file: no script, nothing from elsewhere. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "str.h"

/* Head, style sheet and the beginning of the body. */
void page_open(struct strbuf *b, const char *title, const char *subtitle);
void page_close(struct strbuf *b, const char *footer);
/* Text with & < > " ' escaped; control characters and marks of direction as \xNN. */
void page_text(struct strbuf *b, const char *s);
void page_heading(struct strbuf *b, unsigned level, const char *id, const char *text);
/* A table: page_table_open() with columns "NAME|>NAME" ('>' aligned to the right), rows of cells. */
void page_table_open(struct strbuf *b, const char *caption, const char *columns);
void page_cell(struct strbuf *b, bool right, const char *format, ...) _printf_(3, 4);
void page_table_close(struct strbuf *b);

/* A list of notes: page_notes_open(), notes, page_notes_close(). advice "": none. */
void page_notes_open(struct strbuf *b);
void page_note(struct strbuf *b, const char *head, const char *text, const char *advice);
void page_notes_close(struct strbuf *b);

/* What a day of a calendar is. */
enum page_day {
        DAY_OUTSIDE,
        DAY_NONE,
        DAY_THERE,
        DAY_LATE,
        DAY_REPLACED,
        DAY_UNSTAGED,
        DAY_MISSING,
        DAY_KINDS
};
extern const char *const page_day_names[DAY_KINDS];
/* One year as 53 weeks of 7 days, from the days' kinds (366); label is for whoever cannot see it. */
void page_year(struct strbuf *b, int year, const uint8_t *kinds, const char *label);
/* What the signs of page_year() mean. */
void page_legend(struct strbuf *b);

/* Bars side by side. label is for whoever cannot see them. */
struct page_bar {
        int64_t value;
        bool bad;
        char title[96];
};
void page_chart(struct strbuf *b, const struct page_bar *bars, size_t n, const char *label);
