/* SPDX-License-Identifier: Apache-2.0 */
/* The messages of a loader. Errors do not stop the reading: the first goes to its struct error, the others to
 * `more`. */
#include "config_load.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "limits.h"

static void add_message(struct loader *l, const char *text)
{
        if (l->n_errors++ == 0)
                error_set(l->e, CAUSE_CONFIG, EINVAL, "%s", text);
        else if (l->more && l->n_errors <= LIMIT_CONFIG_ERRORS && strv_add(l->more, text) < 0)
                l->result = -ENOMEM;
        if (l->result == 0)
                l->result = -EINVAL;
}

/* "FILE:LINE: [section] key: what", with the parts that are known. */
_printf_(6, 0) static void add_text(const struct loader *l, struct strbuf *b, struct origin at,
        const char *section, const char *key, const char *format, va_list ap)
{
        char what[400];
        vsnprintf(what, sizeof(what), format, ap);
        strbuf_add(b, at.line ? l->files.v[at.file] : l->config->path);
        if (at.line)
                strbuf_printf(b, ":%u", at.line);
        strbuf_add(b, ": ");
        if (*section)
                strbuf_printf(b, "[%s]%s%s: ", section, *key ? " " : "", key);
        strbuf_add(b, what);
}

void loader_error(
        struct loader *l, struct origin at, const char *section, const char *key, const char *format, ...)
{
        _cleanup_strbuf_ struct strbuf b = {};
        va_list ap;
        va_start(ap, format);
        add_text(l, &b, at, section, key, format, ap);
        va_end(ap);
        add_message(l, b.err == 0 ? b.s : "out of memory");
}

void loader_warning(
        struct loader *l, struct origin at, const char *section, const char *key, const char *format, ...)
{
        _cleanup_strbuf_ struct strbuf b = {};
        va_list ap;
        va_start(ap, format);
        add_text(l, &b, at, section, key, format, ap);
        va_end(ap);
        if (b.err < 0 || strv_add(&l->config->warnings, b.s) < 0)
                l->result = -ENOMEM;
}
