/* SPDX-License-Identifier: Apache-2.0 */
/* One snapshot against another, by the members in the ledger. Course names of learners' courses are no
 * learner data; counts and names are all that is said. */
#include "snapshot_change.h"

#include <stdlib.h>

#include "cleanup.h"
#include "order.h"
#include "record.h"
#include "shelf.h"
#include "str.h"

#define NAMES_A_TEXT 5
#define BETWEEN '\001' /* course and table: no name has it, and it is less than all that names have */

/* A member, as it lies on the shelf. */
struct table_row {
        int64_t size;
        bool staged; /* else it is there, but a filter left it out, or its export failed */
        uint16_t course_len;
        char name[256 + 128]; /* course, BETWEEN, table */
};

/* The members of one snapshot by course, then table: one of them at a time. */
struct summary {
        struct shelf *shelf;
        uint64_t *at; /* of each row, and where the next one would be */
        size_t n;
        struct order *order;
        struct table_row row; /* the one at hand */
        bool has_row;
        struct error *e;
};

static void summary_done(struct summary *s)
{
        order_free(s->order);
        shelf_free(s->shelf);
        free(s->at);
}

static int on_member(struct ledger_member *m, void *arg)
{
        struct summary *s = arg;
        if ((m->state != OBJECT_PUBLISHED && m->state != OBJECT_IGNORED) || !*m->course)
                return 0;
        if (s->n % 256 == 0) {
                uint64_t *at = reallocarray(s->at, s->n + 257, sizeof(*at));
                if (!at)
                        return error_set(s->e, CAUSE_IO, ENOMEM, "out of memory");
                s->at = at;
        }
        struct table_row row = {.size = m->plain_size,
                .staged = m->state == OBJECT_PUBLISHED && !m->failed,
                .course_len = (uint16_t)strlen(m->course)};
        size_t n = offsetof(struct table_row, name) +
                   (size_t)snprintf(row.name, sizeof(row.name), "%s%c%s", m->course, BETWEEN, m->table);
        int r = shelf_add(s->shelf, &row, n, &s->at[s->n], s->e);
        if (r < 0)
                return r;
        s->n++;
        s->at[s->n] = s->at[s->n - 1] + n;
        return 0;
}

static int read_row(const struct summary *s, size_t i, struct table_row *ret, struct error *e)
{
        size_t n = (size_t)(s->at[i + 1] - s->at[i]);
        int r = shelf_get(s->shelf, s->at[i], ret, n, e);
        if (r >= 0)
                ((char *)ret)[n] = 0;
        return r;
}

static int name_of(void *arg, size_t i, struct strbuf *ret, struct error *e)
{
        struct table_row row;
        int r = read_row(arg, i, &row, e);
        if (r < 0)
                return r;
        strbuf_add(ret, row.name);
        return 1;
}

/* To the next row. */
static int advance(struct summary *s)
{
        const char *name;
        size_t i;
        int r = order_next(s->order, &i, &name, s->e);
        s->has_row = r > 0;
        return r > 0 ? read_row(s, i, &s->row, s->e) : r;
}

/* To the first row. */
static int summarise(struct director *d, int64_t id, struct summary *s, struct error *e)
{
        s->e = e;
        int r = shelf_new(d->state_fd, &s->shelf, e);
        if (r >= 0)
                r = ledger_members(d->ledger, id, on_member, s, e);
        if (r >= 0)
                r = order_new(s->n, name_of, s, &s->order, e);
        return r < 0 ? r : advance(s);
}

/* --- what changed --- */

struct tally {
        const char *what;
        size_t n;
        struct strbuf names;
};

static void count(struct tally *t, const struct table_row *row, bool with_table)
{
        if (t->n++ < NAMES_A_TEXT)
                strbuf_printf(&t->names, "%s%.*s%s%s", t->names.len ? ", " : "", row->course_len, row->name,
                        with_table ? " " : "", with_table ? row->name + row->course_len + 1 : "");
}

enum { COURSES_NEW, COURSES_GONE, TABLES_NEW, TABLES_GONE, SHRUNK, EMPTY, TALLIES };

static void tallies_done(struct tally t[TALLIES])
{
        for (size_t i = 0; i < TALLIES; i++)
                strbuf_done(&t[i].names);
}

