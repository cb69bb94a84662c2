/* SPDX-License-Identifier: Apache-2.0 */
/* What earlier attempts, or the published folder of the very same archive, have of an archive's members is
 * taken over, where its hash is still that of the ledger. Then it is known what is to be fetched, and whether
 * it fits. */
#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "digest.h"
#include "lookup.h"
#include "record.h"
#include "room.h"
#include "str.h"

#define READ_SIZE (256 * 1024)

struct known {
        struct snapshot *s;
        struct lookup *names; /* of the wanted or ignored ones; NULL: not asked for yet */
        struct error *e;
};

static bool may_be_known(const struct member *m)
{
        return m->named && m->step != MEMBER_REJECTED;
}

/* For the first row: most archives are new, and have none. */
static int look_up_names(struct known *k)
{
        struct snapshot *s = k->s;
        size_t n = 0;
        for (size_t i = 0; i < s->n_members; i++)
                n += may_be_known(&s->members[i]);
        if (lookup_new(n, &k->names) < 0)
                return error_set(k->e, CAUSE_LIMIT, ENOMEM, "out of memory for its members");
        for (size_t i = 0; i < s->n_members; i++) {
                if (!may_be_known(&s->members[i]))
                        continue;
                _cleanup_free_ struct facts *f = snapshot_facts(s, &s->members[i], k->e);
                if (!f)
                        return -EIO;
                lookup_add(k->names, f->name, i);
        }
        lookup_sort(k->names);
        return 0;
}

/* The member of that row. 1, 0: there is none, or -errno. */
static int find(struct known *k, const struct ledger_member *row, struct member **ret_m, struct facts **ret_f)
{
        struct snapshot *s = k->s;
        struct package_member parsed;
        const struct lookup_entry *entry = lookup_first(k->names, row->name);
        for (; entry; entry = lookup_next(k->names, entry)) {
                struct member *m = &s->members[entry->number];
                _cleanup_free_ struct facts *f = snapshot_facts(s, m, k->e);
                if (!f)
                        return -EIO;
                if (!streq(f->name, row->name))
                        continue;
                if (snapshot_parse(s, f, &parsed, NULL) < 0 || !streq(row->path, parsed.path))
                        return 0;
                *ret_m = m;
                *ret_f = take_ptr(&f);
                return 1;
        }
        return 0;
}

static int on_known(struct ledger_member *row, void *arg)
{
        struct known *k = arg;
        const struct ledger_object *o = &k->s->job.o;
        struct member *m = NULL;
        _cleanup_free_ struct facts *f = NULL;
        if (row->state != OBJECT_PUBLISHED || !row->has_sha256)
                return 0;
        int r = k->names ? 0 : look_up_names(k);
        if (r >= 0)
                r = find(k, row, &m, &f);
        if (r <= 0)
                return r;
        if (m->step == MEMBER_IGNORED) {
                if (!streq(o->staged_etag, o->etag))
                        return 0;
                m->filtered = true; /* narrowing a filter deletes nothing */
        }
        memcpy(f->sha256, row->sha256, sizeof(f->sha256));
        f->plain_size = row->plain_size;
        f->checks = row->checks;
        m->has_sha256 = true;
        return snapshot_facts_put(k->s, m, f, k->e);
}

static int read_known(struct snapshot *s, struct error *e)
{
        struct known known = {.s = s, .e = e};
        int r = ledger_members(s->job.d->ledger, s->job.o.id, on_known, &known, e);
        lookup_free(known.names);
        return r;
}

static bool has_hash(const struct snapshot *s, const char *path, const struct facts *f, struct digest *digest,
        void *buffer)
{
        uint8_t sum[DIGEST_MAX];
        uint64_t size;
        int64_t mtime;
        bool is_dir;
        if (staging_stat(s->job.d->staging, path, &size, &mtime, &is_dir) < 0 ||
                size != (uint64_t)f->plain_size)
                return false;
        _cleanup_close_ int fd = staging_open_file(s->job.d->staging, path);
        if (fd < 0)
                return false;
        ssize_t n;
        while ((n = read(fd, buffer, READ_SIZE)) > 0)
                digest_update(digest, buffer, (size_t)n);
        digest_final(digest, sum);
        return n == 0 && memcmp(sum, f->sha256, SHA256_SIZE) == 0;
}

