/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in a snapshot's folder beside its members: SHA256SUMS, as sha256sum -c reads it, MANIFEST.jsonl
 * and REJECTED. And what must not stand there: left-overs of an earlier run. With these it is published. */
#include <fcntl.h>
#include <stdlib.h>

#include "digest.h"
#include "fsx.h"
#include "json.h"
#include "snapshot_internal.h"
#include "staging.h"
#include "staging_internal.h"
#include "str.h"
#include "sums.h"

/* Which members the folder must have. */
struct table {
        const struct snapshot_dir *d;
        const struct snapshot_list *list;
};

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
        int taken = S_ISREG(st.st_mode) ? t->list->has(t->list->arg, path, e) : 0;
        if (taken != 0)
                return MIN(taken, 0);
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
        if (r < 0)
                return r;
        struct dirent *entry;
        while ((r = dir_next(d, &entry)) > 0) {
                r = tidy_entry(t, fd, path, entry, depth, e);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return staging_fail(-r, "tidying", path, e);
        return *path ? set_folder(t->d, fd, path, e) : 0;
}

/* One of the files, while it is written. */
struct sums_output {
        const struct snapshot_dir *d;
        const struct list_file *file;
        int fd;
        size_t n; /* lines */
        struct strbuf b;
        char *last; /* the name before, of what is checked */
};

struct list_file {
        const char *name;
        bool rejected; /* it lists these; without any it is not there */
        bool checks;   /* looks whether what it lists is there */
        void (*add)(struct strbuf *b, const struct snapshot_sum *sum);
};

static void sums_output_done(struct sums_output *out)
{
        close_fd(out->fd);
        strbuf_done(&out->b);
        free(out->last);
}

static void add_sum(struct strbuf *b, const struct snapshot_sum *sum)
{
        sums_add(b, sum->name, sum->sha256);
}

/* The name of a rejected one may be what it was rejected for. */
static void add_rejected(struct strbuf *b, const struct snapshot_sum *sum)
{
        char shown[4 * 1025];
        strbuf_printf(b, "%s\t%s\n", sum->cause ? sum->cause : "unknown",
                str_visible(sum->name, shown, sizeof(shown)));
}

static void add_known(struct json *j, const char *name, const char *value)
{
        json_str(j, name, str_empty(value) ? NULL : value);
}

static void add_manifest(struct strbuf *b, const struct snapshot_sum *sum)
{
        _cleanup_json_ struct json j = {};
        json_open(&j, NULL, '{');
        json_str(&j, "path", sum->name);
        add_known(&j, "course", sum->course);
        add_known(&j, "table", sum->table);
        add_known(&j, "site", sum->site);
        json_u64(&j, "size", sum->size);
        json_sha256(&j, "sha256", sum->sha256);
        if (str_ends(sum->name, ".sql"))
                json_u64(&j, "rows", sum->rows);
        else
                json_null(&j, "rows");
        json_close(&j, '}');
        strbuf_add_n(b, j.out.s, j.out.len);
        strbuf_add(b, "\n");
        b->err = b->err ? b->err : j.out.err;
}

static const struct list_file sums_file = {.name = SNAPSHOT_SUMS, .checks = true, .add = add_sum},
                              manifest_file = {.name = SNAPSHOT_MANIFEST, .add = add_manifest},
                              rejected_file = {.name = "REJECTED", .rejected = true, .add = add_rejected};

static int flush(struct sums_output *out, size_t least, struct error *e)
{
        if (out->b.err)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        if (out->b.len <= least)
                return 0;
        int r = write_all(out->fd, out->b.s, out->b.len);
        out->b.len = 0;
        return r < 0 ? staging_fail(-r, "writing", out->file->name, e) : 0;
}

/* It stands there, once, and comes in its turn. */
static int check_staged(struct sums_output *out, const char *name, struct error *e)
{
        struct stat st;
        int r = staging_check_path(name, e);
        if (r < 0)
                return r;
        int order = out->last ? strcmp(out->last, name) : -1;
        if (order >= 0)
                return error_set(e, CAUSE_INTERNAL, EINVAL, "%s is %s in a snapshot", name,
                        order ? "out of order" : "twice");
        free(out->last);
        out->last = strdup(name);
        if (!out->last)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        _cleanup_close_ int fd = open_beneath(out->d->fd, name, O_PATH | O_NOFOLLOW, 0);
        if (fd == -ENOENT || (fd >= 0 && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)))
                return error_set(e, CAUSE_IO, ENOENT, "%s: the member %s is not there", out->d->path, name);
        return fd < 0 ? staging_fail(-fd, "looking at", name, e) : 0;
}

static int add_line(void *arg, const struct snapshot_sum *sum, struct error *e)
{
        struct sums_output *out = arg;
        int r = out->file->checks ? check_staged(out, sum->name, e) : 0;
        if (r < 0)
                return r;
        out->file->add(&out->b, sum);
        out->n++;
        return flush(out, 65536, e);
}

static int write_list(struct snapshot_dir *d, const struct snapshot_list *list, const struct list_file *file,
        struct error *e)
{
        _cleanup_(sums_output_done) struct sums_output out = {
                .d = d, .file = file, .fd = staging_create(d->s, e)};
        if (out.fd < 0)
                return out.fd;
        int r = list->each(list->arg, file->rejected, add_line, &out, e);
        if (r == 0)
                r = flush(&out, 0, e);
        if (r < 0 || (file->rejected && out.n == 0))
                return r;
        return snapshot_add(d, file->name, out.fd, e);
}

/* Removes what is in the folder but not in list, checks that all of list is there, gives folders within their
 * group and mode, and writes SHA256SUMS, MANIFEST.jsonl and REJECTED. Not durable. */
static int write_lists(struct snapshot_dir *d, const struct snapshot_list *list, struct error *e)
{
        struct table t = {.d = d, .list = list};
        int r = tidy(&t, d->fd, ".", "", STAGING_DEPTH, e);
        if (r == 0)
                r = write_list(d, list, &sums_file, e);
        if (r == 0)
                r = write_list(d, list, &manifest_file, e);
        if (r == 0)
                r = write_list(d, list, &rejected_file, e);
        return r;
}

int snapshot_publish(
        struct snapshot_dir *d, const struct snapshot_list *list, const char *keep_as, struct error *e)
{
        int r = keep_as ? staging_check_path(keep_as, e) : 0;
        if (r == 0)
                r = write_lists(d, list, e);
        if (r == 0 && list->unknown)
                r = snapshot_keep_unknown(d, e);
        return r < 0 ? r : snapshot_show(d, keep_as, e);
}
