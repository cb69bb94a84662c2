/* SPDX-License-Identifier: Apache-2.0 */
#include "shown.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "name.h"
#include "str.h"

static size_t feeds_at_end(const char *s)
{
        size_t n = 0, len = strlen(s);
        while (n < len && s[len - 1 - n] == '\n')
                n++;
        return n;
}

void shown_vprint(FILE *f, const char *format, va_list ap)
{
        size_t before = strspn(format, "\n"), after = feeds_at_end(format + before);
        _cleanup_free_ char *text = NULL;
        _cleanup_strbuf_ struct strbuf shown = {};
        int n = vasprintf(&text, format, ap);
        if (n < 0)
                abort();
        text[(size_t)n - after] = 0;
        strbuf_add_n(&shown, format, before);
        name_add_shown(&shown, text + before);
        while (after-- > 0)
                strbuf_add(&shown, "\n");
        if (shown.err < 0)
                abort();
        fputs(shown.s, f);
}

void shown_print(FILE *f, const char *format, ...)
{
        va_list ap;
        va_start(ap, format);
        shown_vprint(f, format, ap);
        va_end(ap);
}

const char *local_time(int64_t sec, char ret[WHEN_SIZE])
{
        time_t when = (time_t)sec;
        struct tm tm;
        char zone[8] = "", text[32] = "";
        if (sec == 0 || !localtime_r(&when, &tm)) {
                strcpy(ret, "-");
                return ret;
        }
        strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
        strftime(zone, sizeof(zone), "%z", &tm);
        snprintf(ret, WHEN_SIZE, "%s %.3s:%.2s", text, zone, zone + 3);
        return ret;
}

const char *ago(int64_t sec, char ret[WHEN_SIZE])
{
        int64_t d = (int64_t)time(NULL) - sec, n = d < 0 ? -d : d;
        const char *unit = n < 120 ? "s" : n < 7200 ? "min" : n < 172800 ? "h" : "d";
        int64_t v = n < 120 ? n : n < 7200 ? n / 60 : n < 172800 ? n / 3600 : n / 86400;
        if (sec == 0)
                strcpy(ret, "never");
        else
                snprintf(ret, WHEN_SIZE, "%s%lld %s%s", d < 0 ? "in " : "", (long long)v, unit,
                        d < 0 ? "" : " ago");
        return ret;
}

const char *bytes_text(int64_t bytes, char ret[BYTES_SIZE])
{
        if (bytes < 0)
                strcpy(ret, "-");
        else
                size_format((uint64_t)bytes, ret, BYTES_SIZE);
        return ret;
}
