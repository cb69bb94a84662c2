/* SPDX-License-Identifier: Apache-2.0 */
/* The end of an archive: the folder gets its name, the audit its lines, the ledger its rows; then `latest`
 * moves, and what changed against the snapshot before is said. */
#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "latest.h"
#include "leftover.h"
#include "record.h"
#include "room.h"
#include "snapshot_change.h"
#include "str.h"
#include "timespan.h"

static int get_sum(void *arg, size_t i, struct snapshot_sum *ret, struct error *e)
{
        const struct snapshot *s = arg;
        const struct member *m = &s->members[i];
        struct package_member parsed;
        ret->staged = m->step == MEMBER_STAGED;
        if (!ret->staged && m->step != MEMBER_REJECTED)
                return 0;
        _cleanup_free_ struct facts *f = snapshot_facts(s, m, e);
        int r = !f ? -EIO : ret->staged ? snapshot_parse(s, f, &parsed, e) : 0;
        if (r < 0)
                return r;
        strbuf_add(&ret->name, ret->staged ? parsed.path : f->name);
        memcpy(ret->sha256, f->sha256, sizeof(ret->sha256));
        ret->cause = cause_name(m->cause);
        return 1;
}

/* --- what shares its storage --- */

/* A large member, and a staged file that had the same bytes when it was staged. */
struct share {
        struct share *next;
        struct member *member;
        uint64_t size;
        uint8_t sha256[SHA256_SIZE];
        char name[512], same[1024]; /* below the folder; below the root */
};

/* What cannot be found out is not shared. */
static void find_shares(struct snapshot *s)
{
        for (size_t i = 0; s->deduplicate && i < s->n_members; i++) {
                struct member *m = &s->members[i];
                struct package_member parsed;
                char same[1024];
                _cleanup_free_ struct facts *f =
                        m->step == MEMBER_STAGED && !m->linked ? snapshot_facts(s, m, NULL) : NULL;
                if (!f || f->plain_size <= SHARED_AT_ONCE || snapshot_parse(s, f, &parsed, NULL) < 0 ||
                        ledger_find_plaintext(s->job.d->ledger, s->job.o.org, s->job.o.category, f->sha256,
                                f->plain_size, same, NULL) < 0)
                        continue;
                struct share *share = calloc(1, sizeof(*share));
                if (!share)
                        return;
                *share = (struct share){.next = s->shares, .member = m, .size = (uint64_t)f->plain_size};
                memcpy(share->sha256, f->sha256, sizeof(share->sha256));
                snprintf(share->name, sizeof(share->name), "%s", parsed.path);
                snprintf(share->same, sizeof(share->same), "%s", same);
                s->shares = share;
        }
}

static void link_shares(struct snapshot *s)
{
        for (struct share *next, *share = s->shares; share; share = next) {
                next = share->next;
                if (snapshot_add_link(s->dir, share->name, share->same, share->sha256, share->size, NULL) >=
                        0) {
                        share->member->linked = true;
                        s->linked_bytes += share->size;
                }
                free(share);
        }
        s->shares = NULL;
}

static void publish_in_thread(uv_work_t *work)
{
        struct snapshot *s = work->data;
        link_shares(s);
        struct snapshot_list list = {.n = s->n_members, .get = get_sum, .arg = s};
        bool moved = *s->old_path && !streq(s->old_path, s->job.o.path);
        const char *keep_as = *s->keep_as ? s->keep_as : NULL;
        if (snapshot_publish(s->dir, &list, moved ? NULL : keep_as, &s->work_error) >= 0 && moved)
                staging_retire(s->job.d->staging, s->old_path, keep_as, &s->remove_error);
}

static void say_member(
        const struct snapshot *s, const char *name, const struct ledger_member *row, bool linked)
{
        char hex[SHA256_HEX];
        uint64_t plain = (uint64_t)row->plain_size;
        struct journal_fields f = object_fields(&s->job.o);
        hex_encode(row->sha256, sizeof(row->sha256), hex);
        f.priority = LOG_DEBUG;
        f.member = name;
        f.path = row->path;
        f.plain_size = &plain;
        f.sha256 = hex;
        journal_event(EVENT_PUBLISHED, &f, "published %s/%s%s", s->job.o.path, row->path,
                linked ? ", which shares its storage" : "");
}

/* edX's export of that table failed: worth a warning, not a failure. */
static void say_failed_at_source(const struct snapshot *s, const char *name, const struct ledger_member *row)
{
        struct journal_fields f = object_fields(&s->job.o);
        f.member = name;
        f.course = *row->course ? row->course : NULL;
        f.table = *row->table ? row->table : NULL;
        journal_event(EVENT_MEMBER_FAILED, &f,
                "edX could not export table %s of %s for %s; the member holds its error text", row->table,
                row->course, s->job.o.date);
}

typedef int member_fn(struct snapshot *s, const struct member *m, const struct facts *f, struct error *e);

/* Of each member but folders, until one fails: then nothing of the archive is recorded. 0 or -errno. */
static int each_member(struct snapshot *s, member_fn *each)
{
        struct error e = {};
        for (size_t i = 0; i < s->n_members; i++) {
                const struct member *m = &s->members[i];
                if (m->step == MEMBER_IGNORED && !m->named)
                        continue;
                _cleanup_free_ struct facts *f = snapshot_facts(s, m, &e);
                if (!f || each(s, m, f, &e) < 0) {
                        record_trouble(s->job.d->record, &e);
                        return -EIO;
                }
        }
        return 0;
}

