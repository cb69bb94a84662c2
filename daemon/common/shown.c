/* SPDX-License-Identifier: Apache-2.0 */
#include "shown.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

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
