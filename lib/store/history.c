/* SPDX-License-Identifier: Apache-2.0 */
#include "history.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "keep.h"
#include "ledger_facts.h"
#include "ledger_rebuild.h"
#include "str.h"

struct audit_entry history_entry(const struct history *h, const char *event, const struct ledger_object *o)
{
        struct audit_entry a = {.event = event, .size = -1, .mtime = -1, .uid = h->uid, .reason = h->reason};
        if (!o)
                return a;
        a.bucket = o->bucket;
        a.key = o->key;
        a.etag = o->etag;
        a.category = category_name(o->category);
        a.org = o->org;
        a.site = *o->site ? o->site : NULL;
        a.date = *o->date ? o->date : NULL;
        a.mtime = o->last_modified;
        a.object_size = o->size;
        return a;
}

int history_sync(struct ledger *l, struct audit *a, struct error *e)
{
        struct audit_tail now, known;
        int r = audit_sync(a, e);
        if (r == 0)
                r = ledger_audit_tail(l, &known, e);
        audit_tail(a, &now);
        if (r < 0 || (now.seq == known.seq && streq(now.head, known.head)))
                return r;
        return ledger_set_audit_tail(l, &now, e);
}

static int say_cut(struct ledger *l, struct audit *a, const struct error *cut, struct error *e)
{
        const struct history h = {.uid = -1};
        struct audit_entry entry = history_entry(&h, "audit-cut", NULL);
        entry.reason = cut->text;
        int r = feed_start_over(l, e);
        if (r == 0)
                r = audit_append(a, &entry, e);
        if (r == 0)
                r = history_sync(l, a, e);
        if (r == 0 && e)
                *e = *cut;
        return r < 0 ? r : 1;
}

int history_open(struct ledger *l, struct audit *a, int state_fd, size_t max_name, struct error *e)
{
        struct audit_tail known, now;
        struct error cut = {};
        struct ledger_rebuilt done;
        int r = ledger_audit_tail(l, &known, e);
        if (r < 0)
                return r;
        r = audit_check_tail(a, &known, &cut);
        if (r == -EBADMSG)
                return say_cut(l, a, &cut, e);
        if (r < 0 && e)
                *e = cut;
        audit_tail(a, &now);
        if (r == 0 && known.seq != 0 && now.seq > known.seq)
                r = ledger_catch_up(l, state_fd, known.seq, max_name, &done, e);
        return r < 0 ? r : history_sync(l, a, e);
}

/* --- events --- */

int history_begin(const struct history *h, const struct audit_entry *entry, struct error *e)
{
        int r = h->feed ? feed_check(h->feed, e) : 0;
        if (r == 0)
                r = ledger_begin(h->ledger, e);
        if (r < 0)
                return r;
        r = audit_append(h->audit, entry, e);
        if (r == 0)
                r = history_sync(h->ledger, h->audit, e);
        if (r == 0 && h->feed)
                r = feed_follow(h->feed, e);
        if (r < 0)
                ledger_rollback(h->ledger);
        return r;
}

static const char *group_of(const struct history *h, const struct ledger_object *o)
{
        const struct config_package *p = h->config ? config_find_package(h->config, o->org) : NULL;
        return p ? config_group(p, o->category) : NULL;
}

static int on_left_out(struct ledger_member *m, void *arg)
{
        uint64_t *n = arg;
        *n += m->state == OBJECT_IGNORED && *m->path;
        return 0;
}

/* What the other spelling of its key had staged there is a replaced version now. */
static int take_place(const struct history *h, const struct ledger_object *o, struct error *e)
{
        struct ledger_object other;
        int r = ledger_other_staged(h->ledger, o, o->path, &other, e);
        if (r == 0)
                r = ledger_give_way(h->ledger, &other, e);
        return r == -ENOENT ? 0 : r;
}

