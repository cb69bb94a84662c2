/* SPDX-License-Identifier: Apache-2.0 */
/* Strings. A strbuf or a strv is always whole: a failed addition leaves it as it was. */

#include "str.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

bool str_ends(const char *s, const char *suffix)
{
        size_t n = strlen(s), k = strlen(suffix);
        return n >= k && memcmp(s + n - k, suffix, k) == 0;
}

char *str_printf(const char *format, ...)
{
        char *s = NULL;
        va_list ap;
        va_start(ap, format);
        int n = vasprintf(&s, format, ap);
        va_end(ap);
        return n < 0 ? NULL : s;
}

/* Makes room for n more bytes and a NUL. */
static int reserve(struct strbuf *b, size_t n)
{
        if (b->err < 0)
                return b->err;
        if (n >= SIZE_MAX / 2 - b->len)
                return b->err = -ENOMEM;
        size_t want = b->len + n + 1;
        if (want <= b->size)
                return 0;
        size_t size = MAX(MAX(want, b->size * 2), 64U);
        char *s = realloc(b->s, size);
        if (!s)
                return b->err = -ENOMEM;
        if (!b->s)
                s[0] = 0;
        b->s = s;
        b->size = size;
        return 0;
}

void strbuf_add_n(struct strbuf *b, const void *p, size_t n)
{
        if (reserve(b, n) < 0)
                return;
        if (n > 0)
                memcpy(b->s + b->len, p, n);
        b->len += n;
        b->s[b->len] = 0;
}

void strbuf_add(struct strbuf *b, const char *s)
{
        strbuf_add_n(b, s, strlen(s));
}

void strbuf_printf(struct strbuf *b, const char *format, ...)
{
        va_list ap;
        va_start(ap, format);
        int n = vsnprintf(NULL, 0, format, ap);
        va_end(ap);
        if (n < 0) {
                b->err = -ENOMEM;
                return;
        }
        if (reserve(b, (size_t)n) < 0)
                return;
        va_start(ap, format);
        vsnprintf(b->s + b->len, (size_t)n + 1, format, ap);
        va_end(ap);
        b->len += (size_t)n;
}

void strbuf_add_word(struct strbuf *b, const char *word)
{
        static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+@:/";
        bool ascii = true;
        for (const char *p = word; *p; p++)
                ascii &= *p >= 0x20 && *p < 0x7f;
        if (*word && word[strspn(word, plain)] == 0) {
                strbuf_add(b, word);
                return;
        }
        strbuf_add(b, ascii ? "'" : "$'");
        for (; *word; word++)
                if (ascii && *word == '\'')
                        strbuf_add(b, "'\\''");
                else if (ascii)
                        strbuf_add_n(b, word, 1);
                else if (*word == '\'' || *word == '\\')
                        strbuf_printf(b, "\\%c", *word);
                else if (*word >= 0x20 && *word < 0x7f)
                        strbuf_add_n(b, word, 1);
                else
                        strbuf_printf(b, "\\%03o", (unsigned char)*word); /* \xNN has no end in ksh */
        strbuf_add(b, "'");
}

const char *shell_word(const char *path, char *ret, size_t size)
{
        _cleanup_strbuf_ struct strbuf b = {};
        strbuf_add_word(&b, path);
        snprintf(ret, size, "%s", b.err || b.len >= size ? "PATH" : b.s);
        return ret;
}

void strbuf_done(struct strbuf *b)
{
        free(b->s);
        *b = (struct strbuf){};
}

int strv_add_n(struct strv *l, const char *s, size_t n)
{
        _cleanup_free_ char *copy = strndup(s, n);
        if (!copy)
                return -ENOMEM;
        char **v = reallocarray(l->v, l->n + 2, sizeof(*v));
        if (!v)
                return -ENOMEM;
        v[l->n++] = take_ptr(&copy);
        v[l->n] = NULL;
        l->v = v;
        return 0;
}

int strv_add(struct strv *l, const char *s)
{
        return strv_add_n(l, s, strlen(s));
}

bool strv_has(const struct strv *l, const char *s)
{
        for (size_t i = 0; i < l->n; i++)
                if (streq(l->v[i], s))
                        return true;
        return false;
}

void strv_done(struct strv *l)
{
        for (size_t i = 0; i < l->n; i++)
                free(l->v[i]);
        free(l->v);
        *l = (struct strv){};
}

static int by_bytes(const void *a, const void *b)
{
        const char *const *x = a, *const *y = b;
        return strcmp(*x, *y);
}

void strv_unique(struct strv *l)
{
        size_t kept = 0;
        if (l->n == 0)
                return;
        qsort(l->v, l->n, sizeof(*l->v), by_bytes);
        for (size_t i = 0; i < l->n; i++) {
                if (kept > 0 && streq(l->v[i], l->v[kept - 1]))
                        free(l->v[i]);
                else
                        l->v[kept++] = l->v[i];
        }
        l->n = kept;
        l->v[kept] = NULL;
}

bool strv_sorted_has(const struct strv *l, const char *s)
{
        return l->n > 0 && bsearch(&s, l->v, l->n, sizeof(*l->v), by_bytes);
}

int strv_split(struct strv *l, const char *s)
{
        static const char blanks[] = " \t\r\n\v\f";
        for (s += strspn(s, blanks); *s; s += strspn(s, blanks)) {
                size_t n = strcspn(s, blanks);
                int r = strv_add_n(l, s, n);
                if (r < 0)
                        return r;
                s += n;
        }
        return 0;
}

