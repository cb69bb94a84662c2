/* SPDX-License-Identifier: Apache-2.0 */
/* From a request for a bucket and key to an HTTP request that is signed, and from the HTTP answer to a cause.
 *
 *   s3_start -> send() -> http_start ... on_head, on_body (2xx) -> the caller
 *                  ^                     on_body (else)         -> the error body, kept
 *                  `--- other region --- on_done -> answer_read -> the caller's on_done
 *
 * Source: AWS, "Making requests using the REST API". */
#include "s3.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "access.h"
#include "answer.h"
#include "httpval.h"
#include "limits.h"
#include "macro.h"
#include "str.h"

struct bucket_region {
        char bucket[LIMIT_S3_BUCKET + 1], region[HTTPVAL_REGION_SIZE];
};

struct s3 {
        struct http *http;
        const struct config_s3 *config;
        struct bucket_region *regions; /* where it is not the configured one */
        size_t n_regions;
        char *accepted; /* "/BUCKET KEYID" lines: for which S3 took a signature; NULL: none yet */
};

struct s3_call {
        struct s3 *s3;
        struct s3_request request;
        struct transfer *transfer;
        unsigned requests;
        bool region_followed;
        struct error error; /* of the caller's on_head or on_body */
        struct strbuf error_body;
        bool error_is_cut; /* it was too long to be read to its end: the status must do */
};

/* --- where a bucket is --- */

static const char *region_of(const struct s3 *s, const char *bucket)
{
        for (size_t i = 0; i < s->n_regions; i++)
                if (streq(s->regions[i].bucket, bucket))
                        return s->regions[i].region;
        return s->config->region;
}

static int remember_region(struct s3 *s, const char *bucket, const char *region)
{
        size_t i = 0;
        while (i < s->n_regions && !streq(s->regions[i].bucket, bucket))
                i++;
        if (i == s->n_regions) {
                if (ARRAY_ROOM(s->regions, i) < 0)
                        return -ENOMEM;
                s->n_regions++;
        }
        snprintf(s->regions[i].bucket, sizeof(s->regions[i].bucket), "%s", bucket);
        snprintf(s->regions[i].region, sizeof(s->regions[i].region), "%s", region);
        return 0;
}

/* --- the answer --- */

static int send_request(struct s3_call *c);

static bool is_success(const struct transfer *t)
{
        return http_status(t) / 100 == 2;
}

static int on_head(void *arg, const struct transfer *t)
{
        /* Of two of these each reader on the way could have believed another one. */
        static const char *const once[] = {"Content-Length", "Content-Range", "ETag"};
        struct s3_call *c = arg;
        if (!is_success(t))
                return 0;
        for (size_t i = 0; i < ELEMENTSOF(once); i++)
                if (http_header_repeats(t, once[i]))
                        return error_set(
                                &c->error, CAUSE_PROTOCOL, EPROTO, "an answer with %s twice", once[i]);
        if (!c->request.ops->on_head)
                return 0;
        return c->request.ops->on_head(c->request.arg, t, &c->error);
}

static int on_body(void *arg, const void *p, size_t n)
{
        struct s3_call *c = arg;
        if (is_success(c->transfer))
                return c->request.ops->on_body(c->request.arg, p, n, &c->error);
        if (n > LIMIT_ERROR_BODY - c->error_body.len) {
                c->error_is_cut = true;
                return -EFBIG;
        }
        strbuf_add_n(&c->error_body, p, n);
        return c->error_body.err;
}

static void read_answer(const struct s3_call *c, const struct transfer *t, struct answer *ret)
{
        char date[64] = "", retry_after[64] = "", region[64] = "";
        const struct {
                const char *name;
                char *copy;
        } headers[] = {{"Date", date}, {"Retry-After", retry_after}, {"x-amz-bucket-region", region}};
        for (size_t i = 0; i < ELEMENTSOF(headers); i++) {
                const char *v = http_header(t, headers[i].name);
                if (v && strlen(v) < sizeof(date))
                        strcpy(headers[i].copy, v);
        }
        const struct answer_input in = {
                .status = http_status(t),
                .head = c->request.head,
                .ranged = !str_empty(c->request.range),
                .date = date,
                .retry_after = retry_after,
                .bucket_region = region,
                .body = c->error_body.s,
                .body_len = c->error_body.len,
                .now_sec = time(NULL),
        };
        answer_read(&in, ret);
}

