/* SPDX-License-Identifier: Apache-2.0 */
/* From an archive's directory to the members that are to be fetched. Each is wanted, ignored by a filter, or
 * rejected one by one: an unsafe name, a link, two names that would be one file. What earlier attempts, or
 * the published folder of the very same archive, have of them is taken over, where its hash is still that of
 * the ledger. Then it is known what is to be fetched, and whether it fits. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cleanup.h"
#include "digest.h"
#include "ledger_facts.h"
#include "record.h"
#include "snapshot_job.h"
#include "str.h"
#include "timespan.h"

/* --- the directory --- */

/* What the filters look at, while a page of the directory is added. */
struct filter {
        const struct snapshot *s;
        const struct config_package *package;
};

static bool wants(void *arg, const char *course, const char *table)
{
        const struct filter *f = arg;
        return f->s->job.o.category != CATEGORY_DATABASE ||
               (config_wants_course(f->package, course) && config_wants_table(f->package, table));
}

int snapshot_take_entries(struct snapshot *s, const struct proto_entries *page, struct error *e)
{
        struct filter filter = {.s = s, .package = config_find_package(s->job.env->config, s->job.o.org)};
        const struct members_rules rules = {
                .top = *s->top ? s->top : NULL, .max_name = s->max_name, .wants = wants, .arg = &filter};
        if (!filter.package)
                return error_set(e, CAUSE_CANCELLED, ECANCELED, "its package section is gone");
        if (s->max_members && s->n_told + page->n > s->max_members)
                return error_set(e, CAUSE_HELPER, EPROTO, "told of more members than max_members");
        for (size_t i = 0; i < page->n; i++) {
                int r = members_add(s->members, &page->entries[i], &rules, e);
                if (r < 0)
                        return r;
        }
        s->n_told += page->n;
        return 0;
}

static int tell_refused(const struct member *m, void *arg, struct error *e)
{
        (void)e;
        snapshot_rejected(arg, m);
        return 0;
}

int snapshot_tell_refused(struct snapshot *s, struct error *e)
{
        return members_each(s->members, MEMBERS_REJECTED, tell_refused, s, e);
}

void snapshot_save_member(struct snapshot *s, const struct member *m)
{
        const struct job_env *env = s->job.env;
        struct ledger_member row;
        struct error e = {};
        record_open(env->record);
        member_to_ledger(m, s->job.o.id, &row);
        if (ledger_member_save(env->ledger, &row, &e) < 0)
                record_trouble(env->record, &e);
}

void snapshot_rejected(struct snapshot *s, const struct member *m)
{
        char name[STAGED_PATH_SIZE];
        s->n_rejected++;
        record_incomplete(s->job.env->record);
        snapshot_save_member(s, m);
        if (!record_may_say(s->job.env->record, EVENT_REJECTED, m->cause))
                return;
        struct journal_fields fields = object_fields(&s->job.o);
        fields.member = str_visible(m->name, name, sizeof(name));
        fields.cause = m->cause;
        fields.attempt = m->tries;
        journal_event(EVENT_REJECTED, &fields, "member %s of %s rejected: %s (%s); %s", name, s->job.o.key,
                cause_name(m->cause), m->detail, cause_advice(m->cause));
}

void snapshot_trouble(struct snapshot *s, enum cause cause, const char *detail)
{
        if (s->cause != CAUSE_NONE)
                return;
        s->cause = cause;
        snprintf(s->detail, sizeof(s->detail), "%s", detail);
}

/* --- what is there already --- */

#define READ_SIZE (256 * 1024)

/* Fills its rows. */
static bool has_hash(
        const struct snapshot *s, const char *path, struct member *m, struct digest *digest, void *buffer)
{
        uint8_t sum[DIGEST_MAX];
        uint64_t size;
        int64_t mtime;
        bool is_dir;
        if (staging_stat(s->job.env->staging, path, &size, &mtime, &is_dir) < 0 ||
                size != (uint64_t)m->plain_size)
                return false;
        _cleanup_close_ int fd = staging_open_file(s->job.env->staging, path);
        if (fd < 0)
                return false;
        ssize_t n;
        m->rows = 0;
        while ((n = read(fd, buffer, READ_SIZE)) > 0) {
                digest_update(digest, buffer, (size_t)n);
                m->rows += count_newlines(buffer, (size_t)n);
                moved_on(s->job.env->flow.moved);
        }
        digest_final(digest, sum);
        return n == 0 && memcmp(sum, m->sha256, SHA256_SIZE) == 0;
}

