/* SPDX-License-Identifier: Apache-2.0 */
/* The published vectors ("aws-sig-v4-test-suite" in the layout of aws-c-auth), from the folder that
 * $CZARD_SIGV4_VECTORS names or the one given at build time; and what S3 does differently. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

#include "digest.h"
#include "fsx.h"
#include "httpval.h"
#include "sigv4.h"
#include "timespan.h"

struct vector {
        int dir;
        char *context, *text; /* context.json and request.txt; the rest points into them */
        char *body;
        char method[16], path[512], payload[SHA256_HEX], date[SIGV4_DATE_SIZE];
        struct sigv4_pair query[SIGV4_PAIRS_MAX], headers[SIGV4_PAIRS_MAX];
        struct sigv4_request request;
        struct sigv4_keys keys;
        char *token;
};

static char *slurp(int dir, const char *name)
{
        char *s = NULL;
        size_t n;
        return read_file_at(dir, name, 65536, &s, &n) == 0 ? s : NULL;
}

/* The string value of a name in a flat JSON text, or NULL. The caller frees. */
static char *json_value(const char *json, const char *name)
{
        char quoted[64];
        snprintf(quoted, sizeof(quoted), "\"%s\": ", name);
        const char *p = strstr(json, quoted);
        if (!p)
                return NULL;
        p += strlen(quoted);
        return *p == '"' ? strndup(p + 1, strcspn(p + 1, "\"")) : strndup(p, strcspn(p, ",\n "));
}

static bool json_true(const char *json, const char *name)
{
        char *v = json_value(json, name);
        bool r = v && streq(v, "true");
        free(v);
        return r;
}

static void add_header(struct vector *v, const char *name, const char *value)
{
        assert_true(v->request.n_headers < SIGV4_PAIRS_MAX);
        v->headers[v->request.n_headers++] = (struct sigv4_pair){name, value};
}

static void read_query(struct vector *v, char *query)
{
        for (char *part, *rest = query; (part = strsep(&rest, "&"));) {
                char *value = strchr(part, '=');
                if (value)
                        *value++ = 0;
                assert_int_equal(httpval_urldecode(part), 0);
                if (value)
                        assert_int_equal(httpval_urldecode(value), 0);
                v->query[v->request.n_query++] = (struct sigv4_pair){part, value ? value : ""};
        }
}

/* "GET /path?query HTTP/1.1", headers, perhaps folded, an empty line, the body. */
static void read_request(struct vector *v)
{
        char *head = v->text, *rest = strchr(head, '\n');
        assert_non_null(rest);
        *rest++ = 0;
        char *end = strrchr(head, ' ');
        *end = 0;
        char *target = strchr(head, ' ');
        *target++ = 0;
        snprintf(v->method, sizeof(v->method), "%s", head);
        char *query = strchr(target, '?');
        if (query)
                *query++ = 0;
        snprintf(v->path, sizeof(v->path), "%s", target);
        if (query)
                read_query(v, query);
        v->body = strstr(rest, "\n\n");
        if (v->body) {
                *v->body = 0;
                v->body += 2;
        }
        for (char *p = rest; *p; p++)
                if (p[0] == '\n' && isblank((unsigned char)p[1]))
                        *p = ' ';
        for (char *line; (line = strsep(&rest, "\n"));) {
                char *value = strchr(line, ':');
                if (!value)
                        continue;
                *value++ = 0;
                add_header(v, line, value);
        }
}

static void vector_load(struct vector *v)
{
        v->context = slurp(v->dir, "context.json");
        v->text = slurp(v->dir, "request.txt");
        assert_non_null(v->context);
        assert_non_null(v->text);
        read_request(v);

        char *timestamp = json_value(v->context, "timestamp");
        assert_int_equal(time_parse_rfc3339(timestamp, &v->request.time), 0);
        free(timestamp);
        uint8_t hash[SHA256_SIZE];
        const char *body = v->body ? v->body : "";
        assert_int_equal(digest_once(DIGEST_SHA256, body, strlen(body), hash), 0);
        hex_encode(hash, sizeof(hash), v->payload);

        v->keys.access_key_id = json_value(v->context, "access_key_id");
        v->keys.secret_key = json_value(v->context, "secret_access_key");
        v->token = json_value(v->context, "token");
        add_header(v, "X-Amz-Date", sigv4_date(v->request.time, v->date));
        if (json_true(v->context, "sign_body"))
                add_header(v, "x-amz-content-sha256", v->payload);
        if (v->token && !json_true(v->context, "omit_session_token"))
                add_header(v, "X-Amz-Security-Token", v->token);
        v->request.method = v->method;
        v->request.path = v->path;
        v->request.query = v->query;
        v->request.headers = v->headers;
        v->request.payload_sha256 = v->payload;
        v->request.region = json_value(v->context, "region");
        v->request.service = json_value(v->context, "service");
        v->request.normalize_path = json_true(v->context, "normalize");
}

static void vector_done(struct vector *v)
{
        char *owned[] = {v->context, v->text, v->token, (char *)(uintptr_t)v->keys.access_key_id,
                (char *)(uintptr_t)v->keys.secret_key, (char *)(uintptr_t)v->request.region,
                (char *)(uintptr_t)v->request.service};
        for (size_t i = 0; i < ELEMENTSOF(owned); i++)
                free(owned[i]);
        close(v->dir);
}

static void same_as_file(const struct vector *v, const char *name, const struct strbuf *got)
{
        char *want = slurp(v->dir, name);
        assert_non_null(want);
        assert_string_equal(got->s, want);
        free(want);
}

