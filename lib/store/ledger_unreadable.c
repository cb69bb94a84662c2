/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger_unreadable.h"

#include "ledger.h"
#include "ledger_internal.h"
#include "timespan.h"

int ledger_unreadable_add(
        struct ledger *l, const struct ledger_object *o, int64_t generation, struct error *e)
{
        char today[11];
        date_format((int)(now_usec(CLOCK_REALTIME) / USEC_PER_DAY), today);
        return sql_run(&l->sql,
                "INSERT INTO unreadable (bucket, key, org, category, site, date, generation) "
                "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (bucket, key) DO UPDATE SET "
                "org = excluded.org, category = excluded.category, generation = excluded.generation",
                VALUES(V(o->bucket), V(o->key), V(o->org), V(o->category), V(o->site),
                        V(*o->date ? o->date : today), V(generation)),
                e);
}

/* As ledger_mark_gone(). */
int ledger_unreadable_settle(struct ledger *l, const struct ledger_listing *of, const char *start_after,
        int64_t generation, struct error *e)
{
        char end[LEDGER_PREFIX_END];
        ledger_prefix_end(of->prefix, end);
        return sql_run(&l->sql,
                "DELETE FROM unreadable WHERE bucket = ?1 AND key >= ?2 AND key < ?3 AND org = ?4 "
                "AND category = ?5 AND generation <> ?6 AND key > ?7",
                VALUES(V(of->bucket), V(of->prefix), V(end), V(of->org), V(of->category), V(generation),
                        V(start_after)),
                e);
}

int ledger_unreadable_settle_all(struct ledger *l, int64_t generation, struct error *e)
{
        return sql_run(&l->sql, "DELETE FROM unreadable WHERE generation <> ?1", VALUES(V(generation)), e);
}
