/* SPDX-License-Identifier: Apache-2.0 */
/* Allow-lists for names from outside. Pure functions over bytes; who refuses a name, and why, is the caller's
 * to say: package.c for keys, member.c for members of archives, config_table.c for values. */

#include "name.h"

#include <search.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool name_is_digit(char c)
{
        return c >= '0' && c <= '9';
}

bool name_is_lower_alnum(char c)
{
        return name_is_digit(c) || (c >= 'a' && c <= 'z');
}

bool name_is_printable(const char *s)
{
        while (*s) {
                size_t n = utf8_valid_len(s);
                bool c1 = n == 2 && (unsigned char)s[0] == 0xc2 && (unsigned char)s[1] < 0xa0;
                if (n == 0 || c1 || (unsigned char)*s < 0x20 || *s == 0x7f)
                        return false;
                s += n;
        }
        return true;
}

/* Does a character begin at s that changes how the rest of a line is shown, or where it ends? Byte order
 * mark, line and paragraph separator, marks and overrides of direction (Unicode Standard Annex 9). */
static bool is_disguise(const char *s)
{
        const uint8_t *p = (const uint8_t *)s;
        if (p[0] == 0xd8)
                return p[1] == 0x9c;
        if (p[0] == 0xef)
                return p[1] == 0xbb && p[2] == 0xbf;
        if (p[0] != 0xe2)
                return false;
        if (p[1] == 0x80)
                return p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xa8 && p[2] <= 0xae);
        return p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9;
}

size_t name_shown_len(const char *s)
{
        uint8_t c = (uint8_t)s[0];
        bool c1 = c == 0xc2 && (uint8_t)s[1] < 0xa0;
        return c < 0x20 || c == 0x7f || c1 || is_disguise(s) ? 0 : utf8_valid_len(s);
}

const char *name_shown_next(const char **s, char escape[5], size_t *ret_len)
{
        const char *p = *s;
        *ret_len = name_shown_len(p);
        if (*ret_len == 0) {
                *ret_len = (size_t)snprintf(escape, 5, "\\x%02x", (uint8_t)*p);
                *s = p + 1;
                return escape;
        }
        *s = p + *ret_len;
        return p;
}

void name_add_shown(struct strbuf *b, const char *s)
{
        while (*s) {
                char escape[5];
                size_t n;
                const char *from = name_shown_next(&s, escape, &n);
                strbuf_add_n(b, from, n);
        }
}

bool name_is_clean_text(const char *s)
{
        if (!name_is_printable(s) || strchr(s, '\\'))
                return false;
        for (; *s; s++)
                if (is_disguise(s))
                        return false;
        return true;
}

bool name_is_safe_component(const char *s, size_t n)
{
        return n > 0 && s[0] != '.';
}

bool name_is_token(const char *s, size_t n)
{
        if (!name_is_safe_component(s, n))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!name_is_lower_alnum(s[i]) && !(s[i] >= 'A' && s[i] <= 'Z') && s[i] != '.' &&
                        s[i] != '_' && s[i] != '-')
                        return false;
        return true;
}

bool name_is_lower_token(const char *s)
{
        if (!name_is_lower_alnum(*s) || !name_is_token(s, strlen(s)))
                return false;
        for (; *s; s++)
                if (*s >= 'A' && *s <= 'Z')
                        return false;
        return true;
}

bool name_equals(const char *s, size_t n, const char *other)
{
        return strlen(other) == n && memcmp(s, other, n) == 0;
}

void name_copy(char *ret, size_t size, const char *s, size_t n)
{
        if (n >= size) {
                n = size - 1;
                while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80)
                        n--;
        }
        memcpy(ret, s, n);
        ret[n] = 0;
}

bool name_fill(char *ret, size_t size, const char *format, ...)
{
        va_list ap;
        va_start(ap, format);
        int n = vsnprintf(ret, size, format, ap);
        va_end(ap);
        return n >= 0 && (size_t)n < size;
}

struct named {
        char *name;
};

static int by_name(const void *a, const void *b)
{
        return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

void *named_find(void *const *tree, const char *name)
{
        union {
                const char *in;
                char *out;
        } borrowed = {.in = name};
        const struct named key = {.name = borrowed.out};
        void *const *found = tfind(&key, tree, by_name);
        return found ? *found : NULL;
}

void *named_need(void **tree, const char *name, size_t size)
{
        struct named *n = named_find(tree, name);
        if (n)
                return n;
        n = calloc(1, size);
        if (n)
                n->name = strdup(name);
        if (n && n->name && tsearch(n, tree, by_name))
                return n;
        if (n)
                free(n->name);
        free(n);
        return NULL;
}

void named_free(void **tree, void (*done)(void *thing))
{
        while (*tree) {
                struct named *n = *(struct named **)*tree; /* a node begins with its key: POSIX, tsearch() */
                tdelete(n, tree, by_name);
                if (done)
                        done(n);
                free(n->name);
                free(n);
        }
}
