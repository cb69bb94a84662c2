/* SPDX-License-Identifier: Apache-2.0 */
/* The code of the XML decides where there is one, the HTTP status else. Nothing of an answer is trusted but
 * its meaning: text goes through str_visible(), a region through httpval_is_region(). */
#include "answer.h"

#include <stdio.h>

#include "macro.h"
#include "s3xml.h"
#include "str.h"
#include "timespan.h"

#define SKEW_WORTH_TELLING_SEC 60

static const struct {
        const char *code;
        enum cause cause;
} codes[] = {
        {"RequestTimeTooSkewed", CAUSE_SKEW},
        {"RequestExpired", CAUSE_SKEW},
        {"InvalidAccessKeyId", CAUSE_CREDENTIALS},
        {"SignatureDoesNotMatch", CAUSE_CREDENTIALS},
        {"ExpiredToken", CAUSE_CREDENTIALS},
        {"InvalidToken", CAUSE_CREDENTIALS},
        {"TokenRefreshRequired", CAUSE_CREDENTIALS},
        {"NotSignedUp", CAUSE_CREDENTIALS},
        {"AccessDenied", CAUSE_DENIED},
        {"AllAccessDisabled", CAUSE_DENIED},
        {"AccountProblem", CAUSE_DENIED},
        {"InvalidObjectState", CAUSE_ARCHIVED},
        {"NoSuchKey", CAUSE_GONE},
        {"NoSuchVersion", CAUSE_GONE},
        {"NoSuchBucket", CAUSE_NO_BUCKET},
        {"InvalidBucketName", CAUSE_NO_BUCKET},
        {"PreconditionFailed", CAUSE_REPLACED},
        {"InvalidRange", CAUSE_SIZE},
        {"SlowDown", CAUSE_THROTTLED},
        {"Throttling", CAUSE_THROTTLED},
        {"ThrottlingException", CAUSE_THROTTLED},
        {"RequestLimitExceeded", CAUSE_THROTTLED},
        {"TooManyRequests", CAUSE_THROTTLED},
        {"Busy", CAUSE_THROTTLED},
        {"RequestTimeout", CAUSE_TIMEOUT},
        {"InternalError", CAUSE_SERVER},
        {"ServiceUnavailable", CAUSE_SERVER},
};

/* S3 names each of these by a code: without one somebody else has answered, a proxy mostly. */
static enum cause cause_of_status(unsigned status, bool is_s3)
{
        switch (status) {
        case 401:
        case 403:
                return is_s3 ? CAUSE_DENIED : CAUSE_PROTOCOL;
        case 404:
                return is_s3 ? CAUSE_GONE : CAUSE_PROTOCOL;
        case 407:
                return CAUSE_PROXY;
        case 408:
                return CAUSE_TIMEOUT;
        case 412:
                return is_s3 ? CAUSE_REPLACED : CAUSE_PROTOCOL;
        case 416:
                return is_s3 ? CAUSE_SIZE : CAUSE_PROTOCOL;
        case 429:
                return CAUSE_THROTTLED;
        default:
                return status >= 500 ? CAUSE_SERVER : CAUSE_PROTOCOL;
        }
}

/* The object's bytes are encrypted at S3 with a key that must not, or cannot, be used for us. KMS has codes
 * of its own; where it is the permission, and with SSE-C, only the message tells. Source: AWS, API reference,
 * "Error responses"; user guide, "Protecting data with server-side encryption". */
static bool is_server_key(const struct s3xml_error *xml)
{
        return str_after(xml->code, "KMS.") ||
               (streq(xml->code, "AccessDenied") && strstr(xml->message, "kms:")) ||
               (streq(xml->code, "InvalidRequest") && strstr(xml->message, "Server Side Encryption"));
}

static enum cause cause_of(const struct answer_input *in, const struct s3xml_error *xml)
{
        const char *code = xml->code;
        enum cause cause = cause_of_status(in->status, *code);
        if (is_server_key(xml))
                return CAUSE_SERVER_KEY;
        for (size_t i = 0; i < ELEMENTSOF(codes); i++)
                if (streq(code, codes[i].code))
                        cause = codes[i].cause;
        /* no answer to a request without a range */
        return cause == CAUSE_SIZE && !in->ranged ? CAUSE_PROTOCOL : cause;
}

/* Does the answer lack what S3 says with it? A HEAD has no body. */
static bool is_nameless(const struct answer_input *in, const char *code)
{
        return !*code && !in->head && in->status / 100 == 4;
}

/* A hint at the right region comes with 301, 307 and 400 AuthorizationHeaderMalformed (or
 * IllegalLocation...); HEAD has only the header, and other servers only the XML. On any other answer the
 * header is just information. */
