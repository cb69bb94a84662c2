/* SPDX-License-Identifier: Apache-2.0 */
/* What members_compare() finds, as one sentence. Course names of learners' courses are no learner data;
 * counts and names are all that is said. */
#include "snapshot_change.h"

#include <stdlib.h>

#include "record.h"

#define NAMES_A_TEXT 5

static const char *const what[MEMBERS_CHANGE_MAX] = {
        [COURSES_NEW] = "courses appeared",
        [COURSES_GONE] = "courses vanished",
        [TABLES_NEW] = "tables appeared",
        [TABLES_GONE] = "tables vanished",
        [TABLES_SHRUNK] = "shrank by more than half",
        [TABLES_EMPTY] = "are empty",
};

struct tally {
        size_t n;
        struct strbuf names;
};

static void count(void *arg, enum members_change change, const char *course, const char *table)
{
        struct tally *t = (struct tally *)arg + change;
        if (t->n++ < NAMES_A_TEXT)
                strbuf_printf(&t->names, "%s%s%s%s", t->names.len ? ", " : "", course, table ? " " : "",
                        table ? table : "");
}

void snapshot_change_done(struct snapshot_change *c)
{
        strbuf_done(&c->text);
}

void snapshot_compare(struct snapshot_change *c, struct members *m, int64_t before)
{
        struct tally t[MEMBERS_CHANGE_MAX] = {};
        struct error e = {};
        if (members_compare(m, before, count, t, &e) < 0)
                strbuf_printf(&c->text, "cannot tell: %s", e.text);
        for (size_t i = 0; e.cause == CAUSE_NONE && i < MEMBERS_CHANGE_MAX; i++)
                if (t[i].n > 0)
                        strbuf_printf(&c->text, "%s%zu %s (%s%s)", c->text.len ? "; " : "", t[i].n, what[i],
                                t[i].names.s, t[i].n > NAMES_A_TEXT ? ", ..." : "");
        c->loss = e.cause != CAUSE_NONE || t[COURSES_GONE].n || t[TABLES_GONE].n || t[TABLES_SHRUNK].n;
        for (size_t i = 0; i < MEMBERS_CHANGE_MAX; i++)
                strbuf_done(&t[i].names);
}

int64_t snapshot_before(struct ledger *l, const struct ledger_object *o)
{
        struct ledger_filter f = {.states = BIT(OBJECT_PUBLISHED) | BIT(OBJECT_GONE),
                .categories = BIT(o->category),
                .org = o->org,
                .until = o->date,
                .newest_first = true};
        _cleanup_free_ int64_t *ids = NULL;
        size_t n = 0;
        struct error e = {};
        struct ledger_object other;
        if (o->category != CATEGORY_DATABASE)
                return 0;
        if (ledger_ids(l, &f, &ids, &n, &e) < 0)
                return 0;
        for (size_t i = 0; i < n; i++)
                if (ids[i] != o->id && ledger_get(l, ids[i], &other, &e) >= 0 && *other.staged_etag &&
                        strcmp(other.date, o->date) < 0)
                        return other.id;
        return 0;
}

void snapshot_say_change(const struct snapshot_change *c, const struct ledger_object *o)
{
        if (c->text.len == 0)
                return;
        struct journal_fields f = object_fields(o);
        f.priority = c->loss ? LOG_WARNING : LOG_NOTICE;
        f.path = o->path;
        journal_event(EVENT_SNAPSHOT_CHANGED, &f, "%s against the snapshot before: %s", o->path, c->text.s);
}
