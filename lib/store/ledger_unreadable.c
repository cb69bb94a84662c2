/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger_unreadable.h"

#include "ledger_internal.h"
#include "timespan.h"

int ledger_unreadable_add(
        struct ledger *l, const struct ledger_object *o, int64_t generation, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, SQL_UNREADABLE_ADD, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        char today[11];
        date_format((int)(now_usec(CLOCK_REALTIME) / USEC_PER_DAY), today);
        ledger_bind_text(&b, o->bucket);
        ledger_bind_text(&b, o->key);
        ledger_bind_text(&b, o->org);
        ledger_bind_i64(&b, o->category);
        ledger_bind_text(&b, o->site);
        ledger_bind_text(&b, *o->date ? o->date : today);
        ledger_bind_i64(&b, generation);
        return b.err ? ledger_fail(l, "writing", e) : ledger_step(l, s, "writing", e);
}

int ledger_unreadable_settle(struct ledger *l, const struct ledger_listing *of, const char *start_after,
        int64_t generation, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, SQL_UNREADABLE_SETTLE, &s, e);
        if (r < 0)
                return r;
        char end[LEDGER_PREFIX_END];
        struct ledger_bind b = {.s = s};
        ledger_prefix_end(of->prefix, end);
        ledger_bind_text(&b, of->bucket);
        ledger_bind_text(&b, of->prefix);
        ledger_bind_text(&b, end);
        ledger_bind_text(&b, of->org);
        ledger_bind_i64(&b, of->category);
        ledger_bind_i64(&b, generation);
        ledger_bind_text(&b, start_after);
        return b.err ? ledger_fail(l, "writing", e) : ledger_step(l, s, "writing", e);
}

int ledger_unreadable_settle_all(struct ledger *l, int64_t generation, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, SQL_UNREADABLE_SETTLE_ALL, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_i64(&b, generation);
        return b.err ? ledger_fail(l, "writing", e) : ledger_step(l, s, "writing", e);
}
