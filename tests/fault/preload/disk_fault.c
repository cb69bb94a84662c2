/* SPDX-License-Identifier: Apache-2.0 */
/* A preload that stands before each call with which a program changes the disk. It notes them, or at one of
 * them the program dies, or the call fails. By the environment:
 *
 *   DISK_FAULT_PROGRAM  comm of the program that is meant; it is handed on to its children
 *   DISK_FAULT_ROOTS    only calls on what is below one of these folders, separated by colons
 *   DISK_FAULT_LOG      a file of 4 MiB of zeros; from the 16th byte on, one line a call:
 *                       CALL:SITE ERRNO PATH FRAMES...
 *   DISK_FAULT_SITE     which call: CALL:SITE, or "" for any
 *   DISK_FAULT_NTH      the n-th of these, from 1; 0: none
 *   DISK_FAULT_LAST     up to the n-th; default: that one alone; 0: for ever
 *   DISK_FAULT_ERRNO    0: the program is killed
 *   DISK_FAULT_OFF      a file; while it is there nothing fails
 *   DISK_FAULT_ALL      not empty: calls that change nothing are meant as well: opening and looking at what
 * is below the roots, reading it by position, fcntl(2); and, where "/calls" is one of the roots, pipe2(2) and
 * messages that carry descriptors
 *
 * A site is the call and the innermost functions of the program itself (not of its libraries) that led to it,
 * as offsets, so that it is the same in each run of the same program. */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hand_on.h"

#define LOG_SIZE (4 << 20)
#define FRAMES 4 /* of the program, that make a site */
#define DEPTH 48
#define EXPORT __attribute__((visibility("default")))

/* Mapped, because some programs close all descriptors that they do not know. */
struct log {
        atomic_size_t used;
        atomic_ulong matches; /* of all processes together */
        char text[];
};

static bool active, all;
static char roots[8192], site[64], off_file[4096];
static unsigned long nth, last;
static int fault_errno;
static struct log *notes;
static uintptr_t base, text_end;
static __thread bool inside;

/* --- set up --- */

static int on_object(struct dl_phdr_info *info, size_t size, void *arg)
{
        (void)size;
        (void)arg;
        base = info->dlpi_addr; /* the first is the program itself */
        for (int i = 0; i < info->dlpi_phnum; i++)
                if (info->dlpi_phdr[i].p_type == PT_LOAD) {
                        uintptr_t end = base + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
                        text_end = end > text_end ? end : text_end;
                }
        return 1;
}

static unsigned long number(const char *name, unsigned long absent)
{
        const char *v = getenv(name);
        return v && *v ? strtoul(v, NULL, 10) : absent;
}

static void copy(char *to, size_t size, const char *name)
{
        const char *v = getenv(name);
        snprintf(to, size, "%s", v ? v : "");
}

static void open_log(const char *path)
{
        int fd = open(path, O_RDWR | O_CLOEXEC);
        void *p = fd < 0 ? MAP_FAILED : mmap(NULL, LOG_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p != MAP_FAILED)
                notes = p;
        if (fd >= 0)
                close(fd);
}

__attribute__((constructor)) static void set_up(void)
{
        const char *program = getenv("DISK_FAULT_PROGRAM"), *log = getenv("DISK_FAULT_LOG");
        if (!program || strcmp(program, program_invocation_short_name) != 0)
                return;
        copy(roots, sizeof(roots), "DISK_FAULT_ROOTS");
        copy(site, sizeof(site), "DISK_FAULT_SITE");
        copy(off_file, sizeof(off_file), "DISK_FAULT_OFF");
        all = number("DISK_FAULT_ALL", 0) != 0;
        nth = number("DISK_FAULT_NTH", 0);
        last = number("DISK_FAULT_LAST", nth);
        fault_errno = (int)number("DISK_FAULT_ERRNO", 0);
        if (log && *log)
                open_log(log);
        dl_iterate_phdr(on_object, NULL);
        void *frames[4];
        backtrace(frames, 4); /* it loads a library the first time */
        active = true;
}

/* --- which call is it? --- */

static bool is_below_roots(const char *path)
{
        for (const char *r = roots; *r;) {
                size_t n = strcspn(r, ":");
                if (n > 0 && strncmp(path, r, n) == 0 && (path[n] == '/' || path[n] == 0))
                        return true;
                r += n + (r[n] == ':');
        }
        return false;
}

static bool path_of_fd(int fd, char *ret, size_t size)
{
        char self[64];
        snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
        ssize_t n = readlink(self, ret, size - 1);
        ret[n > 0 ? n : 0] = 0;
        return n > 0;
}

static void path_at(int dir_fd, const char *name, char *ret, size_t size)
{
        char dir[4096] = "";
        if (name[0] == '/') {
                snprintf(ret, size, "%s", name);
                return;
        }
        if (dir_fd == AT_FDCWD) {
                if (!getcwd(dir, sizeof(dir)))
                        dir[0] = 0;
        } else {
                path_of_fd(dir_fd, dir, sizeof(dir));
        }
        snprintf(ret, size, "%s/%s", dir, name);
}

