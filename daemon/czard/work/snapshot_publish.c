/* SPDX-License-Identifier: Apache-2.0 */
/* The end of an archive: the folder gets its name, the audit its lines, the ledger its rows; then `latest`
 * moves, and what changed against the snapshot before is said. */
#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "noted.h"
#include "snapshot_job.h"
#include "str.h"
#include "timespan.h"

#define FIRST_NAME 512
#define NAMES_A_TEXT 5 /* of each change */

/* --- against the snapshot before --- */

/* What members_compare() finds, as one sentence. Course names of learners' courses are no learner data;
 * counts and names are all that is said. */
static const char *const changes[MEMBERS_CHANGE_MAX] = {
        [COURSES_NEW] = "courses appeared",
        [COURSES_GONE] = "courses vanished",
        [TABLES_NEW] = "tables appeared",
        [TABLES_GONE] = "tables vanished",
        [TABLES_SHRUNK] = "shrank by more than half",
        [TABLES_EMPTY] = "are empty",
};

struct tally {
        size_t n;
        struct strbuf names;
};

static void count_change(void *arg, enum members_change change, const char *course, const char *table)
{
        struct tally *t = (struct tally *)arg + change;
        if (t->n++ < NAMES_A_TEXT)
                strbuf_printf(&t->names, "%s%s%s%s", t->names.len ? ", " : "", course, table ? " " : "",
                        table ? table : "");
}

static void compare(struct snapshot_change *c, struct members *m, int64_t before)
{
        struct tally t[MEMBERS_CHANGE_MAX] = {};
        struct error e = {};
        if (members_compare(m, before, count_change, t, &e) < 0)
                strbuf_printf(&c->text, "cannot tell: %s", e.text);
        for (size_t i = 0; e.cause == CAUSE_NONE && i < MEMBERS_CHANGE_MAX; i++)
                if (t[i].n > 0)
                        strbuf_printf(&c->text, "%s%zu %s (%s%s)", c->text.len ? "; " : "", t[i].n,
                                changes[i], t[i].names.s, t[i].n > NAMES_A_TEXT ? ", ..." : "");
        c->loss = e.cause != CAUSE_NONE || t[COURSES_GONE].n || t[TABLES_GONE].n || t[TABLES_SHRUNK].n;
        for (size_t i = 0; i < MEMBERS_CHANGE_MAX; i++)
                strbuf_done(&t[i].names);
}

/* The staged database snapshot before o: its id, 0: none. */
static int64_t snapshot_before(struct ledger *l, const struct ledger_object *o)
{
        struct ledger_filter f = {.states = BIT(OBJECT_PUBLISHED) | BIT(OBJECT_GONE),
                .categories = BIT(o->category),
                .org = o->org,
                .until = o->date,
                .newest_first = true};
        _cleanup_free_ int64_t *ids = NULL;
        size_t n = 0;
        struct error e = {};
        struct ledger_object other;
        if (o->category != CATEGORY_DATABASE)
                return 0;
        if (ledger_ids(l, &f, &ids, &n, &e) < 0)
                return 0;
        for (size_t i = 0; i < n; i++)
                if (ids[i] != o->id && ledger_get(l, ids[i], &other, &e) >= 0 && *other.staged_etag &&
                        strcmp(other.date, o->date) < 0)
                        return other.id;
        return 0;
}

static void say_change(const struct snapshot_change *c, const struct ledger_object *o)
{
        if (c->text.len == 0)
                return;
        struct journal_fields f = object_fields(o);
        f.priority = c->loss ? LOG_WARNING : LOG_NOTICE;
        f.path = o->path;
        journal_event(EVENT_SNAPSHOT_CHANGED, &f, "%s against the snapshot before: %s", o->path, c->text.s);
}

/* --- what stands in the folder --- */

struct list_walk {
        snapshot_sum_fn *each;
        void *arg;
};

static int list_one(const struct member *m, void *arg, struct error *e)
{
        struct list_walk *w = arg;
        const struct snapshot_sum sum = {.name = m->step == MEMBER_STAGED ? m->path : m->name,
                .sha256 = m->sha256,
                .course = m->course,
                .table = m->table,
                .site = m->site,
                .size = (uint64_t)m->plain_size,
                .rows = m->rows,
                .cause = cause_name(m->cause)};
        return w->each(w->arg, &sum, e);
}

static int list_each(void *arg, bool rejected, snapshot_sum_fn *each, void *each_arg, struct error *e)
{
        struct snapshot *s = arg;
        struct list_walk w = {.each = each, .arg = each_arg};
        return members_each(s->members, rejected ? MEMBERS_REJECTED : MEMBERS_BY_PATH, list_one, &w, e);
}

static int list_has(void *arg, const char *path, struct error *e)
{
        struct snapshot *s = arg;
        return members_has_path(s->members, path, e);
}

/* --- what shares its storage --- */

/* A large member, and a staged file that had the same bytes when it was staged. */
struct share {
        struct share *next;
        struct member member;          /* without its name */
        char same[STAGED_MEMBER_SIZE]; /* below the root */
};

