/* SPDX-License-Identifier: Apache-2.0 */
/* The seccomp filter. It names what is refused, not what is allowed: gpg, libcurl and the C library are
 * updated without us. What is refused gets EPERM, or EAFNOSUPPORT as from a kernel without that kind of
 * socket.
 *
 * A filter sees 64 bits of an argument where the kernel takes an int and drops the upper half, so ints are
 * compared under a mask: 0x100000106 is IPPROTO_MPTCP too. */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define IPPROTO_MPTCP_ 262
#define SOCKET_TYPE_MASK 0xf   /* the rest of the argument is flags */
#define OWNER_OF_FILE 0x8901   /* FIOSETOWN */
#define OWNER_OF_SOCKET 0x8902 /* SIOCSPGRP */
/* Calls that this libseccomp may not know; since 5.1 a call has one number on all architectures. */
#define NR_FCHMODAT2 452
#define NR_SETXATTRAT 463
#define NR_REMOVEXATTRAT 466
#define NR_FILE_SETATTR 469

static const int denied[] = {
        /* Other processes: their memory, descriptors, limits and priorities. Signals: add_signals(). */
        SCMP_SYS(ptrace),
        SCMP_SYS(process_vm_readv),
        SCMP_SYS(process_vm_writev),
        SCMP_SYS(process_madvise),
        SCMP_SYS(pidfd_open),
        SCMP_SYS(pidfd_getfd),
        SCMP_SYS(pidfd_send_signal),
        SCMP_SYS(kcmp),
        SCMP_SYS(rt_sigqueueinfo),
        SCMP_SYS(rt_tgsigqueueinfo),
        SCMP_SYS(tkill),
        SCMP_SYS(setpriority),
        SCMP_SYS(ioprio_set),
        SCMP_SYS(sched_setparam),
        SCMP_SYS(sched_setscheduler),
        SCMP_SYS(sched_setaffinity),
        SCMP_SYS(sched_setattr),
        SCMP_SYS(migrate_pages),
        SCMP_SYS(move_pages),
        /* A way out of the process group that czard kills. */
        SCMP_SYS(setsid),
        SCMP_SYS(setpgid),
        /* Of files, what Landlock does not restrict, or not on all kernels. */
        SCMP_SYS(truncate),
        SCMP_SYS(inotify_init),
        SCMP_SYS(inotify_init1),
        SCMP_SYS(fanotify_init),
        SCMP_SYS(name_to_handle_at),
        SCMP_SYS(open_by_handle_at),
        /* Meeting places that are no files. */
        SCMP_SYS(mq_open),
        SCMP_SYS(mq_unlink),
        SCMP_SYS(msgget),
        SCMP_SYS(semget),
        SCMP_SYS(shmget),
        SCMP_SYS(shmat),
        /* Files that Landlock lets anybody execute. */
        SCMP_SYS(memfd_create),
        SCMP_SYS(memfd_secret),
        SCMP_SYS(execveat),
        /* Ways round this filter, and much of the kernel. */
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

/* Of who does not give files away: what of files Landlock does not restrict. */
static const int denied_attributes[] = {
        SCMP_SYS(chmod),
        SCMP_SYS(fchmod),
        SCMP_SYS(fchmodat),
        NR_FCHMODAT2,
        SCMP_SYS(chown),
        SCMP_SYS(fchown),
        SCMP_SYS(lchown),
        SCMP_SYS(fchownat),
        SCMP_SYS(utime),
        SCMP_SYS(utimes),
        SCMP_SYS(futimesat),
        SCMP_SYS(utimensat),
        SCMP_SYS(setxattr),
        SCMP_SYS(lsetxattr),
        SCMP_SYS(fsetxattr),
        NR_SETXATTRAT,
        SCMP_SYS(removexattr),
        SCMP_SYS(lremovexattr),
        SCMP_SYS(fremovexattr),
        NR_REMOVEXATTRAT,
        NR_FILE_SETATTR,
};

/* Of who has no children. */
static const int denied_alone[] = {
        SCMP_SYS(fork),
        SCMP_SYS(vfork),
        SCMP_SYS(execve),
        SCMP_SYS(bind),
        SCMP_SYS(listen),
};

/* Of who has no socket but those that it was given. sendmsg(2) is how it answers, and has its address where
 * no filter looks; but its channel is connected, and takes none. */
static const int denied_without_sockets[] = {
        SCMP_SYS(socketpair),
        SCMP_SYS(connect),
        SCMP_SYS(bind),
        SCMP_SYS(listen),
        SCMP_SYS(accept),
        SCMP_SYS(accept4),
        SCMP_SYS(sendmmsg),
};

/* r of the rule before: a chain ends at its first error. -EDOM or -EFAULT: a call this architecture does not
 * have. */
static int deny(int r, scmp_filter_ctx ctx, int call)
{
        if (r >= 0)
                r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), call, 0);
        return r == -EDOM || r == -EFAULT ? 0 : r;
}

