/* SPDX-License-Identifier: Apache-2.0 */
/* Notices that nothing moves though there is work. Progress is bytes moved, a verdict, a job that began or
 * ended; that a helper is alive is none. What stands still is said (EVENT_STALLED) and freed: workers and
 * czard-fetch are replaced and their jobs tried again. Where that does not help, the watchdog is not fed. */
#pragma once

#include "queue.h"

struct stall;

/* Both borrowed for ever. */
int stall_new(const struct job_env *env, const struct queue *queue, struct stall **ret);
struct stall *stall_free(struct stall *s);
/* Something may have begun: looks at it now and then until nothing is under way. */
void stall_watch(struct stall *s);
/* Has it stood still for so long that only a restart is left? */
bool stall_is_hopeless(const struct stall *s);
