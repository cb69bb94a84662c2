/* SPDX-License-Identifier: Apache-2.0 */
/* What a name from outside may consist of, how it is copied into a bounded field, and a tree of things by
 * their names. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "macro.h"
#include "str.h"

bool name_is_digit(char c);
bool name_is_lower_alnum(char c);

/* Well-formed UTF-8 without control characters (C0, DEL, C1). */
bool name_is_printable(const char *s);
/* The same without backslashes, byte order marks, line separators and marks of direction: nothing that shows
 * as another name than it is. */
bool name_is_clean_text(const char *s);

/* How many bytes at s may be shown as they are: one character of UTF-8 that no terminal obeys, and that does
 * not change how the rest of the line is shown. 0: the end, or one to be escaped. */
size_t name_shown_len(const char *s);
/* The next piece of *s, which is not at its end, as it may be shown; *s moves on. A character as it is, or
 * for a byte that is to be escaped "\xNN", which is put into escape. *ret_len: how long the piece is. */
const char *name_shown_next(const char **s, char escape[5], size_t *ret_len);

/* Appends s as it may be shown. */
void name_add_shown(struct strbuf *b, const char *s);

/* One component of a path, n bytes: not empty, not hidden, so neither "." nor "..". */
bool name_is_safe_component(const char *s, size_t n);

/* A safe component of A-Z a-z 0-9 . _ - only. */
bool name_is_token(const char *s, size_t n);

/* A token in lower case that does not begin with '_' or '-': organisations and sites. */
bool name_is_lower_token(const char *s);

/* Is the n bytes at s that string? */
bool name_equals(const char *s, size_t n, const char *other);

/* Copies n bytes, fewer when they do not fit (never half a UTF-8 character), and ends them with NUL. */
void name_copy(char *ret, size_t size, const char *s, size_t n);

/* printf into ret; false when it does not fit. */
bool name_fill(char *ret, size_t size, const char *format, ...) _printf_(3, 4);

/* Things that are found by their names, and made when they are asked for first: a tree of tsearch(3). The
 * first member of a thing is `char *name`, which is owned. A tree starts as NULL. */

/* The thing, or NULL. */
void *named_find(void *const *tree, const char *name);
/* The same; one that is not there yet is made, of size bytes, zero but for its name. NULL: no memory. */
void *named_need(void **tree, const char *name, size_t size);
/* Frees all. done (may be NULL) frees what a thing owns besides its name. */
void named_free(void **tree, void (*done)(void *thing));
