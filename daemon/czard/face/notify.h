/* SPDX-License-Identifier: Apache-2.0 */
/* What the service manager hears: sd_notify(3). */
#pragma once

#include "queue.h"
#include "stall.h"

struct notify;

/* Feeds the watchdog from now on, if there is one ($WATCHDOG_USEC), while stall (borrowed for ever) has hope.
 * 0 or -ENOMEM. */
int notify_new(uv_loop_t *loop, const struct stall *stall, struct notify **ret);
struct notify *notify_free(struct notify *n);

/* READY=1: after the first self-check, and when a reload has ended, well or not. */
void notify_ready(struct notify *n);
/* STOPPING=1, and a minute more for what is just being made durable. */
void notify_stopping(struct notify *n);
/* RELOADING=1: begins a reload; notify_ready() ends it. */
void notify_reloading(struct notify *n);
/* STATUS= is to be said? At most once a second: news that come too soon are told of, by a turn of the loop,
 * when the second is over. */
bool notify_is_due(struct notify *n, bool news);
void notify_status(struct notify *n, const char *text);
/* The text of STATUS= and of SIGUSR2. next_poll: in seconds, -1 none is planned. "": out of memory. */
void notify_text(const struct queue_progress *p, bool paused, int64_t next_poll, char *ret, size_t size);
