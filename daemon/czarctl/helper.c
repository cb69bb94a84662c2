/* SPDX-License-Identifier: Apache-2.0 */
/* Children of czarctl with a channel. They live as long as the command: a closed channel ends them, and the
 * kernel does when we die (PR_SET_PDEATHSIG). */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "fsx.h"
#include "str.h"
#include "timespan.h"

#define CHANNEL_FD 3
#define PATIENCE_MSEC 3000

/* As czard passes on. */
static const char *const passed_on[] = {
        "PATH", "TZ", "CREDENTIALS_DIRECTORY", "ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS"};

int helper_find(const char *name, char *ret, size_t size)
{
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        char *slash = n > 0 ? (self[n] = 0, strrchr(self, '/')) : NULL;
        static const char *const places[] = {"%s/../%s/%s", "%s/../libexec/czard/%.0s%s"};
        for (size_t i = 0; slash && i < ELEMENTSOF(places); i++) {
                *slash = 0;
                if (i == 0)
                        snprintf(ret, size, "%s/../%s/%s", self, name, name);
                else
                        snprintf(ret, size, "%s/../libexec/czard/%s", self, name);
                if (access(ret, X_OK) == 0)
                        return 0;
        }
        snprintf(ret, size, "%s/%s", CZARD_LIBEXECDIR, name);
        return access(ret, X_OK) == 0 ? 0 : -errno;
}

static void become(const char *file, const char *const *args, int sock)
{
        const char *argv[16] = {file};
        size_t n = 1;
        for (; args && *args && n < ELEMENTSOF(argv) - 3; args++)
                argv[n++] = *args;
        argv[n++] = "--channel";
        argv[n++] = "3";
        char *env[ELEMENTSOF(passed_on) + 1];
        size_t k = 0;
        for (size_t i = 0; i < ELEMENTSOF(passed_on); i++) {
                const char *v = getenv(passed_on[i]);
                if (v && (env[k] = str_printf("%s=%s", passed_on[i], v)))
                        k++;
        }
        env[k] = NULL;
        int null = open("/dev/null", O_RDWR);
        if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
                _exit(126);
        if (sock == CHANNEL_FD ? fd_cloexec(sock, 0) < 0 : dup2(sock, CHANNEL_FD) < 0)
                _exit(126);
        close_from(CHANNEL_FD + 1);
        setsid();
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        union {
                const char **in;
                char **out;
        } pun = {.in = argv};
        execve(file, pun.out, env);
        _exit(127);
}

int helper_start(const char *name, const char *const *args, struct helper *ret, struct error *e)
{
        char file[PATH_MAX];
        int pair[2], r = helper_find(name, file, sizeof(file));
        if (r < 0)
                return error_set(e, CAUSE_HELPER, -r, "%s is not there (%s): reinstall czard", name, file);
        r = proto_pair(pair);
        if (r < 0)
                return error_set(e, CAUSE_HELPER, -r, "socketpair: %s", strerror(-r));
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0)
                become(file, args, pair[1]);
        int err = errno;
        close_fd(pair[1]);
        if (pid < 0) {
                close_fd(pair[0]);
                return error_set(e, CAUSE_HELPER, err, "fork: %s", strerror(err));
        }
        *ret = (struct helper){.pid = pid, .sock = pair[0]};
        return 0;
}

int helper_send(struct helper *h, const struct message *m, struct error *e)
{
        int r = proto_send(h->sock, m);
        return r < 0 ? error_set(e, CAUSE_HELPER, -r, "a helper process does not take requests: %s",
                               strerror(-r))
                     : 0;
}

int helper_receive(struct helper *h, unsigned seconds, struct message *ret, struct error *e)
{
        struct pollfd p = {.fd = h->sock, .events = POLLIN};
        uint64_t end = now_usec(CLOCK_MONOTONIC) + seconds * USEC_PER_SEC;
        for (;;) {
                uint64_t now = now_usec(CLOCK_MONOTONIC);
                int left = now < end ? (int)((end - now) / USEC_PER_MSEC) : 0;
                int n = poll(&p, 1, left);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return error_set(e, CAUSE_HELPER, ETIMEDOUT, "no answer of a helper process for %u s",
                                seconds);
                break;
        }
        int r = proto_recv(h->sock, ret, e);
        if (r == -EPIPE)
                return error_set(e, CAUSE_HELPER, EPIPE, "a helper process ended early; see above");
        return r;
}

void helper_stop(struct helper *h)
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
                nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
        }
        h->pid = 0;
}
