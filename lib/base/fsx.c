/* SPDX-License-Identifier: Apache-2.0 */
/* Files. Whatever is created here is either whole, durable and under its name, or not there at all; no open
 * below a folder follows a link out of it. */
#include "fsx.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "limits.h"
#include "macro.h"
#include "str.h"

/* open_beneath() where openat2(2) is not there (valgrind, old containers): each part is opened from the one
 * before, none may be a link and ".." is refused, so there is no way out either. */
static int walk_beneath(int dir_fd, const char *path, int flags, mode_t mode)
{
        _cleanup_close_ int fd = -1;
        int at = dir_fd;
        char name[NAME_MAX + 1] = ".";
        if (*path == '/')
                return -EXDEV;
        if (!*path)
                return -ENOENT;
        for (;;) {
                size_t n = strcspn(path, "/");
                if (n >= sizeof(name))
                        return -ENAMETOOLONG;
                memcpy(name, path, n);
                name[n] = 0;
                if (streq(name, ".."))
                        return -EXDEV;
                path += n;
                if (!*path)
                        break;
                path += strspn(path, "/");
                int next = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (next < 0)
                        return -errno;
                close_fd(fd);
                at = fd = next;
        }
        _cleanup_close_ int last = openat(at, *name ? name : ".", flags | O_NOFOLLOW | O_CLOEXEC, mode);
        struct stat st;
        if (last < 0)
                return -errno;
        /* O_PATH takes hold of the link itself, which openat2() does only where O_NOFOLLOW asks for it */
        if ((flags & O_PATH) && !(flags & O_NOFOLLOW) && fstat(last, &st) == 0 && S_ISLNK(st.st_mode))
                return -ELOOP;
        return take_fd(&last);
}

int open_beneath(int dir_fd, const char *path, int flags, mode_t mode)
{
        bool creates = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
        struct open_how how = {
                .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
                .mode = creates ? mode : 0,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
        };
        /* EAGAIN: a rename elsewhere made the kernel unsure about ".."; openat2(2) says to try again */
        for (int tries = 0;; tries++) {
                long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
                if (fd >= 0)
                        return (int)fd;
                if (errno == ENOSYS)
                        return walk_beneath(dir_fd, path, flags, mode);
                if (errno != EINTR && (errno != EAGAIN || tries >= 16))
                        return -errno;
        }
}

const char *fd_path(int fd, char ret[FD_PATH_SIZE])
{
        snprintf(ret, FD_PATH_SIZE, "/proc/self/fd/%d", fd);
        return ret;
}

/* fchmod(2) takes no O_PATH; through /proc it can be done. */
int chmod_fd(int fd, mode_t mode)
{
        char self[FD_PATH_SIZE];
        return chmod(fd_path(fd, self), mode) < 0 ? -errno : 0;
}

/* linkat by descriptor alone would need a capability; through /proc it does not. */
int link_fd(int fd, int dir_fd, const char *name)
{
        char self[FD_PATH_SIZE];
        return linkat(AT_FDCWD, fd_path(fd, self), dir_fd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

int write_all(int fd, const void *p, size_t n)
{
        const char *at = p;
        while (n > 0) {
                ssize_t k = write(fd, at, n);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k == 0)
                        return -EIO;
                at += k;
                n -= (size_t)k;
        }
        return 0;
}

ssize_t read_full(int fd, void *p, size_t n)
{
        size_t got = 0;
        while (got < n) {
                ssize_t k = read(fd, (char *)p + got, n - got);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k == 0)
                        break;
                got += (size_t)k;
        }
        return (ssize_t)got;
}

int read_file_fd(int fd, size_t max, char **ret, size_t *ret_len)
{
        _cleanup_free_ char *buf = NULL;
        struct stat st;
        size_t len = 0, size = 4096;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISREG(st.st_mode) && st.st_size > 0)
                size = MIN((uint64_t)st.st_size, (uint64_t)max) + 2;
        for (;;) {
                size = MIN(size, max + 2); /* one byte to see that there is more, one for the NUL */
                char *p = realloc(buf, size);
                if (!p)
                        return -ENOMEM;
                buf = p;
                ssize_t k = read_full(fd, buf + len, size - 1 - len);
                if (k < 0)
                        return (int)k;
                len += (size_t)k;
                if (len > max)
                        return -EFBIG;
                if (len < size - 1)
                        break;
                size *= 2;
        }
        buf[len] = 0;
        *ret = take_ptr(&buf);
        if (ret_len)
                *ret_len = len;
        return 0;
}

int read_file_at(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_len)
{
        /* A pipe or a terminal that stands in its place must not keep anybody waiting. */
        _cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return S_ISDIR(st.st_mode) ? -EISDIR : -EOPNOTSUPP;
        return read_file_fd(fd, max, ret, ret_len);
}

#define HIDDEN ".%.200s.czard-tmp-"
/* ".NAME.czard-tmp-TAG": what a sweep of the staging folder takes for a left-over. */
static void hidden_name(char ret[NAME_MAX + 1], const char *name, uint64_t tag)
{
        snprintf(ret, NAME_MAX + 1, HIDDEN "%016" PRIx64, name, tag);
}

