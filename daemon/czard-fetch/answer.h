/* SPDX-License-Identifier: Apache-2.0 */
/* What an HTTP answer of S3 that is not 2xx means, as a cause of lib/base/error.h, and whether a request that
 * failed is tried again here: pure functions (but for the jitter of a delay). Source: AWS, S3 API reference,
 * "Error responses" and "REST error responses". */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "httpval.h"
#include "limits.h"

/* Headers are as received, NULL where there was none. */
struct answer_input {
        unsigned status;
        bool head, ranged; /* what was asked: a HEAD; with a Range */
        const char *date, *retry_after, *bucket_region;
        const void *body; /* the XML of the error; may be empty (HEAD, Ceph) */
        size_t body_len;
        int64_t now_sec;
};

struct answer {
        enum cause cause;
        char text[400];                   /* "403 AccessDenied: message", printable */
        uint64_t retry_after_usec;        /* 0: not told */
        int64_t skew_sec;                 /* server minus ours; 0: not told or small */
        bool bad_signature;               /* SignatureDoesNotMatch */
        char host[HOST_SIZE];             /* with it: the Host that S3 got, "" when it does not say */
        char region[HTTPVAL_REGION_SIZE]; /* the bucket is in that region: sign for it; "" else */
};

void answer_read(const struct answer_input *in, struct answer *ret);

/* --- is it tried again here, and when? czard backs off over minutes and hours; here only what
 * keeps a transfer alive that already runs: a dropped connection, a busy server --- */

/* Does such a failure often pass by itself within seconds? */
bool heal_passes(enum cause cause);

struct heal {
        unsigned failed; /* tries in a row without progress */
        unsigned all;    /* tries, with progress or without */
};

/* cause: why it failed. came: how much of it came, ever. now: in this try. 0 and the delay; -1: give up. */
int heal_next(struct heal *h, enum cause cause, uint64_t came, uint64_t now, uint64_t retry_after_usec,
        uint64_t *ret_delay_usec);
