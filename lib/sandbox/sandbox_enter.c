/* SPDX-License-Identifier: Apache-2.0 */
/* Landlock by its three system calls (Debian 12 has no wrapper, and its header ends at ABI 2: the rest is
 * defined here), then the filter of sandbox_calls.c. Order: Landlock first, for the filter denies nothing of
 * it but may in future. */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"

/* From linux/landlock.h of later kernels. */
#define FS_REFER (1ULL << 13)      /* ABI 2 */
#define FS_TRUNCATE (1ULL << 14)   /* ABI 3 */
#define FS_IOCTL_DEV (1ULL << 15)  /* ABI 5 */
#define NET_BIND (1ULL << 0)       /* ABI 4 */
#define NET_CONNECT (1ULL << 1)    /* ABI 4 */
#define SCOPE_ABSTRACT (1ULL << 0) /* ABI 6 */
#define SCOPE_SIGNAL (1ULL << 1)   /* ABI 6 */
#define RULE_NET_PORT 2

struct ruleset_attr {
        uint64_t fs, net, scoped;
};

struct net_port_attr {
        uint64_t access, port;
};

#define READ_FILE (LANDLOCK_ACCESS_FS_READ_FILE)
#define READ_DIR (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ALL_FS_ABI1 ((1ULL << 13) - 1)
/* Rights that make sense for a file; a rule on a file may not have others. */
#define FILE_RIGHTS                                                                                          \
        (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |         \
                FS_TRUNCATE | FS_IOCTL_DEV)

/* What of the file system is handled, by ABI. */
static uint64_t fs_rights(long abi)
{
        uint64_t fs = ALL_FS_ABI1;
        if (abi >= 2)
                fs |= FS_REFER;
        if (abi >= 3)
                fs |= FS_TRUNCATE;
        if (abi >= 5)
                fs |= FS_IOCTL_DEV;
        return fs;
}

static int allow_path(int ruleset, const struct sandbox_path *p, uint64_t handled, struct error *e)
{
        _cleanup_close_ int fd = open(p->path, O_PATH | O_CLOEXEC);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0)
                return errno == ENOENT || errno == EACCES || errno == ENOTDIR
                               ? 0
                               : error_set(e, CAUSE_INTERNAL, errno, "%s: %s", p->path, strerror(errno));
        uint64_t access = 0;
        if (p->access & (SANDBOX_READ | SANDBOX_EXEC))
                access |= READ_DIR;
        if (p->access & SANDBOX_EXEC)
                access |= LANDLOCK_ACCESS_FS_EXECUTE;
        /* Everything but device nodes; ioctl on devices is never needed. */
        if (p->access & SANDBOX_WRITE)
                access |= handled & ~(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                                            LANDLOCK_ACCESS_FS_MAKE_BLOCK | FS_IOCTL_DEV);
        if (!S_ISDIR(st.st_mode))
                access &= FILE_RIGHTS;
        struct landlock_path_beneath_attr rule = {.allowed_access = access & handled, .parent_fd = fd};
        if (rule.allowed_access == 0 ||
                syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0)
                return 0;
        return error_set(e, CAUSE_INTERNAL, errno, "Landlock rule for %s: %s", p->path, strerror(errno));
}

static int allow_port(int ruleset, uint16_t port, struct error *e)
{
        struct net_port_attr rule = {.access = NET_CONNECT, .port = port};
        if (syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &rule, 0) == 0)
                return 0;
        return error_set(e, CAUSE_INTERNAL, errno, "Landlock rule for port %u: %s", port, strerror(errno));
}

long sandbox_landlock_abi(void)
{
        long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
        return abi < 0 ? 0 : abi;
}

