/* SPDX-License-Identifier: Apache-2.0 */
/* Landlock by its three system calls (Debian 12 has no wrapper, and its header ends at ABI 2: the rest is
 * defined here), then seccomp through libseccomp. Order: Landlock first, for the filter denies nothing of it
 * but may in future. */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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

static int enter_landlock(const struct sandbox *s, char *missing, size_t size, struct error *e)
{
        long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
        if (abi < 0) {
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
                .scoped = abi >= 6 ? SCOPE_ABSTRACT | SCOPE_SIGNAL : 0};
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

/* Nobody here needs these. io_uring would go round the filter on socket(2); pidfd_getfd and ptrace round
 * everything. */
static const int denied[] = {
        SCMP_SYS(ptrace),
        SCMP_SYS(process_vm_readv),
        SCMP_SYS(process_vm_writev),
        SCMP_SYS(pidfd_getfd),
        SCMP_SYS(kcmp),
        SCMP_SYS(io_uring_setup),
        SCMP_SYS(io_uring_enter),
        SCMP_SYS(io_uring_register),
        SCMP_SYS(bpf),
        SCMP_SYS(perf_event_open),
        SCMP_SYS(userfaultfd),
        SCMP_SYS(keyctl),
        SCMP_SYS(add_key),
        SCMP_SYS(request_key),
        SCMP_SYS(mount),
        SCMP_SYS(umount2),
        SCMP_SYS(pivot_root),
        SCMP_SYS(chroot),
        SCMP_SYS(setns),
        SCMP_SYS(unshare),
        SCMP_SYS(open_tree),
        SCMP_SYS(move_mount),
        SCMP_SYS(fsopen),
        SCMP_SYS(fsmount),
        SCMP_SYS(fspick),
        SCMP_SYS(mount_setattr),
        SCMP_SYS(name_to_handle_at),
        SCMP_SYS(open_by_handle_at),
        SCMP_SYS(init_module),
        SCMP_SYS(finit_module),
        SCMP_SYS(delete_module),
        SCMP_SYS(kexec_load),
        SCMP_SYS(kexec_file_load),
        SCMP_SYS(reboot),
        SCMP_SYS(swapon),
        SCMP_SYS(swapoff),
        SCMP_SYS(acct),
        SCMP_SYS(quotactl),
        SCMP_SYS(settimeofday),
        SCMP_SYS(clock_settime),
        SCMP_SYS(adjtimex),
        SCMP_SYS(clock_adjtime),
        SCMP_SYS(sethostname),
        SCMP_SYS(setdomainname),
        SCMP_SYS(syslog),
        SCMP_SYS(iopl),
        SCMP_SYS(ioperm),
        SCMP_SYS(personality),
        SCMP_SYS(vhangup),
};

static bool is_allowed(const int *families, int family)
{
        for (; *families >= 0; families++)
                if (*families == family)
                        return true;
        return false;
}

static int add_rules(scmp_filter_ctx ctx, const struct sandbox *s)
{
        const uint32_t no = SCMP_ACT_ERRNO(EPERM), no_family = SCMP_ACT_ERRNO(EAFNOSUPPORT);
        int r = 0;
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(denied); i++) {
                r = seccomp_rule_add(ctx, no, denied[i], 0);
                if (r == -EDOM || r == -EFAULT) /* a call this architecture does not have */
                        r = 0;
        }
        /* A filter cannot say "none of these", so each family is named, and all beyond the last. */
        for (int family = 0; r >= 0 && family < AF_MAX; family++)
                if (!is_allowed(s->families, family))
                        r = seccomp_rule_add(ctx, no_family, SCMP_SYS(socket), 1,
                                SCMP_A0_32(SCMP_CMP_EQ, (unsigned)family));
        if (r >= 0)
                r = seccomp_rule_add(ctx, no_family, SCMP_SYS(socket), 1, SCMP_A0_32(SCMP_CMP_GE, AF_MAX));
        /* Landlock's TCP rules do not see MPTCP. */
        if (r >= 0)
                r = seccomp_rule_add(ctx, no_family, SCMP_SYS(socket), 1, SCMP_A2_32(SCMP_CMP_EQ, 262));
        return r;
}

static int enter_seccomp(const struct sandbox *s, struct error *e)
{
        scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
        if (!ctx)
                return error_set(e, CAUSE_INTERNAL, ENOMEM, "seccomp: out of memory");
        int r = add_rules(ctx, s);
        if (r >= 0)
                r = seccomp_load(ctx);
        seccomp_release(ctx);
        return r < 0 ? error_set(e, CAUSE_INTERNAL, -r, "seccomp: %s", strerror(-r)) : 0;
}

int sandbox_enter(const struct sandbox *s, char *ret_missing, size_t size, struct error *e)
{
        char missing[256] = "";
        int r = 0;
#ifdef CZARD_SANITIZE
        (void)enter_landlock;
        (void)enter_seccomp;
        (void)s;
        (void)e;
        snprintf(missing, sizeof(missing), "built with sanitizers: runs without Landlock and seccomp");
#else
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return error_set(e, CAUSE_INTERNAL, errno, "no_new_privs: %s", strerror(errno));
        r = enter_landlock(s, missing, sizeof(missing), e);
        if (r >= 0)
                r = enter_seccomp(s, e);
#endif
        if (r >= 0 && ret_missing)
                snprintf(ret_missing, size, "%s", missing);
        return r;
}
