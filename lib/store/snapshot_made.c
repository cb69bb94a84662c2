/* SPDX-License-Identifier: Apache-2.0 */
/* A folder that a helper filled is looked at as if it were hostile: nothing in it is opened before it is
 * known to be a regular file of ours with one name, and nothing is there that was not announced. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fsx.h"
#include "snapshot_internal.h"
#include "staging.h"
#include "staging_internal.h"
#include "str.h"

int snapshot_fd(const struct snapshot_dir *d)
{
        return d->fd;
}

static int refuse(const struct snapshot_dir *d, const char *name, const char *why, struct error *e)
{
        char shown[4 * 256 + 1];
        return error_set(
                e, CAUSE_HELPER, EBADMSG, "%s: %s %s", d->path, str_visible(name, shown, sizeof(shown)), why);
}

static int by_name(const void *name, const void *made)
{
        return strcmp(name, ((const struct snapshot_made *)made)->name);
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
