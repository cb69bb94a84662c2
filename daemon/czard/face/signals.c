/* SPDX-License-Identifier: Apache-2.0 */
/* Signals, on the loop. They are blocked from main() to the end and read from a descriptor: none kills,
 * however early or late it comes, and a helper starts with none blocked (uv_spawn). */
#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cleanup.h"
#include "macro.h"

struct signals {
        int fd; /* of signalfd(2) */
        uv_poll_t poll;
};

static sigset_t our_signals(void)
{
        static const int numbers[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGTERM, SIGINT};
        sigset_t set;
        sigemptyset(&set);
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                sigaddset(&set, numbers[i]);
        return set;
}

void signals_block(void)
{
        sigset_t set = our_signals();
        pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
        /* The loop turns: signals_take() reads it. */
        (void)poll;
        (void)status;
        (void)events;
}

int signals_take(struct signals *s)
{
        struct signalfd_siginfo info;
        return read(s->fd, &info, sizeof(info)) == sizeof(info) ? (int)info.ssi_signo : 0;
}

int signals_new(uv_loop_t *loop, struct signals **ret)
{
        struct signals *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        sigset_t set = our_signals();
        *s = (struct signals){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
        int r = s->fd < 0 ? -errno : uv_poll_init(loop, &s->poll, s->fd);
        if (r < 0) {
                close_fd(s->fd);
                free(s);
                return r;
        }
        s->poll.data = s;
        uv_poll_start(&s->poll, UV_READABLE, on_readable);
        *ret = s;
        return 0;
}

void signals_leave(struct signals *s)
{
        uv_unref((uv_handle_t *)&s->poll);
}

static void on_closed(uv_handle_t *h)
{
        struct signals *s = h->data;
        close_fd(s->fd);
        free(s);
}

struct signals *signals_free(struct signals *s)
{
        if (s)
                uv_close((uv_handle_t *)&s->poll, on_closed);
        return NULL;
}
