/* SPDX-License-Identifier: Apache-2.0 */
/* What passes between czard and the service manager or whoever started it: signals in, sd_notify(3) out. */
#pragma once

#include <uv.h>

#include "poller.h"

/* --- sd_notify --- */

struct notify;

/* What STATUS= tells of; all borrowed for ever. */
struct notify_spec {
        uv_loop_t *loop;
        const struct queue *queue; /* while it has hope the watchdog ($WATCHDOG_USEC) is fed */
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
void notify_ready(void);
/* STOPPING=1, and a minute more for what is just being made durable. */
void notify_stopping(void);
/* RELOADING=1: begins a reload; notify_ready() ends it. */
void notify_reloading(void);
/* Once a turn of the loop: STATUS=, at most once a second; news that come too soon are said, as it is then,
 * in the turn after the second is over. */
void notify_status(struct notify *n, bool news);
/* The same text, for SIGUSR2. "": out of memory. */
void notify_text(const struct notify *n, char *ret, size_t size);

/* --- signals --- */

/* Signals, read from a descriptor on the loop and handed on as numbers: SIGHUP reload, SIGUSR1 full listing
 * now and every RETRY due now, SIGUSR2 status to the journal, SIGTERM and SIGINT stop. SIGPIPE is ignored
 * from main() on. */
struct signals;

/* Before any thread is started, and for ever: what comes before signals_new() waits for it, what comes after
 * signals_free() is nobody's. */
void signals_block(void);

int signals_new(uv_loop_t *loop, struct signals **ret);
/* The number of a signal that came and was not taken yet; 0: none. */
int signals_take(struct signals *s);
/* The loop need not turn for signals any more; as long as it does, they are heard. */
void signals_leave(struct signals *s);
struct signals *signals_free(struct signals *s);