static int enter_landlock(const struct sandbox *s, char *missing, size_t size, struct error *e)
{
        long abi = sandbox_landlock_abi();
        if (abi == 0) {
                snprintf(missing, size,
                        "this kernel has no Landlock (files, TCP and signals are not restricted)");
                return 0;
        }
        if (abi < 6)
                snprintf(missing, size,
                        "this kernel's Landlock (ABI %ld) does not restrict%s%s%s signals and abstract "
                        "sockets",
                        abi, abi < 3 ? " truncation," : "", abi < 4 ? " TCP," : "",
                        abi < 5 ? " device ioctls," : "");
        struct ruleset_attr attr = {.fs = fs_rights(abi),
                .net = abi >= 4 ? NET_BIND | NET_CONNECT : 0,
                .scoped = abi < 6    ? 0
                          : s->again ? SCOPE_ABSTRACT
                                     : SCOPE_ABSTRACT | SCOPE_SIGNAL};
        /* Kernels refuse a longer struct with anything set that they do not know; theirs ends where ours is
         * zero. */
        size_t length = abi >= 6   ? sizeof(attr)
                        : abi >= 4 ? offsetof(struct ruleset_attr, scoped)
                                   : offsetof(struct ruleset_attr, net);
        _cleanup_close_ int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, length, 0);
        if (ruleset < 0)
                return error_set(e, CAUSE_INTERNAL, errno, "Landlock: %s", strerror(errno));
        int r = 0;
        for (size_t i = 0; r >= 0 && i < s->n_paths; i++)
                r = allow_path(ruleset, &s->paths[i], attr.fs, e);
        for (size_t i = 0; r >= 0 && attr.net && i < s->n_tcp_ports; i++)
                r = allow_port(ruleset, s->tcp_ports[i], e);
        if (r < 0)
                return r;
        if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
                return error_set(e, CAUSE_INTERNAL, errno, "Landlock: %s", strerror(errno));
        return 0;
}

int sandbox_enter(const struct sandbox *s, char *ret_missing, size_t size, struct error *e)
{
        char missing[256] = "";
        int r = 0;
#ifdef CZARD_SANITIZE
        (void)enter_landlock;
        (void)s;
        (void)e;
        snprintf(missing, sizeof(missing), "built with sanitizers: runs without Landlock and seccomp");
#else
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return error_set(e, CAUSE_INTERNAL, errno, "no_new_privs: %s", strerror(errno));
        if (s->own_root)
                r = sandbox_root(s->paths, s->n_paths, e);
        if (r >= 0)
                r = enter_landlock(s, missing, sizeof(missing), e);
        if (r >= 0)
                r = sandbox_calls(s, e);
#endif
        if (r >= 0 && ret_missing)
                snprintf(ret_missing, size, "%s", missing);
        return r;
}

/* --- a root of its own ---
 *
 * Name spaces of user, mounts and network, in which there is a small file system in memory
 * and in it, by bind mounts, what the process may open. So a path that it may connect to is one of these:
 * neither Landlock nor seccomp sees the path of a socket. user_namespaces(7), pivot_root(2).
 *
 * Only as it can be had: where user name spaces are turned off, in a unit with RestrictNamespaces=, in a
 * chroot, the kernel refuses, at the first step or at a later one. A child tries all of them first, for half
 * way there is no way back. */

#define ROOT_OPTIONS "mode=0755,size=64k,nr_inodes=128"
#define PATHS_MAX 16