int parse_u64(const char *s, uint64_t max, uint64_t *ret)
{
        uint64_t v = 0;
        bool over = false;
        if (!*s)
                return -EINVAL;
        for (; *s; s++) {
                if (*s < '0' || *s > '9')
                        return -EINVAL;
                over = over || __builtin_mul_overflow(v, 10U, &v) ||
                       __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v);
        }
        if (over || v > max)
                return -ERANGE;
        *ret = v;
        return 0;
}

/* Eight bytes at a time: of each byte that differs from a line break the top bit is set, and no carry leaves
 * its byte. */
uint64_t count_newlines(const void *p, size_t n)
{
        static const uint64_t low = 0x7f7f7f7f7f7f7f7f, each = 0x0a0a0a0a0a0a0a0a;
        const unsigned char *s = p;
        uint64_t count = 0, x;
        for (; n >= sizeof(x); s += sizeof(x), n -= sizeof(x)) {
                memcpy(&x, s, sizeof(x));
                x ^= each;
                x = ~(((x & low) + low) | x | low);
                count += (x >> 7) * 0x0101010101010101 >> 56;
        }
        for (; n > 0; s++, n--)
                count += *s == '\n';
        return count;
}

/* Optimal string alignment, three rows at a time. */
unsigned str_distance(const char *a, const char *b)
{
        enum { BOUND = 64 };
        size_t n = strlen(a), m = strlen(b);
        if (n >= BOUND || m >= BOUND)
                return (unsigned)MIN(MAX(n, m), (size_t)INT32_MAX);
        unsigned rows[3][BOUND];
        unsigned *before = rows[0], *above = rows[1], *row = rows[2];
        for (size_t j = 0; j <= m; j++)
                above[j] = (unsigned)j;
        for (size_t i = 1; i <= n; i++) {
                row[0] = (unsigned)i;
                for (size_t j = 1; j <= m; j++) {
                        unsigned d = above[j - 1] + (a[i - 1] != b[j - 1]);
                        d = MIN(d, MIN(above[j], row[j - 1]) + 1);
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                                d = MIN(d, before[j - 2] + 1);
                        row[j] = d;
                }
                unsigned *free_row = before;
                before = above;
                above = row;
                row = free_row;
        }
        return above[m];
}

static const char hex_digits[] = "0123456789abcdef";

void hex_encode(const uint8_t *p, size_t n, char *ret)
{
        for (size_t i = 0; i < n; i++) {
                ret[2 * i] = hex_digits[p[i] >> 4];
                ret[2 * i + 1] = hex_digits[p[i] & 15];
        }
        ret[2 * n] = 0;
}

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

/* Two passes, so that ret is untouched on failure. */
int hex_decode(const char *s, uint8_t *ret, size_t n)
{
        for (size_t i = 0; i < 2 * n; i++)
                if (hex_value(s[i]) < 0)
                        return -EINVAL;
        if (s[2 * n])
                return -EINVAL;
        for (size_t i = 0; i < n; i++)
                ret[i] = (uint8_t)(hex_value(s[2 * i]) << 4 | hex_value(s[2 * i + 1]));
        return 0;
}

const char *str_visible(const char *s, char *ret, size_t size)
{
        size_t n = 0;
        for (; *s; s++) {
                uint8_t c = (uint8_t)*s;
                bool plain = c >= 0x20 && c < 0x7f;
                if (n + (plain ? 1 : 4) >= size)
                        break;
                if (plain) {
                        ret[n++] = (char)c;
                        continue;
                }
                ret[n++] = '\\';
                ret[n++] = 'x';
                ret[n++] = hex_digits[c >> 4];
                ret[n++] = hex_digits[c & 15];
        }
        if (size > 0)
                ret[n] = 0;
        return ret;
}

/* The ranges of RFC 3629, section 4: no overlong forms, no surrogates, nothing above U+10FFFF. */
size_t utf8_valid_len(const char *s)
{
        const uint8_t *p = (const uint8_t *)s;
        uint8_t low = 0x80, high = 0xbf;
        size_t n;
        if (p[0] < 0x80)
                return p[0] ? 1 : 0;
        if (p[0] >= 0xc2 && p[0] <= 0xdf)
                n = 2;
        else if (p[0] >= 0xe0 && p[0] <= 0xef)
                n = 3;
        else if (p[0] >= 0xf0 && p[0] <= 0xf4)
                n = 4;
        else
                return 0;
        if (p[0] == 0xe0)
                low = 0xa0;
        else if (p[0] == 0xed)
                high = 0x9f;
        else if (p[0] == 0xf0)
                low = 0x90;
        else if (p[0] == 0xf4)
                high = 0x8f;
        if (p[1] < low || p[1] > high)
                return 0;
        for (size_t i = 2; i < n; i++)
                if (p[i] < 0x80 || p[i] > 0xbf)
                        return 0;
        return n;
}

size_t utf8_put(uint32_t c, char *ret)
{
        static const uint8_t lead[] = {[2] = 0xc0, [3] = 0xe0, [4] = 0xf0};
        size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        if (n == 1) {
                *ret = (char)c;
                return 1;
        }
        for (size_t i = n; i-- > 1; c >>= 6)
                ret[i] = (char)(0x80 | (c & 0x3f));
        ret[0] = (char)(lead[n] | c);
        return n;
}

/* Editors and spreadsheets of Windows save "Unicode" as UTF-16 with a byte-order mark, and put one in front
 * of UTF-8 too. */

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
                to += utf8_put(c < 0x800 ? c : '?', to);
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
