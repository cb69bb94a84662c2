/* SPDX-License-Identifier: Apache-2.0 */
/* A folder that a helper filled is looked at as if it were hostile: nothing in it is opened before it is
 * known to be a regular file of ours with one name, and nothing is there that was not announced. What stands
 * at the name before it appears, and was not put there by czard, is somebody's: the old folder is kept, as
 * PLACE_REPLACED/NAME-TIME beside it, and not removed. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "fsx.h"
#include "place.h"
#include "snapshot_internal.h"
#include "staging.h"
#include "staging_internal.h"
#include "str.h"

#define SUMS_MOST (64 * MIB)

int snapshot_fd(const struct snapshot_dir *d)
{
        return d->fd;
}

static int by_name(const void *name, const void *made)
{
        return strcmp(name, ((const struct snapshot_made *)made)->name);
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

int snapshot_keep_added(struct snapshot_dir *d, const struct snapshot_made *v, size_t n, struct error *e)
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

int snapshot_keep_unknown(struct snapshot_dir *d, struct error *e)
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
        r = snapshot_keep_added(d, v, n, e);
        return r < 0 ? r : snapshot_show(d, NULL, e);
}
