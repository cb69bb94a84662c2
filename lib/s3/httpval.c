/* SPDX-License-Identifier: Apache-2.0 */
/* Strict readers of HTTP header values. Each takes the whole value or nothing. */
#include "httpval.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "limits.h"
#include "str.h"
#include "timespan.h"

static bool is_blank(char c)
{
        return c == ' ' || c == '\t';
}

/* Copies s without the blanks around it. */
static int trim(const char *s, char *ret, size_t size)
{
        while (is_blank(*s))
                s++;
        size_t n = strlen(s);
        while (n > 0 && (is_blank(s[n - 1]) || s[n - 1] == '\r' || s[n - 1] == '\n'))
                n--;
        if (n == 0 || n >= size)
                return -EINVAL;
        memcpy(ret, s, n);
        ret[n] = 0;
        return 0;
}

int httpval_u64(const char *s, uint64_t max, uint64_t *ret)
{
        char v[32];
        int r = trim(s, v, sizeof(v));
        return r < 0 ? r : parse_u64(v, max, ret);
}

/* Reads digits at *p and moves it behind them. */
static int read_number(const char **p, uint64_t *ret)
{
        char v[32];
        size_t n = strspn(*p, "0123456789");
        if (n == 0 || n >= sizeof(v))
                return -EINVAL;
        memcpy(v, *p, n);
        v[n] = 0;
        *p += n;
        return parse_u64(v, INT64_MAX, ret);
}

static int read_char(const char **p, char c)
{
        if (**p != c)
                return -EINVAL;
        (*p)++;
        return 0;
}

/* "FIRST-LAST" or "*" */
static int read_range(const char **p, struct httpval_range *v)
{
        if (**p == '*')
                return read_char(p, '*');
        int r = read_number(p, &v->first);
        if (r == 0)
                r = read_char(p, '-');
        if (r == 0)
                r = read_number(p, &v->last);
        v->satisfied = true;
        return r == 0 && v->first > v->last ? -EINVAL : r;
}

/* "TOTAL" or "*" */
static int read_total(const char **p, struct httpval_range *v)
{
        if (**p == '*')
                return read_char(p, '*');
        v->has_total = true;
        return read_number(p, &v->total);
}

int httpval_content_range(const char *s, struct httpval_range *ret)
{
        struct httpval_range v = {};
        char text[128];
        int r = trim(s, text, sizeof(text));
        if (r < 0)
                return r;
        if (strncasecmp(text, "bytes", 5) != 0 || !is_blank(text[5]))
                return -EINVAL;
        const char *p = text + 5;
        while (is_blank(*p))
                p++;
        r = read_range(&p, &v);
        if (r == 0)
                r = read_char(&p, '/');
        if (r == 0)
                r = read_total(&p, &v);
        if (r < 0)
                return r;
        if (*p || (v.satisfied && v.has_total && v.last >= v.total) || (!v.satisfied && !v.has_total))
                return -EINVAL;
        *ret = v;
        return 0;
}

int httpval_date(const char *s, int64_t *ret_sec)
{
        char v[64];
        int r = trim(s, v, sizeof(v));
        return r < 0 ? r : time_parse_http(v, ret_sec);
}

int httpval_retry_after(const char *s, int64_t now_sec, uint64_t *ret_usec)
{
        uint64_t sec = 0;
        int r = httpval_u64(s, UINT64_MAX, &sec);
        if (r == -ERANGE)
                sec = HTTPVAL_RETRY_AFTER_MAX_SEC;
        else if (r < 0) {
                int64_t at;
                r = httpval_date(s, &at);
                if (r < 0)
                        return r;
                sec = at > now_sec ? (uint64_t)at - (uint64_t)now_sec : 0;
        }
        *ret_usec = MIN(sec, (uint64_t)HTTPVAL_RETRY_AFTER_MAX_SEC) * USEC_PER_SEC;
        return 0;
}

