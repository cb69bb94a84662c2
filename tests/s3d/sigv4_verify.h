/* SPDX-License-Identifier: Apache-2.0 */
/* AWS Signature Version 4, the verifier's side: what the signature of a received request must be.
 * Source: "Signature Calculations for the Authorization Header", Amazon S3 API Reference,
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html */
#pragma once

#include "text.h"

struct sv_header {
        const char *name, *value;
};

/* As it arrived; nothing decoded. */
struct sv_request {
        const char *method;
        const char *target; /* the raw path and, behind ?, the raw query */
        const struct sv_header *headers;
        size_t n_headers;
};

/* The Authorization header, taken apart. */
struct sv_auth {
        char *access, *date, *region, *service;
        char **signed_headers; /* lower case, strictly ascending */
        size_t n_signed;
        char *signature; /* 64 lower-case hex digits */
};

#define SV_HEX 65 /* SHA-256 in hex, with NUL */

/* 0 and *ret filled, or -EINVAL: not exactly what the documentation describes. */
int sv_auth_parse(const char *authorization, struct sv_auth *ret);
void sv_auth_done(struct sv_auth *a);
bool sv_auth_signs(const struct sv_auth *a, const char *name);
/* The first value of a header, or NULL. */
const char *sv_header_get(const struct sv_request *q, const char *name);

/* The canonical request, the caller frees; NULL when a signed header is absent or the target cannot be
 * decoded. */
char *sv_canonical(const struct sv_request *q, const struct sv_auth *a, const char *payload_hash);
/* The string to sign; amz_date is the timestamp of the request. The caller frees. */
char *sv_string_to_sign(const struct sv_auth *a, const char *amz_date, const char *canonical);
void sv_sign(const struct sv_auth *a, const char *secret, const char *string_to_sign, char ret[SV_HEX]);
void sv_sha256_hex(const void *p, size_t n, char ret[SV_HEX]);
