/* SPDX-License-Identifier: Apache-2.0 */
/* Editors and spreadsheets of Windows save "Unicode" as UTF-16 with a byte-order mark, and put one in front
 * of UTF-8 too. */
#include "textfile.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static unsigned unit_at(const char *p, bool big)
{
        const uint8_t *u = (const uint8_t *)p;
        return big ? (unsigned)u[0] << 8 | u[1] : (unsigned)u[1] << 8 | u[0];
}

static bool is_printable(char c)
{
        return c >= 0x20 && c < 0x7f;
}

static size_t from_utf16(char *p, size_t n, size_t at, bool big)
{
        char *to = p;
        for (; at + 1 < n; at += 2) {
                unsigned c = unit_at(p + at, big);
                if (c < 0x80) {
                        *to++ = (char)c;
                } else if (c < 0x800) {
                        *to++ = (char)(0xc0 | c >> 6);
                        *to++ = (char)(0x80 | (c & 0x3f));
                } else {
                        *to++ = '?';
                }
        }
        return (size_t)(to - p);
}

size_t textfile_to_utf8(char *p, size_t n)
{
        if (n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
                memmove(p, p + 3, n - 3);
                return n - 3;
        }
        if (n >= 2 && memcmp(p, "\xff\xfe", 2) == 0)
                return from_utf16(p, n, 2, false);
        if (n >= 2 && memcmp(p, "\xfe\xff", 2) == 0)
                return from_utf16(p, n, 2, true);
        /* no mark: two printable characters with a zero before or behind each */
        if (n >= 4 && !p[1] && !p[3] && is_printable(p[0]) && is_printable(p[2]))
                return from_utf16(p, n, 0, false);
        if (n >= 4 && !p[0] && !p[2] && is_printable(p[1]) && is_printable(p[3]))
                return from_utf16(p, n, 0, true);
        return n;
}

size_t textfile_unquote(char *p, size_t n, const char *begin)
{
        enum { MARK_MOST = 16 };
        char mark[MARK_MOST];
        const char *at = memmem(p, n, begin, strlen(begin));
        const char *from = at;
        while (from && from > p && from[-1] != '\n')
                from--;
        size_t len = from ? (size_t)(at - from) : 0;
        if (len == 0 || len > MARK_MOST)
                return n;
        for (size_t i = 0; i < len; i++)
                if (!strchr("> |\t", from[i]))
                        return n;
        memcpy(mark, from, len);
        char *to = p + (from - p);
        for (const char *end = p + n; from < end;) {
                /* of a line without text its blank may be gone */
                for (size_t i = 0; i < len && from < end && *from == mark[i]; i++)
                        from++;
                while (from < end && (*to++ = *from++) != '\n')
                        ;
        }
        return (size_t)(to - p);
}
