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