/* When the bits of argument i that are in mask have this value. */
static int deny_bits(
        int r, scmp_filter_ctx ctx, int error, int call, unsigned i, uint32_t mask, uint32_t value)
{
        if (r < 0)
                return r;
        return seccomp_rule_add(
                ctx, SCMP_ACT_ERRNO(error), call, 1, SCMP_CMP64(i, SCMP_CMP_MASKED_EQ, mask, value));
}

static int deny_int(int r, scmp_filter_ctx ctx, int error, int call, unsigned i, int value)
{
        return deny_bits(r, ctx, error, call, i, UINT32_MAX, (uint32_t)value);
}

static bool is_allowed(const int *families, int family)
{
        for (; *families >= 0; families++)
                if (*families == family)
                        return true;
        return false;
}

static int add_no_sockets(int r, scmp_filter_ctx ctx)
{
        for (size_t i = 0; i < ELEMENTSOF(denied_without_sockets); i++)
                r = deny(r, ctx, denied_without_sockets[i]);
        return r < 0 ? r
                     : seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(sendto), 1,
                               SCMP_CMP64(4, SCMP_CMP_NE, 0));
}

/* Of these families other types than SOCK_STREAM, and pairs of any. */
static int add_types(int r, scmp_filter_ctx ctx, const int *families)
{
        for (unsigned type = 0; type <= SOCKET_TYPE_MASK; type++) {
                if (type == SOCK_STREAM)
                        continue;
                for (const int *f = families; r >= 0 && *f >= 0; f++)
                        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 2,
                                SCMP_CMP64(0, SCMP_CMP_MASKED_EQ, UINT32_MAX, (uint32_t)*f),
                                SCMP_CMP64(1, SCMP_CMP_MASKED_EQ, SOCKET_TYPE_MASK, type));
                r = deny_bits(r, ctx, EPERM, SCMP_SYS(socketpair), 1, SOCKET_TYPE_MASK, type);
        }
        return r;
}

static int add_sockets(int r, scmp_filter_ctx ctx, const int *families, bool streams_only)
{
        if (*families < 0)
                r = add_no_sockets(r, ctx);
        else if (streams_only)
                r = add_types(r, ctx, families);
        /* A filter cannot say "none of these", so each family is named, and all beyond the last. */
        for (int family = 0; family < AF_MAX; family++)
                if (!is_allowed(families, family))
                        r = deny_int(r, ctx, EAFNOSUPPORT, SCMP_SYS(socket), 0, family);
        if (r >= 0)
                r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
                        SCMP_CMP64(0, SCMP_CMP_GE, AF_MAX));
        /* Landlock's TCP rules do not see MPTCP. */
        r = deny_int(r, ctx, EAFNOSUPPORT, SCMP_SYS(socket), 2, IPPROTO_MPTCP_);
        /* The sockets that czard and czard-fetch listen on are of this type, so whoever cannot make one
         * cannot connect to them, whosever child it is by then. */
        return deny_bits(r, ctx, EPERM, SCMP_SYS(socket), 1, SOCKET_TYPE_MASK, SOCK_SEQPACKET);
}