struct where {
        char key[64];
        uintptr_t frames[FRAMES];
        int n;
};

static void find_site(const char *call, struct where *w)
{
        void *frames[DEPTH];
        int n = backtrace(frames, DEPTH);
        uint32_t hash = 2166136261U;
        for (int i = 0; i < n && w->n < FRAMES; i++) {
                uintptr_t at = (uintptr_t)frames[i];
                if (at < base || at >= text_end)
                        continue;
                w->frames[w->n++] = at - base;
                hash = (hash ^ (uint32_t)(at - base)) * 16777619U;
        }
        snprintf(w->key, sizeof(w->key), "%s:%08x", call, hash);
}

static void note(const struct where *w, const char *path, int err)
{
        char line[8192];
        int n = snprintf(line, sizeof(line), "%s %d ", w->key, err);
        for (const char *p = path; *p && n < 4096; p++)
                n += snprintf(line + n, sizeof(line) - (size_t)n, *p <= ' ' || *p == '%' ? "%%%02x" : "%c",
                        (unsigned char)*p);
        for (int i = 0; i < w->n; i++)
                n += snprintf(line + n, sizeof(line) - (size_t)n, " %lx", (unsigned long)w->frames[i] - 1);
        line[n++] = '\n';
        size_t at = atomic_fetch_add(&notes->used, (size_t)n);
        if (at + (size_t)n < LOG_SIZE - sizeof(*notes))
                memcpy(notes->text + at, line, (size_t)n);
}

static _Noreturn void die(void)
{
        syscall(SYS_kill, getpid(), SIGKILL);
        __builtin_trap(); /* where a filter is in the way */
}

/* Whether the call is to fail: errno is set then. */
static bool fails(const char *call, const char *path)
{
        if (!active || inside || !is_below_roots(path))
                return false;
        int saved = errno;
        inside = true;
        struct where w = {};
        find_site(call, &w);
        bool match =
                nth > 0 && (!*site || strcmp(site, w.key) == 0) && (!*off_file || access(off_file, F_OK) < 0);
        unsigned long k = match && notes ? atomic_fetch_add(&notes->matches, 1) + 1 : 0;
        match = match && k >= nth && (last == 0 || k <= last);
        if (notes)
                note(&w, path, !match ? 0 : fault_errno ? fault_errno : -1);
        if (match && fault_errno == 0)
                die();
        inside = false;
        errno = match ? fault_errno : saved;
        return match;
}

static bool fails_fd(const char *call, int fd)
{
        char path[4096];
        if (!active || inside || !path_of_fd(fd, path, sizeof(path)))
                return false;
        return fails(call, path);
}

static bool fails_at(const char *call, int dir_fd, const char *name)
{
        char path[8192];
        if (!active || inside)
                return false;
        path_at(dir_fd, name, path, sizeof(path));
        return fails(call, path);
}

/* --- the calls --- */

static void *real(const char *name)
{
        return dlsym(RTLD_NEXT, name);
}

/* A signal may come while dlsym() holds its lock, and libuv's handler writes: a second dlsym() there waits
 * for ever. So each place looks up once, and write() before anything runs. */
