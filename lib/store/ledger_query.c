/* SPDX-License-Identifier: Apache-2.0 */
/* Many objects: a filter becomes one SELECT; what matches is collected as ids first, so that a callback may
 * change what it is shown. */
#include <fnmatch.h>

#include "ledger.h"
#include "ledger_internal.h"
#include "macro.h"
#include "str.h"

static void add_in(struct strbuf *b, const char *column, unsigned bits)
{
        if (bits == 0)
                return;
        strbuf_printf(b, " AND %s IN (", column);
        const char *comma = "";
        for (unsigned i = 0; i < 32; i++)
                if (bits & BIT(i)) {
                        strbuf_printf(b, "%s%u", comma, i);
                        comma = ",";
                }
        strbuf_add(b, ")");
}

/* The terms that compare with a string, in the order in which they are bound. */
static const struct {
        const char *sql;
        size_t offset;
} text_terms[] = {
        {" AND org = ?", offsetof(struct ledger_filter, org)},
        {" AND site = ?", offsetof(struct ledger_filter, site)},
        {" AND date >= ?", offsetof(struct ledger_filter, since)},
        {" AND date <= ? AND date <> ''", offsetof(struct ledger_filter, until)},
        {" AND bucket = ?", offsetof(struct ledger_filter, bucket)},
};

static const char *text_of(const struct ledger_filter *f, size_t i)
{
        return *(const char *const *)(const void *)((const char *)f + text_terms[i].offset);
}

static int prepare(struct ledger *l, const char *select, const struct ledger_filter *f, const char *tail,
        sqlite3_stmt **ret, struct error *e)
{
        _cleanup_strbuf_ struct strbuf sql = {};
        struct sql_value values[ELEMENTSOF(text_terms) + 1] = {};
        size_t n = 0;
        strbuf_printf(&sql, "SELECT %s FROM object WHERE 1", select);
        add_in(&sql, "state", f->states);
        add_in(&sql, "category", f->categories);
        for (size_t i = 0; i < ELEMENTSOF(text_terms); i++)
                if (text_of(f, i)) {
                        strbuf_add(&sql, text_terms[i].sql);
                        values[n++] = sql_text(text_of(f, i));
                }
        strbuf_add(&sql, tail);
        if (sql.err)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        return sql_prepare(&l->sql, sql.s, values, ret, e);
}

static bool key_matches(const char *glob, sqlite3_stmt *s, int column)
{
        const char *key = glob ? (const char *)sqlite3_column_text(s, column) : NULL;
        return !glob || (key && fnmatch(glob, key, 0) == 0);
}

int ledger_collect(struct ledger *l, sqlite3_stmt *s, const char *key_glob, int64_t **ret, size_t *ret_n,
        struct error *e)
{
        _cleanup_free_ int64_t *v = NULL;
        size_t n = 0;
        int r;
        while ((r = sql_step(&l->sql, s, e)) == 1) {
                if (!key_matches(key_glob, s, 1))
                        continue;
                if (ARRAY_ROOM(v, n) < 0)
                        return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
                v[n++] = sqlite3_column_int64(s, 0);
        }
        if (r < 0)
                return r;
        *ret = take_ptr(&v);
        *ret_n = n;
        return 0;
}

int ledger_ids(struct ledger *l, const struct ledger_filter *f, int64_t **ret, size_t *ret_n, struct error *e)
{
        static const char by_date[] = " ORDER BY date DESC, key, bucket";
        static const char by_key[] = " ORDER BY key, bucket";
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = prepare(l, "id, key", f, f->newest_first ? by_date : by_key, &s, e);
        return r < 0 ? r : ledger_collect(l, s, f->key_glob, ret, ret_n, e);
}

int ledger_each(
        struct ledger *l, const struct ledger_filter *f, ledger_object_fn *each, void *arg, struct error *e)
{
        _cleanup_free_ int64_t *ids = NULL;
        size_t n = 0;
        int r = ledger_ids(l, f, &ids, &n, e);
        for (size_t i = 0; i < n && r == 0; i++) {
                struct ledger_object o;
                r = ledger_get(l, ids[i], &o, e);
                if (r == 0)
                        r = each(&o, arg);
                else if (r == -ENOENT)
                        r = 0; /* removed since */
        }
        return r;
}

bool ledger_is_beaten_by(const struct ledger_object *o, const struct ledger_object *other)
{
        if (o->category != CATEGORY_EMAIL_OPT_IN || other->category != o->category ||
                !streq(other->org, o->org) || !streq(other->date, o->date) || streq(other->key, o->key))
                return false;
        if (other->state == OBJECT_FORGOTTEN || other->state == OBJECT_PRUNED ||
                (other->state == OBJECT_GONE && !*other->staged_etag))
                return false;
        return other->last_modified > o->last_modified ||
               (other->last_modified == o->last_modified && strcmp(other->key, o->key) > 0);
}

struct rivals {
        const struct ledger_object *o;
        bool beaten;
};

static int on_rival(struct ledger_object *other, void *arg)
{
        struct rivals *r = arg;
        r->beaten |= ledger_is_beaten_by(r->o, other);
        return 0;
}

int ledger_is_beaten(struct ledger *l, const struct ledger_object *o, bool *ret, struct error *e)
{
        struct rivals r = {.o = o};
        struct ledger_filter f = {
                .categories = BIT(CATEGORY_EMAIL_OPT_IN), .org = o->org, .since = o->date, .until = o->date};
        int err = o->category == CATEGORY_EMAIL_OPT_IN ? ledger_each(l, &f, on_rival, &r, e) : 0;
        *ret = r.beaten;
        return MIN(err, 0);
}

int ledger_give_way(struct ledger *l, struct ledger_object *other, struct error *e)
{
        other->path[0] = other->staged_etag[0] = 0;
        if (other->state == OBJECT_PUBLISHED || other->state == OBJECT_MISSING) {
                other->state = OBJECT_IGNORED;
                snprintf(other->detail, sizeof(other->detail), "%s", LEDGER_OTHER_SPELLING);
        }
        int r = ledger_save(l, other, e);
        return r < 0 ? r : ledger_members_delete(l, other->id, e);
}

int ledger_count(struct ledger *l, const struct ledger_filter *f, uint64_t *ret_n, uint64_t *ret_bytes,
        struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = prepare(l, f->key_glob ? "1, size, key" : "count(*), " LEDGER_SUM("size"), f, "", &s, e);
        if (r < 0)
                return r;
        uint64_t n = 0, bytes = 0;
        while ((r = sql_step(&l->sql, s, e)) == 1) {
                int64_t k = sqlite3_column_int64(s, 0), size = sqlite3_column_int64(s, 1);
                if (size < 0)
                        return error_set(e, CAUSE_IO, EUCLEAN, "the ledger is damaged: a negative size");
                if (!key_matches(f->key_glob, s, 2))
                        continue;
                n += (uint64_t)k;
                bytes += (uint64_t)size;
        }
        if (r < 0)
                return r;
        *ret_n = n;
        *ret_bytes = bytes;
        return 0;
}
