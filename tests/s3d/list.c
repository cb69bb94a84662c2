/* SPDX-License-Identifier: Apache-2.0 */
/* ListObjectsV2: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
 * Keys come "in lexicographical order", which is that of their UTF-8 bytes
 * (https://docs.aws.amazon.com/AmazonS3/latest/userguide/ListingKeysUsingAPIs.html). */
#include "request.h"

#include <inttypes.h>

#include <openssl/evp.h>

#define MAX_KEYS 1000 /* "The response might contain fewer keys but will never contain more" */
#define TAG 8

struct listing {
        struct request *request;
        const char *prefix, *delimiter, *after;
        bool url;
        uint64_t max_keys, count;
        struct text out; /* Contents and CommonPrefixes */
        char *last;      /* the last key or prefix that was given */
        bool truncated;
};

/* The token is opaque: a tag that binds it to bucket and prefix, and the key masked by it. */
static void token_mask(
        const struct request *q, const char *prefix, const uint8_t *key, size_t n, uint8_t tag[TAG])
{
        _cleanup_free_ char *bound =
                text_printf("%s\n%s\n%.*s", q->bucket, prefix, (int)n, (const char *)key);
        uint8_t d[EVP_MAX_MD_SIZE];
        EVP_Digest(bound, strlen(bound), d, NULL, EVP_sha256(), NULL);
        memcpy(tag, d, TAG);
}

static char *token_make(const struct request *q, const char *prefix, const char *key)
{
        size_t n = strlen(key);
        _cleanup_free_ uint8_t *p = text_alloc(TAG + n);
        token_mask(q, prefix, (const uint8_t *)key, n, p);
        for (size_t i = 0; i < n; i++)
                p[TAG + i] = (uint8_t)key[i] ^ p[i % TAG];
        return to_base64(p, TAG + n);
}

/* The key, or NULL for a token that we have not made for this list. */
static char *token_open(const struct request *q, const char *prefix, const char *token)
{
        _cleanup_free_ uint8_t *p = NULL;
        size_t n;
        uint8_t tag[TAG];
        if (from_base64(token, &p, &n) < 0 || n < TAG)
                return NULL;
        _cleanup_free_ char *key = text_alloc(n - TAG + 1);
        for (size_t i = TAG; i < n; i++)
                key[i - TAG] = (char)(p[i] ^ p[(i - TAG) % TAG]);
        token_mask(q, prefix, (const uint8_t *)key, n - TAG, tag);
        return memcmp(tag, p, TAG) == 0 ? take_ptr(&key) : NULL;
}

static void put_name(const struct listing *l, FILE *f, const char *tag, const char *value)
{
        fprintf(f, "<%s>", tag);
        if (l->url)
                list_encode(f, value);
        else
                xml_escape(f, value);
        fprintf(f, "</%s>", tag);
}

static int put_object(struct listing *l, const char *key)
{
        _cleanup_(object_done) struct object o = {};
        struct request *q = l->request;
        char date[HTTP_DATE_SIZE];
        int r = store_open(&q->server->store, q->bucket, key, &o);
        if (r < 0)
                return r == -ENOENT ? 0 : r; /* removed since the folder was read */
        fputs("<Contents>", l->out.f);
        put_name(l, l->out.f, "Key", key);
        fprintf(l->out.f, "<LastModified>%s</LastModified><ETag>&quot;", date_iso(o.last_modified, date));
        xml_escape(l->out.f, o.etag);
        fputs("&quot;</ETag>", l->out.f);
        for (size_t i = 0; i < CHECKSUM_MAX && !q->server->no_checksums; i++)
                if (o.checksums[i]) {
                        fputs("<ChecksumAlgorithm>", l->out.f);
                        for (const char *p = checksum_names[i]; *p; p++)
                                fputc(*p >= 'a' ? *p - 32 : *p, l->out.f);
                        fprintf(l->out.f, "</ChecksumAlgorithm><ChecksumType>%s</ChecksumType>",
                                o.checksum_type);
                }
        fprintf(l->out.f, "<Size>%" PRIu64 "</Size><StorageClass>STANDARD</StorageClass></Contents>", o.size);
        return 1;
}

/* The common prefix that the key rolls up into, or NULL. */
static char *roll_up(const struct listing *l, const char *key)
{
        if (!l->delimiter || !*l->delimiter)
                return NULL;
        const char *rest = key + strlen(l->prefix), *d = strstr(rest, l->delimiter);
        return d ? text_dup_n(key, (size_t)(d - key) + strlen(l->delimiter)) : NULL;
}

