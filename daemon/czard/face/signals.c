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
#include "notify.h"
#include "poll.h"
#include "queue.h"
#include "record.h"

struct signals {
        struct director *d;
        int fd; /* of signalfd(2) */
        uv_poll_t poll;
        bool stopping;
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

void resync_all(struct director *d)
{
        struct ledger_filter f = {.states = BIT(OBJECT_RETRY)};
        _cleanup_free_ int64_t *ids = NULL;
        size_t n = 0;
        struct error e = {};
        if (!d->ready)
                return; /* the first poll of all is to come */
        record_unblock_buckets(d);
        record_open(d);
        if (ledger_ids(d->ledger, &f, &ids, &n, &e) < 0)
                pauses_enter(d->pauses, PAUSE_STATE, e.cause, e.text);
        for (size_t i = 0; i < n; i++) {
                struct ledger_object o;
                if (queue_busy(d->queue, ids[i]) || ledger_get(d->ledger, ids[i], &o, &e) < 0)
                        continue;
                o.next_try = 0;
                ledger_save(d->ledger, &o, &e);
        }
        if (director_open_pools(d, &e) < 0)
                pauses_enter(d->pauses, PAUSE_KEY, e.cause, e.text);
        else
                pauses_leave(d->pauses, PAUSE_KEY);
        poll_now(d->poll, true);
}

void say_status(struct director *d)
{
        char text[512];
        notify_text(d, text, sizeof(text));
        journal_event(EVENT_STATUS, NULL, "%s", text);
}

static void act(struct signals *s, uint32_t number)
{
        if (s->d->stopping && number != SIGTERM && number != SIGINT)
                return;
        switch (number) {
        case SIGHUP:
                director_reload(s->d);
                break;
        case SIGUSR1:
                resync_all(s->d);
                break;
        case SIGUSR2:
                say_status(s->d);
                break;
        default:
                if (s->stopping) {
                        record_flush(s->d->record);
                        _exit(STATUS_WELL);
                }
                s->stopping = true;
                director_stop(s->d);
        }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
        struct signals *s = poll->data;
        struct signalfd_siginfo info;
        (void)status;
        (void)events;
        while (read(s->fd, &info, sizeof(info)) == sizeof(info))
                act(s, info.ssi_signo);
}

int signals_new(struct director *d, struct signals **ret)
{
        struct signals *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        sigset_t set = our_signals();
        *s = (struct signals){.d = d, .fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
        int r = s->fd < 0 ? -errno : uv_poll_init(&d->loop, &s->poll, s->fd);
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
