/* SPDX-License-Identifier: Apache-2.0 */
/* Text in the shapes HTTP and S3 want it: percent-encoding, XML, hex, base64, dates, name=value files. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "macro.h"

static inline bool text_eq(const char *a, const char *b)
{
        return a && b && strcmp(a, b) == 0;
}

/* Never NULL: running out of memory ends the program, this is a test server. */
void *text_alloc(size_t n);
char *text_dup(const char *s);
char *text_dup_n(const char *s, size_t n);
char *text_printf(const char *format, ...) _printf_(1, 2);

/* A FILE that grows a string; text_close() ends it and returns the string (the caller frees). */
struct text {
        FILE *f;
        char *s;
        size_t n;
};
void text_open(struct text *t);
char *text_close(struct text *t);

/* %XX decoded (and + as a blank when plus). NULL when a % has no two hex digits or a NUL comes out. */
char *uri_decode(const char *s, size_t n, bool plus);
/* As SigV4 wants it: all but A-Za-z0-9-._~ as %XX in upper case, / kept when keep_slash. */
void uri_encode(FILE *f, const char *s, bool keep_slash);
/* The text between tags or quotes. Control characters become references, as S3 sends them. */
void xml_escape(FILE *f, const char *s);
/* <tag>value</tag>; the caller frees. */
char *xml_element(const char *tag, const char *value);
/* As S3 does it for encoding-type=url: a blank becomes +, / stays. */
void list_encode(FILE *f, const char *s);

void to_hex(const uint8_t *p, size_t n, char *ret);
int from_hex(const char *s, uint8_t *ret, size_t n);
char *to_base64(const uint8_t *p, size_t n);
/* 0 and *ret (the caller frees), or -EINVAL. */
int from_base64(const char *s, uint8_t **ret, size_t *ret_n);

/* "Fri, 24 May 2013 00:00:00 GMT", "20130524T000000Z", "2013-05-24T00:00:00.000Z" */
#define HTTP_DATE_SIZE 40
const char *date_http(time_t t, char ret[HTTP_DATE_SIZE]);
const char *date_compact(time_t t, char ret[HTTP_DATE_SIZE]);
const char *date_iso(time_t t, char ret[HTTP_DATE_SIZE]);
/* 0 or -EINVAL. */
int parse_compact(const char *s, time_t *ret);
int parse_iso(const char *s, time_t *ret);

/* Unsigned decimal, the whole string. 0 or -EINVAL. */
int parse_number(const char *s, uint64_t *ret);

/* Calls fn(arg, name, value, line) for each name=value line of s (changed in place), skipping blanks and
 * comments; value is NULL when the line has no =. Stops at the first non-zero return and returns it. */
int text_lines(char *s, int (*fn)(void *arg, const char *name, const char *value, unsigned line), void *arg);

/* The whole file, NUL added; at most max bytes. 0 or -errno. */
int read_whole(const char *path, size_t max, char **ret, size_t *ret_n);
