/* SPDX-License-Identifier: Apache-2.0 */
/* Names and folders of the staging directory: every path is checked part by part, every folder on the way is
 * root's or ours. A folder is whole, with its group, mode and access list, before it has its name; what is
 * removed vanishes at once. */
#include "staging_internal.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "fsx.h"
#include "str.h"

#define TIDY_ROUNDS_MOST 100
#define HOLD_MSEC 20 /* one of ours that looks whether the folder is empty takes less */
#define ACL_NAME "system.posix_acl_access"
#define ENTRIES_MAX 256 /* of a list that is read */

int staging_fail(int err, const char *what, const char *path, struct error *e)
{
        return error_errno(e, err, "%s: %s", path, what);
}

/* --- names --- */

int staging_hidden_name(char ret[STAGING_HIDDEN_SIZE])
{
        uint8_t random[8];
        char hex[2 * sizeof(random) + 1];
        if (getrandom(random, sizeof(random), 0) != sizeof(random))
                return -EIO;
        hex_encode(random, sizeof(random), hex);
        snprintf(ret, STAGING_HIDDEN_SIZE, STAGING_HIDDEN "%s", hex);
        return 0;
}

bool staging_is_hidden(const char *name)
{
        return name[0] == '.' && strstr(name, STAGING_HIDDEN);
}

const char *staging_base_name(const char *path)
{
        const char *slash = strrchr(path, '/');
        return slash ? slash + 1 : path;
}

int staging_check_path(const char *path, struct error *e)
{
        char shown[256];
        const char *part = path;
        for (const char *p = path;; p++) {
                if ((unsigned char)*p >= 0x20 && *p != 0x7f && *p != '/')
                        continue;
                size_t n = (size_t)(p - part);
                bool dots = (n == 1 || n == 2) && strspn(part, ".") >= n;
                if ((*p && *p != '/') || n == 0 || n > NAME_MAX || dots)
                        return error_set(e, CAUSE_UNSAFE_NAME, EINVAL, "refused: the path %s",
                                str_visible(path, shown, sizeof(shown)));
                if (!*p)
                        return 0;
                part = p + 1;
        }
}

bool staging_is_ours(const struct stat *st)
{
        return st->st_uid == 0 || st->st_uid == geteuid();
}

int staging_check_dir(int fd, const char *path, struct error *e)
{
        struct stat st;
        if (fstat(fd, &st) < 0)
                return staging_fail(errno, "looking", path, e);
        if (!S_ISDIR(st.st_mode))
                return error_set(e, CAUSE_UNSAFE_MODE, ENOTDIR, "staging: %s is no folder", path);
        if (!staging_is_ours(&st))
                return error_set(e, CAUSE_UNSAFE_MODE, EPERM,
                        "staging: the folder %s belongs to uid %u, neither root nor czard: it is not used",
                        path, st.st_uid);
        return 0;
}

/* --- access lists --- */

/* The extended attribute is written as the kernel's headers define it: libacl, with an entry and a set of
 * permissions allocated for each group, would take more lines than these do. */
struct acl {
        struct posix_acl_xattr_header head;
        struct posix_acl_xattr_entry entries[ENTRIES_MAX];
};

static void add_entry(struct acl *acl, size_t *n, uint16_t tag, mode_t perm, uint32_t id)
{
        acl->entries[(*n)++] = (struct posix_acl_xattr_entry){
                .e_tag = htole16(tag), .e_perm = htole16((uint16_t)(perm & 7)), .e_id = htole32(id)};
}

static int by_gid(const void *a, const void *b)
{
        const gid_t *x = a, *y = b;
        return (*x > *y) - (*x < *y);
}

