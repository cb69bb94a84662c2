/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP over libcurl's multi interface on libuv: one request in, one result out. Knows nothing of S3. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "error.h"

struct http;
struct transfer;

struct http_config {
        const char *ca_file;       /* instead of the system's; NULL: the system's */
        const char *proxy;         /* NULL: none; the environment's is never used */
        bool allow_http;           /* else https only */
        uint64_t stall_usec;       /* a transfer with no byte for so long has failed */
        uint64_t bytes_per_second; /* of all transfers together, 0: no limit */
        unsigned max_connections;  /* kept alive */
};

/* How a transfer went. cause NONE: a whole answer of whatever status came. */
struct http_result {
        struct error error;
        unsigned status; /* 0: none came */
};

#define HTTP_WAIT 1

struct http_ops {
        /* Once, when the header is complete, before on_body (and on_done, unless no answer came). 0, or
         * -errno to end the transfer. */
        int (*on_head)(void *arg, const struct transfer *t);
        /* 0: all n bytes were taken. HTTP_WAIT: none, the transfer rests until http_resume(). -errno: end. */
        int (*on_body)(void *arg, const void *p, size_t n);
        /* Exactly once, from the loop, never before http_start() returns. The transfer is gone afterwards. */
        void (*on_done)(void *arg, const struct transfer *t, const struct http_result *r);
};

struct http_request {
        const char *url; /* with the target as signed: nothing of it is changed */
        bool head;       /* HEAD, else GET */
        const char *const *headers;
        size_t n_headers; /* "Name: value"; copied, and wiped after use */
        const struct http_ops *ops;
        void *arg;
};

/* config's strings are borrowed as long as http lives. 0 or -errno. */
int http_new(uv_loop_t *loop, const struct http_config *config, struct http **ret, struct error *e);
/* All transfers must be over or cancelled. */
struct http *http_free(struct http *h);

int http_start(struct http *h, const struct http_request *request, struct transfer **ret);
void http_resume(struct transfer *t);
/* Nothing is called any more. Not from on_head or on_body. Returns NULL. */
struct transfer *http_cancel(struct transfer *t);

unsigned http_status(const struct transfer *t);
/* The value of that header in the final answer, or NULL; valid until the next call. */
const char *http_header(const struct transfer *t, const char *name);

/* Does it come more than once? */
bool http_header_repeats(const struct transfer *t, const char *name);
/* Is there a Content-Encoding other than identity? Nobody asks for one. */
bool http_is_encoded(const struct transfer *t);

/* --- the rate, a token bucket: at most so many bytes a second, with a burst of a fifth of a second --- */

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
