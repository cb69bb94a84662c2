/* SPDX-License-Identifier: Apache-2.0 */
/* The stand-in's verifier against signatures that others made: the published SigV4 vectors (where they are)
 * and the examples of the S3 documentation; and what it must refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>

#include "auth.h"

struct parsed {
        char *text, *method, *target, *body;
        struct sv_header headers[32];
        struct sv_request q;
};

/* "METHOD target HTTP/1.1", header lines (a blank begins a continued one), an empty line, the body. */
static void parse_request(char *text, struct parsed *p)
{
        *p = (struct parsed){.text = text};
        char *end = strchr(text, '\n'), *space;
        assert_non_null(end);
        *end++ = 0;
        p->method = text;
        space = strchr(text, ' ');
        *space = 0;
        p->target = space + 1;
        *strrchr(p->target, ' ') = 0;
        while (*end && *end != '\n') {
                char *name = end, *stop = end;
                while ((stop = strchr(stop, '\n')) && stop[1] == ' ')
                        *stop = ' ';
                end = stop ? stop + 1 : name + strlen(name);
                if (stop)
                        *stop = 0;
                char *colon = strchr(name, ':');
                assert_non_null(colon);
                *colon = 0;
                assert_uint_in_range(p->q.n_headers, 0, ELEMENTSOF(p->headers) - 1);
                p->headers[p->q.n_headers++] = (struct sv_header){.name = name, .value = colon + 1};
        }
        p->body = *end == '\n' ? end + 1 : end;
        p->q.method = p->method;
        p->q.target = p->target;
        p->q.headers = p->headers;
}

static char *read_vector(const char *dir, const char *name, const char *file)
{
        char *text = NULL;
        _cleanup_free_ char *path = text_printf("%s/%s/%s", dir, name, file);
        assert_int_equal(read_whole(path, 64 * KIB, &text, NULL), 0);
        return text;
}

/* Verifies as a server does: from the signed request alone. */
static bool vector_verifies(const char *dir, const char *name)
{
        _cleanup_free_ char *text = read_vector(dir, name, "header-signed-request.txt");
        struct parsed p;
        _cleanup_(sv_auth_done) struct sv_auth a = {};
        char hash[SV_HEX], signature[SV_HEX];
        parse_request(text, &p);
        assert_int_equal(sv_auth_parse(sv_header_get(&p.q, "authorization"), &a), 0);
        assert_string_equal(a.access, "AKIDEXAMPLE");
        /* the vectors say "sign_body": false for all that have no x-amz-content-sha256 */
        bool with_body = sv_header_get(&p.q, "x-amz-content-sha256");
        sv_sha256_hex(p.body, with_body ? strlen(p.body) : 0, hash);
        if (with_body)
                assert_string_equal(hash, sv_header_get(&p.q, "x-amz-content-sha256"));
        _cleanup_free_ char *canonical = sv_canonical(&p.q, &a, hash);
        assert_non_null(canonical);
        _cleanup_free_ char *to_sign = sv_string_to_sign(&a, sv_header_get(&p.q, "x-amz-date"), canonical);
        sv_sign(&a, "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", to_sign, signature);
        return text_eq(signature, a.signature);
}

/* S3 does not normalize paths, so these must not verify, and their "unnormalized" twins must. */
static bool needs_normalizing(const char *name)
{
        static const char *const names[] = {"get-relative-normalized", "get-relative-relative-normalized",
                "get-slash-dot-slash-normalized", "get-slash-normalized",
                "get-slash-pointless-dot-normalized", "get-slashes-normalized"};
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (text_eq(name, names[i]))
                        return true;
        return false;
}

static void published_vectors(void **state)
{
        (void)state;
        const char *dir = CZARD_SIGV4_VECTORS;
        _cleanup_closedir_ DIR *d = opendir(dir);
        unsigned good = 0, refused = 0;
        if (!d) {
                print_message("no vectors in %s: skipped\n", dir);
                skip();
        }
        for (struct dirent *e; (e = readdir(d));) {
                if (*e->d_name == '.')
                        continue;
                bool verifies = vector_verifies(dir, e->d_name);
                if (verifies == needs_normalizing(e->d_name))
                        fail_msg("%s: verifies: %d", e->d_name, verifies);
                good += verifies;
                refused += !verifies;
        }
        assert_int_equal(refused, 6);
        assert_uint_in_range(good, 32, 100);
}