/* Below the current folder. */
static int make_parents(char *path)
{
        for (char *p = strchr(path, '/'); p; p = strchr(p + 1, '/')) {
                *p = 0;
                int r = mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
                *p = '/';
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The tree goes to its path, below the current folder. */
static int attach(int tree, const char *path)
{
        char below[PATH_MAX];
        struct stat st;
        snprintf(below, sizeof(below), "%s", path + 1);
        int r = fstat(tree, &st) < 0 ? -errno : make_parents(below);
        if (r < 0)
                return r;
        if (S_ISDIR(st.st_mode)) {
                if (mkdir(below, 0755) < 0 && errno != EEXIST)
                        return -errno;
        } else {
                _cleanup_close_ int fd = open(below, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
                if (fd < 0)
                        return -errno;
        }
        return move_mount(tree, "", AT_FDCWD, below, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

static int write_map(const char *file, const char *text)
{
        _cleanup_close_ int fd = open(file, O_WRONLY | O_CLOEXEC);
        size_t n = strlen(text);
        return fd < 0 || write(fd, text, n) != (ssize_t)n ? -errno : 0;
}

/* We stay who we are; nobody else is there. The files of the maps are root's while we are not dumpable. */
static int map_user(uid_t uid, gid_t gid)
{
        char users[64], groups[64];
        snprintf(users, sizeof(users), "%u %u 1", (unsigned)uid, (unsigned)uid);
        snprintf(groups, sizeof(groups), "%u %u 1", (unsigned)gid, (unsigned)gid);
        int dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
        (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
        int r = write_map("/proc/self/setgroups", "deny");
        if (r == 0)
                r = write_map("/proc/self/uid_map", users);
        if (r == 0)
                r = write_map("/proc/self/gid_map", groups);
        if (dumpable != 1)
                (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        return r;
}

/* What the maker of a name space may do there is not for us. */
static int drop_capabilities(void)
{
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
        return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

static int open_trees(const struct sandbox_path *paths, size_t n, int *trees)
{
        for (size_t i = 0; i < n; i++) {
                trees[i] = -1;
                if (!paths[i].path[0])
                        continue;
                if (paths[i].path[0] != '/' || strstr(paths[i].path, "..") ||
                        strlen(paths[i].path) >= PATH_MAX)
                        return -EINVAL;
                trees[i] = open_tree(
                        AT_FDCWD, paths[i].path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
                if (trees[i] < 0 && errno != ENOENT && errno != EACCES && errno != ENOTDIR)
                        return -errno;
        }
        return 0;
}

/* The file system in memory is mounted over the first path, which is there for sure, and nobody else sees it:
 * the old root goes, and with it that place. */
static int enter_root(const struct sandbox_path *paths, size_t n)
{
        int trees[PATHS_MAX];
        int r = mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ? -errno : 0;
        if (r == 0)
                r = open_trees(paths, n, trees);
        if (r == 0 && (mount("czard", paths[0].path, "tmpfs", MS_NOSUID | MS_NODEV, ROOT_OPTIONS) < 0 ||
                              chdir(paths[0].path) < 0))
                r = -errno;
        for (size_t i = 0; r == 0 && i < n; i++)
                if (trees[i] >= 0)
                        r = attach(trees[i], paths[i].path);
        for (size_t i = 0; r == 0 && i < n; i++)
                close_fd(trees[i]);
        if (r == 0 &&
                (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0 ||
                        mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV,
                                NULL) < 0))
                r = -errno;
        return r;
}

/* 0, -errno: *ret_begun tells whether we are somewhere else already. */
static int go(const struct sandbox_path *paths, size_t n, bool *ret_begun)
{
        const uid_t uid = geteuid();
        const gid_t gid = getegid();
        *ret_begun = false;
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) < 0)
                return -errno;
        *ret_begun = true;
        int r = map_user(uid, gid);
        if (r == 0)
                r = enter_root(paths, n);
        return r == 0 ? drop_capabilities() : r;
}

static bool is_possible(const struct sandbox_path *paths, size_t n)
{
        int status;
        bool begun;
        if (n == 0 || n > PATHS_MAX)
                return false;
        pid_t pid = fork();
        if (pid == 0)
                _exit(go(paths, n, &begun) < 0);
        while (pid > 0 && waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return false;
        return pid > 0 && status == 0;
}

int sandbox_root(const struct sandbox_path *paths, size_t n, struct error *e)
{
        bool begun;
        if (!is_possible(paths, n))
                return 0;
        int r = go(paths, n, &begun);
        if (r < 0 && begun)
                return error_set(e, CAUSE_INTERNAL, -r, "a root of its own: %s", strerror(-r));
        return r == 0;
}
