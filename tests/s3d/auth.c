/* SPDX-License-Identifier: Apache-2.0 */
/* Authentication as S3 does it. One function a check, in the order of auth_check(); the first that fails
 * answers. Codes and statuses: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (List of
 * error codes). Signing in the query (presigned URLs) is not played: such a request counts as unsigned. */
#include "auth.h"

#include <strings.h>

/* "The difference between the request time and the server's time is too large": 15 minutes,
 * ErrorResponses.html */
#define MAX_SKEW_SECONDS 900

void s3_error_set(struct s3_error *e, int status, const char *code, char *message, char *extra)
{
        s3_error_done(e);
        *e = (struct s3_error){.status = status, .code = code, .message = message, .extra = extra};
}

void s3_error_done(struct s3_error *e)
{
        free(e->message);
        free(e->extra);
        *e = (struct s3_error){};
}

static int refuse(struct s3_error *e, int status, const char *code, char *message, char *extra)
{
        s3_error_set(e, status, code, message, extra);
        return -EACCES;
}

static int get_authorization(const struct sv_request *q, struct sv_auth *ret, struct s3_error *e)
{
        const char *value = NULL;
        for (size_t i = 0; i < q->n_headers; i++) {
                if (strcasecmp(q->headers[i].name, "Authorization") != 0)
                        continue;
                if (value)
                        return refuse(e, 400, "InvalidRequest", text_dup("Two Authorization headers"), NULL);
                value = q->headers[i].value;
        }
        if (!value)
                return refuse(e, 403, "AccessDenied", text_dup("Access Denied"), NULL);
        if (sv_auth_parse(value, ret) < 0)
                return refuse(e, 400, "AuthorizationHeaderMalformed",
                        text_dup("The authorization header is malformed"), NULL);
        return 0;
}

/* CanonicalHeaders must have host and every x-amz-* header of the request (sig-v4-header-based-auth.html). */
static int check_signed_headers(const struct sv_request *q, const struct sv_auth *a, struct s3_error *e)
{
        if (!sv_auth_signs(a, "host"))
                return refuse(e, 403, "AccessDenied", text_dup("Host must be a signed header"), NULL);
        for (size_t i = 0; i < q->n_headers; i++) {
                const char *name = q->headers[i].name;
                if (strncasecmp(name, "x-amz-", 6) != 0 || sv_auth_signs(a, name))
                        continue;
                return refuse(e, 403, "AccessDenied",
                        text_dup("There were headers present in the request which were not signed"),
                        xml_element("HeadersNotSigned", name));
        }
        return 0;
}

/* x-amz-date within 15 minutes of our clock, and of the day that the scope names. */
static int check_date(const struct sv_request *q, const struct sv_auth *a, time_t now, struct s3_error *e)
{
        const char *date = sv_header_get(q, "x-amz-date");
        time_t t;
        if (!date || parse_compact(date, &t) < 0)
                return refuse(e, 403, "AccessDenied",
                        text_dup("AWS authentication requires a valid Date or x-amz-date header"), NULL);
        if (t > now + MAX_SKEW_SECONDS || t < now - MAX_SKEW_SECONDS) {
                char iso[HTTP_DATE_SIZE];
                date_iso(now, iso);
                strcpy(strchr(iso, '.'), "Z");
                return refuse(e, 403, "RequestTimeTooSkewed",
                        text_dup(
                                "The difference between the request time and the current time is too large."),
                        text_printf("<RequestTime>%s</RequestTime><ServerTime>%s</ServerTime>"
                                    "<MaxAllowedSkewMilliseconds>%d</MaxAllowedSkewMilliseconds>",
                                date, iso, MAX_SKEW_SECONDS * 1000));
        }
        if (strncmp(date, a->date, 8) != 0)
                return refuse(e, 400, "AuthorizationHeaderMalformed",
                        text_printf("The authorization header is malformed; Invalid credential date \"%s\".",
                                a->date),
                        NULL);
        return 0;
}

static int check_scope(const struct sv_auth *a, const char *region, struct s3_error *e)
{
        if (!text_eq(a->service, "s3"))
                return refuse(e, 400, "AuthorizationHeaderMalformed",
                        text_printf("The authorization header is malformed; incorrect service \"%s\".",
                                a->service),
                        NULL);
        if (!text_eq(a->region, region))
                return refuse(e, 400, "AuthorizationHeaderMalformed",
                        text_printf("The authorization header is malformed; the region '%s' is wrong; "
                                    "expecting '%s'",
                                a->region, region),
                        xml_element("Region", region));
        return 0;
}