static int find_share(const struct member *m, void *arg, struct error *e)
{
        struct snapshot *s = arg;
        char same[STAGED_MEMBER_SIZE];
        (void)e;
        if (m->linked || ledger_find_plaintext(s->job.env->ledger, s->job.o.org, s->job.o.category, m->sha256,
                                 m->plain_size, same, NULL) < 0)
                return 0;
        struct share *share = calloc(1, sizeof(*share));
        if (!share)
                return 0;
        *share = (struct share){.next = s->shares, .member = *m};
        share->member.name = NULL;
        memcpy(share->same, same, sizeof(share->same));
        s->shares = share;
        return 0;
}

/* What cannot be found out is not shared. */
static void find_shares(struct snapshot *s)
{
        if (s->deduplicate)
                members_each(s->members, MEMBERS_LARGE, find_share, s, NULL);
}

static int link_shares(struct snapshot *s, struct error *e)
{
        int r = 0;
        for (struct share *next, *share = s->shares; share; share = next) {
                struct member *m = &share->member;
                next = share->next;
                moved_on(s->job.env->flow.moved);
                m->linked = r >= 0 && !s->cancelled &&
                            snapshot_add_link(s->dir, m->path, share->same, m->sha256,
                                    (uint64_t)m->plain_size, NULL, NULL) >= 0;
                if (m->linked)
                        r = members_staged(s->members, m, e);
                free(share);
        }
        s->shares = NULL;
        return r;
}

/* So that czarctl verify can tell whether it was altered, and that there was one. */
static void note_manifest(struct snapshot *s)
{
        struct ledger_object *o = &s->job.o;
        _cleanup_free_ char *path = str_printf("%s/" SNAPSHOT_MANIFEST, o->path);
        _cleanup_close_ int fd = path ? staging_open_file(s->job.env->staging, path) : -ENOMEM;
        uint64_t size;
        o->has_sha256 = fd >= 0 && digest_fd(DIGEST_SHA256, fd, o->sha256, &size) == 0;
}

void snapshot_publish_folder(struct snapshot *s)
{
        struct error *e = &s->work_error;
        bool moved = *s->old_path && !streq(s->old_path, s->job.o.path);
        struct snapshot_list list = {
                .each = list_each, .has = list_has, .arg = s, .unknown = moved || !s->replaces};
        const char *keep_as = *s->keep_as ? s->keep_as : NULL;
        int r = link_shares(s, e);
        if (r >= 0)
                r = members_sums(s->members, &s->sums, e);
        if (r >= 0 && s->before)
                compare(&s->change, s->members, s->before);
        if (r >= 0)
                r = members_settle(s->members, e); /* while this attempt can still fail as a whole */
        if (r >= 0)
                r = snapshot_publish(s->dir, &list, moved ? NULL : keep_as, e);
        if (r >= 0 && moved)
                staging_retire(s->job.env->staging, s->old_path, keep_as, &s->remove_error);
        if (r >= 0)
                note_manifest(s);
}

/* --- what is recorded and said of each --- */

static void say_member(const struct snapshot *s, const struct member *m)
{
        char hex[SHA256_HEX];
        uint64_t plain = (uint64_t)m->plain_size;
        struct journal_fields f = object_fields(&s->job.o);
        hex_encode(m->sha256, sizeof(m->sha256), hex);
        f.priority = LOG_DEBUG;
        f.member = m->name;
        f.path = m->path;
        f.plain_size = &plain;
        f.sha256 = hex;
        journal_event(EVENT_PUBLISHED, &f, "published %s/%s%s", s->job.o.path, m->path,
                m->linked ? ", which shares its storage" : "");
}

/* edX's export of that table failed: worth a warning, not a failure. */
static void say_failed_at_source(const struct snapshot *s, const struct member *m)
{
        if (!record_may_say(s->job.env->record, EVENT_MEMBER_FAILED, CAUSE_NONE))
                return;
        struct journal_fields f = object_fields(&s->job.o);
        f.member = m->name;
        f.course = *m->course ? m->course : NULL;
        f.table = *m->table ? m->table : NULL;
        journal_event(EVENT_MEMBER_FAILED, &f,
                "edX could not export table %s of %s for %s; the member holds its error text", m->table,
                m->course, s->job.o.date);
}

static int save_one(const struct member *m, void *arg, struct error *e)
{
        struct snapshot *s = arg;
        struct ledger_member row;
        member_to_ledger(m, s->job.o.id, &row);
        return ledger_member_save(s->job.env->ledger, &row, e);
}

/* Its line in the audit, and what is to be said of it. */
static int audit_one(const struct member *m, void *arg, struct error *e)
{
        struct snapshot *s = arg;
        struct ledger_member row;
        (void)e;
        if (m->step != MEMBER_STAGED && m->step != MEMBER_REJECTED)
                return 0;
        member_to_ledger(m, s->job.o.id, &row);
        record_member(s->job.env->record, &s->job.o, &row);
        if (m->step == MEMBER_STAGED)
                say_member(s, m);
        if (m->step == MEMBER_STAGED && m->failed_at_source)
                say_failed_at_source(s, m);
        return 0;
}

