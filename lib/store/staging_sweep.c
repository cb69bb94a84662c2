/* SPDX-License-Identifier: Apache-2.0 */
/* Start-up: what a crash left is ended or removed. Only names that czard itself makes are touched, and only
 * in folders that are root's or ours. */
#include <fcntl.h>

#include "fsx.h"
#include "snapshot_internal.h"
#include "staging.h"
#include "staging_internal.h"
#include "str.h"

struct sweep {
        struct staging *s;
        staging_keep_partial_fn *keep;
        void *arg;
        struct error *e;
        int err; /* the first */
};

static void sweep_failed(struct sweep *w, int r)
{
        if (r < 0 && w->err == 0) {
                w->err = r;
                w->e = NULL; /* its text stays */
        }
}

static char *join(const char *parent, const char *name)
{
        return str_printf("%s%s%s", parent, *parent ? "/" : "", name);
}

static void sweep_dir(struct sweep *w, int at_fd, const char *name, const char *path, int depth);

/* The names of a folder, read before anything in it changes. */
static int read_names(int dir_fd, struct strv *ret)
{
        int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
        if (!d) {
                int r = -errno;
                close_fd(fd);
                return r;
        }
        struct dirent *entry;
        int r;
        while ((r = dir_next(d, &entry)) > 0) {
                const char *n = entry->d_name;
                bool special = n[0] == '.';
                bool folder = entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN;
                if (streq(n, "lost+found") || (!special && !folder))
                        continue;
                r = strv_add(ret, n);
                if (r < 0)
                        return r;
        }
        return r;
}

static void sweep_entry(struct sweep *w, int dir_fd, const char *path, const char *name, int depth)
{
        char date[NAME_MAX + 1];
        if (staging_is_hidden(name))
                sweep_failed(w, staging_remove_at(dir_fd, name, w->e));
        else if (snapshot_name_of(name, date, sizeof(date)))
                sweep_failed(w, snapshot_sweep(w->s, dir_fd, path, date, w->keep, w->arg, w->e));
        else {
                _cleanup_free_ char *below = join(path, name);
                if (!below)
                        sweep_failed(w, error_set(w->e, CAUSE_IO, ENOMEM, "out of memory"));
                else
                        sweep_dir(w, dir_fd, name, below, depth);
        }
}

static void sweep_dir(struct sweep *w, int at_fd, const char *name, const char *path, int depth)
{
        if (depth == 0)
                return;
        _cleanup_close_ int fd = open_beneath(at_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (fd == -ENOTDIR || fd == -ELOOP || fd == -ENOENT)
                return; /* no folder: not ours to judge */
        if (fd < 0) {
                sweep_failed(w, staging_fail(-fd, "sweeping", path, w->e));
                return;
        }
        if (staging_check_dir(fd, path, NULL) < 0 ||
                faccessat(fd, "SHA256SUMS", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return;
        _cleanup_(strv_done) struct strv names = {};
        int r = read_names(fd, &names);
        if (r < 0)
                sweep_failed(w, staging_fail(-r, "sweeping", path, w->e));
        for (size_t i = 0; i < names.n; i++)
                sweep_entry(w, fd, path, names.v[i], depth - 1);
}

int staging_sweep(struct staging *s, staging_keep_partial_fn *keep, void *arg, struct error *e)
{
        struct sweep w = {.s = s, .keep = keep, .arg = arg, .e = e};
        sweep_dir(&w, s->root_fd, ".", "", STAGING_DEPTH);
        return w.err;
}
