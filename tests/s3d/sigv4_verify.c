/* SPDX-License-Identifier: Apache-2.0 */
/* The verifier of SigV4, written from the documentation and not from lib/s3/sigv4.c, so that the two check
 * each other.
 *
 * Path and query are decoded from the raw request line and encoded again, which is what S3 does: a client
 * that signs something else than it sends is found out. S3 paths are never normalized, see "Canonical URI" in
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html */
#include "sigv4_verify.h"

#include <strings.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#define ALGORITHM "AWS4-HMAC-SHA256"
#define SHA256_BYTES 32

void sv_sha256_hex(const void *p, size_t n, char ret[SV_HEX])
{
        uint8_t d[SHA256_BYTES];
        EVP_Digest(p, n, d, NULL, EVP_sha256(), NULL);
        to_hex(d, sizeof(d), ret);
}

static void hmac(const void *key, size_t key_n, const char *s, uint8_t ret[SHA256_BYTES])
{
        HMAC(EVP_sha256(), key, (int)key_n, (const unsigned char *)s, strlen(s), ret, NULL);
}

void sv_auth_done(struct sv_auth *a)
{
        free(a->access);
        free(a->date);
        free(a->region);
        free(a->service);
        for (size_t i = 0; i < a->n_signed; i++)
                free(a->signed_headers[i]);
        free(a->signed_headers);
        free(a->signature);
        *a = (struct sv_auth){};
}

/* ACCESS/DATE/REGION/SERVICE/aws4_request */
static int parse_credential(const char *s, struct sv_auth *a)
{
        _cleanup_free_ char *copy = text_dup(s);
        char *rest = copy, *part[5], *p;
        size_t n = 0;
        while ((p = strsep(&rest, "/"))) {
                if (n == ELEMENTSOF(part) || !*p)
                        return -EINVAL;
                part[n++] = p;
        }
        if (n != ELEMENTSOF(part) || !text_eq(part[4], "aws4_request"))
                return -EINVAL;
        if (strlen(part[1]) != 8 || strspn(part[1], "0123456789") != 8)
                return -EINVAL;
        a->access = text_dup(part[0]);
        a->date = text_dup(part[1]);
        a->region = text_dup(part[2]);
        a->service = text_dup(part[3]);
        return 0;
}

static int parse_signed_headers(const char *s, struct sv_auth *a)
{
        _cleanup_free_ char *copy = text_dup(s);
        char *rest = copy, *p;
        while ((p = strsep(&rest, ";"))) {
                if (!*p || strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != strlen(p))
                        return -EINVAL;
                if (a->n_signed && strcmp(a->signed_headers[a->n_signed - 1], p) >= 0)
                        return -EINVAL;
                a->signed_headers = reallocarray(a->signed_headers, a->n_signed + 1, sizeof(char *));
                if (!a->signed_headers)
                        abort();
                a->signed_headers[a->n_signed++] = text_dup(p);
        }
        return 0;
}

static int parse_field(const char *field, struct sv_auth *a)
{
        if (strncmp(field, "Credential=", 11) == 0 && !a->access)
                return parse_credential(field + 11, a);
        if (strncmp(field, "SignedHeaders=", 14) == 0 && !a->signed_headers)
                return parse_signed_headers(field + 14, a);
        if (strncmp(field, "Signature=", 10) == 0 && !a->signature) {
                if (strlen(field + 10) != 64 || strspn(field + 10, "0123456789abcdef") != 64)
                        return -EINVAL;
                a->signature = text_dup(field + 10);
                return 0;
        }
        return -EINVAL;
}

int sv_auth_parse(const char *authorization, struct sv_auth *ret)
{
        struct sv_auth a = {};
        const char *s = authorization;
        if (strncmp(s, ALGORITHM " ", sizeof(ALGORITHM)) != 0)
                return -EINVAL;
        _cleanup_free_ char *copy = text_dup(s + sizeof(ALGORITHM));
        char *rest = copy, *field;
        int r = 0;
        while (r == 0 && (field = strsep(&rest, ",")))
                r = parse_field(field + strspn(field, " "), &a);
        if (r == 0 && (!a.access || !a.signed_headers || !a.signature))
                r = -EINVAL;
        if (r < 0) {
                sv_auth_done(&a);
                return r;
        }
        *ret = a;
        return 0;
}

bool sv_auth_signs(const struct sv_auth *a, const char *name)
{
        for (size_t i = 0; i < a->n_signed; i++)
                if (strcasecmp(a->signed_headers[i], name) == 0)
                        return true;
        return false;
}

const char *sv_header_get(const struct sv_request *q, const char *name)
{
        for (size_t i = 0; i < q->n_headers; i++)
                if (strcasecmp(q->headers[i].name, name) == 0)
                        return q->headers[i].value;
        return NULL;
}

