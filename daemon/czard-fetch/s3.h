/* SPDX-License-Identifier: Apache-2.0 */
/* Signed S3 requests. Knows endpoint, addressing and the region of each bucket; a hint at another region is
 * followed once, by signing again for it, never to a host that the answer names. */
#pragma once

#include "config.h"
#include "credentials.h"
#include "http.h"
#include "sigv4.h"

struct s3;
struct s3_call;

/* config is borrowed as long as s3 lives. */
int s3_new(struct http *http, const struct config_s3 *config, struct s3 **ret);
struct s3 *s3_free(struct s3 *s);
/* Does every request go over TLS? */
bool s3_is_tls(const struct s3 *s);

/* How a call went. error.cause NONE: a 2xx answer came whole. */
struct s3_result {
        struct error error;
        unsigned status, requests;
        uint64_t retry_after_usec;
        int64_t skew_sec;
};

/* r is one call of several: counts it in, but for its error. */
void s3_result_add(struct s3_result *sum, const struct s3_result *r);

/* As struct http_ops, but on_head and on_body only see 2xx answers, and say why they end the call. */
struct s3_ops {
        int (*on_head)(void *arg, const struct transfer *t, struct error *e);
        int (*on_body)(void *arg, const void *p, size_t n, struct error *e);
        void (*on_done)(void *arg, const struct s3_result *r);
};

/* Everything is borrowed until on_done. */
struct s3_request {
        const struct credentials *credentials;
        const char *bucket, *key; /* key NULL: the bucket */
        bool head;
        bool checksums;                 /* ask for x-amz-checksum-* */
        const char *if_match, *range;   /* NULL: none */
        const struct sigv4_pair *query; /* not encoded */
        size_t n_query;
        const struct s3_ops *ops;
        void *arg;
};

/* 0 or -errno. on_done runs exactly once, from the loop, never before this returns; the call is gone then. */
int s3_start(struct s3 *s, const struct s3_request *request, struct s3_call **ret);
void s3_resume(struct s3_call *c);
/* Nothing is called any more. Not from on_head or on_body. Returns NULL. */
struct s3_call *s3_cancel(struct s3_call *c);