/* The opaque part of a strong tag, without quotes. */
static int etag_text(const char *s, char *ret, size_t size)
{
        char v[LIMIT_ETAG + 1];
        int r = trim(s, v, sizeof(v));
        if (r < 0)
                return r;
        size_t n = strlen(v);
        const char *p = v;
        if (n >= 2 && v[0] == '"' && v[n - 1] == '"') {
                p++;
                n -= 2;
        }
        if (n == 0 || n >= size)
                return -EINVAL;
        for (size_t i = 0; i < n; i++)
                if (p[i] == '"' || (unsigned char)p[i] <= ' ' || p[i] == 0x7f)
                        return -EINVAL;
        memcpy(ret, p, n);
        ret[n] = 0;
        return strncmp(ret, "W/", 2) == 0 ? -EINVAL : 0;
}

int httpval_etag(const char *s, struct httpval_etag *ret)
{
        struct httpval_etag v = {};
        char text[LIMIT_ETAG + 1], hex[33];
        uint64_t parts = 0;
        int r = etag_text(s, text, sizeof(text));
        if (r < 0)
                return r;
        size_t n = strcspn(text, "-");
        if (n == 32) {
                memcpy(hex, text, 32);
                hex[32] = 0;
                v.is_md5 = hex_decode(hex, v.md5, sizeof(v.md5)) == 0;
        }
        if (text[n] == '-' && (parse_u64(text + n + 1, LIMIT_PARTS, &parts) < 0 || parts == 0))
                v.is_md5 = false;
        v.parts = v.is_md5 ? (unsigned)parts : 0;
        *ret = v;
        return 0;
}

bool httpval_etag_equal(const char *a, const char *b)
{
        char x[LIMIT_ETAG + 1], y[LIMIT_ETAG + 1];
        return etag_text(a, x, sizeof(x)) == 0 && etag_text(b, y, sizeof(y)) == 0 && strcmp(x, y) == 0;
}

static int base64_digit(char c)
{
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const char *p = c ? strchr(digits, c) : NULL;
        return p ? (int)(p - digits) : -1;
}

int httpval_base64(const char *s, uint8_t *ret, size_t n)
{
        char v[128];
        uint8_t out[96] = {};
        int r = trim(s, v, sizeof(v));
        size_t len = (n + 2) / 3 * 4, pad = (3 - n % 3) % 3;
        if (r < 0 || n == 0 || n > sizeof(out) || strlen(v) != len)
                return -EINVAL;
        for (size_t i = 0; i < len; i += 4) {
                uint32_t bits = 0;
                for (size_t j = i; j < i + 4; j++) {
                        bool is_pad = j >= len - pad;
                        int d = is_pad ? 0 : base64_digit(v[j]);
                        if (d < 0 || (is_pad && v[j] != '='))
                                return -EINVAL;
                        bits = bits << 6 | (uint32_t)d;
                }
                for (size_t k = 0; k < 3 && i / 4 * 3 + k < sizeof(out); k++)
                        out[i / 4 * 3 + k] = (uint8_t)(bits >> (16 - 8 * k));
        }
        memcpy(ret, out, n);
        return 0;
}

int httpval_urldecode(char *s)
{
        char *out = s;
        for (; *s; s++) {
                uint8_t byte;
                if (*s != '%') {
                        *out++ = *s == '+' ? ' ' : *s;
                        continue;
                }
                char hex[3] = {s[1], s[1] ? s[2] : 0, 0};
                if (strlen(hex) != 2 || hex_decode(hex, &byte, 1) < 0)
                        return -EINVAL;
                if (byte == 0)
                        return -EILSEQ;
                *out++ = (char)byte;
                s += 2;
        }
        *out = 0;
        return 0;
}

bool httpval_is_region(const char *s)
{
        size_t n = strlen(s);
        if (n == 0 || n >= HTTPVAL_REGION_SIZE || s[0] == '-' || s[n - 1] == '-')
                return false;
        return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}
