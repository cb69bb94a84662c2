/* SPDX-License-Identifier: Apache-2.0 */
/* One object at a time: read, written, listed, its state changed. */
#include <assert.h>
#include <time.h>

#include "ledger_internal.h"
#include "limits.h"
#include "str.h"
#include "timespan.h"

static int damaged(struct ledger_row *row, int64_t id, struct error *e)
{
        return row->err ? error_set(e, CAUSE_IO, -row->err, "the ledger is damaged at object %lld",
                                  (long long)id)
                        : 0;
}

int ledger_object_read(sqlite3_stmt *s, struct ledger_object *ret, struct error *e)
{
        struct ledger_object o = {};
        struct ledger_row row = {.s = s};
        o.id = ledger_row_i64(&row, 1, INT64_MAX);
        ledger_row_text(&row, o.bucket, sizeof(o.bucket));
        ledger_row_text(&row, o.key, sizeof(o.key));
        ledger_row_text(&row, o.etag, sizeof(o.etag));
        o.size = (uint64_t)ledger_row_i64(&row, 0, INT64_MAX);
        o.last_modified = ledger_row_i64(&row, INT64_MIN, INT64_MAX);
        o.category = (enum category)ledger_row_i64(&row, 0, CATEGORY_MAX - 1);
        ledger_row_text(&row, o.org, sizeof(o.org));
        ledger_row_text(&row, o.site, sizeof(o.site));
        ledger_row_text(&row, o.date, sizeof(o.date));
        ledger_row_text(&row, o.request, sizeof(o.request));
        o.is_zip = ledger_row_i64(&row, 0, 1);
        o.state = (enum object_state)ledger_row_i64(&row, 0, OBJECT_STATE_MAX - 1);
        ledger_row_text(&row, o.path, sizeof(o.path));
        o.plain_size = ledger_row_i64(&row, -1, INT64_MAX);
        o.has_sha256 = ledger_row_sha256(&row, o.sha256);
        o.checks = (uint32_t)ledger_row_i64(&row, 0, UINT32_MAX);
        ledger_row_text(&row, o.fingerprint, sizeof(o.fingerprint));
        ledger_row_text(&row, o.staged_etag, sizeof(o.staged_etag));
        o.cause = ledger_row_cause(&row);
        ledger_row_text(&row, o.detail, sizeof(o.detail));
        o.attempts = (unsigned)ledger_row_i64(&row, 0, UINT32_MAX);
        o.next_try = ledger_row_i64(&row, 0, INT64_MAX);
        o.first_seen = ledger_row_i64(&row, 0, INT64_MAX);
        o.published_at = ledger_row_i64(&row, 0, INT64_MAX);
        o.refusals = (unsigned)ledger_row_i64(&row, 0, UINT32_MAX);
        int r = damaged(&row, o.id, e);
        if (r == 0)
                *ret = o;
        return r;
}

static void bind_object(struct ledger_bind *b, const struct ledger_object *o)
{
        ledger_bind_text(b, o->bucket);
        ledger_bind_text(b, o->key);
        ledger_bind_text(b, o->etag);
        ledger_bind_u64(b, o->size);
        ledger_bind_i64(b, o->last_modified);
        ledger_bind_i64(b, o->category);
        ledger_bind_text(b, o->org);
        ledger_bind_text(b, o->site);
        ledger_bind_text(b, o->date);
        ledger_bind_text(b, o->request);
        ledger_bind_i64(b, o->is_zip);
        ledger_bind_i64(b, o->state);
        ledger_bind_text(b, o->path);
        ledger_bind_i64(b, o->plain_size);
        ledger_bind_sha256(b, o->has_sha256, o->sha256);
        ledger_bind_i64(b, o->checks);
        ledger_bind_text(b, o->fingerprint);
        ledger_bind_text(b, o->staged_etag);
        ledger_bind_text(b, cause_name(o->cause));
        ledger_bind_text(b, o->detail);
        ledger_bind_i64(b, o->attempts);
        ledger_bind_i64(b, o->next_try);
        ledger_bind_i64(b, o->first_seen);
        ledger_bind_i64(b, o->published_at);
        ledger_bind_i64(b, o->refusals);
}

static int cannot_bind(int err, struct error *e)
{
        return error_set(e, CAUSE_INTERNAL, -err, "the ledger cannot hold that value");
}

/* Runs a query for one object. 0 or -ENOENT. */
static int one(struct ledger *l, sqlite3_stmt *s, struct ledger_object *ret, struct error *e)
{
        int r = ledger_step(l, s, "reading", e);
        if (r < 0)
                return r;
        if (r == 0)
                return error_set(e, CAUSE_GONE, ENOENT, "not in the ledger");
        return ledger_object_read(s, ret, e);
}

