/* SPDX-License-Identifier: Apache-2.0 */
/* deliver log: the record of disclosures: who got what, when, why and until when. */
#include <errno.h>
#include <sys/stat.h>

#include "audit.h"
#include "deliver.h"
#include "record_rows.h"
#include "str.h"

static const char *const fields[] = {"time", "seq", "event", "delivery", "recipients", "purpose", "until",
        "course", "path", "size", "sha256", "reason", "uid"};

struct deliver_log {
        const char *name; /* NULL: all */
        struct record_rows *record;
};

/* What is about to be handed out, and each of its inputs, is in the record too (czarctl --json). */
static int show_disclosure(const char *line, size_t len, uint64_t number, void *arg)
{
        const struct deliver_log *l = arg;
        struct record_rows *r = l->record;
        (void)number;
        record_rows_read(r, line, len);
        if (l->name && !streq(record_text(r, "delivery"), l->name))
                return 0;
        const char *event = record_text(r, "event"), *reason = record_text(r, "reason");
        if (r->rows.c->json)
                rows_add_line(&r->rows, line, len);
        else if (!streq(event, "delivering") && !streq(event, "input") && !streq(event, "outbox"))
                record_rows_add(r, "", *reason ? reason : record_text(r, "purpose"));
        return 0;
}

int deliver_log(struct ctl *c, const char *name)
{
        struct deliver_log l = {.name = name};
        struct error e = {};
        struct stat st;
        int status = record_rows_open(c, fields, ELEMENTSOF(fields),
                "time|event|delivery|path|until|why=PURPOSE OR REASON", &l.record);
        if (status)
                return status;
        _cleanup_close_ int state = deliver_state(c, &e);
        int r = state == -ENOENT ? 0 : MIN(state, 0);
        if (state >= 0 && fstatat(state, "audit.jsonl", &st, 0) == 0)
                r = audit_each(state, show_disclosure, &l, &e);
        return record_rows_finish(l.record, "Nothing was handed out yet.", r, &e);
}
