/* SPDX-License-Identifier: Apache-2.0 */
/* The members of snapshots. */

#include "ledger_internal.h"
#include "str.h"

int ledger_member_save(struct ledger *l, const struct ledger_member *m, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, SQL_MEMBER_SAVE, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_i64(&b, m->object_id);
        ledger_bind_text(&b, m->name);
        ledger_bind_text(&b, m->path);
        ledger_bind_text(&b, m->course);
        ledger_bind_text(&b, m->table);
        ledger_bind_i64(&b, m->failed);
        ledger_bind_i64(&b, m->state);
        ledger_bind_u64(&b, m->size);
        ledger_bind_i64(&b, m->plain_size);
        ledger_bind_sha256(&b, m->has_sha256, m->sha256);
        ledger_bind_i64(&b, m->checks);
        ledger_bind_text(&b, cause_name(m->cause));
        ledger_bind_text(&b, m->detail);
        ledger_bind_i64(&b, m->attempts);
        if (b.err)
                return error_set(e, CAUSE_INTERNAL, -b.err, "the ledger cannot hold that value");
        return ledger_step(l, s, "writing", e);
}

int ledger_member_delete(struct ledger *l, const struct ledger_member *m, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, SQL_MEMBER_DELETE, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_i64(&b, m->object_id);
        ledger_bind_text(&b, m->name);
        if (b.err)
                return error_set(e, CAUSE_INTERNAL, -b.err, "the ledger cannot look for that value");
        return ledger_step(l, s, "writing", e);
}

int ledger_member_read(sqlite3_stmt *s, struct ledger_member *ret, struct error *e)
{
        struct ledger_member m = {};
        struct ledger_row row = {.s = s};
        m.object_id = ledger_row_i64(&row, 1, INT64_MAX);
        ledger_row_text(&row, m.name, sizeof(m.name));
        ledger_row_text(&row, m.path, sizeof(m.path));
        ledger_row_text(&row, m.course, sizeof(m.course));
        ledger_row_text(&row, m.table, sizeof(m.table));
        m.failed = ledger_row_i64(&row, 0, 1);
        m.state = (enum object_state)ledger_row_i64(&row, 0, OBJECT_STATE_MAX - 1);
        m.size = (uint64_t)ledger_row_i64(&row, 0, INT64_MAX);
        m.plain_size = ledger_row_i64(&row, -1, INT64_MAX);
        m.has_sha256 = ledger_row_sha256(&row, m.sha256);
        m.checks = (uint32_t)ledger_row_i64(&row, 0, UINT32_MAX);
        m.cause = ledger_row_cause(&row);
        ledger_row_text(&row, m.detail, sizeof(m.detail));
        m.attempts = (unsigned)ledger_row_i64(&row, 0, UINT32_MAX);
        if (row.err)
                return error_set(e, CAUSE_IO, -row.err, "the ledger is damaged at a member of object %lld",
                        (long long)m.object_id);
        *ret = m;
        return 0;
}

int ledger_members(struct ledger *l, int64_t object_id, ledger_member_fn *each, void *arg, struct error *e)
{
        return ledger_members_from(l, object_id, "", each, arg, e);
}

int ledger_members_from(struct ledger *l, int64_t object_id, const char *path, ledger_member_fn *each,
        void *arg, struct error *e)
{
        _cleanup_finalize_ sqlite3_stmt *s = NULL;
        int r = ledger_prepare_own(l, SQL_MEMBERS, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_i64(&b, object_id);
        ledger_bind_text(&b, path);
        if (b.err)
                return error_set(e, CAUSE_INTERNAL, -b.err, "the ledger cannot look for that value");
        while ((r = ledger_step(l, s, "reading", e)) == 1) {
                struct ledger_member m;
                r = ledger_member_read(s, &m, e);
                if (r == 0)
                        r = each(&m, arg);
                if (r != 0)
                        return r;
        }
        return r;
}

static int delete_some(struct ledger *l, int64_t object_id, struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, SQL_MEMBERS_DELETE, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_i64(&b, object_id);
        if (b.err)
                return error_set(e, CAUSE_INTERNAL, -b.err, "the ledger cannot look for that value");
        r = ledger_step(l, s, "writing", e);
        return r < 0 ? r : sqlite3_changes(l->db);
}

int ledger_members_delete(struct ledger *l, int64_t object_id, struct error *e)
{
        int r;
        do
                r = delete_some(l, object_id, e);
        while (r > 0);
        return r;
}

int ledger_find_plaintext(struct ledger *l, const char *org, enum category c,
        const uint8_t sha256[SHA256_SIZE], int64_t plain_size, char ret_path[1024], struct error *e)
{
        _cleanup_reset_ sqlite3_stmt *s = NULL;
        int r = ledger_prepared(l, SQL_FIND_PLAINTEXT, &s, e);
        if (r < 0)
                return r;
        struct ledger_bind b = {.s = s};
        ledger_bind_sha256(&b, true, sha256);
        ledger_bind_i64(&b, plain_size);
        ledger_bind_text(&b, org);
        ledger_bind_i64(&b, c);
        ledger_bind_i64(&b, OBJECT_PUBLISHED);
        ledger_bind_i64(&b, OBJECT_GONE);
        if (b.err)
                return error_set(e, CAUSE_INTERNAL, -b.err, "the ledger cannot look for that value");
        r = ledger_step(l, s, "reading", e);
        if (r < 0)
                return r;
        if (r == 0)
                return error_set(e, CAUSE_GONE, ENOENT, "no staged member has that plaintext");
        char folder[512], name[512];
        struct ledger_row row = {.s = s};
        ledger_row_text(&row, folder, sizeof(folder));
        ledger_row_text(&row, name, sizeof(name));
        if (row.err || !*folder || !*name)
                return error_set(e, CAUSE_IO, EUCLEAN, "the ledger is damaged at a member's path");
        snprintf(ret_path, 1024, "%s/%s", folder, name);
        return 0;
}
