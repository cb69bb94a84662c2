/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "session.h"

/* In the child. It does not outlive who waits for it. */
_Noreturn static void be_child(const struct config *c, const struct deliver_options *o, const sigset_t *mask,
        pid_t parent, int told_fd)
{
        int64_t next;
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
                _exit(STATUS_CANNOT);
        if (mask)
                sigprocmask(SIG_SETMASK, mask, NULL);
        int status = deliver_run(c, o, &next);
        _exit(write(told_fd, &next, sizeof(next)) == sizeof(next) ? status : STATUS_CANNOT);
}

int child_run(
        const struct config *c, const struct deliver_options *o, const sigset_t *mask, int64_t *ret_next)
{
        int pipes[2], status = 0;
        pid_t us = getpid();
        *ret_next = INT64_MAX;
        if (pipe2(pipes, O_CLOEXEC) < 0)
                return STATUS_CANNOT;
        pid_t pid = fork();
        if (pid == 0)
                be_child(c, o, mask, us, pipes[1]);
        close(pipes[1]);
        while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (read(pipes[0], ret_next, sizeof(*ret_next)) != sizeof(*ret_next))
                *ret_next = INT64_MAX;
        close(pipes[0]);
        if (pid > 0 && WIFSIGNALED(status))
                return -WTERMSIG(status);
        return pid > 0 ? WEXITSTATUS(status) : STATUS_CANNOT;
}