/* Adds these groups to those whom a folder of that mode lets through. */
static int let_through(int fd, mode_t mode, const gid_t *through, size_t n_through)
{
        struct acl acl = {.head.a_version = htole32(POSIX_ACL_XATTR_VERSION)};
        gid_t gids[ENTRIES_MAX];
        size_t n = 0, n_gids = 0;
        struct stat st;
        if (n_through > ENTRIES_MAX - 4) /* beside owner, group, mask and others */
                return -E2BIG;
        if (fstat(fd, &st) < 0)
                return -errno;
        for (size_t i = 0; i < n_through; i++)
                if (through[i] != st.st_gid)
                        gids[n_gids++] = through[i];
        if (n_gids == 0)
                return 0;
        qsort(gids, n_gids, sizeof(*gids), by_gid);
        add_entry(&acl, &n, ACL_USER_OBJ, mode >> 6, ACL_UNDEFINED_ID);
        add_entry(&acl, &n, ACL_GROUP_OBJ, mode >> 3, ACL_UNDEFINED_ID);
        for (size_t i = 0; i < n_gids; i++)
                if (i == 0 || gids[i] != gids[i - 1])
                        add_entry(&acl, &n, ACL_GROUP, ACL_EXECUTE, gids[i]);
        add_entry(&acl, &n, ACL_MASK, mode >> 3 | ACL_EXECUTE, ACL_UNDEFINED_ID);
        add_entry(&acl, &n, ACL_OTHER, 0, ACL_UNDEFINED_ID);
        if (fsetxattr(fd, ACL_NAME, &acl, sizeof(acl.head) + n * sizeof(*acl.entries), 0) == 0)
                return 0;
        /* a file system without lists: czarctl check tells what to do */
        return errno == EOPNOTSUPP ? 0 : -errno;
}

int staging_let_read(int fd, int dir_fd)
{
        struct acl acl;
        ssize_t n = fgetxattr(dir_fd, ACL_NAME, &acl, sizeof(acl));
        if (n < 0)
                return errno == ENODATA || errno == EOPNOTSUPP ? 0 : -errno;
        size_t n_entries = ((size_t)n - sizeof(acl.head)) / sizeof(*acl.entries);
        for (size_t i = 0; i < n_entries; i++) {
                uint16_t tag = le16toh(acl.entries[i].e_tag);
                uint16_t perm = tag == ACL_USER_OBJ ? ACL_READ | ACL_WRITE : tag == ACL_OTHER ? 0 : ACL_READ;
                acl.entries[i].e_perm = htole16(perm);
        }
        return fsetxattr(fd, ACL_NAME, &acl, (size_t)n, 0) < 0 && errno != EOPNOTSUPP ? -errno : 0;
}

/* What an access list gives to that group, or to the folder's own; -1: it says nothing of it. */
static int permissions(const struct acl *acl, size_t n, gid_t gid, gid_t owner)
{
        int perm = -1, mask = 7;
        for (size_t i = 0; i < n; i++) {
                uint16_t tag = le16toh(acl->entries[i].e_tag), bits = le16toh(acl->entries[i].e_perm);
                if (tag == ACL_MASK)
                        mask = bits;
                else if ((tag == ACL_GROUP_OBJ && gid == owner) ||
                         (tag == ACL_GROUP && le32toh(acl->entries[i].e_id) == gid))
                        perm = perm < 0 ? bits : perm | bits;
        }
        return perm < 0 ? -1 : perm & mask;
}

bool staging_lets_through(int fd, gid_t gid)
{
        struct acl acl;
        struct stat st;
        if (fstat(fd, &st) < 0)
                return false;
        ssize_t len = fgetxattr(fd, ACL_NAME, &acl, sizeof(acl));
        if (len < (ssize_t)sizeof(acl.head))
                return st.st_gid == gid ? st.st_mode & S_IXGRP : st.st_mode & S_IXOTH;
        int perm = permissions(&acl, ((size_t)len - sizeof(acl.head)) / sizeof(*acl.entries), gid, st.st_gid);
        return perm < 0 ? st.st_mode & S_IXOTH : perm & ACL_EXECUTE;
}

/* --- made and opened --- */

/* Makes a folder under a hidden name that nobody can foresee and renames it once it is complete: one that a
 * crash left half-made would later pass for one whose mode an admin chose. */
