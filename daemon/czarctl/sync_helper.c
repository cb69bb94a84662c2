/* SPDX-License-Identifier: Apache-2.0 */
/* Children of czarctl with a channel. They live as long as the command: a closed channel ends them, and the
 * kernel does when we die (PR_SET_PDEATHSIG). */
#include "sync_helper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "fsx.h"
#include "launch.h"
#include "shown.h"
#include "str.h"
#include "timespan.h"

#define PATIENCE_MSEC 3000

static void tell(const char *line)
{
        shown_print(stderr, "%s\n", line);
}

int sync_helper_said(struct sync_helper *h)
{
        return said_open(&h->said, tell);
}

static void become_helper(const struct launch *l, int sock, int say)
{
        if (fd_arrange((int[]){-1, -1, say, sock}, LAUNCH_CHANNEL_FD + 1) < 0)
                _exit(126);
        setsid();
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        execve(l->file, l->argv, l->env);
        _exit(127);
}

int sync_helper_start(const char *name, const char *const *args, struct sync_helper *ret, struct error *e)
{
        struct launch l;
        int pair[2], r = launch_prepare(&l, name, args, e);
        if (r < 0)
                return r;
        r = proto_pair(pair);
        if (r < 0) {
                launch_done(&l);
                return error_set(e, CAUSE_HELPER, -r, "socketpair: %s", strerror(-r));
        }
        fflush(NULL);
        int say = sync_helper_said(ret);
        pid_t pid = fork();
        if (pid == 0)
                become_helper(&l, pair[1], say);
        int err = errno;
        said_handed(say);
        launch_done(&l);
        close_fd(pair[1]);
        if (pid < 0) {
                close_fd(pair[0]);
                said_close(&ret->said);
                return error_set(e, CAUSE_HELPER, err, "fork: %s", strerror(err));
        }
        ret->pid = pid;
        ret->sock = pair[0];
        return 0;
}

int sync_helper_send(struct sync_helper *h, const struct message *m, struct error *e)
{
        int r = proto_send(h->sock, m);
        return r < 0 ? error_set(e, CAUSE_HELPER, -r, "a helper process does not take requests: %s",
                               strerror(-r))
                     : 0;
}

int sync_helper_receive(struct sync_helper *h, unsigned seconds, struct message *ret, struct error *e)
{
        struct pollfd p[] = {{.fd = h->sock, .events = POLLIN}, {.fd = h->said.fd, .events = POLLIN}};
        uint64_t end = now_usec(CLOCK_MONOTONIC) + seconds * USEC_PER_SEC;
        for (;;) {
                uint64_t now = now_usec(CLOCK_MONOTONIC);
                int left = now < end ? (int)((end - now) / USEC_PER_MSEC) : 0;
                int n = poll(p, 2, left);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n > 0 && p[1].revents && !said_take(&h->said))
                        p[1].fd = -1; /* it has closed it */
                if (n > 0 && p[0].revents)
                        break;
                if (n <= 0 || now >= end)
                        return error_set(e, CAUSE_HELPER, ETIMEDOUT, "no answer of a helper process for %u s",
                                seconds);
        }
        int r = proto_recv(h->sock, ret, e);
        if (r == -EPIPE)
                return error_set(e, CAUSE_HELPER, EPIPE, "a helper process ended early; see above");
        return r;
}

void sync_helper_stop(struct sync_helper *h)
{
        h->sock = close_fd(h->sock);
        if (h->pid <= 0)
                return;
        int status;
        for (unsigned waited = 0; waitpid(h->pid, &status, WNOHANG) == 0; waited += 10) {
                if (waited >= PATIENCE_MSEC) {
                        kill(-h->pid, SIGKILL);
                        kill(h->pid, SIGKILL);
                        waitpid(h->pid, &status, 0);
                        break;
                }
                (void)said_take(&h->said); /* else it may wait for us */
                nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
        }
        h->pid = 0;
        said_close(&h->said);
}
