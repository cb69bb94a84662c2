/* SPDX-License-Identifier: Apache-2.0 */
/* Text helpers of the stand-in; see text.h. No state. */
#include "text.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <openssl/evp.h>

void *text_alloc(size_t n)
{
        void *p = calloc(1, n ? n : 1);
        if (!p) {
                fputs("s3d: out of memory\n", stderr);
                abort();
        }
        return p;
}

char *text_dup_n(const char *s, size_t n)
{
        char *r = text_alloc(n + 1);
        memcpy(r, s, n);
        return r;
}

char *text_dup(const char *s)
{
        return text_dup_n(s, strlen(s));
}

char *text_printf(const char *format, ...)
{
        va_list ap;
        char *r = NULL;
        va_start(ap, format);
        int n = vasprintf(&r, format, ap);
        va_end(ap);
        if (n < 0)
                abort();
        return r;
}

void text_open(struct text *t)
{
        *t = (struct text){};
        t->f = open_memstream(&t->s, &t->n);
        if (!t->f)
                abort();
}

char *text_close(struct text *t)
{
        fclose(t->f);
        t->f = NULL;
        return t->s;
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

char *uri_decode(const char *s, size_t n, bool plus)
{
        _cleanup_free_ char *r = text_alloc(n + 1);
        size_t k = 0;
        for (size_t i = 0; i < n; i++) {
                char c = s[i];
                if (c == '%') {
                        int hi = n - i > 2 ? hex_value(s[i + 1]) : -1;
                        int lo = n - i > 2 ? hex_value(s[i + 2]) : -1;
                        if (hi < 0 || lo < 0)
                                return NULL;
                        c = (char)(hi * 16 + lo);
                        i += 2;
                } else if (c == '+' && plus)
                        c = ' ';
                if (c == 0)
                        return NULL;
                r[k++] = c;
        }
        return take_ptr(&r);
}

void uri_encode(FILE *f, const char *s, bool keep_slash)
{
        for (; *s; s++) {
                unsigned char c = (unsigned char)*s;
                if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                        strchr("-._~", c) || (c == '/' && keep_slash))
                        fputc(c, f);
                else
                        fprintf(f, "%%%02X", c);
        }
}

void list_encode(FILE *f, const char *s)
{
        for (; *s; s++) {
                unsigned char c = (unsigned char)*s;
                if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                        strchr("-._*/", c))
                        fputc(c, f);
                else if (c == ' ')
                        fputc('+', f);
                else
                        fprintf(f, "%%%02X", c);
        }
}

void xml_escape(FILE *f, const char *s)
{
        for (; *s; s++) {
                unsigned char c = (unsigned char)*s;
                switch (c) {
                case '&':
                        fputs("&amp;", f);
                        break;
                case '<':
                        fputs("&lt;", f);
                        break;
                case '>':
                        fputs("&gt;", f);
                        break;
                case '"':
                        fputs("&quot;", f);
                        break;
                default:
                        if (c < 0x20 || c == 0x7f)
                                fprintf(f, "&#x%x;", c);
                        else
                                fputc(c, f);
                }
        }
}

char *xml_element(const char *tag, const char *value)
{
        struct text t;
        text_open(&t);
        fprintf(t.f, "<%s>", tag);
        xml_escape(t.f, value);
        fprintf(t.f, "</%s>", tag);
        return text_close(&t);
}

void to_hex(const uint8_t *p, size_t n, char *ret)
{
        for (size_t i = 0; i < n; i++)
                sprintf(ret + 2 * i, "%02x", p[i]);
        ret[2 * n] = 0;
}

int from_hex(const char *s, uint8_t *ret, size_t n)
{
        if (strlen(s) != 2 * n)
                return -EINVAL;
        for (size_t i = 0; i < n; i++) {
                int hi = hex_value(s[2 * i]), lo = hex_value(s[2 * i + 1]);
                if (hi < 0 || lo < 0)
                        return -EINVAL;
                ret[i] = (uint8_t)(hi * 16 + lo);
        }
        return 0;
}

char *to_base64(const uint8_t *p, size_t n)
{
        char *r = text_alloc(4 * (n / 3 + 1) + 1);
        EVP_EncodeBlock((unsigned char *)r, p, (int)n);
        return r;
}

