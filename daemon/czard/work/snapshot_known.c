/* SPDX-License-Identifier: Apache-2.0 */
/* What earlier attempts, or the published folder of the very same archive, have of an archive's members is
 * taken over, where its hash is still that of the ledger. Then it is known what is to be fetched, and whether
 * it fits. */
#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "digest.h"
#include "snapshot_job.h"
#include "str.h"

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
