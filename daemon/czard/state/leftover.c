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

void leftover_note(struct recorder *r, struct ledger *ledger, const struct ledger_object *o, const char *path,
        const char *keep_as, const struct error *why)
{
        struct ledger_leftover l = {.object_id = o->id};
        struct error e = {};
        say(path, why);
        snprintf(l.path, sizeof(l.path), "%s", path);
        snprintf(l.keep_as, sizeof(l.keep_as), "%s", keep_as);
        record_open(r);
        if (ledger_leftover_add(ledger, &l, &e) < 0)
                record_trouble(r, &e);
}

static int is_at(struct ledger_object *o, void *arg)
{
        return streq(o->path, (const char *)arg);
}

void leftover_clear(struct recorder *r, struct ledger *ledger, struct staging *staging)
{
        const struct ledger_filter all = {};
        struct ledger_leftover l = {};
        char after[sizeof(l.path)] = "";
        struct error e = {};
        int err;
        record_open(r);
        while ((err = ledger_leftover_next(ledger, after, &l, &e)) == 1) {
                struct error why = {};
                memcpy(after, l.path, sizeof(after));
                err = ledger_each(ledger, &all, is_at, l.path, &e);
                /* 1: it is of use again */
                if (err == 0 && staging_retire(staging, l.path, l.keep_as, &why) < 0)
                        say(l.path, &why);
                else if (err >= 0)
                        err = ledger_leftover_remove(ledger, l.path, &e);
                if (err < 0)
                        break;
        }
        if (err < 0)
                record_trouble(r, &e);
        (void)record_flush(r);
}
