/* SPDX-License-Identifier: Apache-2.0 */
/* Whether S3 would let a request in: the checks around the signature. */
#pragma once

#include "creds.h"
#include "sigv4_verify.h"

#define SHA256_OF_NOTHING "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"

/* An S3 error: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html */
struct s3_error {
        int status; /* 0: none */
        const char *code;
        char *message;
        char *extra; /* XML elements, or NULL */
};
void s3_error_set(struct s3_error *e, int status, const char *code, char *message, char *extra);
void s3_error_done(struct s3_error *e);

struct auth_context {
        const struct credentials *credentials;
        const char *region; /* the one the scope must name */
        time_t now;         /* the server's clock */
};

/* 0 and *ret_who (points into the credentials), or -EACCES with e filled. The body is not looked at: compare
 * its hash with x-amz-content-sha256 when it was read. */
int auth_check(const struct sv_request *q, const struct auth_context *c, const struct credential **ret_who,
        struct s3_error *e);
/* The region that the Authorization header names, the caller frees; NULL when there is none. */
char *auth_region(const struct sv_request *q);
