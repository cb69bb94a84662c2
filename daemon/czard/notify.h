/* SPDX-License-Identifier: Apache-2.0 */
/* What the service manager hears: sd_notify(3). */
#pragma once

#include "director.h"

struct notify;

int notify_new(struct director *d, struct notify **ret);
struct notify *notify_free(struct notify *n);

void notify_ready(struct notify *n);
void notify_stopping(struct notify *n);
void notify_reloading(struct notify *n);
/* STATUS=, at most once a second. */
void notify_status(struct notify *n);
/* The same text, for SIGUSR2. */
void notify_text(const struct director *d, char *ret, size_t size);