static int list_keys(struct listing *l, const struct keys *keys)
{
        for (size_t i = 0; i < keys->n; i++) {
                const char *key = keys->v[i];
                _cleanup_free_ char *common = roll_up(l, key);
                const char *name = common ? common : key;
                /* a common prefix that was given, or lies before where we start, is not given again */
                if (strcmp(key, l->after) <= 0 || strcmp(name, l->after) <= 0 ||
                        (common && text_eq(common, l->last)))
                        continue;
                if (l->count == l->max_keys) {
                        l->truncated = l->max_keys > 0;
                        return 0;
                }
                int r = 1;
                if (common) {
                        fputs("<CommonPrefixes>", l->out.f);
                        put_name(l, l->out.f, "Prefix", common);
                        fputs("</CommonPrefixes>", l->out.f);
                } else
                        r = put_object(l, key);
                if (r < 0)
                        return r;
                l->count += (uint64_t)r;
                free(l->last);
                l->last = text_dup(name);
        }
        return 0;
}

static char *document(struct listing *l, size_t *ret_n)
{
        struct request *q = l->request;
        const char *start_after = request_param(q, "start-after"),
                   *token = request_param(q, "continuation-token");
        struct text t;
        text_open(&t);
        fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
              "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>",
                t.f);
        xml_escape(t.f, q->bucket);
        fputs("</Name>", t.f);
        put_name(l, t.f, "Prefix", l->prefix);
        if (start_after)
                put_name(l, t.f, "StartAfter", start_after);
        if (token) {
                _cleanup_free_ char *x = xml_element("ContinuationToken", token);
                fputs(x, t.f);
        }
        if (l->truncated) {
                _cleanup_free_ char *next = token_make(q, l->prefix, l->last);
                _cleanup_free_ char *x = xml_element("NextContinuationToken", next);
                fputs(x, t.f);
        }
        fprintf(t.f, "<KeyCount>%" PRIu64 "</KeyCount><MaxKeys>%" PRIu64 "</MaxKeys>", l->count, l->max_keys);
        if (l->delimiter)
                put_name(l, t.f, "Delimiter", l->delimiter);
        if (l->url)
                fputs("<EncodingType>url</EncodingType>", t.f);
        fprintf(t.f, "<IsTruncated>%s</IsTruncated>", l->truncated ? "true" : "false");
        _cleanup_free_ char *out = text_close(&l->out);
        fputs(out, t.f);
        fputs("</ListBucketResult>", t.f);
        char *s = text_close(&t);
        *ret_n = t.n;
        return s;
}

/* NULL, or what is wrong with the parameters. */
static const char *parse_listing(struct listing *l, char **ret_after)
{
        struct request *q = l->request;
        const char *v;
        if ((v = request_param(q, "max-keys")) && parse_number(v, &l->max_keys) < 0)
                return "Provided max-keys not an integer or within integer range";
        l->max_keys = MIN(l->max_keys, (uint64_t)MAX_KEYS);
        if ((v = request_param(q, "encoding-type")) && !text_eq(v, "url"))
                return "Invalid Encoding Method specified in Request";
        l->url = v;
        l->delimiter = request_param(q, "delimiter");
        if ((v = request_param(q, "prefix")))
                l->prefix = v;
        if ((v = request_param(q, "start-after")))
                *ret_after = text_dup(v);
        if ((v = request_param(q, "continuation-token"))) {
                free(*ret_after);
                *ret_after = token_open(q, l->prefix, v);
                if (!*ret_after)
                        return "The continuation token provided is incorrect";
        }
        l->after = *ret_after ? *ret_after : "";
        return NULL;
}

enum MHD_Result list_objects(struct request *q)
{
        struct listing l = {.request = q, .prefix = "", .max_keys = MAX_KEYS};
        _cleanup_free_ char *after = NULL;
        _cleanup_(keys_done) struct keys keys = {};
        if (!text_eq(request_param(q, "list-type"), "2"))
                return reply_error(q, 501, "NotImplemented", "Only ListObjectsV2 is played here", NULL);
        const char *problem = parse_listing(&l, &after);
        if (problem)
                return reply_error(q, 400, "InvalidArgument", problem, NULL);
        int r = walk_keys(&q->server->store, q->bucket, l.prefix, &keys);
        text_open(&l.out);
        if (r == 0)
                r = list_keys(&l, &keys);
        if (r < 0) {
                free(text_close(&l.out));
                free(l.last);
                return reply_error(q, 500, "InternalError", strerror(-r), NULL);
        }
        size_t n;
        char *s = document(&l, &n);
        free(l.last);
        return reply_text(q, 200, "application/xml", s, n);
}
