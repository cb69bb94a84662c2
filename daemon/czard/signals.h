/* SPDX-License-Identifier: Apache-2.0 */
/* SIGHUP reload, SIGUSR1 full listing now and every RETRY due now, SIGUSR2 status to the journal, SIGTERM and
 * SIGINT stop (a second one at once). SIGPIPE is ignored from main() on. */
#pragma once

#include "director.h"

int signals_new(struct director *d, struct signals **ret);
struct signals *signals_free(struct signals *s);

/* What SIGUSR1 does, also asked for by czarctl resync. */
void resync_all(struct director *d);
/* What SIGUSR2 does. */
void say_status(struct director *d);
