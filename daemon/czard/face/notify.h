/* SPDX-License-Identifier: Apache-2.0 */
/* What the service manager hears: sd_notify(3). */
#pragma once

#include "director.h"

struct notify;

/* Feeds the watchdog from now on, if there is one ($WATCHDOG_USEC). 0 or -ENOMEM. */
int notify_new(struct director *d, struct notify **ret);
struct notify *notify_free(struct notify *n);

/* READY=1: after the first self-check, and when a reload has ended, well or not. */
void notify_ready(struct notify *n);
/* STOPPING=1, and a minute more for what is just being made durable. */
void notify_stopping(struct notify *n);
/* RELOADING=1: begins a reload; notify_ready() ends it. */
void notify_reloading(struct notify *n);
/* STATUS=, at most once a second; what comes too soon is said, as it is then, when the second is over. */
void notify_status(struct notify *n);
/* The same text, for SIGUSR2. "": out of memory. */
void notify_text(const struct director *d, char *ret, size_t size);