/* A member counts as there when its file, in the partial folder or in the published one of the same archive,
 * still has the hash of the ledger: sizes alone do not tell what a power loss left. And when it is of the
 * group and mode that files are to have now. */
static bool is_there(
        struct snapshot *s, struct member *m, const char *partial, struct digest *digest, void *buffer)
{
        const struct ledger_object *o = &s->job.o;
        uint64_t size = (uint64_t)m->plain_size;
        _cleanup_free_ char *in_partial = str_printf("%s/%s", partial, m->path);
        _cleanup_free_ char *published = str_printf("%s/%s", o->path, m->path);
        if (!in_partial || !published)
                return false;
        if (snapshot_has(s->dir, m->path, size) && has_hash(s, in_partial, m, digest, buffer))
                return true;
        return streq(o->staged_etag, o->etag) &&
               snapshot_add_link(s->dir, m->path, published, m->sha256, size, &m->rows, NULL) >= 0;
}

/* The thread's look at what is known. */
struct known_look {
        struct snapshot *s;
        char *partial;
        void *buffer;
        struct digest *digest;
};

static void known_look_done(struct known_look *l)
{
        free(l->partial);
        free(l->buffer);
        digest_free(l->digest);
}

static int take_over(const struct member *m, void *arg, struct error *e)
{
        struct known_look *l = arg;
        struct member now = *m; /* the name stays m's */
        moved_on(l->s->job.env->flow.moved);
        if (l->s->cancelled || !is_there(l->s, &now, l->partial, l->digest, l->buffer))
                return 0;
        l->s->n_staged++;
        return members_staged(l->s->members, &now, e);
}

void snapshot_look_at_known(struct snapshot *s)
{
        struct error *e = &s->work_error;
        const char *path = s->job.o.path, *slash = strrchr(path, '/');
        _cleanup_(known_look_done) struct known_look l = {.s = s,
                .partial = str_printf("%.*s.%s.partial", (int)(slash + 1 - path), path, slash + 1),
                .buffer = malloc(READ_SIZE)};
        if (!l.partial || !l.buffer || digest_new(DIGEST_SHA256, &l.digest) < 0) {
                error_set(e, CAUSE_IO, ENOMEM, "out of memory");
                return;
        }
        bool same = streq(s->job.o.staged_etag, s->job.o.etag);
        int r = members_take_known(s->members, s->job.o.id, same, e);
        if (r >= 0)
                r = members_each(s->members, MEMBERS_KNOWN, take_over, &l, e);
        if (r >= 0)
                r = members_drop_known(s->members, e);
        if (r >= 0)
                (void)members_sums(s->members, &s->sums, e);
}

int snapshot_open_folder(struct snapshot *s, struct error *e)
{
        struct staging *staging = s->job.env->staging;
        struct ledger_object *o = &s->job.o;
        int r = staging_make_top(staging, o->path, &s->org, e);
        if (r >= 0)
                r = snapshot_begin(staging, o->path, o->etag, &s->attr, &s->dir, e);
        if (r == -EALREADY) {
                /* A crash came after the rename: what is published is this archive, only the ledger missed
                 * it. */
                snprintf(o->staged_etag, sizeof(o->staged_etag), "%s", o->etag);
                r = snapshot_begin(staging, o->path, o->etag, &s->attr, &s->dir, e);
        }
        return r;
}

/* --- room --- */

/* Guessed from the archive before: how much larger its members were decrypted, and what share of it was new
 * (the rest shared storage with an earlier snapshot). Percent. */

/* Of the first one: conservative enough for tables in text, not so that a first sync never starts. */
#define FIRST_EXPANSION 400
#define SLACK 110
/* An archive that does not fit is looked at again after this: a look at the disk, no request. */
#define ROOM_LOOK_USEC (1 * USEC_PER_MINUTE)

