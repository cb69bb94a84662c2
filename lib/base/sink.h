/* SPDX-License-Identifier: Apache-2.0 */
/* Streams of bytes between the layers of a package: zip member -> OpenPGP -> gzip -> file. */
#pragma once

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "limits.h"

/* Up to n bytes into p. How many, 0 at the end, -errno with the cause in e. */
typedef ssize_t source_fn(void *arg, void *p, size_t n, struct error *e);
/* Takes all n bytes. 0, or -errno with the cause in e. */
typedef int sink_fn(void *arg, const void *p, size_t n, struct error *e);

/* How far bytes may expand. 0: without limit. */
struct expansion {
        uint64_t max_plaintext, max_ratio;
};

/* May `in` bytes have become `out`? Small tables compress without bound and harm nobody: the ratio counts
 * from LIMIT_RATIO_FREE bytes on. 0, or -EFBIG with CAUSE_LIMIT. */
static inline int expansion_check(const struct expansion *x, uint64_t in, uint64_t out, struct error *e)
{
        if (x->max_plaintext && out > x->max_plaintext)
                return error_set(e, CAUSE_LIMIT, EFBIG,
                        "the plaintext is larger than max_plaintext (%" PRIu64 " bytes)", x->max_plaintext);
        if (x->max_ratio && out > LIMIT_RATIO_FREE && out / x->max_ratio > in)
                return error_set(e, CAUSE_LIMIT, EFBIG,
                        "%" PRIu64 " bytes grew to more than max_ratio (%" PRIu64 ") times as many", in,
                        x->max_ratio);
        return 0;
}
