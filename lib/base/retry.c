/* SPDX-License-Identifier: Apache-2.0 */
/* When to try again. Pure but for retry_random(), so that the schedule can be tested without a clock. */
#include "retry.h"

#include <sys/random.h>
#include <time.h>

#include "macro.h"
#include "timespan.h"

#define RETRY_AFTER_CAP USEC_PER_HOUR

uint64_t retry_delay_usec(
        const struct retry_policy *p, unsigned attempt, uint64_t retry_after_usec, uint64_t random)
{
        uint64_t top = MIN(p->base_usec, p->cap_usec);
        for (unsigned i = 1; i < attempt && top > 0 && top < p->cap_usec; i++)
                top = top > p->cap_usec / 2 ? p->cap_usec : top * 2;
        /* The high half of the product is uniform in [0, top], without the bias of a remainder. */
        uint64_t delay = (uint64_t)(((unsigned __int128)random * ((unsigned __int128)top + 1)) >> 64);
        return MAX(delay, MIN(retry_after_usec, RETRY_AFTER_CAP));
}

uint64_t retry_random(void)
{
        uint64_t r;
        if (getrandom(&r, sizeof(r), GRND_NONBLOCK) == sizeof(r))
                return r;
        /* Only early in boot. Jitter need not be unpredictable, only different from the neighbour's. */
        r = now_usec(CLOCK_MONOTONIC) ^ (uint64_t)(uintptr_t)&r;
        return r * UINT64_C(0x9e3779b97f4a7c15);
}
