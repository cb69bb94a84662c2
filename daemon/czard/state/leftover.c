/* SPDX-License-Identifier: Apache-2.0 */
#include "leftover.h"

#include <string.h>

#include "journal.h"
#include "ledger_facts.h"
#include "record.h"
#include "str.h"

static void say(const char *path, const struct error *why)
{
        journal_event(EVENT_NOTE,
                &(struct journal_fields){.priority = LOG_WARNING, .cause = why->cause, .path = path},
                "%s is staged under another path now, but could not be removed there: %s; it is tried again "
                "at the next start",
                path, why->text);
}

void leftover_note(struct director *d, const struct ledger_object *o, const char *path, const char *keep_as,
        const struct error *why)
{
        struct ledger_leftover l = {.object_id = o->id};
        struct error e = {};
        say(path, why);
        snprintf(l.path, sizeof(l.path), "%s", path);
        snprintf(l.keep_as, sizeof(l.keep_as), "%s", keep_as);
        record_open(d->record);
        if (ledger_leftover_add(d->ledger, &l, &e) < 0)
                record_trouble(d->record, &e);
}

static int is_at(struct ledger_object *o, void *arg)
{
        return streq(o->path, (const char *)arg);
}

void leftover_clear(struct director *d)
{
        const struct ledger_filter all = {};
        struct ledger_leftover l = {};
        char after[sizeof(l.path)] = "";
        struct error e = {};
        int r;
        record_open(d->record);
        while ((r = ledger_leftover_next(d->ledger, after, &l, &e)) == 1) {
                struct error why = {};
                memcpy(after, l.path, sizeof(after));
                r = ledger_each(d->ledger, &all, is_at, l.path, &e);
                /* 1: it is of use again */
                if (r == 0 && staging_retire(d->staging, l.path, l.keep_as, &why) < 0)
                        say(l.path, &why);
                else if (r >= 0)
                        r = ledger_leftover_remove(d->ledger, l.path, &e);
                if (r < 0)
                        break;
        }
        if (r < 0)
                record_trouble(d->record, &e);
        (void)record_flush(d->record);
}
