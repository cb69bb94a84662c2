/* SPDX-License-Identifier: Apache-2.0 */
/* The list of findings: printed, or added to the JSON answer, one by one as they come. */
#include "checkup.h"

#include <stdarg.h>
#include <stdio.h>

#include "rows.h"
#include "str.h"

void check_add(struct checkup *k, const char *name, enum finding f, const char *fix, const char *format, ...)
{
        char detail[1024];
        va_list ap;
        va_start(ap, format);
        vsnprintf(detail, sizeof(detail), format, ap);
        va_end(ap);
        k->n++;
        k->failed += f == BAD;
        if (k->c->json) {
                json_object(&k->json, NULL,
                        FIELDS(F_TEXT("name", name), F_BOOL("ok", f != BAD), F_TEXT("detail", detail),
                                F_NAME("fix", fix)));
                return;
        }
        static const enum colour colours[] = {[FINE] = GREEN, [NOTICE] = YELLOW, [BAD] = RED};
        static const char *const words[] = {[FINE] = "ok  ", [NOTICE] = "note", [BAD] = "BAD "};
        shown_colour(colours[f], words[f]);
        shown_print(stdout, "  %-12s %s\n", name, detail);
        if (!str_empty(fix))
                shown_print(stdout, "      %-12s -> %s\n", "", fix);
        fflush(stdout);
}
