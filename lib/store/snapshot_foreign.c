/* SPDX-License-Identifier: Apache-2.0 */
/* What stands at the name of a folder that is about to appear, and was not put there by czard, is somebody's:
 * the old folder is kept, as PLACE_REPLACED/NAME-TIME beside it, and not removed. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#include "fsx.h"
#include "place.h"
#include "snapshot_internal.h"
#include "staging_internal.h"
#include "str.h"

#define SUMS_MOST (64 * MIB)

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

static int by_made(const void *name, const void *made)
{
        return strcmp(name, ((const struct snapshot_made *)made)->name);
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
                               (n && bsearch(name, v, n, sizeof(*v), by_made)) ||
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
