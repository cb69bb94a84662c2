/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of Signature Version 4, in the order AWS describes them: canonical request, string to sign,
 * signing key, signature. libcurl's own signer is not used: in 7.88 it neither sorts the query nor sends
 * x-amz-content-sha256. What sigv4_target() returns is the same text that is signed, so what is sent and what
 * is signed cannot differ. */
#include "sigv4.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "digest.h"

#define ALGORITHM "AWS4-HMAC-SHA256"

const char *sigv4_date(int64_t t, char ret[SIGV4_DATE_SIZE])
{
        struct tm tm = {};
        time_t sec = (time_t)t;
        if (!gmtime_r(&sec, &tm) || strftime(ret, SIGV4_DATE_SIZE, "%Y%m%dT%H%M%SZ", &tm) == 0)
                ret[0] = 0;
        return ret;
}

/* "20150830/us-east-1/s3/aws4_request" */
static void add_scope(struct strbuf *b, const struct sigv4_request *r)
{
        char date[SIGV4_DATE_SIZE];
        strbuf_printf(b, "%.8s/%s/%s/aws4_request", sigv4_date(r->time, date), r->region, r->service);
}

static bool is_unreserved(unsigned char c)
{
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
               c == '.' || c == '_' || c == '~';
}

/* Percent-encodes all but the unreserved characters (and '/' when keep_slash). */
static void add_encoded(struct strbuf *b, const char *s, bool keep_slash)
{
        for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
                if (is_unreserved(*p) || (*p == '/' && keep_slash))
                        strbuf_add_n(b, p, 1);
                else
                        strbuf_printf(b, "%%%02X", *p);
        }
}

/* Removes the last component of a path that ends in a slash: "/a/b/" becomes "/a/". */
static void cut_component(struct strbuf *b)
{
        if (b->len > 1)
                b->len--;
        while (b->len > 0 && b->s[b->len - 1] != '/')
                b->len--;
        b->s[b->len] = 0;
}

/* "/a//./b/../c" becomes "/a/c". */
static void add_normalized(struct strbuf *b, const char *path)
{
        strbuf_add(b, "/");
        while (*path && b->err == 0) {
                size_t n = strcspn(path, "/");
                bool slash = path[n] == '/';
                if (n == 2 && strncmp(path, "..", 2) == 0) {
                        cut_component(b);
                } else if (n > 0 && !(n == 1 && *path == '.')) {
                        strbuf_add_n(b, path, n);
                        if (slash)
                                strbuf_add(b, "/");
                }
                path += n + slash;
        }
}

static void add_path(struct strbuf *b, const struct sigv4_request *r)
{
        if (!r->normalize_path) {
                add_encoded(b, r->path, true);
                return;
        }
        _cleanup_strbuf_ struct strbuf plain = {};
        add_normalized(&plain, r->path);
        if (plain.err == 0)
                add_encoded(b, plain.s, true);
        else
                b->err = plain.err;
}

struct encoded {
        struct strbuf name, value;
};

static int encoded_compare(const void *a, const void *b)
{
        const struct encoded *x = a, *y = b;
        int r = strcmp(x->name.s, y->name.s);
        return r ? r : strcmp(x->value.s, y->value.s);
}

/* Sorted by the encoded name, then by the encoded value. */
static int add_query(struct strbuf *b, const struct sigv4_request *r)
{
        struct encoded q[SIGV4_PAIRS_MAX] = {};
        if (r->n_query > SIGV4_PAIRS_MAX)
                return -E2BIG;
        for (size_t i = 0; i < r->n_query; i++) {
                strbuf_add(&q[i].name, "");
                strbuf_add(&q[i].value, "");
                add_encoded(&q[i].name, r->query[i].name, false);
                add_encoded(&q[i].value, r->query[i].value, false);
                if (q[i].name.err || q[i].value.err)
                        b->err = -ENOMEM;
        }
        if (b->err == 0)
                qsort(q, r->n_query, sizeof(q[0]), encoded_compare);
        for (size_t i = 0; i < r->n_query; i++) {
                if (b->err == 0)
                        strbuf_printf(b, "%s%s=%s", i ? "&" : "", q[i].name.s, q[i].value.s);
                strbuf_done(&q[i].name);
                strbuf_done(&q[i].value);
        }
        return b->err;
}

int sigv4_target(const struct sigv4_request *r, struct strbuf *ret)
{
        add_path(ret, r);
        if (r->n_query == 0)
                return ret->err;
        strbuf_add(ret, "?");
        return add_query(ret, r);
}

static void add_lower(struct strbuf *b, const char *s)
{
        for (; *s; s++) {
                char c = (char)tolower((unsigned char)*s);
                strbuf_add_n(b, &c, 1);
        }
}

/* Without white space at both ends, and one space for each run of it inside. */
static void add_trimmed(struct strbuf *b, const char *s)
{
        bool any = false, gap = false;
        for (; *s; s++) {
                if (isspace((unsigned char)*s)) {
                        gap = any;
                        continue;
                }
                if (gap)
                        strbuf_add(b, " ");
                strbuf_add_n(b, s, 1);
                any = true;
                gap = false;
        }
}

