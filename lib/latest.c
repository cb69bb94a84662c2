/* SPDX-License-Identifier: Apache-2.0 */
/* The choice is one query over the staged snapshots, newest first: nothing in it depends on what runs. */
#include "latest.h"

#include <stdio.h>

#include "ledger_internal.h"

/* ?1 org, ?2 category, ?3 PUBLISHED, ?4 GONE, ?5 REJECTED, ?6 IGNORED. A course is lost when the snapshot
 * before has it and this one has not, not even left out by a filter; it was alive when some table of it
 * differed from the one before that. */
static const char choose_sql[] =
        "WITH staged AS (SELECT id, date, lead(id) OVER w AS before, lead(id, 2) OVER w AS before_that "
        "FROM object WHERE org = ?1 AND category = ?2 AND is_zip AND staged_etag <> '' "
        "AND state IN (?3, ?4) WINDOW w AS (ORDER BY date DESC, key)) "
        "SELECT date FROM staged t WHERE NOT EXISTS (SELECT 1 FROM member WHERE object_id = t.id AND state = "
        "?5) "
        "AND NOT EXISTS (SELECT 1 FROM member b WHERE b.object_id = t.before AND b.state = ?3 "
        "AND b.course <> '' AND NOT b.failed "
        "AND NOT EXISTS (SELECT 1 FROM member a WHERE a.object_id = t.id AND a.state IN (?3, ?6) "
        "AND NOT a.failed AND a.course = b.course) "
        "AND NOT EXISTS (SELECT 1 FROM member c WHERE c.object_id = t.before_that AND c.state = ?3 "
        "AND c.course = b.course AND c.\"table\" = b.\"table\" AND c.sha256 = b.sha256)) "
        "ORDER BY date DESC LIMIT 1";

void latest_pin_name(const char *org, enum category c, char ret[128])
{
        snprintf(ret, 128, "latest:%s:%s", org, category_name(c));
}

static int choose(struct ledger *l, const char *org, enum category c, char ret[11], struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        if (sqlite3_prepare_v2(l->db, choose_sql, -1, &s, NULL) != SQLITE_OK)
                return ledger_fail(l, "reading the schema", e);
        struct ledger_bind b = {.s = s};
        ledger_bind_text(&b, org);
        ledger_bind_i64(&b, c);
        ledger_bind_i64(&b, OBJECT_PUBLISHED);
        ledger_bind_i64(&b, OBJECT_GONE);
        ledger_bind_i64(&b, OBJECT_REJECTED);
        ledger_bind_i64(&b, OBJECT_IGNORED);
        if (b.err)
                return error_set(e, CAUSE_INTERNAL, -b.err, "the ledger cannot look for that");
        int r = ledger_step(l, s, "reading", e);
        if (r < 0)
                return r;
        ret[0] = 0;
        if (r == 0)
                return 0;
        struct ledger_row row = {.s = s};
        ledger_row_text(&row, ret, 11);
        return row.err ? error_set(e, CAUSE_IO, -row.err, "the ledger is damaged at a date") : 0;
}

int latest_choose(
        struct ledger *l, const char *org, enum category c, char ret[11], bool *ret_pinned, struct error *e)
{
        char name[128], pin[16] = "", date[11] = "";
        latest_pin_name(org, c, name);
        int r = ledger_meta_get(l, name, pin, sizeof(pin), e);
        if (r == 0 && !*pin)
                r = choose(l, org, c, date, e);
        if (r < 0)
                return r;
        *ret_pinned = *pin;
        snprintf(ret, 11, "%s", *pin ? pin : date);
        return 0;
}
