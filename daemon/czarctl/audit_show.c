/* SPDX-License-Identifier: Apache-2.0 */
/* audit: the audit record by time, as table, JSON or CSV. Lines are taken as they stand; whether they were
 * altered says verify --audit. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "record_rows.h"
#include "runs.h"
#include "str.h"

static const char *const fields[] = {"time", "seq", "event", "org", "category", "site", "date", "bucket",
        "key", "etag", "member", "path", "size", "sha256", "group", "fingerprint", "cause", "uid", "reason",
        "mtime", "config_sha256"};

/* What a member's line leaves to the "members" line before it. */
static const char *const shared[] = {
        "org", "category", "site", "date", "bucket", "key", "etag", "group", "mtime"};

struct audit_show {
        const char *since, *until;
        struct record_rows *record;
        char of_members[ELEMENTSOF(shared)][RECORD_FIELD_SIZE]; /* of the "members" line above, "" none */
};

static void note_members(struct audit_show *s, const char *line, size_t len)
{
        char event[EVENT_SIZE] = "";
        (void)audit_field(line, len, "event", event, sizeof(event));
        bool head = streq(event, "members");
        if (streq(event, "member") || streq(event, "member-rejected"))
                return;
        for (size_t i = 0; i < ELEMENTSOF(shared); i++)
                if (!head || audit_field(line, len, shared[i], s->of_members[i], RECORD_FIELD_SIZE) < 0)
                        s->of_members[i][0] = 0;
}

static void show_fields(struct audit_show *s, const char *line, size_t len)
{
        struct record_rows *r = s->record;
        record_rows_read(r, line, len);
        for (size_t i = 0; i < r->n; i++)
                for (size_t k = 0; k < ELEMENTSOF(shared); k++)
                        if (!*r->fields[i].text && streq(r->fields[i].name, shared[k]))
                                r->fields[i].text = s->of_members[k];
        const char *path = record_text(r, "path"), *reason = record_text(r, "reason"),
                   *cause = record_text(r, "cause");
        _cleanup_free_ char *why = str_printf("%s%s%s", reason, *reason && *cause ? ": " : "", cause);
        record_rows_add(r, *path ? path : record_text(r, "key"), why);
}

static int show_entry(const char *line, size_t len, uint64_t number, void *arg)
{
        struct audit_show *s = arg;
        char time[64];
        (void)number;
        note_members(s, line, len);
        /* RFC 3339 in UTC compares as text. */
        if (audit_field(line, len, "time", time, sizeof(time)) < 0 ||
                (s->since && strncmp(time, s->since, 10) < 0) ||
                (s->until && strncmp(time, s->until, 10) > 0))
                return 0;
        if (s->record->rows.c->json)
                rows_add_line(&s->record->rows, line, len);
        else
                show_fields(s, line, len);
        return 0;
}

int run_audit(struct ctl *c)
{
        struct audit_show s = {};
        struct error e = {};
        if (ctl_date_flag(c, "since", &s.since) || ctl_date_flag(c, "until", &s.until))
                return CTL_USAGE;
        int status = record_rows_open(
                c, fields, ELEMENTSOF(fields), "time|event|what=PATH OR KEY|group|uid|why=REASON", &s.record);
        if (status)
                return status;
        int r = ctl_open_state(c, &e);
        if (r == 0)
                r = audit_each(c->state_fd, show_entry, &s, &e);
        if (r == -ENOENT && c->state_fd >= 0)
                r = 0;
        return record_rows_finish(s.record,
                s.since || s.until ? "The audit record has no entries of these days."
                                   : "The audit record has no entries yet.",
                r, &e);
}