void remove_replacements_at(int dir_fd, const char *name)
{
        char prefix[NAME_MAX + 1];
        struct dirent *entry;
        int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
        if (!d) {
                close_fd(fd);
                return;
        }
        snprintf(prefix, sizeof(prefix), HIDDEN, name);
        while (dir_next(d, &entry) > 0)
                if (str_after(entry->d_name, prefix))
                        (void)unlinkat(dir_fd, entry->d_name, 0);
}

const char *after_dead_pid(const char *name, const char *prefix)
{
        const char *rest = str_after(name, prefix);
        size_t n = rest ? strspn(rest, "0123456789") : 0;
        long pid = n > 0 ? atol(rest) : 0;
        return pid > 0 && kill((pid_t)pid, 0) < 0 && errno == ESRCH ? rest + n : NULL;
}

/* Opens the folder that name is in, and moves *name to its last part. */
static int open_parent(int dir_fd, const char **name)
{
        const char *slash = strrchr(*name, '/');
        _cleanup_free_ char *parent = NULL;
        if (slash) {
                parent = slash == *name ? strdup("/") : strndup(*name, (size_t)(slash - *name));
                if (!parent)
                        return -ENOMEM;
                *name = slash + 1;
        }
        if (!**name)
                return -EINVAL;
        int fd = openat(dir_fd, parent ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* Content, mode and durability of a file that has no name, or only a hidden one. */
static int fill_file(int fd, const void *p, size_t n, mode_t mode)
{
        int r = write_all(fd, p, n);
        if (r < 0)
                return r;
        return fchmod(fd, mode) < 0 || fsync(fd) < 0 ? -errno : 0;
}

int replace_file_at(int dir_fd, const char *name, const void *p, size_t n, mode_t mode)
{
        uint64_t random;
        char hidden[NAME_MAX + 1];
        if (getrandom(&random, sizeof(random), 0) != sizeof(random))
                return -EIO;
        _cleanup_close_ int dir = open_parent(dir_fd, &name);
        if (dir < 0)
                return dir;
        hidden_name(hidden, name, random);
        _cleanup_close_ int fd =
                openat(dir, hidden, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        int r = fill_file(fd, p, n, mode);
        if (r == 0 && renameat(dir, hidden, dir, name) < 0)
                r = -errno;
        if (r < 0) {
                unlinkat(dir, hidden, 0);
                return r;
        }
        return fsync(dir) < 0 ? -errno : 0;
}

/* Who started us may be the wrong one, and the owner right: a file is only to be given to us when it lies in
 * a folder of ours. */
static int foreign_owner(const struct stat *st, const char *path, const char *shown, struct error *e)
{
        unsigned owner = st->st_uid, us = geteuid();
        unsigned mode = st->st_mode & 07777;
        char word[SHELL_WORD_SIZE];
        const char *slash = strrchr(path, '/');
        struct stat folder;
        _cleanup_free_ char *dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : NULL;
        bool ours = us != 0 && !S_ISDIR(st->st_mode) && dir && stat(dir, &folder) == 0 && folder.st_uid == us;
        if (ours)
                return error_set(e, CAUSE_UNSAFE_MODE, EPERM,
                        "%s (mode %04o) belongs to uid %u, neither to root nor to us: chown %u %s", shown,
                        mode, owner, us, shell_word(path, word, sizeof(word)));
        return error_set(e, CAUSE_UNSAFE_MODE, EPERM,
                "%s (mode %04o) belongs to uid %u, neither to root nor to us (uid %u); start this as that "
                "user: runuser -u \"$(id -nu %u)\" -- COMMAND",
                shown, mode, owner, us, owner);
}

int check_owner_mode(int fd, const char *path, mode_t forbidden, struct error *e)
{
        struct stat st;
        char shown[256], word[SHELL_WORD_SIZE];
        str_visible(path, shown, sizeof(shown));
        if (fstat(fd, &st) < 0)
                return error_set(e, CAUSE_UNSAFE_MODE, EPERM, "%s: %s", shown, strerror(errno));
        mode_t mode = st.st_mode & 07777;
        if (st.st_uid != 0 && st.st_uid != geteuid())
                return foreign_owner(&st, path, shown, e);
        if (mode & forbidden)
                return error_set(e, CAUSE_UNSAFE_MODE, EPERM,
                        "%s (owner uid %u) has mode %04o, which lets others in: chmod %04o %s", shown,
                        st.st_uid, mode, mode & ~forbidden, shell_word(path, word, sizeof(word)));
        return 0;
}

int dir_next(DIR *d, struct dirent **ret)
{
        struct dirent *entry;
        errno = 0;
        while ((entry = readdir(d)) && (streq(entry->d_name, ".") || streq(entry->d_name, "..")))
                errno = 0;
        if (!entry)
                return -errno;
        *ret = entry;
        return 1;
}

int list_dir_at(int dir_fd, const char *path, struct strv *ret)
{
        int fd = open_beneath(dir_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (fd < 0)
                return fd;
        _cleanup_closedir_ DIR *d = fdopendir(fd);
        if (!d) {
                int r = -errno;
                close(fd);
                return r;
        }
        struct strv names = {};
        struct dirent *entry;
        int r;
        while ((r = dir_next(d, &entry)) > 0 && (r = strv_add(&names, entry->d_name)) >= 0)
                ;
        if (r < 0) {
                strv_done(&names);
                return r;
        }
        strv_done(ret);
        *ret = names;
        return 0;
}

int fd_nonblock(int fd, int on)
{
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0)
                return -errno;
        flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
        return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

int fd_cloexec(int fd, int on)
{
        int flags = fcntl(fd, F_GETFD);
        if (flags < 0)
                return -errno;
        flags = on ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC;
        return fcntl(fd, F_SETFD, flags) < 0 ? -errno : 0;
}

void close_from(int first)
{
        if (close_range((unsigned)first, ~0U, 0) == 0)
                return;
        /* a filter may know close() only */
        long max = sysconf(_SC_OPEN_MAX);
        for (long fd = first; fd < MIN(max, 65536L); fd++)
                close((int)fd);
}

int fd_arrange(const int *fds, int n)
{
        int null = open("/dev/null", O_RDWR | O_CLOEXEC), copies[FD_ARRANGE_MAX];
        assert(n <= FD_ARRANGE_MAX);
        /* First out of the way, so that none is overwritten before it was copied. */
        for (int i = 0; i < n; i++)
                if (null < 0 || (copies[i] = fcntl(fds[i] >= 0 ? fds[i] : null, F_DUPFD, n)) < 0)
                        return -errno;
        for (int i = 0; i < n; i++)
                if (dup2(copies[i], i) < 0)
                        return -errno;
        close_from(n);
        return 0;
}

/* --- removing --- */

/* Rounds of remove_tree_at(): one for each level, and more while somebody still writes. */
#define REMOVE_ROUNDS_MOST 100000

/* A folder of ours that can be read and emptied, whatever its mode was. */
static int open_to_empty(int dir_fd, const char *name)
{
        _cleanup_close_ int at = openat(dir_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (at < 0)
                return -errno;
        int fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0 && faccessat(at, ".", W_OK | X_OK, AT_EACCESS) == 0)
                return fd;
        close_fd(fd);
        int r = chmod_fd(at, 0700);
        if (r < 0)
                return r;
        fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* Moves a folder from below up into top, under a name that is free there. */
static int lift(int from, const char *name, int top, unsigned *serial)
{
        char free_name[32];
        _cleanup_close_ int fd = open_to_empty(from, name); /* its ".." is written */
        if (fd < 0)
                return fd;
        snprintf(free_name, sizeof(free_name), "lifted-%u", (*serial)++);
        while (renameat2(from, name, top, free_name, RENAME_NOREPLACE) < 0) {
                if (errno != EEXIST)
                        return -errno;
                snprintf(free_name, sizeof(free_name), "lifted-%u", (*serial)++);
        }
        return 0;
}

/* Empties the folder name of top: files are removed, folders come up into top. */
static int flatten(int top, const char *name, unsigned *serial)
{
        _cleanup_close_ int fd = open_to_empty(top, name);
        struct strv names = {};
        int r = fd < 0 ? fd : list_dir_at(fd, ".", &names);
        for (size_t i = 0; r == 0 && i < names.n; i++)
                if (unlinkat(fd, names.v[i], 0) < 0 && errno != ENOENT)
                        r = errno == EISDIR ? lift(fd, names.v[i], top, serial) : -errno;
        strv_done(&names);
        if (r < 0)
                return r;
        return unlinkat(top, name, AT_REMOVEDIR) < 0 && errno != ENOENT && errno != ENOTEMPTY ? -errno : 0;
}

/* One level less. How many entries there were, or -errno. */
static int remove_level(int top, unsigned *serial)
{
        struct strv names = {};
        int r = list_dir_at(top, ".", &names), n = (int)names.n;
        for (size_t i = 0; r == 0 && i < names.n; i++)
                if (unlinkat(top, names.v[i], 0) < 0 && errno != ENOENT)
                        r = errno == EISDIR ? flatten(top, names.v[i], serial) : -errno;
        strv_done(&names);
        return r < 0 ? r : n;
}

int remove_tree_at(int dir_fd, const char *name)
{
        unsigned serial = 0;
        if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
                return 0;
        if (errno != EISDIR)
                return -errno;
        _cleanup_close_ int top = open_to_empty(dir_fd, name);
        if (top < 0)
                return top;
        for (unsigned i = 0; i < REMOVE_ROUNDS_MOST; i++) {
                int n = remove_level(top, &serial);
                if (n < 0)
                        return n;
                if (n == 0 && (unlinkat(dir_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT))
                        return 0;
                if (n == 0 && errno != ENOTEMPTY)
                        return -errno;
        }
        return -ENOTEMPTY;
}
