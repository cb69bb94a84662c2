/* SPDX-License-Identifier: Apache-2.0 */
/* Children that are no helpers of czard: gpg, systemctl, systemd-creds. Input is handed over as a memory
 * file, so that no pipe can fill up while we read. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "fsx.h"
#include "macro.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#elif defined(__s390x__)
#define ARCH AUDIT_ARCH_S390X
#elif defined(__powerpc64__)
#define ARCH AUDIT_ARCH_PPC64LE
#else
#error "the number of this machine in linux/audit.h must be put here"
#endif

/* socket() gives EACCES for all but AF_UNIX; another machine's system calls kill. */
static int forbid_network(void)
{
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_socket, 0, 2),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
        };
        struct sock_fprog program = {.len = ELEMENTSOF(code), .filter = code};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
                prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
                return -errno;
        return 0;
}

static char *const plain_environment[] = {
        (char[]){"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, (char[]){"LC_ALL=C"}, (char[]){"HOME=/"}, NULL};

static void become(const struct run_spec *spec, int in, int out)
{
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (dup2(in >= 0 ? in : null, 0) < 0 || dup2(out, 1) < 0 || (spec->quiet && dup2(null, 2) < 0))
                _exit(126);
        if (spec->fd3 > 0 && (spec->fd3 == 3 ? fd_cloexec(3, 0) < 0 : dup2(spec->fd3, 3) < 0))
                _exit(126);
        close_from(spec->fd3 > 0 ? 4 : 3);
        signal(SIGPIPE, SIG_DFL);
        signal(SIGINT, SIG_DFL);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (spec->no_network && forbid_network() < 0)
                _exit(126);
        union {
                const char *const *in;
                char *const *out;
        } argv = {.in = spec->argv};
        if (!spec->env)
                setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
        execvpe(argv.out[0], argv.out, spec->env ? spec->env : plain_environment);
        _exit(errno == ENOENT ? 127 : 126);
}

static int input_file(const struct run_input *in)
{
        int fd = memfd_create("input", MFD_CLOEXEC);
        if (fd < 0)
                return -errno;
        int r = write_all(fd, in->p, in->n);
        if (r < 0 || lseek(fd, 0, SEEK_SET) < 0) {
                close_fd(fd);
                return r < 0 ? r : -errno;
        }
        return fd;
}

static int run_and_wait(struct run_spec *spec)
{
        _cleanup_close_ int in = spec->in.p ? input_file(&spec->in) : -1;
        int pipe_fds[2];
        if ((spec->in.p && in < 0) || pipe2(pipe_fds, O_CLOEXEC) < 0)
                return in < -1 ? in : -errno;
        pid_t pid = fork();
        if (pid == 0)
                become(spec, in, pipe_fds[1]);
        close_fd(pipe_fds[1]);
        _cleanup_close_ int out = pipe_fds[0];
        if (pid < 0)
                return -errno;
        char spill[4096];
        spec->len = 0;
        for (;;) {
                bool room = spec->len < spec->size;
                ssize_t n = read(out, room ? spec->out + spec->len : spill,
                        room ? spec->size - spec->len : sizeof(spill));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        break;
                spec->len += room ? (size_t)n : 0;
        }
        if (spec->len < spec->size)
                spec->out[spec->len] = 0;
        int status = 0;
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        if (!WIFEXITED(status))
                return -EIO;
        return WEXITSTATUS(status) == 127 ? -ENOENT : WEXITSTATUS(status);
}

int run_program(struct run_spec *spec)
{
        if (!spec->stay)
                return run_and_wait(spec);
        struct sigaction before, ignore = {.sa_handler = SIG_IGN};
        sigaction(SIGINT, &ignore, &before);
        int r = run_and_wait(spec);
        sigaction(SIGINT, &before, NULL);
        return r;
}

int run_quietly(const char *const *argv, const struct run_input *in, char *out, size_t size, size_t *ret_len)
{
        struct run_spec spec = {.argv = argv, .quiet = true, .out = out, .size = size};
        if (in)
                spec.in = *in;
        int r = run_program(&spec);
        if (ret_len)
                *ret_len = spec.len;
        return r;
}