/* "LIST s3://bucket/prefix", "GET s3://bucket/key" */
static void name_the_call(const struct s3_call *c, struct error *e)
{
        const struct s3_request *r = &c->request;
        const char *what = r->key ? r->key : "";
        char shown[256];
        for (size_t i = 0; i < r->n_query && !r->key; i++)
                if (streq(r->query[i].name, "prefix"))
                        what = r->query[i].value;
        error_prefix(e, "%s s3://%s/%s",
                !r->key   ? "LIST"
                : r->head ? "HEAD"
                          : "GET",
                r->bucket, str_visible(what, shown, sizeof(shown)));
}

static struct s3_call *call_free(struct s3_call *c)
{
        strbuf_done(&c->error_body);
        free(c);
        return NULL;
}

void s3_result_add(struct s3_result *sum, const struct s3_result *r)
{
        sum->requests += r->requests;
        sum->status = r->status;
        sum->retry_after_usec = r->retry_after_usec;
        if (r->skew_sec != 0)
                sum->skew_sec = r->skew_sec;
}

static void finish(struct s3_call *c, struct s3_result *r)
{
        r->requests = c->requests;
        if (r->error.cause != CAUSE_NONE)
                name_the_call(c, &r->error);
        c->request.ops->on_done(c->request.arg, r);
        call_free(c);
}

/* Signs again for the region the bucket is in; once, and only when that is news. */
static bool follow_region(struct s3_call *c, const char *region)
{
        if (!*region || c->region_followed || streq(region, region_of(c->s3, c->request.bucket)))
                return false;
        c->region_followed = true;
        strbuf_done(&c->error_body);
        c->error_body = (struct strbuf){};
        c->error_is_cut = false;
        return remember_region(c->s3, c->request.bucket, region) == 0 && send_request(c) == 0;
}

static bool is_accepted(const struct s3_call *c)
{
        _cleanup_free_ char *line =
                str_printf("/%s %s\n", c->request.bucket, c->request.credentials->access_key_id);
        return line && c->s3->accepted && strstr(c->s3->accepted, line);
}

static void remember_accepted(const struct s3_call *c)
{
        struct s3 *s = c->s3;
        if (is_accepted(c))
                return;
        char *more = str_printf("%s/%s %s\n", s->accepted ? s->accepted : "", c->request.bucket,
                c->request.credentials->access_key_id);
        if (!more)
                return; /* a hint less */
        free(s->accepted);
        s->accepted = more;
}

/* A signature that does not fit is mostly a wrong secret. But when S3 took another one of the same key, or
 * says that it got another Host than was sent, the request was changed on its way. */
static void judge_signature(const struct s3_call *c, const struct answer *answer, struct error *e)
{
        const struct s3 *s = c->s3;
        char shown[300];
        _cleanup_s3_host_ struct s3_host place = {};
        if (!answer->bad_signature)
                return;
        bool known = *answer->host && s3_host_find(s->config, region_of(s, c->request.bucket),
                                              c->request.bucket, c->request.key, &place) == 0;
        if (known && strcasecmp(answer->host, place.host.s) != 0)
                error_set(e, CAUSE_PROXY, EIO,
                        "%s; S3 got the Host \"%s\" where \"%s\" was sent: a proxy on the way changes it",
                        answer->text, str_visible(answer->host, shown, sizeof(shown)), place.host.s);
        else if (is_accepted(c))
                error_set(e, CAUSE_PROXY, EIO,
                        "%s; S3 took the same key before: something on the way, a proxy, changes requests",
                        answer->text);
}

static void on_done(void *arg, const struct transfer *t, const struct http_result *result)
{
        struct s3_call *c = arg;
        struct s3_result r = {.status = result->status, .error = result->error};
        struct answer answer = {};
        c->transfer = NULL;
        if (c->error.cause != CAUSE_NONE) {
                r.error = c->error;
        } else if (result->error.cause == CAUSE_NONE || c->error_is_cut) {
                read_answer(c, t, &answer);
                r.retry_after_usec = answer.retry_after_usec;
                r.skew_sec = answer.skew_sec;
                if (result->status / 100 != 2) {
                        if (follow_region(c, answer.region))
                                return;
                        error_set(&r.error, answer.cause, EIO, "%s", answer.text);
                        judge_signature(c, &answer, &r.error);
                } else {
                        remember_accepted(c);
                }
        }
        finish(c, &r);
}

static const struct http_ops http_ops = {.on_head = on_head, .on_body = on_body, .on_done = on_done};

bool s3_is_tls(const struct s3 *s)
{
        return s3_host_is_tls(s->config);
}

/* --- sending --- */

#define HEADERS_MAX 8

struct headers {
        struct sigv4_pair pair[HEADERS_MAX];
        size_t n;
};

