/* SPDX-License-Identifier: Apache-2.0 */
/* The table of causes, and struct error. */
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
        const char *name, *advice;
        enum remedy remedy;
} causes[CAUSE_MAX] = {
#define X(id, n, r, a) [CAUSE_##id] = {.name = n, .advice = a, .remedy = REMEDY_##r},
        CAUSES(X)
#undef X
};

int error_set(struct error *e, enum cause cause, int err, const char *format, ...)
{
        if (!e)
                return -err;
        va_list ap;
        e->cause = cause;
        e->err = err;
        va_start(ap, format);
        vsnprintf(e->text, sizeof(e->text), format, ap);
        va_end(ap);
        return -err;
}

int error_errno(struct error *e, int err, const char *format, ...)
{
        char what[TEXT_SIZE];
        va_list ap;
        va_start(ap, format);
        vsnprintf(what, sizeof(what), format, ap);
        va_end(ap);
        return error_set(e, cause_from_errno(err), err, "%s: %s", what, strerror(err));
}

int error_prefix(struct error *e, const char *format, ...)
{
        if (!e)
                return -EIO;
        char old[sizeof(e->text)];
        memcpy(old, e->text, sizeof(old));
        va_list ap;
        va_start(ap, format);
        int n = vsnprintf(e->text, sizeof(e->text), format, ap);
        va_end(ap);
        if (n >= 0 && (size_t)n < sizeof(e->text))
                snprintf(e->text + n, sizeof(e->text) - (size_t)n, ": %s", old);
        return e->err ? -e->err : -EIO;
}

const char *cause_name(enum cause c)
{
        return c < CAUSE_MAX ? causes[c].name : "unknown";
}

const char *cause_advice(enum cause c)
{
        return c < CAUSE_MAX ? causes[c].advice : "";
}

enum remedy cause_remedy(enum cause c)
{
        return c < CAUSE_MAX ? causes[c].remedy : REMEDY_RETRY;
}

enum cause cause_from_name(const char *name)
{
        for (enum cause c = 0; c < CAUSE_MAX; c++)
                if (strcmp(causes[c].name, name) == 0)
                        return c;
        return CAUSE_MAX;
}

enum cause cause_from_errno(int err)
{
        switch (err) {
        case ENOSPC:
        case EDQUOT:
                return CAUSE_SPACE;
        case EROFS:
        case ENODEV:
                return CAUSE_STAGING;
        default:
                return CAUSE_IO;
        }
}