int ledger_get(struct ledger *l, int64_t id, struct ledger_object *ret, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, SQL_OBJECT_GET, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_i64(&b, id);
        return b.err ? cannot_bind(b.err, e) : one(l, s, ret, e);
}

int ledger_find(
        struct ledger *l, const char *bucket, const char *key, struct ledger_object *ret, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, SQL_OBJECT_FIND, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_text(&b, bucket);
        ledger_bind_text(&b, key);
        return b.err ? cannot_bind(b.err, e) : one(l, s, ret, e);
}

int ledger_save(struct ledger *l, const struct ledger_object *o, struct error *e)
{
        assert(o->id > 0);
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, SQL_OBJECT_UPDATE, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        bind_object(&b, o);
        ledger_bind_i64(&b, o->id);
        if (b.err)
                return cannot_bind(b.err, e);
        r = ledger_step(l, s, "writing", e);
        if (r < 0)
                return r;
        if (sqlite3_changes(l->db) != 1)
                return error_set(
                        e, CAUSE_INTERNAL, ENOENT, "object %lld is not in the ledger", (long long)o->id);
        return 0;
}

int ledger_enter(struct ledger *l, struct ledger_object *o, enum object_state next, struct error *e)
{
        assert(object_may_enter(o->state, next));
        enum object_state before = o->state;
        o->state = next;
        int r = ledger_save(l, o, e);
        if (r < 0)
                o->state = before;
        return r;
}

static int insert_new(struct ledger *l, struct ledger_object *o, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, SQL_OBJECT_INSERT, &s, e);
        if (r < 0)
                return r;
        o->state = OBJECT_NEW;
        o->plain_size = -1;
        o->has_sha256 = false;
        o->checks = 0;
        o->fingerprint[0] = o->staged_etag[0] = o->detail[0] = 0;
        o->cause = CAUSE_NONE;
        o->attempts = o->refusals = 0;
        o->next_try = o->published_at = 0;
        o->first_seen = (int64_t)(now_usec(CLOCK_REALTIME) / USEC_PER_SEC);
        struct ledger_bind b = {.s = s};
        bind_object(&b, o);
        if (b.err)
                return cannot_bind(b.err, e);
        r = ledger_step(l, s, "writing", e);
        if (r == 0)
                o->id = sqlite3_last_insert_rowid(l->db);
        return r;
}

static int mark_seen(struct ledger *l, int64_t id, int64_t generation, struct error *e)
{
        if (generation == 0)
                return 0;
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, SQL_SEEN, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_i64(&b, id);
        ledger_bind_i64(&b, generation);
        return b.err ? cannot_bind(b.err, e) : ledger_step(l, s, "writing", e);
}

static void begin_anew(struct ledger_object *o)
{
        o->cause = CAUSE_NONE;
        o->detail[0] = 0;
        o->attempts = o->refusals = 0;
        o->next_try = 0;
        o->state = OBJECT_NEW;
}

/* Were bytes of it refused: all of them, or some members of a staged archive? 1, 0 or -errno. */
static int was_refused(struct ledger *l, const struct ledger_object *o, struct error *e)
{
        if (o->state == OBJECT_REJECTED || !o->is_zip || o->state != OBJECT_PUBLISHED)
                return o->state == OBJECT_REJECTED;
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, SQL_MEMBERS_REFUSED, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_i64(&b, o->id);
        ledger_bind_i64(&b, OBJECT_REJECTED);
        return b.err ? cannot_bind(b.err, e) : ledger_step(l, s, "reading", e);
}

/* The right bytes have the same ETag as the wrong ones that a server gave: that it was written anew since is
 * all that tells of a repair. */
static int look_at_repair(struct ledger *l, struct ledger_object *known, const struct ledger_object *seen,
        enum listed *what, struct error *e)
{
        if (seen->last_modified <= known->last_modified || !streq(known->etag, seen->etag) ||
                known->size != seen->size)
                return 0;
        int r = was_refused(l, known, e);
        if (r <= 0)
                return r;
        begin_anew(known);
        known->last_modified = seen->last_modified;
        *what = LISTED_REPLACED;
        return 0;
}

/* What the listing changes in a known object. */
static enum listed update_known(struct ledger_object *known, const struct ledger_object *seen)
{
        enum listed what = LISTED_SAME;
        /* No ETag should be that of two sizes; where one is, what was read is not what is there. */
        bool other = !streq(known->etag, seen->etag) || known->size != seen->size;
        bool staged = !other && *known->staged_etag && streq(known->staged_etag, known->etag);
        memcpy(known->etag, seen->etag, sizeof(known->etag));
        known->size = seen->size;
        /* Copied onto itself, an object has another time but the same content: the staged file keeps its own.
         */
        if (!staged)
                known->last_modified = seen->last_modified;
        if (other) {
                what = LISTED_REPLACED;
                enum object_state state = known->state;
                begin_anew(known);
                if (state == OBJECT_FORGOTTEN || state == OBJECT_PRUNED)
                        known->state = state;
        } else if (known->state == OBJECT_GONE) {
                known->state = staged ? OBJECT_PUBLISHED : OBJECT_NEW;
                if (!staged)
                        what = LISTED_NEW;
        }
        return what;
}