static int enter_published(const struct history *h, struct ledger_object *o, bool adopted, struct error *e)
{
        o->cause = CAUSE_NONE;
        o->detail[0] = 0;
        if (!adopted) {
                o->next_try = 0;
                o->refusals = 0;
        }
        if (!adopted || o->published_at == 0)
                o->published_at = (int64_t)time(NULL);
        memcpy(o->staged_etag, o->etag, sizeof(o->staged_etag));
        int r = o->state == OBJECT_PUBLISHED ? ledger_save(h->ledger, o, e)
                                             : ledger_enter(h->ledger, o, OBJECT_PUBLISHED, e);
        /* Its row went with a turn that was undone: it is listed again. */
        if (r == -ENOENT) {
                o->state = OBJECT_PUBLISHED;
                r = 0;
        }
        if (r == 0 && !adopted && o->category == CATEGORY_DATABASE && o->is_zip)
                r = beyond_learn_staged(h->ledger, o, e);
        return r == 0 && !adopted ? take_place(h, o, e) : r;
}

/* What is staged, and what was checked of it. */
static void add_content(const struct history *h, const struct ledger_object *o, struct audit_entry *a)
{
        a->size = o->plain_size;
        a->sha256 = o->has_sha256 && !o->is_zip ? o->sha256 : NULL;
        a->manifest = o->has_sha256 && o->is_zip ? o->sha256 : NULL;
        a->group = group_of(h, o);
        a->fingerprint = *o->fingerprint ? o->fingerprint : NULL;
        a->checks = o->checks;
}

int history_staged(const struct history *h, const char *event, struct ledger_object *o,
        const struct audit_mark *since, struct error *e)
{
        bool adopted = streq(event, "adopted");
        /* What the check enters into the record is told already and is not taken back. */
        int r = h->feed ? feed_check(h->feed, e) : 0;
        if (r < 0) {
                if (since)
                        audit_take_back(h->audit, since);
                return r;
        }
        const struct audit_mark before = since ? *since : audit_mark(h->audit);
        struct audit_entry a = history_entry(h, event, o);
        a.path = o->path;
        add_content(h, o, &a);
        char latest[DATE_SIZE];
        if (o->is_zip && !adopted && h->feed) {
                feed_latest(h->feed, o->org, o->category, latest);
                a.latest = latest;
        }
        r = o->is_zip && !adopted ? ledger_members(h->ledger, o->id, on_left_out, &a.left_out, e) : 0;
        if (r == 0)
                r = history_begin(h, &a, e);
        if (r < 0) {
                audit_take_back(h->audit, &before);
                return r;
        }
        return ledger_end(h->ledger, enter_published(h, o, adopted, e), e);
}

int history_members(
        const struct history *h, const struct ledger_object *o, struct audit_mark *ret, struct error *e)
{
        struct audit_entry a = history_entry(h, "members", o);
        a.group = group_of(h, o);
        int r = h->feed ? feed_check(h->feed, e) : 0;
        *ret = audit_mark(h->audit);
        return r < 0 ? r : audit_append(h->audit, &a, e);
}

int history_member(const struct history *h, const struct ledger_object *o, const struct ledger_member *m,
        struct error *e)
{
        struct audit_entry a =
                history_entry(h, m->state == OBJECT_REJECTED ? "member-rejected" : "member", NULL);
        _cleanup_free_ char *path = str_printf("%s/%s", o->path, m->path);
        if (!path)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        a.member = m->name;
        a.path = m->state == OBJECT_PUBLISHED ? path : NULL;
        a.size = m->plain_size;
        a.sha256 = m->has_sha256 ? m->sha256 : NULL;
        a.object_size = m->size;
        a.checks = m->checks;
        a.cause = m->cause != CAUSE_NONE ? cause_name(m->cause) : NULL;
        return audit_append(h->audit, &a, e);
}

/* Of what is staged, of which the row does not tell. */
static struct audit_entry kept_entry(
        const struct history *h, const char *event, const struct ledger_object *o)
{
        struct audit_entry a = history_entry(h, event, o);
        a.etag = o->staged_etag;
        a.path = o->path;
        return a;
}

int history_missing(const struct history *h, struct ledger_object *o, const char *why, struct error *e)
{
        bool kept = ledger_is_kept(o);
        struct audit_entry a = kept ? kept_entry(h, "missing", o) : history_entry(h, "missing", o);
        a.path = o->path;
        a.reason = why;
        int r = history_begin(h, &a, e);
        if (r == 0)
                r = ledger_end(h->ledger, kept ? 0 : ledger_enter(h->ledger, o, OBJECT_MISSING, e), e);
        return r;
}