static bool is_of(const struct summary *s, const struct table_row *row, bool with_table)
{
        size_t n = with_table ? sizeof(row->name) : row->course_len + 1U;
        return s->has_row && strncmp(s->row.name, row->name, n) == 0;
}

/* Goes on behind the course of the row at hand, counted once; of each table in it `empty` is told. */
static int pass_course(struct summary *s, struct tally *course, struct tally *empty)
{
        struct table_row first = s->row;
        int r = 0;
        count(course, &first, false);
        for (; r >= 0 && is_of(s, &first, false); r = advance(s))
                if (empty && s->row.staged && s->row.size == 0)
                        count(empty, &s->row, true);
        return r;
}

/* The table that both have; each may have it more than once (its export failed, and there is the old one). */
static int compare_table(struct summary *now, struct summary *old, struct tally t[TALLIES])
{
        struct table_row was = old->row;
        int r = 0;
        for (; r >= 0 && is_of(now, &was, true); r = advance(now)) {
                const struct table_row *row = &now->row;
                if (was.staged && row->staged && row->size < was.size / 2)
                        count(&t[SHRUNK], row, true);
                if (row->staged && row->size == 0)
                        count(&t[EMPTY], row, true);
        }
        while (r >= 0 && is_of(old, &was, true))
                r = advance(old);
        return r;
}

/* The course that both have. */
static int compare_course(struct summary *now, struct summary *old, struct tally t[TALLIES])
{
        struct table_row first = now->row;
        for (int r = 0;;) {
                bool in_now = is_of(now, &first, false), in_old = is_of(old, &first, false);
                if (r < 0 || (!in_now && !in_old))
                        return r;
                int c = !in_old ? -1 : !in_now ? 1 : strcmp(now->row.name, old->row.name);
                if (c == 0) {
                        r = compare_table(now, old, t);
                } else if (c < 0) {
                        count(&t[TABLES_NEW], &now->row, true);
                        if (now->row.staged && now->row.size == 0)
                                count(&t[EMPTY], &now->row, true);
                        r = advance(now);
                } else {
                        count(&t[TABLES_GONE], &old->row, true);
                        r = advance(old);
                }
        }
}

static int compare(struct summary *now, struct summary *old, struct tally t[TALLIES])
{
        int r = 0;
        while (r >= 0 && (now->has_row || old->has_row)) {
                if (now->has_row && is_of(old, &now->row, false))
                        r = compare_course(now, old, t);
                else if (now->has_row && (!old->has_row || strcmp(now->row.name, old->row.name) < 0))
                        r = pass_course(now, &t[COURSES_NEW], &t[EMPTY]);
                else
                        r = pass_course(old, &t[COURSES_GONE], NULL);
        }
        return r;
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
        struct error e = {};
        struct tally t[TALLIES] = {{"courses appeared"}, {"courses vanished"}, {"tables appeared"},
                {"tables vanished"}, {"shrank by more than half"}, {"are empty"}};
        int r = summarise(d, o->id, &now, &e);
        if (r >= 0)
                r = summarise(d, before, &old, &e);
        if (r >= 0)
                r = compare(&now, &old, t);
        if (r < 0) {
                journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING, .cause = e.cause},
                        "%s against the snapshot before: %s", o->path, e.text);
                tallies_done(t);
                return;
        }
        _cleanup_strbuf_ struct strbuf text = {};
        for (size_t i = 0; i < TALLIES; i++)
                if (t[i].n > 0)
                        strbuf_printf(&text, "%s%zu %s (%s%s)", text.len ? "; " : "", t[i].n, t[i].what,
                                t[i].names.s, t[i].n > NAMES_A_TEXT ? ", ..." : "");
        tallies_done(t);
        if (text.len == 0)
                return;
        struct journal_fields f = object_fields(o);
        f.priority = t[COURSES_GONE].n || t[TABLES_GONE].n || t[SHRUNK].n ? LOG_WARNING : LOG_NOTICE;
        f.path = o->path;
        journal_event(EVENT_SNAPSHOT_CHANGED, &f, "%s against the snapshot before: %s", o->path, text.s);
}