/* A member counts as there when its file, in the partial folder or in the published one of the same archive,
 * still has the hash of the ledger: sizes alone do not tell what a power loss left. And when it is of the
 * group and mode that files are to have now. */
static bool is_there(
        struct snapshot *s, const struct facts *f, const char *partial, struct digest *digest, void *buffer)
{
        const struct ledger_object *o = &s->job.o;
        uint64_t size = (uint64_t)f->plain_size;
        struct package_member parsed;
        if (snapshot_parse(s, f, &parsed, NULL) < 0)
                return false;
        _cleanup_free_ char *in_partial = str_printf("%s/%s", partial, parsed.path);
        _cleanup_free_ char *published = str_printf("%s/%s", o->path, parsed.path);
        if (!in_partial || !published)
                return false;
        if (snapshot_has(s->dir, parsed.path, size) && has_hash(s, in_partial, f, digest, buffer))
                return true;
        return streq(o->staged_etag, o->etag) &&
               snapshot_add_link(s->dir, parsed.path, published, f->sha256, size, NULL) >= 0;
}

static void take_over(
        struct snapshot *s, struct member *m, const char *partial, struct digest *digest, void *buffer)
{
        _cleanup_free_ struct facts *f = snapshot_facts(s, m, NULL);
        if (!f || !is_there(s, f, partial, digest, buffer))
                return;
        snapshot_count_staged(s, m, f);
        if (!m->filtered)
                snapshot_discount_wanted(s, m, f);
}

static void prepare_in_thread(uv_work_t *work)
{
        struct snapshot *s = work->data;
        _cleanup_free_ char *partial = snapshot_partial_path(s->job.o.path);
        _cleanup_free_ void *buffer = malloc(READ_SIZE);
        struct digest *digest = NULL;
        bool can = partial && buffer && digest_new(DIGEST_SHA256, &digest) >= 0;
        for (size_t i = 0; i < s->n_members; i++) {
                struct member *m = &s->members[i];
                if (m->has_sha256 && can && !s->cancelled)
                        take_over(s, m, partial, digest, buffer);
                m->has_sha256 = m->step == MEMBER_STAGED;
        }
        digest_free(digest);
}

static void on_prepared(uv_work_t *work, int status)
{
        struct snapshot *s = work->data;
        (void)status;
        s->working = false;
        if (s->cancelled) {
                record_failed(s->job.d->record, &s->job.o, CAUSE_CANCELLED, "stopped", 0);
                snapshot_finish(s);
                return;
        }
        if (!room_for(s)) {
                snapshot_finish(s);
                return;
        }
        s->state = SNAPSHOT_RUNS;
        snapshot_step(s);
}

void snapshot_prepare(struct snapshot *s)
{
        struct error e = {};
        int r = read_known(s, &e);
        if (r >= 0)
                r = staging_make_top(s->job.d->staging, s->job.o.path, &s->org, &e);
        if (r >= 0)
                r = snapshot_begin(s->job.d->staging, s->job.o.path, s->job.o.etag, &s->attr, &s->dir, &e);
        if (r == -EALREADY) {
                /* A crash came after the rename: what is published is this archive, only the ledger missed
                 * it. */
                snprintf(s->job.o.staged_etag, sizeof(s->job.o.staged_etag), "%s", s->job.o.etag);
                r = snapshot_begin(s->job.d->staging, s->job.o.path, s->job.o.etag, &s->attr, &s->dir, &e);
        }
        if (r < 0) {
                snapshot_fail(s, e.cause, e.text);
                return;
        }
        s->working = true;
        s->work.data = s;
        uv_queue_work(&s->job.d->loop, &s->work, prepare_in_thread, on_prepared);
}
