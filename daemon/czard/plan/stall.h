/* SPDX-License-Identifier: Apache-2.0 */
/* Notices that nothing moves though there is work. Progress is bytes moved, a verdict, a job that began or
 * ended; that a helper is alive is none. What stands still is said (EVENT_STALLED) and freed: workers and
 * czard-fetch are replaced and their jobs tried again. Where that does not help, the watchdog is not fed. */
#pragma once

#include "config.h"
#include "queue.h"

struct stall;

/* All borrowed for ever. */
struct stall_spec {
        uv_loop_t *loop;
        const struct queue *queue; /* asked how much is under way */
        struct flow_env flow;      /* what moved last; the flows, and the czard-fetch, that are freed */
};
int stall_new(const struct stall_spec *spec, struct stall **ret);
/* The configuration in force; borrowed until the next call. */
void stall_configure(struct stall *s, const struct config *config);
struct stall *stall_free(struct stall *s);
/* Something may have begun: looks at it now and then until nothing is under way. */
void stall_watch(struct stall *s);
/* Has it stood still for so long that only a restart is left? */
bool stall_is_hopeless(const struct stall *s);

/* How long nothing may move: longer than czard-fetch tries one request. */
uint64_t stall_limit_usec(uint64_t stall_timeout_usec);
/* Is it to be said now? said_usec: when it was the last time (0: never). */
bool stall_is_due(uint64_t now_usec, uint64_t moved_usec, uint64_t said_usec, uint64_t limit_usec);