int staging_make_part(
        const struct staging *s, int at_fd, const char *part, gid_t gid, const gid_t *through, size_t n)
{
        char hidden[STAGING_HIDDEN_SIZE];
        struct stat st;
        int r = staging_hidden_name(hidden);
        if (r < 0)
                return r;
        if (mkdirat(at_fd, hidden, 0700) < 0)
                return -errno;
        _cleanup_close_ int fd = open_beneath(at_fd, hidden, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (fd < 0)
                r = fd;
        else if (fstat(fd, &st) < 0 || st.st_uid != geteuid())
                r = -EPERM; /* somebody put another one there */
        else if ((gid != (gid_t)-1 && fchown(fd, (uid_t)-1, gid) < 0) || fchmod(fd, s->dir_mode) < 0)
                r = -errno;
        if (r == 0)
                r = let_through(fd, s->dir_mode, through, n);
        if (r == 0 && fsync(fd) < 0)
                r = -errno;
        if (r == 0 && renameat2(at_fd, hidden, at_fd, part, RENAME_NOREPLACE) < 0)
                r = -errno;
        /* ZFS before 2.2 knows no flags; without them only an empty folder could be replaced */
        if (r == -EINVAL)
                r = renameat(at_fd, hidden, at_fd, part) < 0 ? -errno : 0;
        if (r < 0) {
                (void)unlinkat(at_fd, hidden, AT_REMOVEDIR);
                return r;
        }
        return fsync(at_fd) < 0 ? -errno : take_fd(&fd);
}

/* One part of a path. */
static int open_part(const struct staging *s, int at_fd, const char *part, bool make, gid_t gid,
        const char *path, struct error *e)
{
        _cleanup_close_ int fd = open_beneath(at_fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (fd == -ENOENT && make)
                fd = staging_make_part(s, at_fd, part, gid, NULL, 0);
        if (fd == -EEXIST) /* another thread has just made it */
                fd = open_beneath(at_fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (fd == -ENOENT && !make)
                return fd;
        if (fd == -ELOOP || fd == -ENOTDIR)
                return error_set(e, CAUSE_UNSAFE_MODE, -fd, "staging: %s of %s is no folder", part, path);
        if (fd < 0)
                return staging_fail(-fd, "opening the folder", path, e);
        int r = staging_check_dir(fd, path, e);
        return r < 0 ? r : take_fd(&fd);
}

/* The first n bytes of path. */
static int open_parts(
        const struct staging *s, int at_fd, const char *path, size_t n, bool make, gid_t gid, struct error *e)
{
        _cleanup_close_ int fd = fcntl(at_fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
                return staging_fail(errno, "opening", path, e);
        for (const char *p = path, *end = path + n; p < end;) {
                char part[NAME_MAX + 1];
                size_t k = MIN(strcspn(p, "/"), (size_t)(end - p));
                if (k > NAME_MAX)
                        return staging_fail(ENAMETOOLONG, "opening", path, e);
                memcpy(part, p, k);
                part[k] = 0;
                int next = open_part(s, fd, part, make, gid, path, e);
                if (next < 0)
                        return next;
                close_fd(fd);
                fd = next;
                p += k + 1;
        }
        return take_fd(&fd);
}

/* Whoever may read the folder can lock it, too, for as long as he likes: he is not waited for. While he does,
 * nobody removes it. */
static int hold(int fd)
{
        for (int i = 0; flock(fd, LOCK_SH | LOCK_NB) < 0; i++) {
                if (errno != EWOULDBLOCK)
                        return -1;
                if (i == HOLD_MSEC)
                        return 0;
                (void)usleep(1000);
        }
        return 0;
}

/* What is made is to get an entry. Until its descriptor is closed it is not removed for being empty, see
 * remove_empty_above() in staging.c; when that was quicker it is made again. */
static int make_parts(
        const struct staging *s, int at_fd, const char *path, size_t n, gid_t gid, struct error *e)
{
        int r = -ENOENT;
        if (n == 0)
                return open_parts(s, at_fd, path, 0, true, gid, e);
        for (int i = 0; i < TIDY_ROUNDS_MOST && r == -ENOENT; i++) {
                struct stat st;
                if (e && i > 0)
                        *e = (struct error){}; /* of the round before */
                _cleanup_close_ int fd = r = open_parts(s, at_fd, path, n, true, gid, e);
                if (fd >= 0 && (hold(fd) < 0 || fstat(fd, &st) < 0))
                        r = staging_fail(errno, "holding the folder of", path, e);
                else if (fd >= 0)
                        r = st.st_nlink > 0 ? take_fd(&fd) : -ENOENT;
        }
        return r == -ENOENT ? staging_fail(ENOENT, "making the folder of", path, e) : r;
}

int staging_open_dir(
        const struct staging *s, int at_fd, const char *path, bool make, gid_t gid, struct error *e)
{
        return make ? make_parts(s, at_fd, path, strlen(path), gid, e)
                    : open_parts(s, at_fd, path, strlen(path), false, gid, e);
}

int staging_open_parent(
        const struct staging *s, int at_fd, const char *path, bool make, gid_t gid, struct error *e)
{
        const char *slash = strrchr(path, '/');
        size_t n = slash ? (size_t)(slash - path) : 0;
        return make ? make_parts(s, at_fd, path, n, gid, e) : open_parts(s, at_fd, path, n, false, gid, e);
}

/* --- removed, or kept aside under another name --- */

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