static void add_header(struct headers *h, const char *name, const char *value)
{
        if (!str_empty(value))
                h->pair[h->n++] = (struct sigv4_pair){name, value};
}

static void wipe_free(char *s)
{
        if (s)
                explicit_bzero(s, strlen(s));
        free(s);
}

static int start_http(struct s3_call *c, const char *url, const struct headers *h, const char *authorization)
{
        char *line[HEADERS_MAX + 1] = {};
        int r = 0;
        for (size_t i = 0; i < h->n; i++)
                line[i] = str_printf("%s: %s", h->pair[i].name, h->pair[i].value);
        line[h->n] = str_printf("Authorization: %s", authorization);
        const char *text[HEADERS_MAX + 1];
        for (size_t i = 0; i <= h->n; i++) {
                text[i] = line[i];
                if (!line[i])
                        r = -ENOMEM;
        }
        const struct http_request request = {
                .url = url,
                .head = c->request.head,
                .headers = text,
                .n_headers = h->n + 1,
                .ops = &http_ops,
                .arg = c,
        };
        if (r == 0)
                r = http_start(c->s3->http, &request, &c->transfer);
        for (size_t i = 0; i <= h->n; i++)
                wipe_free(line[i]);
        return r;
}

static int sign_and_start(struct s3_call *c, const struct s3_host *place)
{
        const struct s3_request *q = &c->request;
        struct headers h = {};
        char date[SIGV4_DATE_SIZE];
        int64_t now = time(NULL);
        add_header(&h, "Host", place->host.s);
        add_header(&h, "x-amz-date", sigv4_date(now, date));
        add_header(&h, "x-amz-content-sha256", SIGV4_EMPTY_SHA256);
        add_header(&h, "x-amz-security-token", q->credentials->session_token.p);
        add_header(&h, "x-amz-checksum-mode", q->checksums ? "ENABLED" : NULL);
        /* Only these must be signed. A proxy that drops one of the others, as caches do, would make a wrong
         * signature of it; so it is the answer that gives it away (check_partial(), check_etag()). */
        size_t n_signed = h.n;
        add_header(&h, "If-Match", q->if_match);
        add_header(&h, "Range", q->range);
        const struct sigv4_request sign = {
                .method = q->head ? "HEAD" : "GET",
                .path = place->path.s,
                .query = q->query,
                .n_query = q->n_query,
                .headers = h.pair,
                .n_headers = n_signed,
                .payload_sha256 = SIGV4_EMPTY_SHA256,
                .region = region_of(c->s3, q->bucket),
                .service = "s3",
                .time = now,
        };
        const struct sigv4_keys keys = {q->credentials->access_key_id, q->credentials->secret_key.p};
        _cleanup_strbuf_ struct strbuf url = {}, authorization = {};
        strbuf_printf(&url, "%s://%s", place->scheme, place->host.s);
        int r = sigv4_target(&sign, &url);
        if (r == 0)
                r = sigv4_authorization(&sign, &keys, &authorization);
        if (r == 0)
                r = start_http(c, url.s, &h, authorization.s);
        if (authorization.s)
                explicit_bzero(authorization.s, authorization.len);
        return r;
}

static int send_request(struct s3_call *c)
{
        const struct s3_request *q = &c->request;
        _cleanup_s3_host_ struct s3_host place;
        int r = s3_host_find(c->s3->config, region_of(c->s3, q->bucket), q->bucket, q->key, &place);
        if (r == 0)
                r = sign_and_start(c, &place);
        if (r == 0)
                c->requests++;
        return r;
}

int s3_start(struct s3 *s, const struct s3_request *request, struct s3_call **ret)
{
        struct s3_call *c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        *c = (struct s3_call){.s3 = s, .request = *request};
        int r = send_request(c);
        if (r < 0) {
                call_free(c);
                return r;
        }
        *ret = c;
        return 0;
}

void s3_resume(struct s3_call *c)
{
        if (c->transfer)
                http_resume(c->transfer);
}

struct s3_call *s3_cancel(struct s3_call *c)
{
        if (!c)
                return NULL;
        c->transfer = http_cancel(c->transfer);
        return call_free(c);
}

/* --- the whole --- */

int s3_new(struct http *http, const struct config_s3 *config, struct s3 **ret)
{
        struct s3 *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        *s = (struct s3){.http = http, .config = config};
        *ret = s;
        return 0;
}

struct s3 *s3_free(struct s3 *s)
{
        if (s) {
                free(s->regions);
                free(s->accepted);
        }
        free(s);
        return NULL;
}