/* All of them or none. The rows are written anew: members of a replaced archive that this one does not have
 * must go. */
static int save_members(struct snapshot *s)
{
        const struct job_env *env = s->job.env;
        struct error e = {};
        record_open(env->record);
        int r = ledger_members_delete(env->ledger, s->job.o.id, &e);
        if (r >= 0)
                r = members_each(s->members, MEMBERS_BY_NAME, save_one, s, &e);
        if (r >= 0) {
                record_members(env->record, &s->job.o);
                r = members_each(s->members, MEMBERS_BY_NAME, audit_one, s, &e);
        }
        if (r >= 0)
                return 0;
        record_trouble(env->record, &e);
        record_no_members(env->record);
        return r;
}

static int first_name(const struct member *m, void *arg, struct error *e)
{
        (void)e;
        str_visible(m->name, arg, FIRST_NAME);
        return 1;
}

/* Nothing vouches for these but TLS, If-Match and the CRC-32 of the zip. */
static void say_not_encrypted(struct snapshot *s)
{
        struct journal_fields f = object_fields(&s->job.o);
        char name[FIRST_NAME] = "";
        if (s->sums.not_encrypted == 0)
                return;
        members_each(s->members, MEMBERS_UNENCRYPTED, first_name, name, NULL);
        f.priority = LOG_WARNING;
        f.path = s->job.o.path;
        f.member = name;
        journal_event(EVENT_NOTE, &f,
                "%llu of %llu members of %s are not encrypted (%s%s): they are staged as they are, and "
                "nothing proves who wrote them; tell edX",
                (unsigned long long)s->sums.not_encrypted, (unsigned long long)s->sums.n[MEMBER_STAGED],
                s->job.o.key, name, s->sums.not_encrypted > 1 ? ", ..." : "");
}

/* Another organisation's folder that was moved there, or one that the ledger lost. */
static void say_kept(const struct snapshot *s)
{
        const char *path = s->job.o.path, *kept = snapshot_kept_as(s->dir);
        if (!*kept)
                return;
        journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING, .path = path},
                "at %s stood another folder, which czard did not put there: it is kept as %.*s%s for "
                "keep_replaced",
                path, (int)(strrchr(path, '/') + 1 - path), path, kept);
}

void snapshot_record_published(struct snapshot *s)
{
        const struct job_env *env = s->job.env;
        struct ledger_object *o = &s->job.o;
        if (s->remove_error.cause != CAUSE_NONE)
                leftover_note(env->record, env->ledger, o, s->old_path, s->keep_as, &s->remove_error);
        o->plain_size = (int64_t)s->sums.plain_bytes;
        /* It came in ranges: what S3 knows of the whole has nothing to be compared with. */
        o->checks |= CHECK_ZIP | CHECK_ONE_ETAG | CHECK_NO_ETAG | CHECK_NO_CHECKSUM | s->sums.checks;
        o->attempts = 0;
        int r = save_members(s);
        if (r >= 0) {
                room_learn(s);
                r = record_published(
                        env->record, o, s->replaces, now_usec(CLOCK_MONOTONIC) - s->job.started_usec);
        }
        if (record_flush(env->record) < 0 || r < 0) {
                /* It has its name, but nobody has noted it: the next attempt does, without fetching it again.
                 */
                snapshot_keep_record(s->dir);
                return;
        }
        say_kept(s);
        s->dir = snapshot_free(s->dir);
        if (s->n_rejected > 0)
                journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING, .path = o->path},
                        "%s is incomplete: %zu of %zu members rejected, see its REJECTED file", o->path,
                        s->n_rejected, s->n_rejected + s->n_staged);
        say_not_encrypted(s);
        say_change(&s->change, o);
        latest_point(env->config, env->ledger, env->staging, env->record, o->org, o->category);
}

static int last_cause(const struct member *m, void *arg, struct error *e)
{
        (void)e;
        *(enum cause *)arg = m->cause;
        return 0;
}

/* Nothing is shown of an archive that is to be complete or not there. */
static int check_complete(struct snapshot *s, struct error *e)
{
        if (s->n_rejected == 0 || !s->hold_incomplete)
                return 0;
        enum cause cause = CAUSE_BAD_ZIP;
        members_each(s->members, MEMBERS_REJECTED, last_cause, &cause, NULL);
        return error_set(
                e, cause, EBADMSG, "%zu members rejected, and incomplete_snapshots=hold", s->n_rejected);
}

int snapshot_prepare_publishing(struct snapshot *s, struct error *e)
{
        const struct ledger_object *o = &s->job.o;
        int r = check_complete(s, e);
        if (r < 0)
                return r;
        if (streq(o->staged_etag, o->etag))
                *s->keep_as = 0; /* the same version, made anew */
        find_shares(s);
        s->before = snapshot_before(s->job.env->ledger, o);
        return 0;
}
