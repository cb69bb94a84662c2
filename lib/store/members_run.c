/* SPDX-License-Identifier: Apache-2.0 */
/* Runs: wanted members that are neighbours in the archive, and what became of each. */
#include "members.h"
#include "members_internal.h"

/* What a look over the wanted ones has found so far. */
struct choice {
        uint64_t first, last, end; /* offsets: of the first and last one, and behind that */
        uint64_t waste;
        size_t n;
};

/* Does the next wanted one, which is at offset, go along? */
static bool goes_along(
        const struct choice *c, const struct members_limits *l, uint64_t offset, uint64_t extent)
{
        uint64_t gap = offset - c->end, bytes = c->end - c->first;
        return c->n < l->members && bytes + gap + extent <= l->bytes && gap <= l->gap &&
               c->waste + gap <= bytes / l->waste;
}

static const char wanted[] = "SELECT \"offset\", extent FROM member WHERE step = 0 ORDER BY \"offset\"";

static int choose(struct members *m, const struct members_limits *limits, struct choice *ret, struct error *e)
{
        struct archive_place f;
        static const struct sql_column columns[] = {
                COLUMN(NUMBER, struct archive_place, offset), COLUMN(NUMBER, struct archive_place, extent)};
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        struct choice c = {};
        int r = sql_keep(&m->sql, wanted, NULL, &s, e);
        while (r >= 0 && (r = sql_next(&m->sql, s, columns, ELEMENTSOF(columns), &f, e)) == 1) {
                if (c.n == 0)
                        c.first = c.end = f.offset;
                else if (!goes_along(&c, limits, f.offset, f.extent))
                        break;
                c.waste += f.offset - c.end;
                c.last = f.offset;
                c.end = f.offset + f.extent;
                c.n++;
        }
        if (r >= 0)
                *ret = c;
        return MIN(r, 0);
}

int members_take_run(
        struct members *m, const struct members_limits *limits, struct members_run *run, struct error *e)
{
        struct choice c = {};
        int r = choose(m, limits, &c, e);
        if (r < 0 || c.n == 0)
                return r;
        r = sql_run(&m->sql,
                "UPDATE member SET step = 1, run = ?1, cause = 0, detail = '' WHERE step = 0 AND "
                "\"offset\" BETWEEN ?2 AND ?3",
                VALUES(V(run->id), V(c.first), V(c.last)), e);
        if (r < 0)
                return r;
        run->offset = c.first;
        run->length = c.end - c.first;
        run->n = c.n;
        return 1;
}

bool members_any_wanted(struct members *m)
{
        return sql_run(&m->sql, wanted, NULL, NULL) == 1;
}

int members_batch(struct members *m, int64_t run, uint64_t from, struct member *v, size_t n, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        size_t i = 0;
        int r = sql_keep(&m->sql,
                "SELECT " MEMBERS_COLUMNS " FROM member WHERE step = 1 AND run = ?1 AND "
                "\"offset\" >= ?2 ORDER BY \"offset\" LIMIT ?3",
                VALUES(V(run), V(from), V(n)), &s, e);
        while (r == 0 && i < n && (r = members_next(m, s, &v[i], e)) == 1) {
                i++;
                r = 0;
        }
        while (r < 0 && i > 0)
                member_done(&v[--i]);
        return r < 0 ? r : (int)i;
}

int members_next_judged(struct members *m, int64_t run, struct member *ret, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = sql_keep(&m->sql,
                "SELECT " MEMBERS_COLUMNS " FROM member WHERE step = 1 AND run = ?1 AND cause <> 0 "
                "ORDER BY \"offset\" LIMIT 1",
                VALUES(V(run)), &s, e);
        return r < 0 ? r : members_next(m, s, ret, e);
}

/* --- what became of one --- */

int members_staged(struct members *m, const struct member *v, struct error *e)
{
        return sql_run(&m->sql,
                "UPDATE member SET step = 2, cause = 0, plain_size = ?2, sha256 = ?3, checks = ?4, "
                "linked = ?5, rows = ?6 WHERE number = ?1",
                VALUES(V(v->number), V(v->plain_size), V(v->sha256), V(v->checks), V(v->linked), V(v->rows)),
                e);
}

int members_judged(struct members *m, int64_t number, enum cause cause, const char *detail, struct error *e)
{
        return sql_run(&m->sql, "UPDATE member SET cause = ?2, detail = ?3 WHERE number = ?1",
                VALUES(V(number), V(cause), V(detail)), e);
}

static int set_step(struct members *m, const struct member *v, enum member_step step, enum cause cause,
        const char *detail, struct error *e)
{
        return sql_run(&m->sql,
                "UPDATE member SET step = ?2, cause = ?3, detail = ?4, tries = ?5 WHERE number = ?1",
                VALUES(V(v->number), V(step), V(cause), V(detail), V(v->tries)), e);
}

int members_again(struct members *m, const struct member *v, struct error *e)
{
        return set_step(m, v, MEMBER_WANTED, CAUSE_NONE, "", e);
}

int members_leave(struct members *m, const struct member *v, struct error *e)
{
        return set_step(m, v, MEMBER_TAKEN, CAUSE_NONE, "", e);
}

int members_hold(struct members *m, const struct member *v, struct error *e)
{
        return sql_run(&m->sql, "UPDATE member SET run = 0, tries = ?2 WHERE number = ?1",
                VALUES(V(v->number), V(v->tries)), e);
}

int members_reject(struct members *m, const struct member *v, struct error *e)
{
        return set_step(m, v, MEMBER_REJECTED, v->cause, v->detail, e);
}

#define STAGED_OF(run) " WHERE step = 2 AND run " run
#define UNDO(run)                                                                                            \
        {                                                                                                    \
                "SELECT " MEMBERS_COLUMNS " FROM member" STAGED_OF(run),                                     \
                        "UPDATE member SET step = 0, plain_size = -1, sha256 = NULL, checks = 0, linked = "  \
                        "0" STAGED_OF(run)                                                                   \
        }

static int undo(struct members *m, const char *const sql[2], const struct sql_value *values, member_fn *each,
        void *arg, struct error *e)
{
        int r = members_walk(m, sql[0], values, each, arg, e);
        return r ? r : sql_run(&m->sql, sql[1], values, e);
}

int members_undo(struct members *m, int64_t run, member_fn *each, void *arg, struct error *e)
{
        static const char *const sql[] = UNDO("= ?1");
        return undo(m, sql, VALUES(V(run)), each, arg, e);
}

/* Runs count from 1; what earlier attempts staged has none. */
int members_undo_refused(struct members *m, member_fn *each, void *arg, struct error *e)
{
        static const char *const sql[] = UNDO("> 0 AND run IN (SELECT run FROM member WHERE step = 3)");
        return undo(m, sql, NULL, each, arg, e);
}

int members_release(struct members *m, int64_t run, struct error *e)
{
        return sql_run(&m->sql,
                "UPDATE member SET step = 0, cause = 0, detail = '' WHERE step = 1 AND run = ?1",
                VALUES(V(run)), e);
}
