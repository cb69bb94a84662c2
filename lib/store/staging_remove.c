/* SPDX-License-Identifier: Apache-2.0 */
/* What goes from the staging directory: removed, or kept aside under another name. A folder vanishes at once,
 * and the folders above it go with it when they are empty. */
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "fsx.h"
#include "staging.h"
#include "staging_internal.h"
#include "str.h"

int staging_remove_at(int dir_fd, const char *name, struct error *e)
{
        struct stat st;
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : staging_fail(errno, "looking", name, e);
        if (!S_ISDIR(st.st_mode)) {
                if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
                        return staging_fail(errno, "removing", name, e);
                return 0;
        }
        /* A folder vanishes at once: nobody sees half of a snapshot. */
        char random[STAGING_HIDDEN_SIZE], hidden[NAME_MAX + 1];
        int r = staging_hidden_name(random);
        /* ".NAME.czard-tmp-*": it can be found by its name when not all of it can be removed now */
        snprintf(hidden, sizeof(hidden), ".%.200s%s", name, random);
        if (r == 0 && renameat(dir_fd, name, dir_fd, hidden) < 0)
                r = -errno;
        if (r < 0)
                return staging_fail(-r, "removing", name, e);
        r = remove_tree_at(dir_fd, hidden);
        return r < 0 ? staging_fail(-r, "removing", name, e) : 0;
}

/* Is entry what is left of a folder of that name that could not be removed as a whole? */
static bool is_remains_of(const char *entry, const char *name)
{
        const char *rest = entry[0] == '.' ? entry + 1 : "";
        size_t n = strnlen(name, 200);
        return strncmp(rest, name, n) == 0 && str_after(rest + n, STAGING_HIDDEN);
}

int staging_list(const struct staging *s, const char *path, struct strv *ret, struct error *e)
{
        int r = staging_check_path(path, e);
        if (r < 0)
                return r;
        r = list_dir_at(s->root_fd, path, ret);
        return r == 0 || r == -ENOENT ? r : staging_fail(-r, "reading", path, e);
}

int staging_remove_remains(struct staging *s, const char *path, struct error *e)
{
        int r = staging_check_path(path, e);
        if (r < 0)
                return r;
        _cleanup_close_ int dir = staging_open_parent(s, s->root_fd, path, false, (gid_t)-1, e);
        _cleanup_(strv_done) struct strv names = {};
        if (dir < 0)
                return dir == -ENOENT ? 0 : dir;
        r = list_dir_at(dir, ".", &names);
        if (r < 0)
                return staging_fail(-r, "reading the folder of", path, e);
        for (size_t i = 0; r == 0 && i < names.n; i++)
                if (is_remains_of(names.v[i], staging_base_name(path)))
                        r = staging_remove_at(dir, names.v[i], e);
        return r == 0 && fsync(dir) < 0 ? staging_fail(errno, "making durable", path, e) : r;
}

/* Removes the folder that path is in when it is empty, and so on upwards; but none that somebody is about to
 * publish into. */
static void remove_empty_above(struct staging *s, const char *path)
{
        _cleanup_free_ char *above = strdup(path);
        for (char *slash; above && (slash = strrchr(above, '/'));) {
                *slash = 0;
                _cleanup_close_ int dir = staging_open_parent(s, s->root_fd, above, false, (gid_t)-1, NULL),
                                    own = staging_open_dir(s, s->root_fd, above, false, (gid_t)-1, NULL);
                if (dir < 0 || own < 0 || flock(own, LOCK_EX | LOCK_NB) < 0 ||
                        unlinkat(dir, staging_base_name(above), AT_REMOVEDIR) < 0)
                        return;
                (void)fsync(dir);
        }
}

int staging_move_aside(const struct staging *s, int dir_fd, const char *name, const char *keep_as, gid_t gid,
        struct error *e)
{
        if (str_empty(keep_as))
                return staging_remove_at(dir_fd, name, e);
        struct stat st;
        if (gid == (gid_t)-1 && fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                gid = st.st_gid;
        _cleanup_close_ int keep = staging_open_parent(s, dir_fd, keep_as, true, gid, e);
        if (keep < 0)
                return keep;
        const char *base = staging_base_name(keep_as);
        int r = staging_remove_at(keep, base, e);
        if (r < 0)
                return r;
        if (renameat(dir_fd, name, keep, base) < 0)
                return staging_fail(errno, "keeping the replaced one as", keep_as, e);
        return fsync(keep) < 0 ? staging_fail(errno, "making durable", keep_as, e) : 0;
}

int staging_retire(struct staging *s, const char *path, const char *keep_as, struct error *e)
{
        if (str_empty(keep_as))
                return staging_remove(s, path, e);
        int r = staging_check_path(path, e);
        if (r == 0)
                r = staging_check_path(keep_as, e);
        if (r < 0)
                return r;
        _cleanup_close_ int dir = staging_open_parent(s, s->root_fd, path, false, (gid_t)-1, e);
        if (dir < 0)
                return dir == -ENOENT ? 0 : dir;
        const char *name = staging_base_name(path);
        if (faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : staging_fail(errno, "looking", path, e);
        r = staging_move_aside(s, dir, name, keep_as, (gid_t)-1, e);
        return r == 0 && fsync(dir) < 0 ? staging_fail(errno, "making durable", path, e) : r;
}

int staging_remove(struct staging *s, const char *path, struct error *e)
{
        int r = staging_check_path(path, e);
        if (r < 0)
                return r;
        _cleanup_close_ int dir = staging_open_parent(s, s->root_fd, path, false, (gid_t)-1, e);
        if (dir == -ENOENT)
                return 0;
        if (dir < 0)
                return dir;
        r = staging_remove_at(dir, staging_base_name(path), e);
        if (r < 0)
                return r;
        if (fsync(dir) < 0)
                return staging_fail(errno, "making durable", path, e);
        remove_empty_above(s, path);
        return 0;
}