/* Temporary credentials need their token: IAM User Guide, Create a signed AWS API request,
 * "X-Amz-Security-Token". */
static int check_key(
        const struct sv_request *q, const struct sv_auth *a, const struct credential *who, struct s3_error *e)
{
        const char *token = sv_header_get(q, "x-amz-security-token");
        if (!who || (who->token && !token))
                return refuse(e, 403, "InvalidAccessKeyId",
                        text_dup("The AWS Access Key Id you provided does not exist in our records."),
                        xml_element("AWSAccessKeyId", a->access));
        if (token && !text_eq(token, who->token))
                return refuse(e, 400, "InvalidToken",
                        text_dup("The provided token is malformed or otherwise invalid."), NULL);
        return 0;
}

/* The header is required with SigV4, and what it says must fit the body (of which a GET has none). */
static int check_payload_hash(const struct sv_request *q, const char **ret, struct s3_error *e)
{
        const char *hash = sv_header_get(q, "x-amz-content-sha256");
        if (!hash)
                return refuse(e, 400, "InvalidRequest",
                        text_dup("Missing required header for this request: x-amz-content-sha256"), NULL);
        if (strncmp(hash, "STREAMING-", 10) == 0)
                return refuse(
                        e, 501, "NotImplemented", text_dup("aws-chunked bodies are not played here"), NULL);
        if (!text_eq(hash, UNSIGNED_PAYLOAD) &&
                (strlen(hash) != 64 || strspn(hash, "0123456789abcdef") != 64))
                return refuse(e, 400, "InvalidArgument",
                        text_dup("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, or a valid sha256 value."),
                        NULL);
        *ret = hash;
        return 0;
}

static int check_signature(const struct sv_request *q, const struct sv_auth *a, const struct credential *who,
        const char *payload_hash, struct s3_error *e)
{
        _cleanup_free_ char *canonical = sv_canonical(q, a, payload_hash);
        _cleanup_free_ char *to_sign = NULL;
        char expected[SV_HEX];
        if (canonical) {
                to_sign = sv_string_to_sign(a, sv_header_get(q, "x-amz-date"), canonical);
                sv_sign(a, who->secret, to_sign, expected);
                if (text_eq(expected, a->signature))
                        return 0;
        }
        /* S3 shows what it has signed, which finds a client's mistake at once. */
        struct text t;
        text_open(&t);
        fputs("<AWSAccessKeyId>", t.f);
        xml_escape(t.f, a->access);
        fputs("</AWSAccessKeyId><StringToSign>", t.f);
        xml_escape(t.f, to_sign ? to_sign : "");
        fprintf(t.f, "</StringToSign><SignatureProvided>%s</SignatureProvided><CanonicalRequest>",
                a->signature);
        xml_escape(t.f, canonical ? canonical : "");
        fputs("</CanonicalRequest>", t.f);
        return refuse(e, 403, "SignatureDoesNotMatch",
                text_dup("The request signature we calculated does not match the signature you provided. "
                         "Check your key "
                         "and signing method."),
                text_close(&t));
}

int auth_check(const struct sv_request *q, const struct auth_context *c, const struct credential **ret_who,
        struct s3_error *e)
{
        _cleanup_(sv_auth_done) struct sv_auth a = {};
        const struct credential *who = NULL;
        const char *hash = NULL;
        int r = get_authorization(q, &a, e);
        if (r == 0)
                r = check_signed_headers(q, &a, e);
        if (r == 0)
                r = check_date(q, &a, c->now, e);
        if (r == 0)
                r = check_scope(&a, c->region, e);
        if (r == 0) {
                who = credentials_find(c->credentials, a.access);
                r = check_key(q, &a, who, e);
        }
        if (r == 0)
                r = check_payload_hash(q, &hash, e);
        if (r == 0)
                r = check_signature(q, &a, who, hash, e);
        if (r == 0)
                *ret_who = who;
        return r;
}

char *auth_region(const struct sv_request *q)
{
        _cleanup_(sv_auth_done) struct sv_auth a = {};
        const char *value = sv_header_get(q, "Authorization");
        if (!value || sv_auth_parse(value, &a) < 0)
                return NULL;
        return take_ptr(&a.region);
}
