/* SPDX-License-Identifier: Apache-2.0 */
/* One pure decision (but for the jitter). */
#include "heal.h"

#include "macro.h"
#include "timespan.h"

#define TRIES_WITHOUT_PROGRESS 5
#define TRIES_BEFORE_THE_FIRST_BYTE 1
/* Who sends a few bytes and hangs up, again and again, would else be asked without end. */
#define TRIES_AT_ALL 30
#define BYTES_WORTH_A_TRY (64 * KIB)
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

int heal_next(struct heal *h, enum cause cause, uint64_t came, uint64_t now, uint64_t retry_after_usec,
        uint64_t *ret_delay_usec)
{
        bool begun = came > 0;
        if (!heal_passes(cause) || retry_after_usec > RETRY_AFTER_MAX_USEC)
                return -1;
        if (cause == CAUSE_TLS && !begun)
                return -1; /* a certificate does not become valid by asking again */
        if (now > 0)
                h->failed = 0;
        if (h->failed >= (begun ? TRIES_WITHOUT_PROGRESS : TRIES_BEFORE_THE_FIRST_BYTE) ||
                h->all >= TRIES_AT_ALL + came / BYTES_WORTH_A_TRY)
                return -1;
        h->failed++;
        h->all++;
        *ret_delay_usec = retry_delay_usec(&policy, h->failed, retry_after_usec, retry_random());
        return 0;
}
