/* SPDX-License-Identifier: Apache-2.0 */
/* Children that are no helpers of czard: gpg, systemctl, systemd-creds. Input is handed over as a memory
 * file, so that no pipe can fill up while we read. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "fsx.h"

/* socket() gives EACCES for all but AF_UNIX, and io_uring, which could make one unseen, is refused.
 * libseccomp ends whoever makes another machine's system calls, x32's among them. sandbox.h would refuse too
 * much: gpg starts its agent, which makes a session of its own. Sets no_new_privs. */
static int forbid_network(void)
{
        scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
        if (!ctx)
                return -ENOMEM;
        int r = seccomp_rule_add(
                ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 1, SCMP_A0_64(SCMP_CMP_NE, AF_UNIX));
        if (r == 0)
                r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(io_uring_setup), 0);
        if (r == 0)
                r = seccomp_load(ctx);
        seccomp_release(ctx);
        return r;
}

static char *const plain_environment[] = {
        (char[]){"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, (char[]){"LC_ALL=C"}, (char[]){"HOME=/"}, NULL};

static void become_program(const struct run_spec *spec, int in, int out)
{
        if (fd_arrange((int[]){in, out, spec->quiet ? -1 : 2, spec->fd3}, spec->fd3 > 0 ? 4 : 3) < 0)
                _exit(126);
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
                become_program(spec, in, spec->out_fd > 0 ? spec->out_fd : pipe_fds[1]);
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
