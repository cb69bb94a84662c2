/* SPDX-License-Identifier: Apache-2.0 */
/* The signer in lib/s3/sigv4.c and the stand-in's verifier share no code; here they check each other, on
 * requests made of what keys, prefixes and headers are awkward for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "auth.h"
#include "sigv4.h"

#define NOW 1720314123 /* 2024-07-07 */
#define ROUNDS 2000

static uint64_t state = 20240707;

static unsigned below(unsigned n)
{
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
        return (unsigned)(state >> 33) % n;
}

/* 1 to max pieces; every byte but NUL can come up */
static char *awkward(unsigned max, const char *first)
{
        static const char *const pieces[] = {"a", "Z", "0", "-", "_", ".", "~", "/", "//", "+", "%", "%41",
                "%2F", "=", "&", "?", "#", " ", "  ", "\"", "'", "*", "(", "\\", "<", ";", ":", "@", "$", ",",
                "..", "/./", "é", "😀", "\x01", "\xff"};
        struct text t;
        text_open(&t);
        fputs(first, t.f);
        for (unsigned n = 1 + below(max); n > 0; n--) {
                if (below(8) == 0)
                        fputc((int)(1 + below(255)), t.f);
                else
                        fputs(pieces[below(ELEMENTSOF(pieces))], t.f);
        }
        return text_close(&t);
}

struct round {
        char *path, *query[6], date[SIGV4_DATE_SIZE];
        struct sigv4_pair pairs[3], headers[5];
        struct sigv4_request request;
        struct strbuf target, authorization;
};

static void round_make(struct round *r)
{
        *r = (struct round){.path = awkward(12, "/bucket/")};
        static const struct sigv4_keys keys = {.access_key_id = "AKID", .secret_key = "secret/+="};
        unsigned n_query = below(4);
        for (unsigned i = 0; i < 2 * n_query; i++)
                r->query[i] = awkward(5, i % 2 ? "" : "p");
        for (unsigned i = 0; i < n_query; i++)
                r->pairs[i] = (struct sigv4_pair){.name = r->query[2 * i], .value = r->query[2 * i + 1]};
        r->headers[0] =
                (struct sigv4_pair){.name = "host", .value = "bucket.s3.us-east-1.amazonaws.com:8443"};
        r->headers[1] = (struct sigv4_pair){.name = "x-amz-content-sha256", .value = SIGV4_EMPTY_SHA256};
        r->headers[2] = (struct sigv4_pair){.name = "x-amz-date", .value = sigv4_date(NOW, r->date)};
        r->headers[3] = (struct sigv4_pair){.name = "if-match", .value = "\"0123-4\""};
        r->headers[4] = (struct sigv4_pair){.name = "range", .value = "bytes=0-1,  5-"};
        r->request = (struct sigv4_request){.method = "GET",
                .path = r->path,
                .query = r->pairs,
                .n_query = n_query,
                .headers = r->headers,
                .n_headers = 3 + below(3),
                .payload_sha256 = SIGV4_EMPTY_SHA256,
                .region = "us-east-1",
                .service = "s3",
                .time = NOW};
        assert_int_equal(sigv4_target(&r->request, &r->target), 0);
        assert_int_equal(sigv4_authorization(&r->request, &keys, &r->authorization), 0);
}

static void round_done(struct round *r)
{
        free(r->path);
        for (size_t i = 0; i < ELEMENTSOF(r->query); i++)
                free(r->query[i]);
        strbuf_done(&r->target);
        strbuf_done(&r->authorization);
}

/* What the server says: "" or the error's code. */
static const char *verify(const struct round *r, const char *method, const char *target)
{
        static char access[] = "AKID", secret[] = "secret/+=";
        static struct credential known[] = {{.access = access, .secret = secret}};
        static const struct credentials all = {.v = known, .n = 1};
        struct sv_header headers[8];
        size_t n = 0;
        for (; n < r->request.n_headers; n++)
                headers[n] = (struct sv_header){.name = r->headers[n].name, .value = r->headers[n].value};
        headers[n++] = (struct sv_header){.name = "Authorization", .value = r->authorization.s};
        const struct sv_request q = {.method = method, .target = target, .headers = headers, .n_headers = n};
        const struct auth_context c = {.credentials = &all, .region = "us-east-1", .now = NOW};
        const struct credential *who;
        _cleanup_(s3_error_done) struct s3_error e = {};
        return auth_check(&q, &c, &who, &e) == 0 ? "" : e.code;
}

static void what_one_signs_the_other_accepts(void **unused)
{
        (void)unused;
        for (int i = 0; i < ROUNDS; i++) {
                struct round r;
                round_make(&r);
                if (*verify(&r, "GET", r.target.s))
                        fail_msg("round %d: %s: %s", i, r.target.s, verify(&r, "GET", r.target.s));
                /* the target must carry exactly the key */
                _cleanup_free_ char *path = uri_decode(r.target.s, strcspn(r.target.s, "?"), false);
                assert_string_equal(path, r.path);
                round_done(&r);
        }
}

static void and_nothing_else(void **unused)
{
        (void)unused;
        for (int i = 0; i < ROUNDS; i++) {
                struct round r;
                round_make(&r);
                size_t path_n = strcspn(r.target.s, "?");
                _cleanup_free_ char *longer =
                        text_printf("%.*sx%s", (int)path_n, r.target.s, r.target.s + path_n);
                _cleanup_free_ char *more =
                        text_printf("%s%sx=", r.target.s, strchr(r.target.s, '?') ? "&" : "?");
                assert_string_equal(verify(&r, "GET", longer), "SignatureDoesNotMatch");
                assert_string_equal(verify(&r, "GET", more), "SignatureDoesNotMatch");
                assert_string_equal(verify(&r, "PUT", r.target.s), "SignatureDoesNotMatch");
                r.headers[0].value = "bucket.s3.us-east-1.amazonaws.com";
                assert_string_equal(verify(&r, "GET", r.target.s), "SignatureDoesNotMatch");
                round_done(&r);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_one_signs_the_other_accepts),
                cmocka_unit_test(and_nothing_else),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
