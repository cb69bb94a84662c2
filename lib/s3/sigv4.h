/* SPDX-License-Identifier: Apache-2.0 */
/* AWS Signature Version 4 in the Authorization header. Source: AWS, "Create a signed AWS API request", and
 * for S3 "Authenticating Requests: Using the Authorization Header". */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "str.h"
#include "timespan.h"

#define SIGV4_PAIRS_MAX 32
#define SIGV4_DATE_SIZE 17 /* "20150830T123600Z" and NUL */
#define SIGV4_EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* A query parameter or a header. */
struct sigv4_pair {
        const char *name, *value;
};

struct sigv4_keys {
        const char *access_key_id, *secret_key;
};

struct sigv4_request {
        const char *method;
        const char *path;               /* absolute, not percent-encoded */
        const struct sigv4_pair *query; /* not percent-encoded, in any order */
        size_t n_query;
        const struct sigv4_pair *headers; /* all that shall be signed: host, x-amz-date, ... */
        size_t n_headers;
        const char *payload_sha256; /* hex */
        const char *region, *service;
        int64_t time;        /* seconds since the epoch; the x-amz-date header must say the same */
        bool normalize_path; /* other services want that, S3 must not have it */
};

/* The value for x-amz-date. */
const char *sigv4_date(int64_t time, char ret[SIGV4_DATE_SIZE]);

/* The request target "path[?query]", byte for byte as it is signed: send exactly this. 0, -ENOMEM, -E2BIG. */
int sigv4_target(const struct sigv4_request *r, struct strbuf *ret);

/* The steps of the signature, for tests and for a server that checks one. 0, -ENOMEM, -E2BIG. */
int sigv4_canonical_request(const struct sigv4_request *r, struct strbuf *ret);
int sigv4_string_to_sign(const struct sigv4_request *r, const char *canonical, struct strbuf *ret);

/* The value of the Authorization header. 0, -ENOMEM, -E2BIG. */
int sigv4_authorization(const struct sigv4_request *r, const struct sigv4_keys *keys, struct strbuf *ret);
