/* SPDX-License-Identifier: Apache-2.0 */
/* check: everything that can be wrong, in the order in which it would stop czard, each with what to do. */
#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "decrypt.h"
#include "fetch.h"
#include "runs.h"
#include "str.h"
#include "table.h"

void check_add(struct checkup *k, const char *name, enum finding f, const char *fix, const char *format, ...)
{
        char detail[1024];
        va_list ap;
        va_start(ap, format);
        vsnprintf(detail, sizeof(detail), format, ap);
        va_end(ap);
        for (char *p = detail; *p; p++)
                if ((unsigned char)*p < 0x20 || *p == 0x7f)
                        *p = ' ';
        k->n++;
        k->failed += f == BAD;
        if (k->c->json) {
                json_open(&k->json, NULL, '{');
                json_str(&k->json, "name", name);
                json_bool(&k->json, "ok", f != BAD);
                json_str(&k->json, "detail", detail);
                json_str(&k->json, "fix", str_empty(fix) ? NULL : fix);
                json_close(&k->json, '}');
                return;
        }
        static const enum colour colours[] = {[FINE] = GREEN, [NOTICE] = YELLOW, [BAD] = RED};
        static const char *const words[] = {[FINE] = "ok  ", [NOTICE] = "note", [BAD] = "BAD "};
        printf("%s%s%s  %-12s %s\n", colour_on(colours[f]), words[f], colour_off(colours[f]), name, detail);
        if (!str_empty(fix))
                printf("      %-12s -> %s\n", "", fix);
        fflush(stdout);
}

int prepare_check(struct ctl *c)
{
        passphrase_prepare(c);
        return fetch_prepare(c);
}

int run_check(struct ctl *c)
{
        struct checkup k = {.c = c};
        if (c->json) {
                answer_open(&k.json);
                json_open(&k.json, "checks", '[');
        }
        check_local(&k);
        check_key(&k);
        check_remote(&k);
        check_units(&k);
        int status = 0;
        if (c->json) {
                json_close(&k.json, ']');
                json_bool(&k.json, "ok", k.failed == 0);
                status = answer_print(&k.json);
        } else if (k.failed == 0) {
                printf("\nAll is well.\n");
        } else {
                printf("\n%u of %u need something done.\n", k.failed, k.n);
        }
        json_done(&k.json);
        return status ? status : k.failed ? CTL_FOUND : CTL_WELL;
}