static void run_vector(int top, const char *name)
{
        struct vector v = {.dir = openat(top, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
        assert_true(v.dir >= 0);
        vector_load(&v);
        _cleanup_strbuf_ struct strbuf canonical = {}, to_sign = {}, authorization = {};
        assert_int_equal(sigv4_canonical_request(&v.request, &canonical), 0);
        same_as_file(&v, "header-canonical-request.txt", &canonical);
        assert_int_equal(sigv4_string_to_sign(&v.request, canonical.s, &to_sign), 0);
        same_as_file(&v, "header-string-to-sign.txt", &to_sign);
        assert_int_equal(sigv4_authorization(&v.request, &v.keys, &authorization), 0);
        char *want = slurp(v.dir, "header-signature.txt");
        assert_non_null(want);
        const char *signature = strstr(authorization.s, "Signature=");
        assert_non_null(signature);
        assert_string_equal(signature + strlen("Signature="), want);
        free(want);
        char *signed_request = slurp(v.dir, "header-signed-request.txt");
        assert_non_null(signed_request);
        assert_non_null(strstr(signed_request, authorization.s));
        free(signed_request);
        vector_done(&v);
}

static void published_vectors(void **state)
{
        (void)state;
        const char *path = getenv("CZARD_SIGV4_VECTORS");
        if (!path)
                path = CZARD_SIGV4_VECTORS;
        _cleanup_closedir_ DIR *d = opendir(path);
        if (!d) {
                print_message("no vectors at %s: set CZARD_SIGV4_VECTORS to aws-sig-v4-test-suite\n", path);
                skip();
        }
        unsigned n = 0;
        for (struct dirent *e; (e = readdir(d));) {
                if (e->d_name[0] == '.')
                        continue;
                print_message("%s\n", e->d_name);
                run_vector(dirfd(d), e->d_name);
                n++;
        }
        assert_true(n > 0);
}

/* From AWS, "Authenticating Requests: Using the Authorization Header", the example "GET Object". */
static void the_s3_example(void **state)
{
        (void)state;
        const struct sigv4_pair headers[] = {
                {"Host", "examplebucket.s3.amazonaws.com"},
                {"Range", "bytes=0-9"},
                {"x-amz-content-sha256", SIGV4_EMPTY_SHA256},
                {"x-amz-date", "20130524T000000Z"},
        };
        const struct sigv4_request r = {
                .method = "GET",
                .path = "/test.txt",
                .headers = headers,
                .n_headers = ELEMENTSOF(headers),
                .payload_sha256 = SIGV4_EMPTY_SHA256,
                .region = "us-east-1",
                .service = "s3",
                .time = 1369353600,
        };
        const struct sigv4_keys keys = {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"};
        _cleanup_strbuf_ struct strbuf b = {};
        assert_int_equal(sigv4_authorization(&r, &keys, &b), 0);
        assert_string_equal(b.s,
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
                "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
                "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

static void what_is_sent_is_what_is_signed(void **state)
{
        (void)state;
        const struct sigv4_pair query[] = {{"prefix", "a b+c/ü&="}, {"list-type", "2"}, {"empty", ""}};
        const struct sigv4_request r = {
                .method = "GET",
                .path = "/b/./../a b+c%20~//ü&=?#.gpg",
                .query = query,
                .n_query = ELEMENTSOF(query),
                .payload_sha256 = "x",
        };
        _cleanup_strbuf_ struct strbuf target = {}, canonical = {}, line = {};
        assert_int_equal(sigv4_target(&r, &target), 0);
        assert_string_equal(target.s, "/b/./../a%20b%2Bc%2520~//%C3%BC%26%3D%3F%23.gpg"
                                      "?empty=&list-type=2&prefix=a%20b%2Bc%2F%C3%BC%26%3D");
        assert_int_equal(sigv4_canonical_request(&r, &canonical), 0);
        char *q = strchr(target.s, '?');
        strbuf_printf(&line, "GET\n%.*s\n%s\n", (int)(q - target.s), target.s, q + 1);
        assert_memory_equal(canonical.s, line.s, line.len);
}

static void too_many_pairs_are_refused(void **state)
{
        (void)state;
        struct sigv4_pair many[SIGV4_PAIRS_MAX + 1];
        for (size_t i = 0; i < ELEMENTSOF(many); i++)
                many[i] = (struct sigv4_pair){"a", "b"};
        struct sigv4_request r = {
                .method = "GET",
                .path = "/",
                .query = many,
                .n_query = ELEMENTSOF(many),
                .payload_sha256 = "",
                .region = "",
                .service = "",
        };
        _cleanup_strbuf_ struct strbuf b = {};
        assert_int_equal(sigv4_target(&r, &b), -E2BIG);
        r.n_query = 0;
        r.headers = many;
        r.n_headers = ELEMENTSOF(many);
        assert_int_equal(sigv4_canonical_request(&r, &b), -E2BIG);
        r.n_headers = 0;
        char long_key[600];
        memset(long_key, 'k', sizeof(long_key) - 1);
        long_key[sizeof(long_key) - 1] = 0;
        assert_int_equal(sigv4_authorization(&r, &(struct sigv4_keys){"id", long_key}, &b), -E2BIG);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(published_vectors),
                cmocka_unit_test(the_s3_example),
                cmocka_unit_test(what_is_sent_is_what_is_signed),
                cmocka_unit_test(too_many_pairs_are_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
