/* SPDX-License-Identifier: Apache-2.0 */
/* The one door to the staging directory: opening it, and publishing, finding and removing what is in it.
 *
 * Always: every path is checked part by part and every folder on the way is root's or ours; a file gets its
 * name only when it is complete, has its group and mode and is on the disk; a name that is replaced points to
 * the old file or to the new one, never to none. staging_folder.c opens, makes and removes folders,
 * staging_volume.c knows the disk below, snapshot_dir.c builds folders that appear whole and clears up after
 * a crash. */
#include "staging.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "fsx.h"
#include "staging_internal.h"
#include "str.h"

DEFINE_CLEANUP(struct staging, staging, staging_free)

static int new_staging(const char *path, bool is_ours, struct staging **ret, struct error *e)
{
        _cleanup_(cleanup_staging) struct staging *s = calloc(1, sizeof(*s));
        if (s) {
                s->root_fd = -1;
                s->path = strdup(path);
        }
        if (!s || !s->path)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        s->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->root_fd < 0)
                return error_set(e, CAUSE_STAGING, errno,
                        "[staging] path %s: %s: mount the volume, or make the folder for czard's user with "
                        "mode 0750",
                        path, strerror(errno));
        int r = is_ours ? check_owner_mode(s->root_fd, path, 007, e) : 0;
        if (r < 0)
                return r;
        *ret = take_ptr(&s);
        return 0;
}

