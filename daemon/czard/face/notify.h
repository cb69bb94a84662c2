/* SPDX-License-Identifier: Apache-2.0 */
/* What the service manager hears: sd_notify(3). */
#pragma once

#include "poller.h"

struct notify;

/* What STATUS= tells of; all borrowed for ever. */
struct notify_spec {
        uv_loop_t *loop;
        const struct queue
                *queue; /* while it has hope the watchdog is fed, if there is one ($WATCHDOG_USEC) */
        const struct poller *poll;
        const struct pauses *pauses;
};
/* 0 or -ENOMEM. */
int notify_new(const struct notify_spec *spec, struct notify **ret);
struct notify *notify_free(struct notify *n);

/* While the loop waits for something long of which one piece is done: the watchdog is fed, and a start or a
 * stop gets more time. */
void notify_alive(void *unused);
/* READY=1: after the first self-check, and when a reload has ended, well or not. */
void notify_ready(struct notify *n);
/* STOPPING=1, and a minute more for what is just being made durable. */
void notify_stopping(struct notify *n);
/* RELOADING=1: begins a reload; notify_ready() ends it. */
void notify_reloading(struct notify *n);
/* Once a turn of the loop: STATUS=, at most once a second; news that come too soon are said, as it is then,
 * in the turn after the second is over. */
void notify_status(struct notify *n, bool news);
/* The same text, for SIGUSR2. "": out of memory. */
void notify_text(const struct notify *n, char *ret, size_t size);
