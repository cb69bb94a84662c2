/* SPDX-License-Identifier: Apache-2.0 */
/* A token bucket: at most so many bytes a second, with a burst of a fifth of a second. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RATE_MAX (UINT64_C(1) << 40) /* what no line reaches: no limit */

struct rate_limit {
        uint64_t bytes_per_second; /* 0: no limit */
        int64_t tokens;            /* may go below zero by one chunk */
        uint64_t last_msec;
};

static inline void rate_init(struct rate_limit *r, uint64_t bytes_per_second, uint64_t now_msec)
{
        if (bytes_per_second > RATE_MAX)
                bytes_per_second = 0;
        *r = (struct rate_limit){.bytes_per_second = bytes_per_second, .last_msec = now_msec};
}

static inline bool rate_has_room(struct rate_limit *r, uint64_t now_msec)
{
        if (r->bytes_per_second == 0)
                return true;
        uint64_t passed = now_msec - r->last_msec;
        if (passed > 1000) {
                r->last_msec = now_msec - 1000;
                passed = 1000;
        }
        /* Whole bytes only; time that is not worth one yet is kept. */
        uint64_t more = r->bytes_per_second * passed / 1000;
        r->tokens += (int64_t)more;
        r->last_msec += more * 1000 / r->bytes_per_second;
        int64_t burst = (int64_t)(r->bytes_per_second / 5 + 1);
        if (r->tokens > burst)
                r->tokens = burst;
        return r->tokens > 0;
}

static inline void rate_take(struct rate_limit *r, size_t n)
{
        if (r->bytes_per_second != 0)
                r->tokens -= (int64_t)n;
}
