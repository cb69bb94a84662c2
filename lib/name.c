/* SPDX-License-Identifier: Apache-2.0 */
/* Allow-lists for names from outside. Pure functions over bytes; who refuses a name, and why, is the caller's
 * to say: package.c for keys, member.c for members of archives, config_table.c for values. */
#include "name.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool name_is_digit(char c)
{
        return c >= '0' && c <= '9';
}

bool name_is_lower_alnum(char c)
{
        return name_is_digit(c) || (c >= 'a' && c <= 'z');
}

/* Bytes of one well-formed UTF-8 character at s that is not a control character, else 0. */
static size_t utf8_char(const char *s)
{
        const unsigned char *p = (const unsigned char *)s;
        if (p[0] < 0x80)
                return p[0] >= 0x20 && p[0] != 0x7f ? 1 : 0;
        if (p[0] < 0xc2 || p[0] > 0xf4)
                return 0;
        size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
        for (size_t i = 1; i < n; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
        if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90)) /* overlong */
                return 0;
        if ((p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf4 && p[1] > 0x8f)) /* surrogates, above U+10FFFF */
                return 0;
        return p[0] == 0xc2 && p[1] < 0xa0 ? 0 : n; /* C1 */
}

bool name_is_clean_text(const char *s)
{
        while (*s) {
                size_t n = *s == '\\' ? 0 : utf8_char(s);
                if (n == 0)
                        return false;
                s += n;
        }
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
