/* SPDX-License-Identifier: Apache-2.0 */
/* The paths are a fact of the ledger, "leftovers", one a line: a path has no line feed in it. Those that find
 * no room are only said. */
#include "leftover.h"

#include <string.h>

#include "journal.h"
#include "record.h"
#include "str.h"

#define FACT "leftovers"
#define FACT_SIZE 8192

static void say(const char *path, const struct error *why)
{
        journal_event(EVENT_NOTE,
                &(struct journal_fields){.priority = LOG_WARNING, .cause = why->cause, .path = path},
                "%s is staged under another path now, but could not be removed there: %s; it is tried again "
                "at the next start",
                path, why->text);
}

static bool has_line(const char *text, const char *line)
{
        size_t n = strlen(line);
        for (const char *p = text; (p = strstr(p, line)); p += n)
                if ((p == text || p[-1] == '\n') && p[n] == '\n')
                        return true;
        return false;
}

void leftover_note(struct director *d, const char *path, const struct error *why)
{
        char known[FACT_SIZE] = "";
        say(path, why);
        record_open(d);
        if (ledger_meta_get(d->ledger, FACT, known, sizeof(known), NULL) < 0 || has_line(known, path))
                return;
        size_t used = strlen(known);
        if (used + strlen(path) + 2 > sizeof(known))
                return;
        snprintf(known + used, sizeof(known) - used, "%s\n", path);
        (void)ledger_meta_set(d->ledger, FACT, known, NULL);
}

static int is_at(struct ledger_object *o, void *arg)
{
        return streq(o->path, (const char *)arg);
}

void leftover_clear(struct director *d)
{
        char known[FACT_SIZE] = "";
        const struct ledger_filter all = {};
        if (ledger_meta_get(d->ledger, FACT, known, sizeof(known), NULL) < 0 || !*known)
                return;
        record_open(d);
        (void)ledger_meta_set(d->ledger, FACT, "", NULL);
        for (char *path = known, *end; (end = strchr(path, '\n')); path = end + 1) {
                struct error e = {};
                *end = 0;
                if (ledger_each(d->ledger, &all, is_at, path, NULL) == 0 &&
                        staging_remove(d->staging, path, &e) < 0)
                        leftover_note(d, path, &e);
        }
        (void)record_flush(d->record);
}