/* https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, "Examples: Signature
 * Calculations" */
#define SCOPE                                                                                                \
        "Authorization:AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
#define HOST "Host:examplebucket.s3.amazonaws.com\n"
#define EMPTY_BODY "x-amz-content-sha256:" SHA256_OF_NOTHING "\n"
#define DATE "x-amz-date:20130524T000000Z\n"

static const char get_object[] =
        "GET /test.txt HTTP/1.1\n" HOST "Range:bytes=0-9\n" EMPTY_BODY DATE SCOPE
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41\n\n";
static const char put_object[] =
        "PUT /test$file.text HTTP/1.1\n" HOST "Date:Fri, 24 May 2013 00:00:00 GMT\n" DATE
        "x-amz-storage-class:REDUCED_REDUNDANCY\n"
        "x-amz-content-sha256:44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072\n" SCOPE
        "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,"
        "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd\n\nWelcome to Amazon S3.";
static const char get_lifecycle[] =
        "GET /?lifecycle HTTP/1.1\n" HOST EMPTY_BODY DATE SCOPE
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date,"
        "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543\n\n";
static const char list_objects[] =
        "GET /?max-keys=2&prefix=J HTTP/1.1\n" HOST EMPTY_BODY DATE SCOPE
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date,"
        "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7\n\n";

