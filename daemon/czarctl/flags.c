/* SPDX-License-Identifier: Apache-2.0 */
/* What a command asks about how it was called, and what it says when that was wrong. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "str.h"
#include "timespan.h"

void usage_command(const struct command *c, FILE *f)
{
        fprintf(f, "usage: czarctl %s", c->name);
        for (size_t i = 0; i < FLAGS_MOST && c->flags[i].name; i++)
                fprintf(f, " %s--%s%s%s%s", c->flags[i].needed ? "" : "[", c->flags[i].name,
                        c->flags[i].value ? " " : "", c->flags[i].value ? c->flags[i].value : "",
                        c->flags[i].needed ? "" : "]");
        fprintf(f, "%s%s\n\n  %s\n", *c->arguments ? " " : "", c->arguments, c->summary);
        for (size_t i = 0; i < FLAGS_MOST && c->flags[i].name; i++) {
                char head[64];
                snprintf(head, sizeof(head), "--%s%s%s", c->flags[i].name, c->flags[i].value ? " " : "",
                        c->flags[i].value ? c->flags[i].value : "");
                fprintf(f, "%s  %-24s %s\n", i == 0 ? "\n" : "", head, c->flags[i].help);
        }
        fputs("\n  --config FILE, --json, --help as everywhere\n", f);
        if (c->examples)
                fprintf(f, "\n%s", c->examples);
}

const char *ctl_flag(const struct ctl *c, const char *name)
{
        for (size_t i = 0; i < FLAGS_MOST && c->command->flags[i].name; i++)
                if (streq(c->command->flags[i].name, name))
                        return c->values[i];
        return NULL;
}

int ctl_usage(const struct ctl *c, const char *format, ...)
{
        va_list ap;
        va_start(ap, format);
        shown_print(stderr, "czarctl %s: ", c->command->name);
        shown_vprint(stderr, format, ap);
        fputs("\n", stderr);
        va_end(ap);
        usage_command(c->command, stderr);
        return CTL_USAGE;
}

int ctl_date_flag(const struct ctl *c, const char *name, const char **ret)
{
        int day;
        const char *v = ctl_flag(c, name);
        if (v && (strlen(v) != 10 || date_parse(v, &day) < 0))
                return ctl_usage(c, "--%s: expected a date as YYYY-MM-DD, not '%.32s'", name, v);
        *ret = v;
        return 0;
}

int ctl_line_flag(const struct ctl *c, const char *name)
{
        for (const char *p = ctl_flag(c, name); p && *p; p++)
                if ((unsigned char)*p < 0x20 || *p == 0x7f)
                        return ctl_usage(c, "--%s: expected one line of text", name);
        return 0;
}
