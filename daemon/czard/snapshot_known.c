/* SPDX-License-Identifier: Apache-2.0 */
/* What earlier attempts, or the published folder of the very same archive, have of an archive's members is
 * taken over, where its hash is still that of the ledger. Then it is known what is to be fetched, and whether
 * it fits. */
#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "digest.h"
#include "record.h"
#include "room.h"
#include "str.h"

#define READ_SIZE (256 * 1024)

static int by_name(const void *name, const void *member)
{
        const struct member *const *m = member;
        return strcmp(name, (*m)->entry.name);
}

static int by_names(const void *a, const void *b)
{
        const struct member *const *x = a, *const *y = b;
        return strcmp((*x)->entry.name, (*y)->entry.name);
}

struct known {
        struct snapshot *s;
        struct member **v; /* wanted or ignored ones, by name */
        size_t n;
};

static int on_known(struct ledger_member *row, void *arg)
{
        struct known *k = arg;
        const struct ledger_object *o = &k->s->job.o;
        struct member **found = bsearch(row->name, k->v, k->n, sizeof(*k->v), by_name);
        if (!found || row->state != OBJECT_PUBLISHED || !row->has_sha256 || !streq(row->path, (*found)->path))
                return 0;
        struct member *m = *found;
        if (m->step == MEMBER_IGNORED) {
                if (!streq(o->staged_etag, o->etag))
                        return 0;
                m->filtered = true; /* narrowing a filter deletes nothing */
        }
        m->has_sha256 = true;
        memcpy(m->sha256, row->sha256, sizeof(m->sha256));
        m->plain_size = row->plain_size;
        m->checks = row->checks;
        return 0;
}

static int read_known(struct snapshot *s, struct error *e)
{
        _cleanup_free_ struct member **v = calloc(s->n_members + 1, sizeof(struct member *));
        struct known known = {.s = s, .v = v};
        if (!v)
                return error_set(e, CAUSE_LIMIT, ENOMEM, "out of memory for its members");
        for (size_t i = 0; i < s->n_members; i++)
                if (s->members[i].path && s->members[i].step != MEMBER_REJECTED)
                        v[known.n++] = &s->members[i];
        qsort(v, known.n, sizeof(*v), by_names);
        return ledger_members(s->job.d->ledger, s->job.o.id, on_known, &known, e);
}

static bool has_hash(const struct snapshot *s, const char *path, const struct member *m,
        struct digest *digest, void *buffer)
{
        uint8_t sum[DIGEST_MAX];
        uint64_t size;
        int64_t mtime;
        bool is_dir;
        if (staging_stat(s->job.d->staging, path, &size, &mtime, &is_dir) < 0 ||
                size != (uint64_t)m->plain_size)
                return false;
        _cleanup_close_ int fd = staging_open_file(s->job.d->staging, path);
        if (fd < 0)
                return false;
        ssize_t n;
        while ((n = read(fd, buffer, READ_SIZE)) > 0)
                digest_update(digest, buffer, (size_t)n);
        digest_final(digest, sum);
        return n == 0 && memcmp(sum, m->sha256, SHA256_SIZE) == 0;
}

/* A member counts as there when its file, in the partial folder or in the published one of the same archive,
 * still has the hash of the ledger: sizes alone do not tell what a power loss left. And when it is of the
 * group and mode that files are to have now. */
static bool is_there(
        struct snapshot *s, const struct member *m, const char *partial, struct digest *digest, void *buffer)
{
        const struct ledger_object *o = &s->job.o;
        _cleanup_free_ char *in_partial = str_printf("%s/%s", partial, m->path);
        _cleanup_free_ char *published = str_printf("%s/%s", o->path, m->path);
        if (!in_partial || !published)
                return false;
        if (snapshot_has(s->dir, m->path, (uint64_t)m->plain_size) &&
                has_hash(s, in_partial, m, digest, buffer))
                return true;
        return streq(o->staged_etag, o->etag) && has_hash(s, published, m, digest, buffer) &&
               snapshot_add_link(s->dir, m->path, published, (uint64_t)m->plain_size, NULL) >= 0;
}

static void prepare_in_thread(uv_work_t *work)
{
        struct snapshot *s = work->data;
        const char *path = s->job.o.path, *slash = strrchr(path, '/');
        _cleanup_free_ char *partial =
                str_printf("%.*s.%s.partial", (int)(slash + 1 - path), path, slash + 1);
        _cleanup_free_ void *buffer = malloc(READ_SIZE);
        struct digest *digest = NULL;
        if (partial && buffer && digest_new(DIGEST_SHA256, &digest) >= 0)
                for (size_t i = 0; i < s->n_members && !s->cancelled; i++)
                        if (s->members[i].has_sha256 && is_there(s, &s->members[i], partial, digest, buffer))
                                s->members[i].step = MEMBER_STAGED;
        digest_free(digest);
}

static void take_over(struct snapshot *s, struct member *m)
{
        if (m->step != MEMBER_STAGED) {
                m->has_sha256 = false;
                m->plain_size = -1;
                return;
        }
        s->n_staged++;
        s->plain_bytes += (uint64_t)m->plain_size;
        if (m->filtered)
                return;
        s->n_wanted--;
        s->wanted_bytes -= m->entry.extent;
}

static void on_prepared(uv_work_t *work, int status)
{
        struct snapshot *s = work->data;
        (void)status;
        s->working = false;
        if (s->cancelled) {
                record_failed(s->job.d, &s->job.o, CAUSE_CANCELLED, "stopped", 0);
                snapshot_finish(s);
                return;
        }
        for (size_t i = 0; i < s->n_members; i++) {
                struct member *m = &s->members[i];
                if (m->has_sha256)
                        take_over(s, m);
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
