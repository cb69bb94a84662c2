/* SPDX-License-Identifier: Apache-2.0 */
/* A line ends with '\n', which may stand nowhere in JSON that is on one line: it is the sentinel at which
 * everything stops, so that nobody compares with the end. Strings are most of an event, and most of a
 * string's bytes are plain: these are passed 16 at a time. */
#include "event_scan.h"

#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "macro.h"
#include "str.h"

#define NAME_MAX_DECODED 16 /* longer than any name that is looked for */

struct scan {
        struct event_fields *fields;
        unsigned depth;
        uint64_t is_object[(EVENT_DEPTH_MAX + 63) / 64 + 1]; /* by depth, from 1 */
        unsigned context_depth;                              /* 2 within the object `context`, else 0 */
};

/* The first byte from p that is not plain: a quote, a backslash, a control or one of several. */
static const char *skip_plain(const char *p)
{
#ifdef __SSE2__
        const __m128i quote = _mm_set1_epi8('"'), escape = _mm_set1_epi8('\\'), space = _mm_set1_epi8(' ');
        for (;; p += 16) {
                __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
                __m128i found = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, escape));
                found = _mm_or_si128(found, _mm_cmplt_epi8(v, space)); /* signed: also bytes from 0x80 */
                unsigned mask = (unsigned)_mm_movemask_epi8(found);
                if (mask)
                        return p + __builtin_ctz(mask);
        }
#else
        while ((uint8_t)*p >= 0x20 && (uint8_t)*p < 0x80 && *p != '"' && *p != '\\')
                p++;
        return p;
#endif
}

static bool is_tail(char c)
{
        return ((uint8_t)c & 0xc0) == 0x80;
}

/* Behind the character of several bytes at p, or NULL (RFC 3629). */
static const char *skip_high(const char *p)
{
        uint8_t a = (uint8_t)p[0], b = (uint8_t)p[1];
        if (a < 0xc2 || a > 0xf4 || !is_tail(p[1]))
                return NULL;
        if (a < 0xe0)
                return p + 2;
        if (!is_tail(p[2]) || (a == 0xe0 && b < 0xa0) || (a == 0xed && b >= 0xa0) ||
                (a == 0xf0 && b < 0x90) || (a == 0xf4 && b >= 0x90))
                return NULL;
        if (a < 0xf0)
                return p + 3;
        return is_tail(p[3]) ? p + 4 : NULL;
}

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Behind the escape at p, or NULL. */
static const char *skip_escape(const char *p)
{
        static const bool simple[256] = {['"'] = true,
                ['\\'] = true,
                ['/'] = true,
                ['b'] = true,
                ['f'] = true,
                ['n'] = true,
                ['r'] = true,
                ['t'] = true};
        if (simple[(uint8_t)p[1]])
                return p + 2;
        if (p[1] != 'u')
                return NULL;
        for (unsigned i = 2; i < 6; i++)
                if (hex_value(p[i]) < 0)
                        return NULL;
        return p + 6;
}

/* Behind the string whose first byte is p, its quote passed already; NULL when it is none. */
static const char *skip_string(const char *p, bool *ret_escaped)
{
        while ((p = skip_plain(p))) {
                if (*p == '"')
                        return p + 1;
                if (*p == '\\') {
                        *ret_escaped = true;
                        p = skip_escape(p);
                } else {
                        p = skip_high(p); /* not of a control, which is below 0xc2 */
                }
                if (!p)
                        return NULL;
        }
        return NULL;
}

static const char *skip_space(const char *p)
{
        while (*p == ' ' || *p == '\t' || *p == '\r')
                p++;
        return p;
}

static const char *skip_digits(const char *p)
{
        while (*p >= '0' && *p <= '9')
                p++;
        return p;
}

static const char *skip_word(const char *p, const char *word)
{
        size_t n = strlen(word);
        return strncmp(p, word, n) == 0 ? p + n : NULL;
}

static const char *skip_number(const char *p)
{
        if (*p == '-')
                p++;
        if (*p == 'I')
                return skip_word(p, "Infinity");
        if (*p < '0' || *p > '9')
                return NULL;
        p = *p == '0' ? p + 1 : skip_digits(p);
        if (*p == '.') {
                const char *begin = ++p;
                if ((p = skip_digits(p)) == begin)
                        return NULL;
        }
        if (*p == 'e' || *p == 'E') {
                p++;
                if (*p == '+' || *p == '-')
                        p++;
                const char *begin = p;
                if ((p = skip_digits(p)) == begin)
                        return NULL;
        }
        return p;
}

/* What is no string, object or array. */
static const char *skip_scalar(const char *p)
{
        switch (*p) {
        case 't':
                return skip_word(p, "true");
        case 'f':
                return skip_word(p, "false");
        case 'n':
                return skip_word(p, "null");
        case 'N':
                return skip_word(p, "NaN");
        default:
                return skip_number(p);
        }
}

/* Which value a name on this level announces, if it is one that is looked for. */
static struct event_value *field_named(const struct scan *s, const char *p, size_t n)
{
        struct event_fields *f = s->fields;
        if (s->depth == 1) {
                if (n == 7 && memcmp(p, "context", 7) == 0)
                        return &f->context;
                if (n == 12 && memcmp(p, "event_source", 12) == 0)
                        return &f->event_source;
                if (n == 10 && memcmp(p, "event_type", 10) == 0)
                        return &f->event_type;
                if (n == 4 && memcmp(p, "page", 4) == 0)
                        return &f->page;
                return NULL;
        }
        return n == 9 && memcmp(p, "course_id", 9) == 0 ? &f->course_id : NULL;
}