#define REAL(name)                                                                                           \
        ({                                                                                                   \
                static void *known_;                                                                         \
                if (!known_)                                                                                 \
                        known_ = real(#name);                                                                \
                (__typeof__(&name))known_;                                                                   \
        })

static void *real_write;
__attribute__((constructor)) static void find_write(void)
{
        real_write = real("write");
}

#define MODE(flags)                                                                                          \
        ({                                                                                                   \
                mode_t mode_ = 0;                                                                            \
                if ((flags)&O_CREAT || ((flags)&O_TMPFILE) == O_TMPFILE) {                                   \
                        va_list args_;                                                                       \
                        va_start(args_, flags);                                                              \
                        mode_ = va_arg(args_, mode_t);                                                       \
                        va_end(args_);                                                                       \
                }                                                                                            \
                mode_;                                                                                       \
        })

static bool makes(int flags)
{
        return all || (flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE;
}

EXPORT int open(const char *path, int flags, ...)
{
        mode_t mode = MODE(flags);
        return makes(flags) && fails_at("open", AT_FDCWD, path) ? -1 : REAL(open)(path, flags, mode);
}

EXPORT int open64(const char *path, int flags, ...)
{
        mode_t mode = MODE(flags);
        return makes(flags) && fails_at("open", AT_FDCWD, path) ? -1 : REAL(open64)(path, flags, mode);
}

EXPORT int openat(int dir, const char *path, int flags, ...)
{
        mode_t mode = MODE(flags);
        return makes(flags) && fails_at("openat", dir, path) ? -1 : REAL(openat)(dir, path, flags, mode);
}

EXPORT int openat64(int dir, const char *path, int flags, ...)
{
        mode_t mode = MODE(flags);
        return makes(flags) && fails_at("openat", dir, path) ? -1 : REAL(openat64)(dir, path, flags, mode);
}

EXPORT ssize_t write(int fd, const void *p, size_t n)
{
        return fails_fd("write", fd)
                       ? -1
                       : ((__typeof__(&write))(real_write ? real_write : real("write")))(fd, p, n);
}

EXPORT ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
        return fails_fd("pwrite", fd) ? -1 : REAL(pwrite64)(fd, p, n, at);
}

EXPORT int ftruncate64(int fd, off64_t n)
{
        return fails_fd("ftruncate", fd) ? -1 : REAL(ftruncate64)(fd, n);
}

EXPORT int fsync(int fd)
{
        return fails_fd("fsync", fd) ? -1 : REAL(fsync)(fd);
}

EXPORT int fdatasync(int fd)
{
        return fails_fd("fdatasync", fd) ? -1 : REAL(fdatasync)(fd);
}

/* In a root of its own a worker would reach neither the file of the notes nor the one that says what fails.
 */
EXPORT int unshare(int flags)
{
        (void)flags;
        errno = EPERM;
        return -1;
}

EXPORT int sync_file_range(int fd, off64_t from, off64_t n, unsigned flags)
{
        return fails_fd("sync_file_range", fd) ? -1 : REAL(sync_file_range)(fd, from, n, flags);
}

EXPORT int syncfs(int fd)
{
        return fails_fd("syncfs", fd) ? -1 : REAL(syncfs)(fd);
}

EXPORT ssize_t pread64(int fd, void *p, size_t n, off64_t at)
{
        return all && fails_fd("pread", fd) ? -1 : REAL(pread64)(fd, p, n, at);
}

EXPORT int fstat64(int fd, struct stat64 *st)
{
        return all && fails_fd("fstat", fd) ? -1 : REAL(fstat64)(fd, st);
}

EXPORT int fcntl64(int fd, int what, ...)
{
        va_list args;
        va_start(args, what);
        void *arg = va_arg(args, void *);
        va_end(args);
        return all && fails_fd("fcntl", fd) ? -1 : REAL(fcntl64)(fd, what, arg);
}

EXPORT int pipe2(int fds[2], int flags)
{
        return all && fails("pipe2", "/calls") ? -1 : REAL(pipe2)(fds, flags);
}

EXPORT ssize_t sendmsg(int sock, const struct msghdr *m, int flags)
{
        bool fds = all && m->msg_controllen > 0;
        return fds && fails("sendmsg", "/calls") ? -1 : REAL(sendmsg)(sock, m, flags);
}

EXPORT int fchmod(int fd, mode_t mode)
{
        return fails_fd("fchmod", fd) ? -1 : REAL(fchmod)(fd, mode);
}

EXPORT int fchown(int fd, uid_t uid, gid_t gid)
{
        return fails_fd("fchown", fd) ? -1 : REAL(fchown)(fd, uid, gid);
}

EXPORT int futimens(int fd, const struct timespec t[2])
{
        return fails_fd("futimens", fd) ? -1 : REAL(futimens)(fd, t);
}

EXPORT int chmod(const char *path, mode_t mode)
{
        return fails_at("chmod", AT_FDCWD, path) ? -1 : REAL(chmod)(path, mode);
}

EXPORT int mkdir(const char *path, mode_t mode)
{
        return fails_at("mkdir", AT_FDCWD, path) ? -1 : REAL(mkdir)(path, mode);
}

EXPORT int mkdirat(int dir, const char *path, mode_t mode)
{
        return fails_at("mkdirat", dir, path) ? -1 : REAL(mkdirat)(dir, path, mode);
}

EXPORT int unlink(const char *path)
{
        return fails_at("unlink", AT_FDCWD, path) ? -1 : REAL(unlink)(path);
}

EXPORT int unlinkat(int dir, const char *path, int flags)
{
        return fails_at("unlinkat", dir, path) ? -1 : REAL(unlinkat)(dir, path, flags);
}

EXPORT int linkat(int from, const char *old, int to, const char *path, int flags)
{
        return fails_at("linkat", to, path) ? -1 : REAL(linkat)(from, old, to, path, flags);
}

EXPORT int symlinkat(const char *target, int dir, const char *path)
{
        return fails_at("symlinkat", dir, path) ? -1 : REAL(symlinkat)(target, dir, path);
}

EXPORT int rename(const char *old, const char *path)
{
        return fails_at("rename", AT_FDCWD, path) ? -1 : REAL(rename)(old, path);
}

EXPORT int renameat(int from, const char *old, int to, const char *path)
{
        return fails_at("renameat", to, path) ? -1 : REAL(renameat)(from, old, to, path);
}

EXPORT int renameat2(int from, const char *old, int to, const char *path, unsigned flags)
{
        return fails_at("renameat2", to, path) ? -1 : REAL(renameat2)(from, old, to, path, flags);
}

/* --- to the children --- */

const char *const handed_on[] = {"LD_PRELOAD", "DISK_FAULT_PROGRAM", "DISK_FAULT_ROOTS", "DISK_FAULT_LOG",
        "DISK_FAULT_SITE", "DISK_FAULT_NTH", "DISK_FAULT_LAST", "DISK_FAULT_ERRNO", "DISK_FAULT_ALL", NULL};
