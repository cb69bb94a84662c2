/* SPDX-License-Identifier: Apache-2.0 */
/* audit: the audit record by time, as table, JSON or CSV. Lines are taken as they stand; whether they were
 * altered says verify --audit. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "audit.h"
#include "name.h"
#include "runs.h"
#include "str.h"
#include "table.h"
#include "timespan.h"

static const char *const columns[] = {"time", "seq", "event", "org", "category", "site", "date", "bucket",
        "key", "etag", "member", "path", "size", "sha256", "group", "fingerprint", "cause", "uid", "reason",
        "mtime", "config_sha256"};
#define FIELD_SIZE 4200

/* What a member's line leaves to the "members" line before it. */
static const char *const shared[] = {
        "org", "category", "site", "date", "bucket", "key", "etag", "group", "mtime"};

struct show {
        struct ctl *c;
        const char *since, *until;
        bool csv;
        struct table *table;
        struct strbuf json;
        uint64_t n;
        char of_members[ELEMENTSOF(shared)][FIELD_SIZE]; /* of the "members" line above, "" none */
};

/* The field, of a member also as it was said once for all of them. */
static bool show_field(
        const struct show *s, const char *line, size_t len, const char *name, char ret[FIELD_SIZE])
{
        if (audit_field(line, len, name, ret, FIELD_SIZE) == 0)
                return true;
        ret[0] = 0;
        for (size_t i = 0; i < ELEMENTSOF(shared); i++)
                if (streq(shared[i], name))
                        memcpy(ret, s->of_members[i], FIELD_SIZE);
        return *ret;
}

static void note_members(struct show *s, const char *line, size_t len)
{
        char event[64] = "";
        (void)audit_field(line, len, "event", event, sizeof(event));
        bool head = streq(event, "members");
        if (streq(event, "member") || streq(event, "member-rejected"))
                return;
        for (size_t i = 0; i < ELEMENTSOF(shared); i++)
                if (!head || audit_field(line, len, shared[i], s->of_members[i], FIELD_SIZE) < 0)
                        s->of_members[i][0] = 0;
}

static void csv_line(const struct show *s, const char *line, size_t len)
{
        char value[FIELD_SIZE];
        for (size_t i = 0; i < ELEMENTSOF(columns); i++)
                csv_cell(show_field(s, line, len, columns[i], value) ? value : "",
                        i + 1 == ELEMENTSOF(columns));
}

static void table_line(struct show *s, const char *line, size_t len)
{
        static const char *const shown[] = {"event", "path", "key", "group", "uid", "reason", "cause"};
        char v[ELEMENTSOF(shown)][FIELD_SIZE], time[64] = "", when[40];
        int64_t sec = 0;
        for (size_t i = 0; i < ELEMENTSOF(shown); i++)
                show_field(s, line, len, shown[i], v[i]);
        if (audit_field(line, len, "time", time, sizeof(time)) < 0 || time_parse_rfc3339(time, &sec) < 0)
                sec = 0;
        table_cell(s->table, DIM, "%s", local_time(sec, when));
        table_cell(s->table, PLAIN, "%s", v[0]);
        table_cell(s->table, PLAIN, "%s", *v[1] ? v[1] : v[2]);
        table_cell(s->table, PLAIN, "%s", v[3]);
        table_cell(s->table, PLAIN, "%s", v[4]);
        table_cell(s->table, PLAIN, "%s%s%s", v[5], *v[5] && *v[6] ? ": " : "", v[6]);
}

static int on_line(const char *line, size_t len, uint64_t number, void *arg)
{
        struct show *s = arg;
        char time[64];
        (void)number;
        note_members(s, line, len);
        /* RFC 3339 in UTC compares as text. */
        if (audit_field(line, len, "time", time, sizeof(time)) < 0)
                return 0;
        if ((s->since && strncmp(time, s->since, 10) < 0) || (s->until && strncmp(time, s->until, 10) > 0))
                return 0;
        s->n++;
        if (s->csv)
                csv_line(s, line, len);
        else if (s->c->json) {
                strbuf_add(&s->json, s->n > 1 ? ",\n" : "\n");
                json_add_shown(&s->json, line, len);
                return s->json.err;
        } else
                table_line(s, line, len);
        return 0;
}

int run_audit(struct ctl *c)
{
        struct show s = {.c = c, .csv = ctl_flag(c, "csv")};
        struct error e = {};
        if (ctl_date_flag(c, "since", &s.since) || ctl_date_flag(c, "until", &s.until))
                return CTL_USAGE;
        if (s.csv && c->json)
                return ctl_usage(c, "--csv and --json do not go together");
        if (ctl_open_state(c, &e) < 0)
                return ctl_fail(c, &e);
        for (size_t i = 0; s.csv && i < ELEMENTSOF(columns); i++)
                csv_cell(columns[i], i + 1 == ELEMENTSOF(columns));
        if (!s.csv && !c->json)
                s.table = table_new("TIME|EVENT|PATH OR KEY|GROUP|UID|REASON");
        int r = audit_each(c->state_fd, on_line, &s, &e);
        if (r < 0 && e.err == ENOENT)
                r = 0;
        if (s.table && !table_print(s.table) && r == 0)
                puts(s.since || s.until ? "The audit record has no entries of these days."
                                        : "The audit record has no entries yet.");
        if (c->json && r >= 0) {
                fputs("{\"version\":1,\"entries\":[", stdout);
                fputs(s.json.s ? s.json.s : "", stdout);
                puts("]}");
        }
        strbuf_done(&s.json);
        return r < 0 ? ctl_fail(c, &e) : 0;
}