static struct ledger_growth growth(const struct snapshot *s)
{
        struct ledger_growth g = {};
        const struct ledger_object *o = &s->job.o;
        (void)ledger_growth(s->job.env->ledger, o->org, o->category, &g, NULL);
        return g;
}

static double expected_bytes(const struct snapshot *s)
{
        /* How much larger members become, in percent: as last time, or as those that are staged already, if
         * that is more. */
        const struct ledger_growth g = growth(s);
        double seen =
                s->sums.staged_size ? (double)s->sums.plain_bytes * 100 / (double)s->sums.staged_size : 0;
        double expected = (double)s->sums.wanted_size / 100 *
                          MAX(g.expansion ? (double)g.expansion : FIRST_EXPANSION, seen);
        if (s->deduplicate && g.new_share)
                expected = expected / 100 * (double)g.new_share;
        return expected / 100 * SLACK;
}

static bool fits(const struct job_env *env, double bytes, uint64_t *ret_have)
{
        /* What cannot be told here, pauses_look_at_staging() tells. */
        if (staging_free_bytes(env->staging, ret_have, NULL) < 0)
                return true;
        return bytes <= (double)*ret_have - (double)env->config->staging.min_free;
}

static bool shortage_get(
        const struct job_env *env, const struct ledger_object *o, struct ledger_shortage *ret)
{
        return ledger_shortage(env->ledger, o->id, ret, NULL) >= 0 && *ret->etag && streq(ret->etag, o->etag);
}

static void wait_for_room(
        const struct job_env *env, struct ledger_object *o, unsigned long long need, uint64_t have)
{
        struct ledger_shortage said, now = {.bytes = need, .pid = getpid()};
        char text[256], size[2][32];
        bool first = !shortage_get(env, o, &said) || said.pid != getpid();
        snprintf(now.etag, sizeof(now.etag), "%s", o->etag);
        record_open(env->record);
        ledger_set_shortage(env->ledger, o->id, &now, NULL);
        snprintf(text, sizeof(text), "it needs about %s, and %s are free above min_free",
                size_format(need, size[0], sizeof(size[0])),
                size_format(have > env->config->staging.min_free ? have - env->config->staging.min_free : 0,
                        size[1], sizeof(size[1])));
        if (first) {
                struct journal_fields f = object_fields(o);
                f.cause = CAUSE_SPACE;
                journal_event(EVENT_PAUSED, &f, "%s is not started: %s; it is started once there is room; %s",
                        o->key, text, cause_advice(CAUSE_SPACE));
        }
        record_wait(env->record, o, CAUSE_SPACE, text, ROOM_LOOK_USEC);
}

bool room_still_short(const struct job_env *env, struct ledger_object *o)
{
        struct ledger_shortage before;
        uint64_t have;
        if (!shortage_get(env, o, &before) || fits(env, (double)before.bytes, &have))
                return false;
        wait_for_room(env, o, before.bytes, have);
        return true;
}

bool room_for(struct snapshot *s)
{
        const struct job_env *env = s->job.env;
        struct ledger_object *o = &s->job.o;
        struct ledger_shortage before;
        uint64_t have;
        double bytes = expected_bytes(s);
        if (!fits(env, bytes, &have)) {
                wait_for_room(env, o, (unsigned long long)bytes, have);
                return false;
        }
        if (shortage_get(env, o, &before)) {
                struct journal_fields f = object_fields(o);
                journal_event(EVENT_RESUMED, &f, "%s is started: there is room now", o->key);
                record_open(env->record);
                ledger_set_shortage(env->ledger, o->id, NULL, NULL);
        }
        return true;
}

void room_learn(const struct snapshot *s)
{
        if (s->sums.staged_size == 0 || s->sums.plain_bytes == 0)
                return;
        double plain = (double)s->sums.plain_bytes;
        const struct ledger_growth g = {
                .expansion = (uint64_t)(plain * 100 / (double)s->sums.staged_size) + 1,
                .new_share = (uint64_t)((plain - (double)s->sums.linked_bytes) * 100 / plain) + 1,
        };
        ledger_set_growth(s->job.env->ledger, s->job.o.org, s->job.o.category, &g, NULL);
}