int ledger_listed(
        struct ledger *l, struct ledger_object *o, int64_t generation, enum listed *ret, struct error *e)
{
        struct ledger_object known;
        enum listed what = LISTED_NEW;
        int r = ledger_find(l, o->bucket, o->key, &known, e);
        if (r == -ENOENT)
                r = insert_new(l, o, e);
        else if (r == 0) {
                const struct ledger_object before = known;
                enum listed repaired = LISTED_SAME;
                r = look_at_repair(l, &known, o, &repaired, e);
                what = update_known(&known, o);
                if (what == LISTED_SAME)
                        what = repaired;
                if (r < 0)
                        return r;
                if (known.state != before.state || !streq(known.etag, before.etag) ||
                        known.size != before.size || known.last_modified != before.last_modified)
                        r = ledger_save(l, &known, e);
                *o = known;
        }
        if (r == 0)
                r = mark_seen(l, o->id, generation, e);
        if (r == 0)
                *ret = what;
        return r;
}

int ledger_still_there(
        struct ledger *l, const char *bucket, const char *key, int64_t generation, struct error *e)
{
        struct ledger_object known;
        int r = ledger_find(l, bucket, key, &known, e);
        return r == -ENOENT ? 0 : r < 0 ? r : mark_seen(l, known.id, generation, e);
}

int ledger_reconsider(struct ledger *l, int64_t now, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, SQL_RECONSIDER, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_i64(&b, OBJECT_NEW);
        ledger_bind_i64(&b, OBJECT_REJECTED);
        ledger_bind_i64(&b, now);
        return b.err ? cannot_bind(b.err, e) : ledger_step(l, s, "writing", e);
}

void ledger_prefix_end(const char *prefix, char ret[LEDGER_PREFIX_END])
{
        size_t n = strnlen(prefix, LEDGER_PREFIX_END - 5);
        memcpy(ret, prefix, n);
        while (n > 0 && (unsigned char)ret[n - 1] == 0xff)
                n--;
        if (n > 0) {
                ret[n - 1] = (char)((unsigned char)ret[n - 1] + 1);
                ret[n] = 0;
        } else
                strcpy(ret, "\xff\xff\xff\xff"); /* no key, which is UTF-8, has that byte */
}

/* end: holds the end of the prefix for as long as b is bound. */
static void bind_listing(struct ledger_bind *b, const struct ledger_listing *of, char end[LEDGER_PREFIX_END])
{
        ledger_prefix_end(of->prefix, end);
        ledger_bind_text(b, of->bucket);
        ledger_bind_text(b, of->prefix);
        ledger_bind_text(b, end);
        ledger_bind_text(b, of->org);
        ledger_bind_i64(b, of->category);
}

int ledger_mark_gone(struct ledger *l, const struct ledger_listing *of, int64_t generation, uint64_t *ret_n,
        struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, SQL_MARK_GONE, &s, e);
        if (r < 0)
                return r;
        char end[LEDGER_PREFIX_END];
        struct ledger_bind b = {.s = s};
        bind_listing(&b, of, end);
        ledger_bind_i64(&b, generation);
        ledger_bind_i64(&b, OBJECT_GONE);
        ledger_bind_i64(&b, OBJECT_FORGOTTEN);
        ledger_bind_i64(&b, OBJECT_PRUNED);
        ledger_bind_i64(&b, OBJECT_MISSING);
        if (b.err)
                return cannot_bind(b.err, e);
        r = ledger_step(l, s, "writing", e);
        if (r == 0)
                *ret_n = (uint64_t)sqlite3_changes64(l->db);
        return r;
}

int ledger_last_key(struct ledger *l, const struct ledger_listing *of, char ret[KEY_SIZE], struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, SQL_LAST_KEY, &s, e);
        if (r < 0)
                return r;
        char end[LEDGER_PREFIX_END];
        struct ledger_bind b = {.s = s};
        bind_listing(&b, of, end);
        if (b.err)
                return cannot_bind(b.err, e);
        r = ledger_step(l, s, "reading", e);
        if (r < 0)
                return r;
        struct ledger_row row = {.s = s};
        char key[KEY_SIZE] = "";
        if (r == 1)
                ledger_row_text(&row, key, sizeof(key));
        if (row.err)
                return damaged(&row, 0, e);
        memcpy(ret, key, sizeof(key));
        return 0;
}