/* clone3 has its flags in memory, where no filter looks; the C library makes do with clone. */
static int add_processes(int r, scmp_filter_ctx ctx, bool has_children)
{
        static const unsigned flags[] = {CLONE_PARENT, CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS,
                CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET};
        if (r >= 0)
                r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
        for (size_t i = 0; i < ELEMENTSOF(flags); i++)
                r = deny_bits(r, ctx, EPERM, SCMP_SYS(clone), 0, flags[i], flags[i]);
        for (size_t i = 0; !has_children && i < ELEMENTSOF(denied_alone); i++)
                r = deny(r, ctx, denied_alone[i]);
        if (!has_children)
                r = deny_bits(r, ctx, EPERM, SCMP_SYS(clone), 0, CLONE_THREAD, 0);
        /* Limits of others. */
        return r < 0 ? r
                     : seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prlimit64), 1,
                               SCMP_CMP64(0, SCMP_CMP_NE, 0));
}

/* Who has children may not signal its parent (czard) or groups; which processes are its own only Landlock
 * knows, from ABI 6 on. */
static int add_signals(int r, scmp_filter_ctx ctx, bool has_children)
{
        static const int calls[] = {SCMP_SYS(kill), SCMP_SYS(tgkill)};
        for (size_t i = 0; i < ELEMENTSOF(calls); i++) {
                if (!has_children && r >= 0)
                        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), calls[i], 1,
                                SCMP_CMP64(0, SCMP_CMP_NE, (uint64_t)getpid()));
                if (!has_children)
                        continue;
                r = deny_int(r, ctx, EPERM, calls[i], 0, getppid());
                r = deny_int(r, ctx, EPERM, calls[i], 0, 0);
                r = deny_bits(r, ctx, EPERM, calls[i], 0, 1U << 31, 1U << 31);
        }
        /* Watches a folder, as inotify does. */
        r = deny_int(r, ctx, EPERM, SCMP_SYS(fcntl), 1, F_NOTIFY);
        /* The kernel sends SIGIO to whoever is named there. */
        r = deny_int(r, ctx, EPERM, SCMP_SYS(fcntl), 1, F_SETOWN);
        r = deny_int(r, ctx, EPERM, SCMP_SYS(fcntl), 1, F_SETOWN_EX);
        r = deny_int(r, ctx, EPERM, SCMP_SYS(ioctl), 1, OWNER_OF_FILE);
        return deny_int(r, ctx, EPERM, SCMP_SYS(ioctl), 1, OWNER_OF_SOCKET);
}

/* Typing into the terminal that standard error may be; TIOCLINUX pastes on a virtual console. */
static int add_terminal(int r, scmp_filter_ctx ctx)
{
        r = deny_int(r, ctx, EPERM, SCMP_SYS(ioctl), 1, TIOCSTI);
        return deny_int(r, ctx, EPERM, SCMP_SYS(ioctl), 1, TIOCLINUX);
}

static int add_rules(scmp_filter_ctx ctx, const struct sandbox *s)
{
        int r = 0;
        for (size_t i = 0; i < ELEMENTSOF(denied); i++)
                r = deny(r, ctx, denied[i]);
        for (size_t i = 0; !s->sets_attributes && i < ELEMENTSOF(denied_attributes); i++)
                r = deny(r, ctx, denied_attributes[i]);
        r = add_sockets(r, ctx, s->families, s->streams_only);
        r = add_processes(r, ctx, s->has_children);
        r = add_signals(r, ctx, s->has_children);
        return add_terminal(r, ctx);
}

int sandbox_calls(const struct sandbox *s, struct error *e)
{
        scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
        if (!ctx)
                return error_set(e, CAUSE_INTERNAL, ENOMEM, "seccomp: out of memory");
        int r = s ? add_rules(ctx, s) : add_terminal(0, ctx);
        if (r >= 0)
                r = seccomp_load(ctx);
        seccomp_release(ctx);
        return r < 0 ? error_set(e, CAUSE_INTERNAL, -r, "seccomp: %s", strerror(-r)) : 0;
}

int sandbox_terminal(struct error *e)
{
        return sandbox_calls(NULL, e);
}
