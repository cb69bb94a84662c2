/* SPDX-License-Identifier: Apache-2.0 */
/* sd_notify. The watchdog is fed by a timer of the loop, so a loop that does not turn is noticed, and only
 * while work moves or there is none. What stands still is freed by plan/queue.c long before that. */
#include "notify.h"

#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "str.h"
#include "timespan.h"

#define STOP_USEC (60 * USEC_PER_SEC) /* a large file may be on its way to the disk */

#define LONG_USEC (120 * USEC_PER_SEC) /* a piece of what the loop waits for */

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

void notify_ready(struct notify *n)
{
        (void)n;
        sd_notify(0, "READY=1");
}

void notify_stopping(struct notify *n)
{
        (void)n;
        journal_progress("");
        sd_notifyf(0, "STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=%llu", (unsigned long long)STOP_USEC);
}

void notify_reloading(struct notify *n)
{
        (void)n;
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
