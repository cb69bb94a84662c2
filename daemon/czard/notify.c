/* SPDX-License-Identifier: Apache-2.0 */
/* sd_notify. The watchdog is fed by a timer of the loop, so a loop that does not turn is noticed; work that
 * does not move is noticed by pool.c, which kills a silent worker, and by czard-fetch's stall timeout: both
 * long before the watchdog. */
#include "notify.h"

#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "poll.h"
#include "queue.h"
#include "timespan.h"

struct notify {
        struct director *d;
        uv_timer_t watchdog;
        uint64_t said_usec;
        uint64_t rate_bytes, rate_usec; /* where the present burst of work began */
};

static void on_watchdog(uv_timer_t *timer)
{
        (void)timer;
        sd_notify(0, "WATCHDOG=1");
}

int notify_new(struct director *d, struct notify **ret)
{
        struct notify *n = calloc(1, sizeof(*n));
        if (!n)
                return -ENOMEM;
        n->d = d;
        uv_timer_init(&d->loop, &n->watchdog);
        n->watchdog.data = n;
        uint64_t usec = 0;
        if (sd_watchdog_enabled(0, &usec) > 0)
                uv_timer_start(&n->watchdog, on_watchdog, 0, usec / USEC_PER_MSEC / 2);
        *ret = n;
        return 0;
}

static void on_closed(uv_handle_t *h)
{
        free(h->data);
}

struct notify *notify_free(struct notify *n)
{
        if (n)
                uv_close((uv_handle_t *)&n->watchdog, on_closed);
        return NULL;
}

void notify_ready(struct notify *n)
{
        (void)n;
        sd_notify(0, "READY=1");
}

void notify_stopping(struct notify *n)
{
        (void)n;
        sd_notify(0, "STOPPING=1\nSTATUS=stopping");
}

void notify_reloading(struct notify *n)
{
        (void)n;
        sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)now_usec(CLOCK_MONOTONIC));
}

void notify_text(const struct director *d, char *ret, size_t size)
{
        struct queue_progress p;
        char done[32], due[32], next[64] = "";
        queue_progress(d->queue, &p);
        if (poll_next(d->poll) >= 0) {
                char span[64];
                snprintf(next, sizeof(next), "; next poll in %s",
                        timespan_format((uint64_t)poll_next(d->poll) * USEC_PER_SEC, span, sizeof(span)));
        }
        snprintf(ret, size, "%s%llu of %llu objects, %s of %s, %u under way%s", d->pauses ? "paused; " : "",
                (unsigned long long)p.done, (unsigned long long)p.due,
                size_format(p.done_bytes, done, sizeof(done)), size_format(p.due_bytes, due, sizeof(due)),
                p.running, next);
}

void notify_status(struct notify *n)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        if (now < n->said_usec + USEC_PER_SEC)
                return;
        n->said_usec = now;
        char text[512];
        notify_text(n->d, text, sizeof(text));
        sd_notifyf(0, "STATUS=%s", text);
}