/* "CanonicalURI is the URI-encoded version of the absolute path component" */
static int canonical_path(FILE *f, const char *target)
{
        _cleanup_free_ char *path = uri_decode(target, strcspn(target, "?"), false);
        if (!path)
                return -EINVAL;
        uri_encode(f, *path ? path : "/", true);
        return 0;
}

struct pair {
        char *name, *value; /* encoded */
};

static int by_name_then_value(const void *a, const void *b)
{
        const struct pair *x = a, *y = b;
        int r = strcmp(x->name, y->name);
        return r ? r : strcmp(x->value, y->value);
}

static char *encode_again(const char *s, size_t n)
{
        _cleanup_free_ char *plain = uri_decode(s, n, true);
        if (!plain)
                return NULL;
        struct text t;
        text_open(&t);
        uri_encode(t.f, plain, false);
        return text_close(&t);
}

/* Splits the raw query. 0 or -EINVAL; *ret_n pairs are filled either way. */
static int query_pairs(const char *query, struct pair *pairs, size_t *ret_n)
{
        *ret_n = 0;
        for (const char *p = query; *p;) {
                size_t n = strcspn(p, "&");
                size_t name_n = strcspn(p, "=&");
                if (n > 0) {
                        struct pair *x = &pairs[(*ret_n)++];
                        x->name = encode_again(p, name_n);
                        x->value = name_n < n ? encode_again(p + name_n + 1, n - name_n - 1) : text_dup("");
                        if (!x->name || !x->value)
                                return -EINVAL;
                }
                p += n;
                p += *p == '&';
        }
        return 0;
}

/* Names and values encoded, then sorted by name, then by value. */
static int canonical_query(FILE *f, const char *target)
{
        const char *query = strchr(target, '?');
        query = query ? query + 1 : "";
        _cleanup_free_ struct pair *pairs = text_alloc((strlen(query) + 1) * sizeof(*pairs));
        size_t n;
        int r = query_pairs(query, pairs, &n);
        if (r == 0)
                qsort(pairs, n, sizeof(*pairs), by_name_then_value);
        for (size_t i = 0; i < n; i++) {
                if (r == 0)
                        fprintf(f, "%s%s=%s", i ? "&" : "", pairs[i].name, pairs[i].value);
                free(pairs[i].name);
                free(pairs[i].value);
        }
        return r;
}

/* Without blanks around, and one for several inside: the general rule, and that of the vectors. */
static void put_trimmed(FILE *f, const char *s)
{
        bool blank = false, any = false;
        for (; *s; s++) {
                if (*s == ' ' || *s == '\t' || *s == '\r' || *s == '\n') {
                        blank = true;
                        continue;
                }
                if (blank && any)
                        fputc(' ', f);
                blank = false;
                any = true;
                fputc(*s, f);
        }
}

static int canonical_header(FILE *f, const struct sv_request *q, const char *name)
{
        size_t n = 0;
        fprintf(f, "%s:", name);
        for (size_t i = 0; i < q->n_headers; i++) {
                if (strcasecmp(q->headers[i].name, name) != 0)
                        continue;
                if (n++)
                        fputc(',', f);
                put_trimmed(f, q->headers[i].value);
        }
        fputc('\n', f);
        return n ? 0 : -EINVAL;
}

char *sv_canonical(const struct sv_request *q, const struct sv_auth *a, const char *payload_hash)
{
        struct text t;
        text_open(&t);
        fprintf(t.f, "%s\n", q->method);
        int r = canonical_path(t.f, q->target);
        fputc('\n', t.f);
        if (r == 0)
                r = canonical_query(t.f, q->target);
        fputc('\n', t.f);
        for (size_t i = 0; r == 0 && i < a->n_signed; i++)
                r = canonical_header(t.f, q, a->signed_headers[i]);
        fputc('\n', t.f);
        for (size_t i = 0; i < a->n_signed; i++)
                fprintf(t.f, "%s%s", i ? ";" : "", a->signed_headers[i]);
        fprintf(t.f, "\n%s", payload_hash);
        char *s = text_close(&t);
        if (r < 0) {
                free(s);
                return NULL;
        }
        return s;
}

char *sv_string_to_sign(const struct sv_auth *a, const char *amz_date, const char *canonical)
{
        char hash[SV_HEX];
        sv_sha256_hex(canonical, strlen(canonical), hash);
        return text_printf(
                ALGORITHM "\n%s\n%s/%s/%s/aws4_request\n%s", amz_date, a->date, a->region, a->service, hash);
}

void sv_sign(const struct sv_auth *a, const char *secret, const char *string_to_sign, char ret[SV_HEX])
{
        _cleanup_free_ char *start = text_printf("AWS4%s", secret);
        uint8_t k[SHA256_BYTES], next[SHA256_BYTES];
        hmac(start, strlen(start), a->date, k);
        hmac(k, sizeof(k), a->region, next);
        hmac(next, sizeof(next), a->service, k);
        hmac(k, sizeof(k), "aws4_request", next);
        hmac(next, sizeof(next), string_to_sign, k);
        to_hex(k, sizeof(k), ret);
}
