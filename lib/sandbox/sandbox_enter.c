/* SPDX-License-Identifier: Apache-2.0 */
/* Landlock by its three system calls (Debian 12 has no wrapper, and its header ends at ABI 2: the rest is
 * defined here), then the filter of sandbox_calls.c. Order: Landlock first, for the filter denies nothing of
 * it but may in future. */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "sandbox_calls.h"
#include "sandbox_root.h"

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