static struct credential known[] = {{.access = (char[]){"AKIAIOSFODNN7EXAMPLE"},
        .secret = (char[]){"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}}};
static const struct credentials credentials = {.v = known, .n = 1};

/* 2013-05-24 00:00:00 UTC */
#define THEN 1369353600

/* The error code, or "" when the request is let in. */
static const char *check_at(const char *request, time_t now, const char *region, char **ret_extra)
{
        _cleanup_free_ char *text = text_dup(request);
        struct parsed p;
        _cleanup_(s3_error_done) struct s3_error e = {};
        const struct credential *who = NULL;
        const struct auth_context c = {.credentials = &credentials, .region = region, .now = now};
        parse_request(text, &p);
        if (auth_check(&p.q, &c, &who, &e) == 0) {
                assert_ptr_equal(who, &known[0]);
                return "";
        }
        assert_null(who);
        if (ret_extra)
                *ret_extra = text_dup(e.extra ? e.extra : "");
        return e.code;
}

static const char *check(const char *request)
{
        return check_at(request, THEN, "us-east-1", NULL);
}

/* request with the first from replaced by to; static buffer */
static const char *with(const char *request, const char *from, const char *to)
{
        static char buf[2048];
        const char *at = strstr(request, from);
        assert_non_null(at);
        snprintf(buf, sizeof(buf), "%.*s%s%s", (int)(at - request), request, to, at + strlen(from));
        return buf;
}

static void documented_examples(void **state)
{
        (void)state;
        assert_string_equal(check(get_object), "");
        assert_string_equal(check(put_object), "");
        assert_string_equal(check(get_lifecycle), "");
        assert_string_equal(check(list_objects), "");
        /* the same query, sent in another order or encoded where it need not be, means the same */
        assert_string_equal(check(with(list_objects, "max-keys=2&prefix=J", "prefix=%4a&max-keys=2")), "");
        assert_string_equal(check(with(put_object, "/test$file", "/test%24file")), "");
}

static void what_is_altered_does_not_match(void **state)
{
        (void)state;
        static const char *const changes[][2] = {
                {"GET", "HEAD"},
                {"/test.txt", "/test.tx"},
                {"/test.txt", "//test.txt"},
                {"/test.txt", "/./test.txt"},
                {"/test.txt", "/test.txt?partNumber=1"},
                {"bytes=0-9", "bytes=0-8"},
                {"Range:bytes=0-9\n", ""},
                {"examplebucket.s3", "otherbucket.s3"},
                {"T000000Z", "T000001Z"},
                {SHA256_OF_NOTHING, UNSIGNED_PAYLOAD},
                {"Signature=f", "Signature=e"},
                {"SignedHeaders=host;range;", "SignedHeaders=host;"},
        };
        for (size_t i = 0; i < ELEMENTSOF(changes); i++)
                assert_string_equal(
                        check(with(get_object, changes[i][0], changes[i][1])), "SignatureDoesNotMatch");
}

static void who_asks(void **state)
{
        (void)state;
        assert_string_equal(check(with(get_object, "Authorization:", "X-Other:")), "AccessDenied");
        assert_string_equal(check(with(get_object, "=AKIA", "=AKIB")), "InvalidAccessKeyId");
        assert_string_equal(check(with(get_object, DATE, DATE "x-amz-security-token:t\n")), "AccessDenied");
        assert_string_equal(check(with(get_object, DATE, DATE "X-Amz-Meta-A:b\n")), "AccessDenied");
        assert_string_equal(check(with(get_object, "=host;range", "=range")), "AccessDenied");
}

static void when(void **state)
{
        (void)state;
        _cleanup_free_ char *extra = NULL;
        assert_string_equal(check_at(get_object, THEN + 900, "us-east-1", NULL), "");
        assert_string_equal(check_at(get_object, THEN - 900, "us-east-1", NULL), "");
        assert_string_equal(check_at(get_object, THEN - 901, "us-east-1", NULL), "RequestTimeTooSkewed");
        assert_string_equal(check_at(get_object, THEN + 901, "us-east-1", &extra), "RequestTimeTooSkewed");
        assert_non_null(strstr(extra, "<ServerTime>2013-05-24T00:15:01Z</ServerTime>"));
        assert_string_equal(
                check(with(get_object, "20130524/", "20130523/")), "AuthorizationHeaderMalformed");
        assert_string_equal(check(with(get_object, "x-amz-date:", "date:")), "AccessDenied");
        assert_string_equal(check(with(get_object, "T000000Z", " 000000Z")), "AccessDenied");
}

static void where(void **state)
{
        (void)state;
        _cleanup_free_ char *extra = NULL;
        assert_string_equal(check_at(get_object, THEN, "eu-west-1", &extra), "AuthorizationHeaderMalformed");
        assert_string_equal(extra, "<Region>eu-west-1</Region>");
        assert_string_equal(check(with(get_object, "/s3/", "/sts/")), "AuthorizationHeaderMalformed");
}

static void payload_hash_is_needed(void **state)
{
        (void)state;
        assert_string_equal(check(with(get_object, EMPTY_BODY, "")), "InvalidRequest");
        assert_string_equal(check(with(get_object, SHA256_OF_NOTHING, "none")), "InvalidArgument");
}

static void malformed_headers(void **state)
{
        (void)state;
        static const char good[] =
                "AWS4-HMAC-SHA256 Credential=A/20130524/r/s3/aws4_request, SignedHeaders=host, "
                "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        static const char *const changes[][2] = {{"AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA1 "},
                {"AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256"}, {"Credential=A/", "Credential=/"},
                {"/aws4_request", ""}, {"/aws4_request", "/aws4_request/x"}, {"20130524", "2013-05-24"},
                {"SignedHeaders=host, ", ""}, {"SignedHeaders=host", "SignedHeaders="}, {"=host", "=Host"},
                {"=host", "=host;host"}, {"=host", "=x-a;host"}, {"=host", "=host;"},
                {"Signature=f", "Signature="}, {"Signature=f", "Signature=F"},
                {"Signature=f", "Signature=ff"},
                {", Signature", ", Credential=A/20130524/r/s3/aws4_request, Signature"},
                {", Signature", ",, Signature"}};
        struct sv_auth a = {};
        assert_int_equal(sv_auth_parse(good, &a), 0);
        sv_auth_done(&a);
        for (size_t i = 0; i < ELEMENTSOF(changes); i++)
                assert_int_equal(sv_auth_parse(with(good, changes[i][0], changes[i][1]), &a), -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(published_vectors),
                cmocka_unit_test(documented_examples),
                cmocka_unit_test(what_is_altered_does_not_match),
                cmocka_unit_test(who_asks),
                cmocka_unit_test(when),
                cmocka_unit_test(where),
                cmocka_unit_test(payload_hash_is_needed),
                cmocka_unit_test(malformed_headers),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
