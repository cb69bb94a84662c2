/* SPDX-License-Identifier: Apache-2.0 */
/* What is in a snapshot's folder before it gets its name. Of an archive: exactly its staged members, listed
 * in SHA256SUMS and MANIFEST.jsonl, and in REJECTED what was refused. A folder that a helper filled is looked
 * at as if it were hostile: nothing in it is opened before it is known to be a regular file of ours with one
 * name, and nothing is there that was not announced. What stands at the name before it appears, and was not
 * put there by czard, is somebody's: the old folder is kept, as PLACE_REPLACED/NAME-TIME beside it, and not
 * removed. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "digest.h"
#include "fsx.h"
#include "json.h"
#include "snapshot_internal.h"
#include "staging.h"
#include "staging_internal.h"
#include "str.h"
#include "wants.h"

#define SUMS_MOST (64 * MIB)

int snapshot_fd(const struct snapshot_dir *d)
{
        return d->fd;
}

static int by_name(const void *name, const void *made)
{
        return strcmp(name, ((const struct snapshot_made *)made)->name);
}

/* --- SHA256SUMS, as sha256sum -c reads it --- */

/* GNU: a name with a backslash or line break is escaped, and the line begins with a backslash. Line breaks
 * cannot occur, staging_check_path() refuses them. */
void snapshot_add_sum(struct strbuf *b, const char *name, const uint8_t sha256[SHA256_SIZE])
{
        char hex[SHA256_HEX];
        hex_encode(sha256, SHA256_SIZE, hex);
        if (!strchr(name, '\\')) {
                strbuf_printf(b, "%s  %s\n", hex, name);
                return;
        }
        strbuf_printf(b, "\\%s  ", hex);
        for (const char *p = name; *p; p++)
                strbuf_add_n(b, *p == '\\' ? "\\\\" : p, *p == '\\' ? 2 : 1);
        strbuf_add(b, "\n");
}

struct sums {
        struct digest *digest;
        bool is_unknown;
};

static int on_member(struct ledger_member *m, void *arg)
{
        struct sums *sums = arg;
        _cleanup_strbuf_ struct strbuf line = {};
        if (m->state != OBJECT_PUBLISHED)
                return 0;
        sums->is_unknown |= !m->has_sha256;
        snapshot_add_sum(&line, m->path, m->sha256);
        if (line.err)
                return -ENOMEM;
        digest_update(sums->digest, line.s, line.len);
        return 0;
}

int snapshot_sums(struct ledger *l, int64_t object_id, uint8_t ret[SHA256_SIZE], struct error *e)
{
        struct sums sums = {};
        int r = digest_new(DIGEST_SHA256, &sums.digest);
        if (r < 0)
                return error_set(e, CAUSE_IO, -r, "out of memory");
        r = ledger_members(l, object_id, on_member, &sums, e);
        if (r == 0)
                digest_final(sums.digest, ret);
        digest_free(sums.digest);
        return r < 0 ? r : !sums.is_unknown;
}

/* --- what stands at the name --- */

static void keep(struct snapshot_dir *d)
{
        snprintf(d->kept_as, sizeof(d->kept_as), PLACE_REPLACED "/%s-%lld", d->name, (long long)time(NULL));
}

/* Nothing is there, or something that is not replaced. */
static bool is_no_folder(int fd)
{
        return fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP;
}

