/* SPDX-License-Identifier: Apache-2.0 */
/* SIGHUP reload, SIGUSR1 full listing now and every RETRY due now, SIGUSR2 status to the journal, SIGTERM and
 * SIGINT stop (a second one at once). SIGPIPE is ignored from main() on. */
#pragma once

#include "director.h"

/* Before any thread is started, and for ever: what comes before signals_new() waits for it, what comes after
 * signals_free() is nobody's. */
void signals_block(void);

int signals_new(struct director *d, struct signals **ret);
/* The loop need not turn for signals any more; as long as it does, they are heard. */
void signals_leave(struct signals *s);
struct signals *signals_free(struct signals *s);

/* What SIGUSR1 does, also asked for by czarctl resync. */
void resync_all(struct director *d);
/* What SIGUSR2 does. */
void say_status(struct director *d);