static int save_one(struct snapshot *s, const struct member *m, const struct facts *f, struct error *e)
{
        struct ledger_member row;
        int r = snapshot_row(s, m, f, &row, e);
        return r < 0 ? r : ledger_member_save(s->job.d->ledger, &row, e);
}

/* The rows are written anew: members of a replaced archive that this one does not have must go. */
static int save_members(struct snapshot *s)
{
        struct director *d = s->job.d;
        struct error e = {};
        record_open(d->record);
        if (ledger_members_delete(d->ledger, s->job.o.id, &e) < 0) {
                record_trouble(d->record, &e);
                return -EIO;
        }
        return each_member(s, save_one);
}

/* Its line in the audit, and what is to be said of it. */
static int audit_one(struct snapshot *s, const struct member *m, const struct facts *f, struct error *e)
{
        struct ledger_member row;
        if (m->step != MEMBER_STAGED && m->step != MEMBER_REJECTED)
                return 0;
        int r = snapshot_row(s, m, f, &row, e);
        if (r < 0)
                return r;
        record_member(s->job.d->record, &s->job.o, &row);
        if (m->step == MEMBER_STAGED)
                say_member(s, f->name, &row, m->linked);
        if (m->step == MEMBER_STAGED && m->failed_at_source)
                say_failed_at_source(s, f->name, &row);
        return 0;
}

static void on_published(uv_work_t *work, int status)
{
        struct snapshot *s = work->data;
        struct director *d = s->job.d;
        struct ledger_object *o = &s->job.o;
        (void)status;
        s->working = false;
        if (s->work_error.cause != CAUSE_NONE) {
                snapshot_fail(s, s->work_error.cause, s->work_error.text);
                return;
        }
        if (s->remove_error.cause != CAUSE_NONE)
                leftover_note(d->record, d->ledger, o, s->old_path, s->keep_as, &s->remove_error);
        o->plain_size = (int64_t)s->plain_bytes;
        o->has_sha256 = false;
        o->checks |= CHECK_ZIP | CHECK_ONE_ETAG | s->staged_checks;
        o->attempts = 0;
        int r = save_members(s);
        if (r >= 0) {
                record_members(d->record, o);
                r = each_member(s, audit_one);
        }
        if (r < 0)
                record_no_members(d->record);
        if (r >= 0) {
                room_learn(s);
                r = record_published(
                        d->record, o, s->replaces, now_usec(CLOCK_MONOTONIC) - s->job.started_usec);
        }
        if (record_flush(d->record) < 0 || r < 0) {
                /* It has its name, but nobody has noted it: the next attempt does, without fetching it again.
                 */
                snapshot_keep_record(s->dir);
                snapshot_finish(s);
                return;
        }
        s->dir = snapshot_free(s->dir);
        if (s->n_rejected > 0)
                journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING, .path = o->path},
                        "%s is incomplete: %zu of %zu members rejected, see its REJECTED file", o->path,
                        s->n_rejected, s->n_rejected + s->n_staged);
        snapshot_members_free(s);
        snapshot_say_change(d, o);
        snapshot_move_latest(d, o->org, o->category);
        snapshot_finish(s);
}

/* Nothing is shown of an archive that is to be complete or not there. */
static bool is_held(struct snapshot *s)
{
        if (s->n_rejected == 0 || !s->hold_incomplete)
                return false;
        enum cause cause = CAUSE_BAD_ZIP;
        for (size_t i = 0; i < s->n_members; i++)
                if (s->members[i].step == MEMBER_REJECTED)
                        cause = s->members[i].cause;
        char detail[128];
        snprintf(
                detail, sizeof(detail), "%zu members rejected, and incomplete_snapshots=hold", s->n_rejected);
        snapshot_fail(s, cause, detail);
        return true;
}

void snapshot_publish_all(struct snapshot *s)
{
        const struct ledger_object *o = &s->job.o;
        if (is_held(s))
                return;
        if (streq(o->staged_etag, o->etag))
                *s->keep_as = 0; /* the same version, made anew */
        find_shares(s);
        s->state = SNAPSHOT_PUBLISHING;
        s->working = true;
        s->work.data = s;
        uv_queue_work(&s->job.d->loop, &s->work, publish_in_thread, on_published);
}

/* --- latest --- */

void snapshot_move_latest(struct director *d, const char *org, enum category c)
{
        struct error e = {};
        int r = latest_move(d->ledger, d->staging, org, c, &e);
        if (r < 0 && r != -ENOENT) /* a folder that is not there is MISSING, and told as that */
                record_incomplete(d->record);
        if (r < 0)
                journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING, .cause = e.cause},
                        "latest of %s/%s: %s", org, category_name(c), e.text);
}

void snapshot_move_all_latest(struct director *d)
{
        for (size_t i = 0; i < d->config->n_packages; i++) {
                snapshot_move_latest(d, d->config->packages[i].spec.org, CATEGORY_DATABASE);
                snapshot_move_latest(d, d->config->packages[i].spec.org, CATEGORY_EMAIL_OPT_IN);
        }
}