/* *ret: the text of SHA256SUMS, "" when it cannot be read. 0 or -ENOMEM. */
static int read_sums(int dir_fd, char **ret)
{
        _cleanup_close_ int fd = open_beneath(dir_fd, SNAPSHOT_SUMS, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
        if (fd >= 0 && read_file_fd(fd, SUMS_MOST, ret, NULL) == 0)
                return 0;
        *ret = strdup("");
        return *ret ? 0 : -ENOMEM;
}

/* The names in it, which are plain ones in the order of bytes; in another order they are not found, and all
 * is kept. */
static int names_of(char *text, struct strv *ret)
{
        int r = 0;
        for (char *line; r == 0 && (line = strsep(&text, "\n"));)
                if (strlen(line) > SHA256_HEX + 1)
                        r = strv_add(ret, line + SHA256_HEX + 1);
        return r;
}

static int keep_added(struct snapshot_dir *d, const struct snapshot_made *v, size_t n, struct error *e)
{
        _cleanup_free_ char *text = NULL;
        _cleanup_(strv_done) struct strv names = {};
        int fd = open_beneath(d->parent_fd, d->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (is_no_folder(fd))
                return 0;
        _cleanup_closedir_ DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir) {
                int err = fd < 0 ? -fd : errno;
                close_fd(fd);
                return staging_fail(err, "looking", d->path, e);
        }
        int r = read_sums(fd, &text);
        if (r == 0)
                r = names_of(text, &names);
        struct dirent *entry;
        while (r == 0 && !*d->kept_as && (r = dir_next(dir, &entry)) > 0) {
                r = 0;
                const char *name = entry->d_name;
                bool is_ours = streq(name, SNAPSHOT_SUMS) || streq(name, SNAPSHOT_MANIFEST) ||
                               (n && bsearch(name, v, n, sizeof(*v), by_name)) ||
                               strv_sorted_has(&names, name);
                if (!is_ours)
                        keep(d);
        }
        return r < 0 ? staging_fail(-r, "looking", d->path, e) : 0;
}

static int keep_unknown(struct snapshot_dir *d, struct error *e)
{
        _cleanup_free_ char *there = NULL, *ours = NULL;
        _cleanup_close_ int fd = open_beneath(d->parent_fd, d->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (is_no_folder(fd))
                return 0;
        int r = fd < 0 ? fd : read_sums(fd, &there);
        if (r == 0)
                r = read_sums(d->fd, &ours);
        if (r < 0)
                return staging_fail(-r, "looking", d->path, e);
        if (!*there || !streq(there, ours))
                keep(d);
        return 0;
}

const char *snapshot_kept_as(const struct snapshot_dir *d)
{
        return d->kept_as;
}

/* --- what a helper made --- */

static int refuse(const struct snapshot_dir *d, const char *name, const char *why, struct error *e)
{
        char shown[4 * 256 + 1];
        return error_set(
                e, CAUSE_HELPER, EBADMSG, "%s: %s %s", d->path, str_visible(name, shown, sizeof(shown)), why);
}

/* One entry of the folder: is it the one that was announced? Then it is shown as all staged files are. */
static int take(struct snapshot_dir *d, const char *name, const struct snapshot_made *made, struct error *e)
{
        struct stat st;
        if (!made)
                return refuse(d, name, "was not announced", e);
        if (fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return staging_fail(errno, "looking", name, e);
        if (!S_ISREG(st.st_mode) || st.st_nlink != 1 || st.st_uid != geteuid())
                return refuse(d, name, "is no regular file of one name and of ours", e);
        if ((uint64_t)st.st_size != made->size)
                return refuse(d, name, "has another size than was announced", e);
        _cleanup_close_ int fd = open_beneath(d->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
        if (fd < 0)
                return staging_fail(-fd, "opening", name, e);
        uint64_t size, rows;
        int r = made->ret_sha256 ? snapshot_read_content(fd, made->ret_sha256, &size, &rows) : 0;
        return r < 0 ? staging_fail(-r, "reading", name, e)
                     : staging_set_attr(fd, d->s->file_mode, &d->attr, name, e);
}

static int check_names(const struct snapshot_dir *d, const struct snapshot_made *v, size_t n, struct error *e)
{
        for (size_t i = 0; i < n; i++)
                if (staging_check_path(v[i].name, NULL) < 0 || strchr(v[i].name, '/') || *v[i].name == '.' ||
                        (i > 0 && strcmp(v[i - 1].name, v[i].name) >= 0))
                        return refuse(d, v[i].name, "is no name, or not in order", e);
        return 0;
}

int snapshot_publish_made(struct snapshot_dir *d, const struct snapshot_made *v, size_t n, struct error *e)
{
        int r = check_names(d, v, n, e);
        if (r < 0)
                return r;
        int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_closedir_ DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir) {
                r = staging_fail(errno, "looking", d->path, e);
                close_fd(fd);
                return r;
        }
        size_t found = 0;
        struct dirent *entry;
        while ((r = dir_next(dir, &entry)) > 0) {
                r = take(d, entry->d_name, n ? bsearch(entry->d_name, v, n, sizeof(*v), by_name) : NULL, e);
                if (r < 0)
                        return r;
                found++;
        }
        if (r < 0)
                return staging_fail(-r, "looking", d->path, e);
        if (found != n)
                return error_set(e, CAUSE_HELPER, EBADMSG, "%s: %zu files were announced, %zu are there",
                        d->path, n, found);
        r = keep_added(d, v, n, e);
        return r < 0 ? r : snapshot_show(d, NULL, e);
}

/* --- an archive's members, and the files that list them --- */

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

static void add_staged(struct strbuf *b, const struct snapshot_sum *sum)
{
        snapshot_add_sum(b, sum->name, sum->sha256);
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

static const struct list_file list_files[] = {
        {.name = SNAPSHOT_SUMS, .checks = true, .add = add_staged},
        {.name = SNAPSHOT_MANIFEST, .add = add_manifest},
        {.name = "REJECTED", .rejected = true, .add = add_rejected},
};

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

int snapshot_publish(
        struct snapshot_dir *d, const struct snapshot_list *list, const char *keep_as, struct error *e)
{
        struct table t = {.d = d, .list = list};
        int r = keep_as ? staging_check_path(keep_as, e) : 0;
        if (r == 0)
                r = tidy(&t, d->fd, ".", "", STAGING_DEPTH, e);
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(list_files); i++)
                r = write_list(d, list, &list_files[i], e);
        if (r == 0 && list->unknown)
                r = keep_unknown(d, e);
        return r < 0 ? r : snapshot_show(d, keep_as, e);
}
