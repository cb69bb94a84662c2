/* SPDX-License-Identifier: Apache-2.0 */
/* One pure decision (but for the jitter). */
#include "heal.h"

#include "macro.h"
#include "retry.h"

#define TRIES_WITHOUT_PROGRESS 5
#define TRIES_BEFORE_THE_FIRST_BYTE 1
/* A server that asks for more than this is better left to czard, which can do other things meanwhile. */
#define RETRY_AFTER_MAX_USEC (30 * USEC_PER_SEC)

static const struct retry_policy policy = {.base_usec = USEC_PER_SEC / 5, .cap_usec = 5 * USEC_PER_SEC};

bool heal_passes(enum cause cause)
{
        switch (cause) {
        case CAUSE_NETWORK:
        case CAUSE_TIMEOUT:
        case CAUSE_DNS:
        case CAUSE_TLS:
        case CAUSE_PROXY:
        case CAUSE_SERVER:
        case CAUSE_THROTTLED:
        case CAUSE_TRUNCATED:
                return true;
        default:
                return false;
        }
}

int heal_next(struct heal *h, enum cause cause, bool begun, bool progress, uint64_t retry_after_usec,
        uint64_t *ret_delay_usec)
{
        if (!heal_passes(cause) || retry_after_usec > RETRY_AFTER_MAX_USEC)
                return -1;
        if (cause == CAUSE_TLS && !begun)
                return -1; /* a certificate does not become valid by asking again */
        if (progress)
                h->failed = 0;
        if (h->failed >= (begun ? TRIES_WITHOUT_PROGRESS : TRIES_BEFORE_THE_FIRST_BYTE))
                return -1;
        h->failed++;
        *ret_delay_usec = retry_delay_usec(&policy, h->failed, retry_after_usec, retry_random());
        return 0;
}