/* The headers in the order of their names; equal names stay in the order given. */
static int sort_headers(const struct sigv4_request *r, const struct sigv4_pair *ret[SIGV4_PAIRS_MAX])
{
        if (r->n_headers > SIGV4_PAIRS_MAX)
                return -E2BIG;
        for (size_t i = 0; i < r->n_headers; i++) {
                size_t j = i;
                for (; j > 0 && strcasecmp(ret[j - 1]->name, r->headers[i].name) > 0; j--)
                        ret[j] = ret[j - 1];
                ret[j] = &r->headers[i];
        }
        return 0;
}

static bool same_name(const struct sigv4_pair *const *h, size_t i)
{
        return i > 0 && strcasecmp(h[i - 1]->name, h[i]->name) == 0;
}

static void add_signed_headers(struct strbuf *b, const struct sigv4_pair *const *h, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (same_name(h, i))
                        continue;
                if (i > 0)
                        strbuf_add(b, ";");
                add_lower(b, h[i]->name);
        }
}

int sigv4_canonical_request(const struct sigv4_request *r, struct strbuf *ret)
{
        const struct sigv4_pair *h[SIGV4_PAIRS_MAX];
        int e = sort_headers(r, h);
        if (e < 0)
                return e;
        strbuf_printf(ret, "%s\n", r->method);
        add_path(ret, r);
        strbuf_add(ret, "\n");
        e = add_query(ret, r);
        if (e < 0)
                return e;
        for (size_t i = 0; i < r->n_headers; i++) {
                strbuf_add(ret, same_name(h, i) ? "," : "\n");
                if (!same_name(h, i)) {
                        add_lower(ret, h[i]->name);
                        strbuf_add(ret, ":");
                }
                add_trimmed(ret, h[i]->value);
        }
        strbuf_add(ret, "\n\n");
        add_signed_headers(ret, h, r->n_headers);
        strbuf_printf(ret, "\n%s", r->payload_sha256);
        return ret->err;
}

int sigv4_string_to_sign(const struct sigv4_request *r, const char *canonical, struct strbuf *ret)
{
        uint8_t hash[SHA256_SIZE];
        char hex[SHA256_HEX], date[SIGV4_DATE_SIZE];
        int e = digest_once(DIGEST_SHA256, canonical, strlen(canonical), hash);
        if (e < 0)
                return e;
        hex_encode(hash, sizeof(hash), hex);
        strbuf_printf(ret, ALGORITHM "\n%s\n", sigv4_date(r->time, date));
        add_scope(ret, r);
        strbuf_printf(ret, "\n%s", hex);
        return ret->err;
}

/* The key for one day, region and service. The caller wipes it. */
static int signing_key(const struct sigv4_request *r, const char *secret, uint8_t ret[SHA256_SIZE])
{
        char first[512], date[SIGV4_DATE_SIZE];
        int n = snprintf(first, sizeof(first), "AWS4%s", secret);
        if (n >= 0 && (size_t)n < sizeof(first)) {
                hmac_sha256(first, (size_t)n, sigv4_date(r->time, date), 8, ret);
                hmac_sha256(ret, SHA256_SIZE, r->region, strlen(r->region), ret);
                hmac_sha256(ret, SHA256_SIZE, r->service, strlen(r->service), ret);
                hmac_sha256(ret, SHA256_SIZE, "aws4_request", strlen("aws4_request"), ret);
        }
        explicit_bzero(first, sizeof(first));
        return n >= 0 && (size_t)n < sizeof(first) ? 0 : -E2BIG;
}

int sigv4_authorization(const struct sigv4_request *r, const struct sigv4_keys *keys, struct strbuf *ret)
{
        _cleanup_strbuf_ struct strbuf canonical = {}, to_sign = {};
        const struct sigv4_pair *h[SIGV4_PAIRS_MAX];
        uint8_t key[SHA256_SIZE], signature[SHA256_SIZE];
        char hex[SHA256_HEX];
        int e = sort_headers(r, h);
        if (e == 0)
                e = sigv4_canonical_request(r, &canonical);
        if (e == 0)
                e = sigv4_string_to_sign(r, canonical.s, &to_sign);
        if (e == 0)
                e = signing_key(r, keys->secret_key, key);
        if (e < 0)
                return e;
        hmac_sha256(key, sizeof(key), to_sign.s, to_sign.len, signature);
        explicit_bzero(key, sizeof(key));
        hex_encode(signature, sizeof(signature), hex);
        strbuf_printf(ret, ALGORITHM " Credential=%s/", keys->access_key_id);
        add_scope(ret, r);
        strbuf_add(ret, ", SignedHeaders=");
        add_signed_headers(ret, h, r->n_headers);
        strbuf_printf(ret, ", Signature=%s", hex);
        return ret->err;
}
