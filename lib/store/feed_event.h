/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the feed: what one line of the audit record says to the feed. Only feed.c includes this. */
#pragma once

#include "feed_snapshot.h"

/* One line of the audit record, in order; number is its own. 0 or -errno. */
int feed_event_line(struct feed_snapshot *f, const char *line, size_t len, uint64_t number);