int history_kept_back(const struct history *h, const struct ledger_object *o, struct error *e)
{
        struct audit_entry a = kept_entry(h, "adopted", o);
        add_content(h, o, &a);
        int r = history_begin(h, &a, e);
        return r < 0 ? r : ledger_end(h->ledger, 0, e);
}

static int enter_forgotten(const struct history *h, struct ledger_object *o, struct error *e)
{
        ledger_forget(o);
        int r = ledger_members_delete(h->ledger, o->id, e);
        if (r == 0)
                r = ledger_leftovers_delete(h->ledger, o->id, e);
        return r == 0 ? ledger_set_courses(h->ledger, o->id, "", &(struct strv){}, e) : r;
}

int history_removed(const struct history *h, struct ledger_object *o, enum object_state next,
        const char *path, struct error *e)
{
        if (!object_may_enter(o->state, next))
                return error_set(e, CAUSE_INTERNAL, EBUSY, "%s is %s", o->key, object_state_name(o->state));
        struct audit_entry a = history_entry(h, next == OBJECT_FORGOTTEN ? "forgotten" : "pruned", o);
        uint8_t sha256[SHA256_SIZE];
        memcpy(sha256, o->sha256, sizeof(sha256));
        a.path = *path ? path : NULL;
        a.sha256 = o->has_sha256 && !o->is_zip ? sha256 : NULL;
        a.size = o->plain_size;
        int r = history_begin(h, &a, e);
        if (r < 0)
                return r;
        o->path[0] = o->staged_etag[0] = 0;
        if (next == OBJECT_FORGOTTEN)
                r = enter_forgotten(h, o, e);
        if (r == 0)
                r = ledger_enter(h->ledger, o, next, e);
        return ledger_end(h->ledger, r, e);
}

int history_rejected(const struct history *h, const struct ledger_object *o, struct error *e)
{
        struct audit_entry a = history_entry(h, "rejected", o);
        a.cause = cause_name(o->cause);
        a.reason = o->detail;
        return audit_append(h->audit, &a, e);
}

/* --- events by course --- */

/* A day is made from what is staged, which may be a version before the row's. */
static struct audit_entry day_entry(const struct history *h, const char *event, const struct ledger_object *o)
{
        struct audit_entry a = history_entry(h, event, o);
        if (*o->staged_etag)
                a.etag = o->staged_etag;
        return a;
}

int history_day(const struct history *h, const struct ledger_object *o, const struct ledger_split *made,
        struct error *e)
{
        const struct config_package *p = h->config ? config_find_package(h->config, o->org) : NULL;
        struct audit_entry a = day_entry(h, "day-complete", o);
        a.path = made->path;
        a.sha256 = made->sums_sha256;
        a.manifest = made->has_manifest ? made->manifest_sha256 : NULL;
        a.size = (int64_t)made->files_size;
        a.group = p ? p->groups.by_course : NULL;
        a.reason = event_rule_name(made->rule);
        int r = history_begin(h, &a, e);
        return r < 0 ? r : ledger_end(h->ledger, ledger_split_save(h->ledger, made, e), e);
}

static int begin_day_lost(const struct history *h, const char *event, const struct ledger_object *o,
        const char *path, const char *why, struct error *e)
{
        struct audit_entry a = day_entry(h, event, o);
        a.path = path;
        a.reason = why;
        return history_begin(h, &a, e);
}

/* Its row stays: what is left of the folder is still ours. */
int history_day_missing(const struct history *h, const struct ledger_object *o, const char *path,
        const char *why, struct error *e)
{
        int r = begin_day_lost(h, "day-missing", o, path, why, e);
        return r < 0 ? r : ledger_end(h->ledger, ledger_split_again(h->ledger, o->id, e), e);
}

int history_day_removed(
        const struct history *h, const struct ledger_object *o, const char *path, struct error *e)
{
        int r = begin_day_lost(h, "day-removed", o, path, h->reason, e);
        return r < 0 ? r : ledger_end(h->ledger, ledger_split_delete(h->ledger, o->id, e), e);
}
