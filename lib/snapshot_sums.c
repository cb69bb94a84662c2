/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in a snapshot's folder beside its members: SHA256SUMS, as sha256sum -c reads it, and REJECTED.
 * And what must not stand there: left-overs of an earlier run. */
#include <fcntl.h>
#include <stdlib.h>

#include "digest.h"
#include "fsx.h"
#include "snapshot_internal.h"
#include "staging_internal.h"
#include "str.h"

/* The members by name, and which of them the folder has. */
struct table {
        const struct snapshot_dir *d;
        const struct snapshot_sum **v;
        bool *seen;
        size_t n;
};

static void table_done(struct table *t)
{
        free(t->v);
        free(t->seen);
}

static int by_name(const void *a, const void *b)
{
        const struct snapshot_sum *const *x = a, *const *y = b;
        return strcmp((*x)->name, (*y)->name);
}

static int make_table(struct table *t, const struct snapshot_sum *sums, size_t n, struct error *e)
{
        t->n = n;
        t->v = calloc(n + 1, sizeof(*t->v));
        t->seen = calloc(n + 1, sizeof(*t->seen));
        if (!t->v || !t->seen)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        for (size_t i = 0; i < n; i++) {
                int r = sums[i].sha256 ? staging_check_path(sums[i].name, e) : 0;
                if (r < 0)
                        return r;
                t->v[i] = &sums[i];
        }
        qsort(t->v, n, sizeof(*t->v), by_name);
        for (size_t i = 1; i < n; i++)
                if (t->v[i]->sha256 && t->v[i - 1]->sha256 && streq(t->v[i]->name, t->v[i - 1]->name))
                        return error_set(
                                e, CAUSE_INTERNAL, EINVAL, "%s is twice in a snapshot", t->v[i]->name);
        return 0;
}

/* Rejected ones may have any name, also one that is taken: the name alone does not tell. */
static bool table_take(struct table *t, const char *path)
{
        struct snapshot_sum key = {.name = path};
        const struct snapshot_sum *k = &key, **hit = bsearch(&k, t->v, t->n, sizeof(*t->v), by_name);
        if (!hit)
                return false;
        size_t i = (size_t)(hit - t->v);
        while (i > 0 && streq(t->v[i - 1]->name, path))
                i--;
        for (; i < t->n && streq(t->v[i]->name, path); i++)
                if (t->v[i]->sha256) {
                        t->seen[i] = true;
                        return true;
                }
        return false;
}

static int tidy(struct table *t, int at_fd, const char *name, const char *path, int depth, struct error *e);

