/* SPDX-License-Identifier: Apache-2.0 */
/* Is a request that failed tried again here, and when? czard backs off over minutes and hours; here only what
 * keeps a transfer alive that already runs: a dropped connection, a busy server. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

/* Does such a failure often pass by itself within seconds? */
bool heal_passes(enum cause cause);

struct heal {
        unsigned failed; /* tries in a row without progress */
        unsigned all;    /* tries, with progress or without */
};

/* cause: why it failed. came: how much of it came, ever. now: in this try. 0 and the delay; -1: give up. */
int heal_next(struct heal *h, enum cause cause, uint64_t came, uint64_t now, uint64_t retry_after_usec,
        uint64_t *ret_delay_usec);
