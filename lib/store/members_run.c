/* SPDX-License-Identifier: Apache-2.0 */
/* Runs: wanted members that are neighbours in the archive, and what became of each. */
#include <stdlib.h>

#include "members_internal.h"

/* What a look over the wanted ones has found so far. */
struct choice {
        uint64_t first, last, end; /* offsets: of the first and last one, and behind that */
        uint64_t waste;
        size_t n;
};

/* Does the next wanted one, which is at offset, go along? */
static bool goes_along(const struct choice *c, const struct members_limits *l, uint64_t offset,
        uint64_t extent, uint64_t tries)
{
        uint64_t gap = offset - c->end, bytes = c->end - c->first;
        return tries == 0 && c->n < l->members && bytes + gap + extent <= l->bytes && gap <= l->gap &&
               c->waste + gap <= bytes / l->waste;
}

static int choose(struct members *m, const struct members_limits *limits, struct choice *ret, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        struct choice c = {};
        uint64_t first_tries = 0;
        int r = members_prepared(m, MEMBERS_FIRST_WANTED, &s, e);
        while (r >= 0 && (r = members_step(m, s, e)) == 1) {
                uint64_t offset = (uint64_t)sqlite3_column_int64(s, 1);
                uint64_t extent = (uint64_t)sqlite3_column_int64(s, 2);
                uint64_t tries = (uint64_t)sqlite3_column_int64(s, 3);
                if (c.n == 0) {
                        c.first = c.end = offset;
                        first_tries = tries;
                } else if (first_tries > 0 || !goes_along(&c, limits, offset, extent, tries)) {
                        break;
                }
                c.waste += offset - c.end;
                c.last = offset;
                c.end = offset + extent;
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
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        r = members_prepared(m, MEMBERS_TAKE, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_i64(&b, run->id);
        ledger_bind_u64(&b, c.first);
        ledger_bind_u64(&b, c.last);
        r = b.err ? members_fail(m, "writing", e) : members_step(m, s, e);
        if (r < 0)
                return r;
        run->offset = c.first;
        run->length = c.end - c.first;
        run->n = c.n;
        return 1;
}

bool members_any_wanted(struct members *m)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        return members_prepared(m, MEMBERS_FIRST_WANTED, &s, NULL) == 0 && members_step(m, s, NULL) == 1;
}

int members_batch(struct members *m, int64_t run, uint64_t from, struct member *v, size_t n, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        size_t i = 0;
        int r = members_prepared(m, MEMBERS_BATCH, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_i64(&b, run);
        ledger_bind_u64(&b, from);
        ledger_bind_u64(&b, n);
        r = b.err ? members_fail(m, "asking", e) : 1;
        while (r > 0 && i < n && (r = members_step(m, s, e)) == 1) {
                r = members_read(s, &v[i], e);
                if (r == 0) {
                        i++;
                        r = 1;
                }
        }
        if (r < 0)
                while (i > 0)
                        member_done(&v[--i]);
        return r < 0 ? r : (int)i;
}

int members_next_judged(struct members *m, int64_t run, struct member *ret, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = members_prepared(m, MEMBERS_NEXT_JUDGED, &s, e);
        if (r < 0)
                return r;
        sqlite3_bind_int64(s, 1, run);
        r = members_step(m, s, e);
        if (r == 1 && members_read(s, ret, e) < 0)
                r = -EIO;
        return r;
}

/* --- what became of one --- */

int members_staged(struct members *m, const struct member *v, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = members_prepared(m, MEMBERS_SET_STAGED, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_i64(&b, v->number);
        ledger_bind_i64(&b, v->plain_size);
        ledger_bind_sha256(&b, true, v->sha256);
        ledger_bind_i64(&b, v->checks);
        ledger_bind_i64(&b, v->linked);
        ledger_bind_u64(&b, v->rows);
        return b.err ? members_fail(m, "writing", e) : members_step(m, s, e);
}

int members_judged(struct members *m, int64_t number, enum cause cause, const char *detail, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = members_prepared(m, MEMBERS_SET_JUDGED, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_i64(&b, number);
        ledger_bind_i64(&b, cause);
        ledger_bind_text(&b, detail);
        return b.err ? members_fail(m, "writing", e) : members_step(m, s, e);
}

static int set_step(struct members *m, const struct member *v, enum member_step step, enum cause cause,
        const char *detail, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = members_prepared(m, MEMBERS_SET_STEP, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_i64(&b, v->number);
        ledger_bind_i64(&b, step);
        ledger_bind_i64(&b, cause);
        ledger_bind_text(&b, detail);
        ledger_bind_i64(&b, v->tries);
        return b.err ? members_fail(m, "writing", e) : members_step(m, s, e);
}

int members_again(struct members *m, const struct member *v, struct error *e)
{
        return set_step(m, v, MEMBER_WANTED, CAUSE_NONE, "", e);
}

int members_reject(struct members *m, const struct member *v, struct error *e)
{
        return set_step(m, v, MEMBER_REJECTED, v->cause, v->detail, e);
}

static int each_staged_by(struct members *m, int64_t run, member_fn *each, void *arg, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = members_prepared(m, MEMBERS_STAGED_BY, &s, e);
        if (r < 0)
                return r;
        sqlite3_bind_int64(s, 1, run);
        while ((r = members_step(m, s, e)) == 1) {
                _cleanup_member_ struct member v = {};
                r = members_read(s, &v, e);
                if (r == 0)
                        r = each(&v, arg, e);
                if (r != 0)
                        break;
        }
        return r;
}

int members_undo(struct members *m, int64_t run, member_fn *each, void *arg, struct error *e)
{
        int r = each_staged_by(m, run, each, arg, e);
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        if (r == 0)
                r = members_prepared(m, MEMBERS_UNDO, &s, e);
        if (r != 0)
                return r;
        sqlite3_bind_int64(s, 1, run);
        return members_step(m, s, e);
}

int members_release(struct members *m, int64_t run, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = members_prepared(m, MEMBERS_RELEASE, &s, e);
        if (r < 0)
                return r;
        sqlite3_bind_int64(s, 1, run);
        return members_step(m, s, e);
}