static int tidy_entry(struct table *t, int dir_fd, const char *above, const struct dirent *entry, int depth,
        struct error *e)
{
        _cleanup_free_ char *path = str_printf("%s%s%s", above, *above ? "/" : "", entry->d_name);
        struct stat st;
        if (!path)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        if (fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return staging_fail(errno, "looking", path, e);
        if (S_ISREG(st.st_mode) && table_take(t, path))
                return 0;
        if (!S_ISDIR(st.st_mode))
                return staging_remove_at(dir_fd, entry->d_name, e);
        int r = tidy(t, dir_fd, entry->d_name, path, depth - 1, e);
        /* an empty one goes */
        if (r == 0 && unlinkat(dir_fd, entry->d_name, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY &&
                errno != EEXIST)
                r = staging_fail(errno, "removing", path, e);
        return r;
}

/* One that an earlier attempt made under another configuration. */
static int set_folder(const struct snapshot_dir *d, int fd, const char *path, struct error *e)
{
        const struct staging_attr attr = {.gid = d->attr.gid, .mtime = -1};
        struct stat st;
        if (fstat(fd, &st) < 0)
                return staging_fail(errno, "looking", path, e);
        if ((st.st_mode & 07777) == d->s->dir_mode && (attr.gid == (gid_t)-1 || attr.gid == st.st_gid))
                return 0;
        return staging_set_attr(fd, d->s->dir_mode, &attr, path, e);
}

static int tidy(struct table *t, int at_fd, const char *name, const char *path, int depth, struct error *e)
{
        if (depth == 0)
                return staging_fail(ELOOP, "tidying", path, e);
        int fd = open_beneath(at_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (fd < 0)
                return staging_fail(-fd, "tidying", path, e);
        _cleanup_closedir_ DIR *d = fdopendir(fd);
        if (!d) {
                close_fd(fd);
                return staging_fail(errno, "tidying", path, e);
        }
        int r = staging_check_dir(fd, path, e);
        for (struct dirent *entry; r == 0 && (entry = readdir(d));)
                if (!streq(entry->d_name, ".") && !streq(entry->d_name, ".."))
                        r = tidy_entry(t, fd, path, entry, depth, e);
        if (r == 0 && *path)
                r = set_folder(t->d, fd, path, e);
        return r;
}

/* GNU: a name with a backslash or line break is escaped, and the line begins with a backslash. Line breaks
 * cannot occur, staging_check_path() refuses them. */
static void add_sum(struct strbuf *b, const struct snapshot_sum *sum)
{
        char hex[SHA256_HEX];
        hex_encode(sum->sha256, SHA256_SIZE, hex);
        if (!strchr(sum->name, '\\')) {
                strbuf_printf(b, "%s  %s\n", hex, sum->name);
                return;
        }
        strbuf_printf(b, "\\%s  ", hex);
        for (const char *p = sum->name; *p; p++)
                strbuf_add_n(b, *p == '\\' ? "\\\\" : p, *p == '\\' ? 2 : 1);
        strbuf_add(b, "\n");
}

/* The name of a rejected one may be what it was rejected for. */
static void add_rejected(struct strbuf *b, const struct snapshot_sum *sum)
{
        char shown[4 * 1025];
        strbuf_printf(b, "%s\t%s\n", sum->cause ? sum->cause : "unknown",
                str_visible(sum->name, shown, sizeof(shown)));
}

static int flush(struct strbuf *b, size_t least, int fd, const char *path, struct error *e)
{
        if (b->err)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        if (b->len <= least)
                return 0;
        int r = write_all(fd, b->s, b->len);
        b->len = 0;
        return r < 0 ? staging_fail(-r, "writing", path, e) : 0;
}

static int write_list(
        struct snapshot_dir *d, const struct table *t, bool rejected, const char *name, struct error *e)
{
        _cleanup_close_ int fd = staging_create(d->s, e);
        _cleanup_strbuf_ struct strbuf b = {};
        int r = MIN(fd, 0);
        for (size_t i = 0; i < t->n && r == 0; i++) {
                if (rejected != !t->v[i]->sha256)
                        continue;
                if (rejected)
                        add_rejected(&b, t->v[i]);
                else
                        add_sum(&b, t->v[i]);
                r = flush(&b, 65536, fd, name, e);
        }
        if (r == 0)
                r = flush(&b, 0, fd, name, e);
        return r < 0 ? r : snapshot_add(d, name, fd, e);
}

int snapshot_write_sums(struct snapshot_dir *d, const struct snapshot_sum *sums, size_t n, struct error *e)
{
        _cleanup_(table_done) struct table t = {.d = d};
        int r = make_table(&t, sums, n, e);
        if (r == 0)
                r = tidy(&t, d->fd, ".", "", STAGING_DEPTH, e);
        if (r < 0)
                return r;
        bool rejected = false;
        for (size_t i = 0; i < n; i++) {
                rejected |= !t.v[i]->sha256;
                if (t.v[i]->sha256 && !t.seen[i])
                        return error_set(
                                e, CAUSE_IO, ENOENT, "%s: the member %s is not there", d->path, t.v[i]->name);
        }
        r = write_list(d, &t, false, "SHA256SUMS", e);
        if (r == 0 && rejected)
                r = write_list(d, &t, true, "REJECTED", e);
        return r;
}
