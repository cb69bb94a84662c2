/* SPDX-License-Identifier: Apache-2.0 */
/* Strings: prefixes, growing buffers, lists, text as people's programs save it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cleanup.h"
#include "macro.h"

static inline bool streq(const char *a, const char *b)
{
        return strcmp(a, b) == 0;
}

/* The rest of s after prefix, or NULL when s does not begin with it. */
static inline const char *str_after(const char *s, const char *prefix)
{
        size_t n = strlen(prefix);
        return strncmp(s, prefix, n) == 0 ? s + n : NULL;
}

bool str_ends(const char *s, const char *suffix);

/* NULL or "" */
static inline bool str_empty(const char *s)
{
        return !s || !*s;
}

/* Allocates "format..."; NULL when out of memory. The caller frees. */
char *str_printf(const char *format, ...) _printf_(1, 2);

/* A growing string, always NUL-terminated once something was added. Start with {}. Errors stick: after one
 * failed call the buffer stays as it was and err is -ENOMEM. */
struct strbuf {
        char *s;
        size_t len, size;
        int err;
};
void strbuf_add(struct strbuf *b, const char *s);
void strbuf_add_n(struct strbuf *b, const void *p, size_t n);
void strbuf_printf(struct strbuf *b, const char *format, ...) _printf_(2, 3);
/* word as one word of a shell's line (bash, zsh, ksh), in printable ASCII: as it is, 'quoted', or $'quoted'
 * when it has other bytes. */
void strbuf_add_word(struct strbuf *b, const char *word);
void strbuf_done(struct strbuf *b);
#define _cleanup_strbuf_ _cleanup_(strbuf_done)

/* A list of owned strings, NULL-terminated (v may be NULL when n is 0). */
struct strv {
        char **v;
        size_t n;
};
int strv_add(struct strv *l, const char *s);
int strv_add_n(struct strv *l, const char *s, size_t n);
bool strv_has(const struct strv *l, const char *s);
void strv_done(struct strv *l);
/* Sorts by bytes and drops doubles. */
void strv_unique(struct strv *l);
/* As strv_has(), of one that strv_unique() left: without looking at all of them. */
bool strv_sorted_has(const struct strv *l, const char *s);
/* Splits at white space. Returns 0 or -ENOMEM. */
int strv_split(struct strv *l, const char *s);

/* Unsigned decimal, the whole string, no sign, no blanks, at most max. 0, -EINVAL or -ERANGE. */
int parse_u64(const char *s, uint64_t max, uint64_t *ret);

/* How many of the n bytes are line breaks. */
uint64_t count_newlines(const void *p, size_t n);

/* Levenshtein distance with transpositions, for suggestions; bounded inputs only (< 64 bytes each). */
unsigned str_distance(const char *a, const char *b);

/* Lower-case hex of n bytes into ret (2 n + 1 bytes). */
void hex_encode(const uint8_t *p, size_t n, char *ret);
/* Exactly n bytes from 2 n hex digits of either case. 0 or -EINVAL. */
int hex_decode(const char *s, uint8_t *ret, size_t n);

/* Copies s with every byte that is not printable ASCII replaced by \xNN, for messages. At most size bytes. */
const char *str_visible(const char *s, char *ret, size_t size);

/* A path as strbuf_add_word() has it, for a command that an admin is to paste. One that does not fit into
 * size bytes (at least 5) is "PATH": half a path is another path. */
#define SHELL_WORD_SIZE 160
const char *shell_word(const char *path, char *ret, size_t size);

/* Bytes of the valid UTF-8 character at s (1 to 4), or 0: the end of the string or not one (RFC 3629). */
size_t utf8_valid_len(const char *s);
/* Writes the character, up to U+10FFFF: 1 to 4 bytes. How many. */
size_t utf8_put(uint32_t c, char *ret);

/* Text files as people's programs save them. */

/* Turns what is at p into UTF-8 without a byte-order mark, in place: UTF-16 of either order (with its mark,
 * or plain ASCII in it without one) is read; a character that needs more room than it had becomes '?'.
 * Returns the new length, not more than n. */
size_t textfile_to_utf8(char *p, size_t n);

/* Takes away what a mail program put in front of each line, from the one with begin on ("> ", blanks), in
 * place. Returns the new length. */
size_t textfile_unquote(char *p, size_t n, const char *begin);
