/* SPDX-License-Identifier: Apache-2.0 */
/* The watchdog is fed by a timer of the loop, so a loop that does not turn is noticed, and only while work
 * moves or there is none. What stands still is freed by plan/queue.c long before that. Signals are blocked
 * from main() to the end and read from a descriptor: none kills, however early or late it comes, and a
 * helper starts with none blocked (uv_spawn). */
#include "manager.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "cleanup.h"
#include "macro.h"
#include "str.h"
#include "timespan.h"

#define STOP_USEC (60 * USEC_PER_SEC)  /* a large file may be on its way to the disk */
#define LONG_USEC (120 * USEC_PER_SEC) /* a piece of what the loop waits for */

/* --- sd_notify --- */

struct notify {
        struct notify_spec on;
        uv_timer_t watchdog, later;
        bool waits; /* news that were not said yet */
        unsigned open_handles;
        uint64_t said_usec;
};

static void on_watchdog(uv_timer_t *timer)
{
        struct notify *n = timer->data;
        if (!queue_is_hopeless(n->on.queue))
                sd_notify(0, "WATCHDOG=1");
}

int notify_new(const struct notify_spec *spec, struct notify **ret)
{
        struct notify *n = calloc(1, sizeof(*n));
        if (!n)
                return -ENOMEM;
        n->on = *spec;
        uv_timer_init(spec->loop, &n->watchdog);
        uv_timer_init(spec->loop, &n->later);
        n->watchdog.data = n->later.data = n;
        n->open_handles = 2;
        uint64_t usec = 0;
        if (sd_watchdog_enabled(0, &usec) > 0)
                uv_timer_start(&n->watchdog, on_watchdog, 0, usec / USEC_PER_MSEC / 2);
        *ret = n;
        return 0;
}

static void on_closed(uv_handle_t *h)
{
        struct notify *n = h->data;
        if (--n->open_handles == 0)
                free(n);
}

struct notify *notify_free(struct notify *n)
{
        if (!n)
                return NULL;
        uv_close((uv_handle_t *)&n->watchdog, on_closed);
        uv_close((uv_handle_t *)&n->later, on_closed);
        return NULL;
}

void notify_alive(void *unused)
{
        (void)unused;
        sd_notifyf(0, "WATCHDOG=1\nEXTEND_TIMEOUT_USEC=%llu", (unsigned long long)LONG_USEC);
}

void notify_ready(void)
{
        sd_notify(0, "READY=1");
}

void notify_stopping(void)
{
        journal_progress("");
        sd_notifyf(0, "STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=%llu", (unsigned long long)STOP_USEC);
}

void notify_reloading(void)
{
        sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)now_usec(CLOCK_MONOTONIC));
}

/* ", 3.2 MiB/s, 5min left" once there is something to tell by. */
static void add_rate(const struct queue_progress *p, struct strbuf *text)
{
        char size[BYTES_SIZE], span[SPAN_SIZE];
        if (p->running == 0 || p->rate == 0)
                return;
        strbuf_printf(text, ", %s/s", size_format(p->rate, size, sizeof(size)));
        if (p->due_bytes > p->done_bytes)
                strbuf_printf(text, ", %s left",
                        timespan_format(
                                (p->due_bytes - p->done_bytes) / p->rate * USEC_PER_SEC + USEC_PER_SEC, span,
                                sizeof(span)));
}

void notify_text(const struct notify *n, char *ret, size_t size)
{
        _cleanup_strbuf_ struct strbuf text = {};
        struct queue_progress p;
        int64_t next_poll = poller_next(n->on.poll);
        char done[BYTES_SIZE], due[32], span[SPAN_SIZE];
        queue_progress(n->on.queue, &p);
        if (pauses_now(n->on.pauses))
                strbuf_add(&text, "paused; ");
        if (p.due > 0)
                strbuf_printf(&text, "%llu of %llu objects, %s of %s, %u under way",
                        (unsigned long long)p.done, (unsigned long long)p.due,
                        size_format(p.done_bytes, done, sizeof(done)),
                        size_format(p.due_bytes, due, sizeof(due)), p.running);
        else
                strbuf_add(&text, "nothing due");
        add_rate(&p, &text);
        if (next_poll >= 0)
                strbuf_printf(&text, "; next poll in %s",
                        timespan_format((uint64_t)next_poll * USEC_PER_SEC, span, sizeof(span)));
        snprintf(ret, size, "%s", text.s ? text.s : "");
}

static void on_later(uv_timer_t *timer)
{
        (void)timer;
}

void notify_status(struct notify *n, bool news)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        char text[TEXT_SIZE];
        n->waits |= news;
        if (!n->waits)
                return;
        if (now < n->said_usec + USEC_PER_SEC) {
                /* The last word must not be an old one. */
                if (!uv_is_active((uv_handle_t *)&n->later))
                        uv_timer_start(&n->later, on_later, USEC_PER_SEC / USEC_PER_MSEC, 0);
                return;
        }
        n->waits = false;
        n->said_usec = now;
        notify_text(n, text, sizeof(text));
        sd_notifyf(0, "STATUS=%s", text);
        journal_progress(text);
}

/* --- signals --- */

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

static void on_signal(uv_poll_t *poll, int status, int events)
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
        uv_poll_start(&s->poll, UV_READABLE, on_signal);
        *ret = s;
        return 0;
}

void signals_leave(struct signals *s)
{
        uv_unref((uv_handle_t *)&s->poll);
}

static void on_signals_closed(uv_handle_t *h)
{
        struct signals *s = h->data;
        close_fd(s->fd);
        free(s);
}

struct signals *signals_free(struct signals *s)
{
        if (s)
                uv_close((uv_handle_t *)&s->poll, on_signals_closed);
        return NULL;
}
