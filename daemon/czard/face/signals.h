/* SPDX-License-Identifier: Apache-2.0 */
/* Signals, read from a descriptor on the loop and handed on as numbers: SIGHUP reload, SIGUSR1 full listing
 * now and every RETRY due now, SIGUSR2 status to the journal, SIGTERM and SIGINT stop. SIGPIPE is ignored
 * from main() on. */
#pragma once

#include <uv.h>

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
