/* SPDX-License-Identifier: Apache-2.0 */
/* One snapshot against another, by the members in the ledger. Course names of learners' courses are no
 * learner data; counts and names are all that is said. */
#include "snapshot_change.h"

#include <stdlib.h>

#include "cleanup.h"
#include "record.h"
#include "str.h"

#define NAMES_A_TEXT 5

struct table_row {
        char *course, *table;
        int64_t size;
        bool staged; /* else it is there, but a filter left it out, or its export failed */
};

struct summary {
        struct table_row *v; /* by course, then table */
        size_t n;
        int err;
};

static int on_member(struct ledger_member *m, void *arg)
{
        struct summary *s = arg;
        if ((m->state != OBJECT_PUBLISHED && m->state != OBJECT_IGNORED) || !*m->course)
                return 0;
        if (s->n % 256 == 0) {
                struct table_row *v = realloc(s->v, (s->n + 256) * sizeof(*v));
                if (!v)
                        return s->err = -ENOMEM;
                s->v = v;
        }
        struct table_row *row = &s->v[s->n];
        *row = (struct table_row){.course = strdup(m->course),
                .table = strdup(m->table),
                .size = m->plain_size,
                .staged = m->state == OBJECT_PUBLISHED && !m->failed};
        s->n++;
        return row->course && row->table ? 0 : (s->err = -ENOMEM);
}

static int by_course_table(const void *a, const void *b)
{
        const struct table_row *x = a, *y = b;
        int c = strcmp(x->course, y->course);
        return c ? c : strcmp(x->table, y->table);
}

static void summary_done(struct summary *s)
{
        for (size_t i = 0; i < s->n; i++) {
                free(s->v[i].course);
                free(s->v[i].table);
        }
        free(s->v);
}

static int summarise(struct director *d, int64_t id, struct summary *ret)
{
        struct error e = {};
        *ret = (struct summary){};
        int r = id == 0 ? 0 : ledger_members(d->ledger, id, on_member, ret, &e);
        if (ret->n > 0)
                qsort(ret->v, ret->n, sizeof(*ret->v), by_course_table);
        return r;
}

static const struct table_row *find(const struct summary *s, const char *course, const char *table)
{
        union {
                const char *in;
                char *out;
        } c = {.in = course}, t = {.in = table};
        struct table_row key = {.course = c.out, .table = t.out};
        return s->n ? bsearch(&key, s->v, s->n, sizeof(*s->v), by_course_table) : NULL;
}

static bool has_course(const struct summary *s, const char *course)
{
        size_t lo = 0, hi = s->n;
        while (lo < hi) {
                size_t mid = (lo + hi) / 2;
                if (strcmp(s->v[mid].course, course) < 0)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo < s->n && streq(s->v[lo].course, course);
}

static bool is_first_of_course(const struct summary *s, size_t i)
{
        return i == 0 || !streq(s->v[i].course, s->v[i - 1].course);
}

/* --- what changed --- */

struct tally {
        const char *what;
        size_t n;
        struct strbuf names;
};

static void count(struct tally *t, const char *course, const char *table)
{
        if (t->n++ < NAMES_A_TEXT)
                strbuf_printf(&t->names, "%s%s%s%s", t->names.len ? ", " : "", course, table ? " " : "",
                        table ? table : "");
}

enum { COURSES_NEW, COURSES_GONE, TABLES_NEW, TABLES_GONE, SHRUNK, EMPTY, TALLIES };

static void compare_row(
        const struct summary *now, size_t i, const struct summary *old, struct tally t[TALLIES])
{
        const struct table_row *row = &now->v[i], *was = find(old, row->course, row->table);
        if (!has_course(old, row->course)) {
                if (is_first_of_course(now, i))
                        count(&t[COURSES_NEW], row->course, NULL);
        } else if (!was) {
                count(&t[TABLES_NEW], row->course, row->table);
        } else if (was->staged && row->staged && row->size < was->size / 2) {
                count(&t[SHRUNK], row->course, row->table);
        }
        if (row->staged && row->size == 0)
                count(&t[EMPTY], row->course, row->table);
}

static void compare(const struct summary *now, const struct summary *old, struct tally t[TALLIES])
{
        for (size_t i = 0; i < now->n; i++)
                compare_row(now, i, old, t);
        for (size_t i = 0; i < old->n; i++) {
                const struct table_row *row = &old->v[i];
                if (!has_course(now, row->course)) {
                        if (is_first_of_course(old, i))
                                count(&t[COURSES_GONE], row->course, NULL);
                } else if (!find(now, row->course, row->table)) {
                        count(&t[TABLES_GONE], row->course, row->table);
                }
        }
}

/* The staged snapshot before o: its id, 0: none. */
static int64_t snapshot_before(struct director *d, const struct ledger_object *o)
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
        if (ledger_ids(d->ledger, &f, &ids, &n, &e) < 0)
                return 0;
        for (size_t i = 0; i < n; i++)
                if (ids[i] != o->id && ledger_get(d->ledger, ids[i], &other, &e) >= 0 && *other.staged_etag &&
                        strcmp(other.date, o->date) < 0)
                        return other.id;
        return 0;
}

void snapshot_say_change(struct director *d, const struct ledger_object *o)
{
        int64_t before = snapshot_before(d, o);
        if (before == 0 || o->category != CATEGORY_DATABASE)
                return;
        _cleanup_(summary_done) struct summary now = {}, old = {};
        struct tally t[TALLIES] = {{"courses appeared"}, {"courses vanished"}, {"tables appeared"},
                {"tables vanished"}, {"shrank by more than half"}, {"are empty"}};
        if (summarise(d, o->id, &now) < 0 || summarise(d, before, &old) < 0)
                return;
        compare(&now, &old, t);
        _cleanup_strbuf_ struct strbuf text = {};
        for (size_t i = 0; i < TALLIES; i++) {
                if (t[i].n > 0)
                        strbuf_printf(&text, "%s%zu %s (%s%s)", text.len ? "; " : "", t[i].n, t[i].what,
                                t[i].names.s, t[i].n > NAMES_A_TEXT ? ", ..." : "");
                strbuf_done(&t[i].names);
        }
        if (text.len == 0)
                return;
        struct journal_fields f = object_fields(o);
        f.priority = t[COURSES_GONE].n || t[TABLES_GONE].n || t[SHRUNK].n ? LOG_WARNING : LOG_NOTICE;
        f.path = o->path;
        journal_event(EVENT_SNAPSHOT_CHANGED, &f, "%s against the snapshot before: %s", o->path, text.s);
}
