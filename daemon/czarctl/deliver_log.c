/* SPDX-License-Identifier: Apache-2.0 */
/* deliver log: the record of disclosures: who got what, when, why and until when. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "audit.h"
#include "deliver.h"
#include "json.h"
#include "str.h"
#include "table.h"
#include "timespan.h"

#define FIELD_SIZE 8192

static const char *const columns[] = {"time", "seq", "event", "delivery", "recipients", "purpose", "until",
        "course", "path", "size", "sha256", "reason", "uid"};

struct show {
        struct ctl *c;
        const char *name;
        bool csv;
        struct table *table;
        struct strbuf json;
        uint64_t n;
};

static void show_row(struct show *s, const char *line, size_t len)
{
        char v[ELEMENTSOF(columns)][FIELD_SIZE], when[40];
        int64_t sec = 0;
        for (size_t i = 0; i < ELEMENTSOF(columns); i++)
                if (audit_field(line, len, columns[i], v[i], sizeof(v[i])) < 0)
                        v[i][0] = 0;
        if (s->csv) {
                for (size_t i = 0; i < ELEMENTSOF(columns); i++)
                        csv_cell(v[i], i + 1 == ELEMENTSOF(columns));
                return;
        }
        if (time_parse_rfc3339(v[0], &sec) < 0)
                sec = 0;
        table_cell(s->table, DIM, "%s", local_time(sec, when));
        table_cell(s->table, PLAIN, "%s", v[2]);
        table_cell(s->table, PLAIN, "%s", v[3]);
        table_cell(s->table, PLAIN, "%s", v[8]);
        table_cell(s->table, PLAIN, "%s", v[6]);
        table_cell(s->table, PLAIN, "%s", *v[11] ? v[11] : v[5]);
}

/* What is about to be handed out, and each of its inputs, is in the record too (czarctl --json). */
static int on_line(const char *line, size_t len, uint64_t number, void *arg)
{
        struct show *s = arg;
        char event[64] = "", delivery[256] = "";
        (void)number;
        (void)audit_field(line, len, "event", event, sizeof(event));
        (void)audit_field(line, len, "delivery", delivery, sizeof(delivery));
        if (s->name && !streq(delivery, s->name))
                return 0;
        if (!s->c->json && (streq(event, "delivering") || streq(event, "input") || streq(event, "outbox")))
                return 0;
        s->n++;
        if (!s->c->json) {
                show_row(s, line, len);
                return 0;
        }
        strbuf_add(&s->json, s->n > 1 ? ",\n" : "\n");
        json_add_shown(&s->json, line, len);
        return s->json.err;
}

int deliver_log(struct ctl *c, const char *name)
{
        struct show s = {.c = c, .name = name, .csv = ctl_flag(c, "csv")};
        struct error e = {};
        struct stat st;
        if (s.csv && c->json)
                return ctl_usage(c, "--csv and --json do not go together");
        _cleanup_close_ int state = deliver_state(c, &e);
        if (state < 0 && state != -ENOENT)
                return ctl_fail(c, &e);
        for (size_t i = 0; s.csv && i < ELEMENTSOF(columns); i++)
                csv_cell(columns[i], i + 1 == ELEMENTSOF(columns));
        if (!s.csv && !c->json)
                s.table = table_new("TIME|EVENT|DELIVERY|PATH|UNTIL|PURPOSE OR REASON");
        int r = state >= 0 && fstatat(state, "audit.jsonl", &st, 0) == 0 ? audit_each(state, on_line, &s, &e)
                                                                         : 0;
        if (s.table && !table_print(s.table) && r == 0)
                puts("Nothing was handed out yet.");
        if (c->json && r >= 0) {
                fputs("{\"version\":1,\"entries\":[", stdout);
                fputs(s.json.s ? s.json.s : "", stdout);
                puts("]}");
        }
        strbuf_done(&s.json);
        return r < 0 ? ctl_fail(c, &e) : 0;
}