/* The same of a name with escapes. Not inlined: names hardly ever have any, and the buffer would be cleared
 * for each name of each line. */
static __attribute__((noinline)) struct event_value *field_escaped(
        const struct scan *s, const char *p, size_t n)
{
        char name[6 * NAME_MAX_DECODED];
        return n > sizeof(name) ? NULL : field_named(s, name, event_unescape(p, n, name));
}

/* A value of that kind begins. */
static void note(struct scan *s, struct event_value *field, enum event_kind kind)
{
        if (!field)
                return;
        *field = (struct event_value){.kind = kind};
        if (field != &s->fields->context)
                return;
        s->fields->course_id = (struct event_value){};
        s->context_depth = kind == EVENT_OBJECT ? 2 : 0;
}

static bool push(struct scan *s, bool is_object)
{
        if (s->depth == EVENT_DEPTH_MAX)
                return false;
        unsigned i = ++s->depth;
        uint64_t bit = (uint64_t)1 << i % 64;
        s->is_object[i / 64] = is_object ? s->is_object[i / 64] | bit : s->is_object[i / 64] & ~bit;
        return true;
}

static void pop(struct scan *s)
{
        if (s->depth == s->context_depth)
                s->context_depth = 0;
        s->depth--;
}

static bool in_object(const struct scan *s)
{
        return s->is_object[s->depth / 64] >> s->depth % 64 & 1;
}

/* A name with its colon: *field becomes the value that it announces. To the value, or NULL. */
static const char *scan_name(struct scan *s, const char *p, struct event_value **ret_field)
{
        bool escaped = false;
        if (*p != '"')
                return NULL;
        const char *begin = p + 1, *end = skip_string(begin, &escaped);
        if (!end)
                return NULL;
        size_t n = (size_t)(end - 1 - begin);
        *ret_field = s->depth != 1 && s->depth != s->context_depth ? NULL
                     : escaped                                     ? field_escaped(s, begin, n)
                                                                   : field_named(s, begin, n);
        p = skip_space(end);
        return *p == ':' ? skip_space(p + 1) : NULL;
}

/* A string or scalar. Behind it, or NULL. */
static const char *scan_simple(struct scan *s, const char *p, struct event_value *field)
{
        if (*p != '"') {
                note(s, field, *p == 'n' ? EVENT_NULL : EVENT_OTHER);
                return skip_scalar(p);
        }
        bool escaped = false;
        const char *begin = p + 1, *end = skip_string(begin, &escaped);
        if (end && field) {
                note(s, field, EVENT_STRING);
                field->p = begin;
                field->n = (size_t)(end - 1 - begin);
                field->escaped = escaped;
        }
        return end;
}

/* From the first byte of a value to where the next value begins, over all brackets that begin or end there.
 * *done: the outermost has ended, and what is returned is behind it. NULL: not JSON. */
static const char *scan_value(struct scan *s, const char *p, struct event_value **field, bool *done)
{
        if (*p == '{' || *p == '[') {
                bool is_object = *p == '{';
                note(s, *field, is_object ? EVENT_OBJECT : EVENT_OTHER);
                *field = NULL;
                if (!push(s, is_object))
                        return NULL;
                p = skip_space(p + 1);
                if (*p != (is_object ? '}' : ']'))
                        return is_object ? scan_name(s, p, field) : p;
        } else {
                p = scan_simple(s, p, *field);
                *field = NULL;
                if (!p)
                        return NULL;
                p = skip_space(p);
        }
        while (*p == (in_object(s) ? '}' : ']')) {
                pop(s);
                if (s->depth == 0) {
                        *done = true;
                        return p + 1;
                }
                p = skip_space(p + 1);
        }
        if (*p != ',')
                return NULL;
        p = skip_space(p + 1);
        return in_object(s) ? scan_name(s, p, field) : p;
}

bool event_scan(const char *p, size_t n, struct event_fields *ret)
{
        struct scan s = {.fields = ret};
        struct event_value *field = NULL;
        const char *end = p + n;
        bool done = false;
        *ret = (struct event_fields){};
        if (*p != '{')
                return false;
        while (p && !done)
                p = scan_value(&s, p, &field, &done);
        return p == end;
}

static unsigned unescape_hex(const char *p)
{
        unsigned c = 0;
        for (unsigned i = 0; i < 4; i++)
                c = c << 4 | (unsigned)hex_value(p[i]);
        return c;
}

/* The character of "\uXXXX" at p, with the other half of a pair when it follows. *ret_used: bytes read. */
static uint32_t unescape_unicode(const char *p, const char *end, size_t *ret_used)
{
        uint32_t c = unescape_hex(p + 2);
        *ret_used = 6;
        if (c < 0xd800 || c > 0xdbff || end - p < 12 || p[6] != '\\' || p[7] != 'u')
                return c;
        uint32_t low = unescape_hex(p + 8);
        if (low < 0xdc00 || low > 0xdfff)
                return c;
        *ret_used = 12;
        return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
}

size_t event_unescape(const char *p, size_t n, char *ret)
{
        static const char simple[256] = {['"'] = '"',
                ['\\'] = '\\',
                ['/'] = '/',
                ['b'] = '\b',
                ['f'] = '\f',
                ['n'] = '\n',
                ['r'] = '\r',
                ['t'] = '\t'};
        const char *end = p + n;
        size_t len = 0;
        while (p < end) {
                if (*p != '\\') {
                        ret[len++] = *p++;
                } else if (p[1] != 'u') {
                        ret[len++] = simple[(uint8_t)p[1]];
                        p += 2;
                } else {
                        size_t used;
                        len += utf8_put(unescape_unicode(p, end, &used), ret + len);
                        p += used;
                }
        }
        return len;
}
