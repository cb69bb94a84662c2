/* SPDX-License-Identifier: Apache-2.0 */
/* When to try again: exponential back-off with full jitter, Retry-After honoured, capped. Pure functions.
 * Source: AWS Architecture Blog, "Exponential Backoff and Jitter". */
#pragma once

#include <stdint.h>

struct retry_policy {
        uint64_t base_usec, cap_usec;
};

/* The delay before the try after `attempt` failed ones (1 = the first failed): uniform in [0, min(cap, base
 * 2^(attempt-1))], but never below retry_after_usec (0: none given), itself capped at 1 h. random: any 64
 * random bits. */
uint64_t retry_delay_usec(
        const struct retry_policy *p, unsigned attempt, uint64_t retry_after_usec, uint64_t random);

uint64_t retry_random(void);