int from_base64(const char *s, uint8_t **ret, size_t *ret_n)
{
        size_t n = strlen(s), pad = 0;
        if (n == 0 || n % 4 || n > 8192)
                return -EINVAL;
        while (pad < 2 && s[n - 1 - pad] == '=')
                pad++;
        _cleanup_free_ uint8_t *p = text_alloc(n);
        int r = EVP_DecodeBlock(p, (const unsigned char *)s, (int)n);
        if (r < (int)pad)
                return -EINVAL;
        *ret_n = (size_t)r - pad;
        *ret = take_ptr(&p);
        return 0;
}

static const char *date_format(time_t t, const char *format, char ret[HTTP_DATE_SIZE])
{
        struct tm tm;
        gmtime_r(&t, &tm);
        /* No setlocale() anywhere in the program, so names of days and months are English. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        strftime(ret, HTTP_DATE_SIZE, format, &tm);
#pragma GCC diagnostic pop
        return ret;
}

const char *date_http(time_t t, char ret[HTTP_DATE_SIZE])
{
        return date_format(t, "%a, %d %b %Y %H:%M:%S GMT", ret);
}

const char *date_compact(time_t t, char ret[HTTP_DATE_SIZE])
{
        return date_format(t, "%Y%m%dT%H%M%SZ", ret);
}

const char *date_iso(time_t t, char ret[HTTP_DATE_SIZE])
{
        return date_format(t, "%Y-%m-%dT%H:%M:%S.000Z", ret);
}

/* pattern: 9 stands for a digit, anything else for itself */
static bool has_shape(const char *s, const char *pattern)
{
        for (; *pattern; s++, pattern++)
                if (*pattern == '9' ? !(*s >= '0' && *s <= '9') : *s != *pattern)
                        return false;
        return *s == 0;
}

static int date_from(const char *s, const char *format, time_t *ret)
{
        struct tm tm = {};
        char *end = strptime(s, format, &tm);
        if (!end)
                return -EINVAL;
        *ret = timegm(&tm);
        return 0;
}

int parse_compact(const char *s, time_t *ret)
{
        if (!has_shape(s, "99999999T999999Z"))
                return -EINVAL;
        return date_from(s, "%Y%m%dT%H%M%SZ", ret);
}

int parse_iso(const char *s, time_t *ret)
{
        if (!has_shape(s, "9999-99-99T99:99:99Z") && !has_shape(s, "9999-99-99T99:99:99.999Z"))
                return -EINVAL;
        return date_from(s, "%Y-%m-%dT%H:%M:%S", ret);
}

int parse_number(const char *s, uint64_t *ret)
{
        uint64_t n = 0;
        if (!*s)
                return -EINVAL;
        for (; *s; s++) {
                if (*s < '0' || *s > '9' || n > (UINT64_MAX - 9) / 10)
                        return -EINVAL;
                n = n * 10 + (uint64_t)(*s - '0');
        }
        *ret = n;
        return 0;
}

static char *trim(char *s)
{
        while (*s && isspace((unsigned char)*s))
                s++;
        for (size_t n = strlen(s); n > 0 && isspace((unsigned char)s[n - 1]); n--)
                s[n - 1] = 0;
        return s;
}

int text_lines(char *s, int (*fn)(void *arg, const char *name, const char *value, unsigned line), void *arg)
{
        unsigned line = 0;
        for (char *l; (l = strsep(&s, "\n"));) {
                line++;
                l = trim(l);
                if (!*l || *l == '#')
                        continue;
                char *value = strchr(l, '=');
                if (value)
                        *value++ = 0;
                int r = fn(arg, trim(l), value ? trim(value) : NULL, line);
                if (r)
                        return r;
        }
        return 0;
}

int read_whole(const char *path, size_t max, char **ret, size_t *ret_n)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        struct stat st;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EISDIR;
        if ((uint64_t)st.st_size > max)
                return -EFBIG;
        _cleanup_free_ char *p = text_alloc((size_t)st.st_size + 1);
        size_t n = 0;
        while (n < (size_t)st.st_size) {
                ssize_t k = read(fd, p + n, (size_t)st.st_size - n);
                if (k < 0)
                        return -errno;
                if (k == 0)
                        break;
                n += (size_t)k;
        }
        p[n] = 0;
        *ret = take_ptr(&p);
        if (ret_n)
                *ret_n = n;
        return 0;
}