static const char *region_hint(const struct answer_input *in, const struct s3xml_error *xml)
{
        bool elsewhere = in->status == 301 || in->status == 302 || in->status == 307 || in->status == 308 ||
                         in->status == 400;
        if (!elsewhere)
                return "";
        if (in->bucket_region && httpval_is_region(in->bucket_region))
                return in->bucket_region;
        return httpval_is_region(xml->region) ? xml->region : "";
}

/* The server's clock minus ours; by the header only where it is off by a minute or more. */
static int64_t skew_of(const struct answer_input *in, const struct s3xml_error *xml)
{
        int64_t server;
        if (time_parse_rfc3339(xml->server_time, &server) == 0 && server != in->now_sec)
                return server - in->now_sec;
        if (!in->date || httpval_date(in->date, &server) < 0)
                return 0;
        int64_t skew = server - in->now_sec;
        return skew >= SKEW_WORTH_TELLING_SEC || skew <= -SKEW_WORTH_TELLING_SEC ? skew : 0;
}

/* Of a wrong region that could not be healed. */
static bool is_region(const char *code)
{
        return streq(code, "AuthorizationHeaderMalformed") || streq(code, "PermanentRedirect") ||
               streq(code, "IllegalLocationConstraintException");
}

void answer_read(const struct answer_input *in, struct answer *ret)
{
        struct s3xml_error xml = {};
        char code[72], message[280];
        *ret = (struct answer){};
        if (in->body_len > 0)
                (void)s3xml_error(in->body, in->body_len, &xml); /* else it stays empty */
        ret->cause = cause_of(in, &xml);
        ret->skew_sec = skew_of(in, &xml);
        ret->bad_signature = streq(xml.code, "SignatureDoesNotMatch");
        snprintf(ret->host, sizeof(ret->host), "%s", xml.host);
        if (in->retry_after && httpval_retry_after(in->retry_after, in->now_sec, &ret->retry_after_usec) < 0)
                ret->retry_after_usec = 0;
        snprintf(ret->region, sizeof(ret->region), "%s", region_hint(in, &xml));
        snprintf(ret->text, sizeof(ret->text), "%u%s%s%s%s%s", in->status, xml.code[0] ? " " : "",
                str_visible(xml.code, code, sizeof(code)), xml.message[0] ? ": " : "",
                str_visible(xml.message, message, sizeof(message)),
                is_nameless(in, xml.code) ? " without a code of S3's: is there a proxy on the way?"
                : is_region(xml.code)     ? " (is [s3] region right?)"
                                          : "");
}

/* --- another try --- */

#define TRIES_WITHOUT_PROGRESS 5
#define TRIES_BEFORE_THE_FIRST_BYTE 1
/* Who sends a few bytes and hangs up, again and again, would else be asked without end. */
#define TRIES_AT_ALL 30
#define BYTES_WORTH_A_TRY (64 * KIB)
/* A server that asks for more than this is better left to czard, which can do other things meanwhile. */
#define RETRY_AFTER_MAX_USEC (30 * USEC_PER_SEC)

static const struct retry_policy policy = {.base_usec = USEC_PER_SEC / 5, .cap_usec = 5 * USEC_PER_SEC};

bool heal_passes(enum cause cause)
{
        switch (cause) {
        case CAUSE_NETWORK:
        case CAUSE_TIMEOUT:
        case CAUSE_DNS:
        case CAUSE_TLS:
        case CAUSE_PROXY:
        case CAUSE_SERVER:
        case CAUSE_THROTTLED:
        case CAUSE_TRUNCATED:
                return true;
        default:
                return false;
        }
}

int heal_next(struct heal *h, enum cause cause, uint64_t came, uint64_t now, uint64_t retry_after_usec,
        uint64_t *ret_delay_usec)
{
        bool begun = came > 0;
        if (!heal_passes(cause) || retry_after_usec > RETRY_AFTER_MAX_USEC)
                return -1;
        if (cause == CAUSE_TLS && !begun)
                return -1; /* a certificate does not become valid by asking again */
        if (now > 0)
                h->failed = 0;
        if (h->failed >= (begun ? TRIES_WITHOUT_PROGRESS : TRIES_BEFORE_THE_FIRST_BYTE) ||
                h->all >= TRIES_AT_ALL + came / BYTES_WORTH_A_TRY)
                return -1;
        h->failed++;
        h->all++;
        *ret_delay_usec = retry_delay_usec(&policy, h->failed, retry_after_usec, retry_random());
        return 0;
}