/* One file without a name tells it. */
int staging_probe(const struct staging *s, struct error *e)
{
        _cleanup_close_ int fd = openat(s->root_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (fd >= 0)
                return 0;
        int err = errno;
        switch (err) {
        case EOPNOTSUPP:
        case EISDIR: /* kernels and layered file systems that do not know the flag */
                return error_set(e, CAUSE_STAGING, EOPNOTSUPP,
                        "[staging] path %s: needs O_TMPFILE: ext4, xfs, btrfs, zfs or tmpfs", s->path);
        case EROFS:
        case EACCES:
        case EPERM:
                return error_set(e, CAUSE_STAGING, err,
                        "[staging] path %s cannot be written (%s): mount it read-write, give it to czard's "
                        "user, and under systemd add to czard.service (systemctl edit czard): [Service] "
                        "ReadWritePaths=%s",
                        s->path, strerror(err), s->path);
        default:
                return staging_fail(err, "making a file", s->path, e);
        }
}

int staging_open(const char *path, mode_t file_mode, mode_t dir_mode, struct staging **ret, struct error *e)
{
        if ((file_mode & ~0770U) || (dir_mode & ~0770U) || !(file_mode & 0400) || (dir_mode & 0700) != 0700)
                return error_set(e, CAUSE_CONFIG, EINVAL,
                        "[staging] file_mode %04o, dir_mode %04o: nothing for others, no special bits, and "
                        "czard itself must be able to read files and to read and write folders",
                        file_mode, dir_mode);
        _cleanup_(cleanup_staging) struct staging *s = NULL;
        int r = new_staging(path, true, &s, e);
        if (r < 0)
                return r;
        s->file_mode = file_mode;
        s->dir_mode = dir_mode;
        r = staging_probe(s, e);
        if (r < 0)
                return r;
        *ret = take_ptr(&s);
        return 0;
}

int staging_open_readonly(const char *path, struct staging **ret, struct error *e)
{
        return new_staging(path, true, ret, e);
}

int staging_open_reader(const char *path, struct staging **ret, struct error *e)
{
        return new_staging(path, false, ret, e);
}

struct staging *staging_free(struct staging *s)
{
        if (!s)
                return NULL;
        close_fd(s->root_fd);
        free(s->path);
        free(s);
        return NULL;
}

int staging_root_fd(const struct staging *s)
{
        return s->root_fd;
}

/* The folder of an organisation: below it each category has a group of its own, so it must let all of them
 * through and be readable by none but its own: the group bits of a mode cannot say that, an access list can.
 * Only what is made here gets one; what is there keeps group and list, for an admin may have set them. */
int staging_make_top(struct staging *s, const char *path, const struct staging_top *top, struct error *e)
{
        char name[NAME_MAX + 1];
        int r = staging_check_path(path, e);
        if (r < 0)
                return r;
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(path, "/"), path);
        struct stat st;
        if (fstatat(s->root_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                return 0;
        _cleanup_close_ int fd =
                staging_make_part(s, s->root_fd, name, top->gid, top->through, top->n_through);
        if (fd >= 0 || fd == -EEXIST) /* another thread has just made it */
                return 0;
        return staging_fail(-fd, "making the folder", name, e);
}

int staging_create(struct staging *s, struct error *e)
{
        int fd = openat(s->root_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        return fd >= 0 ? fd : staging_fail(errno, "making a file", s->path, e);
}

int staging_create_handed(struct staging *s, int *ret_writable, struct error *e)
{
        _cleanup_close_ int writable = staging_create(s, e);
        if (writable < 0)
                return writable;
        char self[FD_PATH_SIZE];
        int fd = open(fd_path(writable, self), O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return staging_fail(errno, "opening a file anew for reading", s->path, e);
        *ret_writable = take_fd(&writable);
        return fd;
}

/* A lease for reading is not to be had while anybody has the file open for writing. It is given back at once.
 * 0 or -errno, -EAGAIN: somebody has. */
static int try_lease(int fd)
{
        if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
                return -errno;
        return fcntl(fd, F_SETLEASE, F_UNLCK) < 0 ? -errno : 0;
}

int staging_try_leases(struct staging *s, struct error *e)
{
        int writable = -1;
        _cleanup_close_ int fd = staging_create_handed(s, &writable, e);
        if (fd < 0)
                return fd;
        int r = try_lease(fd);
        close_fd(writable);
        if (r == -EAGAIN)
                r = try_lease(fd);
        else if (r == 0)
                r = -EOPNOTSUPP; /* one was given though the file can be written to */
        s->leases = r == 0;
        return r < 0 ? error_set(e, CAUSE_STAGING, -r, "leases on files (fcntl F_SETLEASE): %s", strerror(-r))
                     : 0;
}

int staging_check_written(const struct staging *s, int fd, uint64_t size, struct error *e)
{
        struct stat st;
        if (fstat(fd, &st) < 0)
                return staging_fail(errno, "looking", "a file without a name", e);
        if ((uint64_t)st.st_size != size)
                return error_set(e, CAUSE_HELPER, EPROTO,
                        "told of %" PRIu64 " bytes, but the file has %" PRIu64, size, (uint64_t)st.st_size);
        int r = s->leases ? try_lease(fd) : 0;
        if (r == -EAGAIN)
                return error_set(e, CAUSE_HELPER, EPROTO, "told of a file that can still be written to");
        return r < 0 ? staging_fail(-r, "taking a lease on", "a file without a name", e) : 0;
}

int staging_set_attr(int fd, mode_t mode, const struct staging_attr *attr, const char *path, struct error *e)
{
        struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = attr->mtime}};
        if (attr->mtime != -1 && futimens(fd, times) < 0)
                return staging_fail(errno, "setting the time", path, e);
        if (attr->gid != (gid_t)-1 && fchown(fd, (uid_t)-1, attr->gid) < 0)
                return error_set(e, CAUSE_STAGING, errno,
                        "%s: czard cannot give it to group %u (%s): is it in SupplementaryGroups= of "
                        "czard.service?",
                        path, attr->gid, strerror(errno));
        if (fchmod(fd, mode) < 0)
                return staging_fail(errno, "setting the mode", path, e);
        return 0;
}

/* The name is taken: by a file that may be replaced? 1: by the very file fd is. */
static int check_taken(int fd, int dir_fd, const char *name, struct error *e)
{
        struct stat there, st;
        if (fstatat(dir_fd, name, &there, AT_SYMLINK_NOFOLLOW) < 0 || fstat(fd, &st) < 0)
                return errno == ENOENT ? 0 : staging_fail(errno, "looking", name, e);
        if (!S_ISREG(there.st_mode))
                return error_set(e, CAUSE_UNSAFE_MODE, EEXIST,
                        "staging: something that is no file stands at %s: it is not replaced", name);
        if (!staging_is_ours(&there))
                return error_set(e, CAUSE_UNSAFE_MODE, EPERM,
                        "staging: the file %s belongs to uid %u, neither root nor czard: it is not replaced",
                        name, there.st_uid);
        return there.st_dev == st.st_dev && there.st_ino == st.st_ino;
}

int staging_link(int fd, int dir_fd, const char *name, struct error *e)
{
        int r = link_fd(fd, dir_fd, name);
        if (r == 0)
                return 0;
        if (r != -EEXIST)
                return staging_fail(-r, "linking", name, e);
        r = check_taken(fd, dir_fd, name, e);
        if (r != 0)
                return MIN(r, 0);
        char hidden[STAGING_HIDDEN_SIZE];
        r = staging_hidden_name(hidden);
        if (r == 0)
                r = link_fd(fd, dir_fd, hidden);
        if (r < 0)
                return staging_fail(-r, "linking", name, e);
        if (renameat(dir_fd, hidden, dir_fd, name) < 0) {
                r = staging_fail(errno, "replacing", name, e);
                (void)unlinkat(dir_fd, hidden, 0);
        }
        return r;
}

/* Links the file that has the name now to keep_as, durably, before it is replaced. */
static int keep_old(const struct staging *s, int dir_fd, const char *name, const char *keep_as, gid_t gid,
        struct error *e)
{
        _cleanup_close_ int old = open_beneath(dir_fd, name, O_PATH | O_NOFOLLOW, 0);
        if (old == -ENOENT)
                return 0;
        if (old < 0)
                return staging_fail(-old, "opening", name, e);
        int r = check_taken(old, dir_fd, name, e);
        if (r < 0)
                return r;
        _cleanup_close_ int keep = staging_open_parent(s, dir_fd, keep_as, true, gid, e);
        if (keep < 0)
                return keep;
        /* It was kept by an attempt that a crash ended: what has the name now may be the new one already. */
        struct stat st;
        if (fstatat(keep, staging_base_name(keep_as), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
                return 0;
        r = staging_link(old, keep, staging_base_name(keep_as), e);
        if (r == 0 && fsync(keep) < 0)
                r = staging_fail(errno, "making durable", keep_as, e);
        return r;
}

static int check_nameless(int fd, const char *path, struct error *e)
{
        struct stat st;
        if (fstat(fd, &st) < 0)
                return staging_fail(errno, "looking", path, e);
        if (!S_ISREG(st.st_mode) || st.st_nlink != 0)
                return error_set(e, CAUSE_INTERNAL, EINVAL, "%s: not a file from staging_create()", path);
        return 0;
}

int staging_publish(struct staging *s, int fd, const char *path, const struct staging_attr *attr,
        const char *keep_as, struct error *e)
{
        int r = staging_check_path(path, e);
        if (r == 0 && keep_as)
                r = staging_check_path(keep_as, e);
        if (r == 0)
                r = check_nameless(fd, path, e);
        if (r < 0)
                return r;
        _cleanup_close_ int dir = staging_open_parent(s, s->root_fd, path, true, attr->gid, e);
        if (dir < 0)
                return dir;
        r = staging_set_attr(fd, s->file_mode, attr, path, e);
        if (r < 0)
                return r;
        if (fsync(fd) < 0)
                return staging_fail(errno, "making durable", path, e);
        const char *name = staging_base_name(path);
        if (keep_as) {
                r = keep_old(s, dir, name, keep_as, attr->gid, e);
                if (r < 0)
                        return r;
        }
        r = staging_link(fd, dir, name, e);
        if (r == 0 && fsync(dir) < 0)
                r = staging_fail(errno, "making durable", path, e);
        return r;
}

int staging_stat(
        const struct staging *s, const char *path, uint64_t *ret_size, int64_t *ret_mtime, bool *ret_is_dir)
{
        int r = staging_check_path(path, NULL);
        if (r < 0)
                return r;
        _cleanup_close_ int fd = open_beneath(s->root_fd, path, O_PATH | O_NOFOLLOW, 0);
        struct stat st;
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISLNK(st.st_mode))
                return -ELOOP;
        if (ret_size)
                *ret_size = (uint64_t)st.st_size;
        if (ret_mtime)
                *ret_mtime = st.st_mtime;
        if (ret_is_dir)
                *ret_is_dir = S_ISDIR(st.st_mode);
        return 0;
}

int staging_open_file(const struct staging *s, const char *path)
{
        int r = staging_check_path(path, NULL);
        if (r < 0)
                return r;
        /* O_NONBLOCK: a planted fifo must not hold us up */
        _cleanup_close_ int fd =
                open_beneath(s->root_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
        struct stat st;
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
        return take_fd(&fd);
}

/* --- what goes --- */

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

/* --- latest --- */

static int check_dir_and_date(const char *dir, const char *date, struct error *e)
{
        int r = staging_check_path(dir, e);
        if (r == 0 && date)
                r = staging_check_path(date, e);
        if (r == 0 && date && strchr(date, '/'))
                r = error_set(e, CAUSE_INTERNAL, EINVAL, "%s: no name for latest", date);
        return r;
}

int staging_latest(struct staging *s, const char *dir, const char *date, struct error *e)
{
        int r = check_dir_and_date(dir, date, e);
        if (r < 0)
                return r;
        _cleanup_close_ int fd = staging_open_dir(s, s->root_fd, dir, false, (gid_t)-1, e);
        if (fd < 0)
                return fd == -ENOENT ? staging_fail(ENOENT, "opening", dir, e) : fd;
        struct stat st;
        bool there = fstatat(fd, "latest", &st, AT_SYMLINK_NOFOLLOW) == 0;
        if (there && !S_ISLNK(st.st_mode))
                return error_set(e, CAUSE_UNSAFE_MODE, EEXIST,
                        "staging: %s/latest is no link: it is not replaced", dir);
        char now[NAME_MAX + 1], hidden[STAGING_HIDDEN_SIZE];
        if (!date) {
                if (there && unlinkat(fd, "latest", 0) < 0)
                        return staging_fail(errno, "removing latest of", dir, e);
        } else if (!streq(date, staging_read_latest(s, dir, now, sizeof(now)) == 0 ? now : "")) {
                r = staging_hidden_name(hidden);
                if (r == 0 && symlinkat(date, fd, hidden) < 0)
                        r = -errno;
                if (r == 0 && renameat(fd, hidden, fd, "latest") < 0) {
                        r = -errno;
                        (void)unlinkat(fd, hidden, 0);
                }
                if (r < 0)
                        return staging_fail(-r, "linking latest of", dir, e);
        }
        return fsync(fd) < 0 ? staging_fail(errno, "making durable", dir, e) : 0;
}

int staging_read_latest(const struct staging *s, const char *dir, char *ret, size_t size)
{
        int r = staging_check_path(dir, NULL);
        if (r < 0)
                return r;
        char to[NAME_MAX + 2];
        ret[0] = 0;
        /* not staging_open_dir(): readers are not the folder's owner */
        _cleanup_close_ int fd = open_beneath(s->root_fd, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        ssize_t n = readlinkat(fd, "latest", to, sizeof(to) - 1);
        if (n < 0)
                return errno == ENOENT || errno == EINVAL ? 0 : -errno;
        to[n] = 0;
        if (staging_check_path(to, NULL) < 0 || strchr(to, '/') || (size_t)n >= size)
                return 0; /* not one that we made */
        memcpy(ret, to, (size_t)n + 1);
        return 0;
}
