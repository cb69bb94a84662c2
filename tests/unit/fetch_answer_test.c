/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "answer.h"
#include "macro.h"

#define NOW 1445412480 /* Wed, 21 Oct 2015 07:28:00 GMT */
#define XML(code) "<?xml version=\"1.0\"?><Error><Code>" code "</Code><Message>m</Message></Error>"

#define DENIED_BY_KMS                                                                                        \
        "<Error><Code>AccessDenied</Code><Message>User: arn:aws:iam::1:user/czar is not authorized to "      \
        "perform: kms:Decrypt on the resource associated with this ciphertext</Message></Error>"
#define SSE_C                                                                                                \
        "<Error><Code>InvalidRequest</Code><Message>The object was stored using a form of Server Side "      \
        "Encryption. The correct parameters must be provided to retrieve the object.</Message></Error>"

static struct answer read_answer(unsigned status, const char *body)
{
        struct answer a;
        const struct answer_input in = {
                .status = status, .body = body, .body_len = body ? strlen(body) : 0, .now_sec = NOW};
        answer_read(&in, &a);
        return a;
}

static void causes(void **state)
{
        (void)state;
        static const struct {
                unsigned status;
                const char *body;
                enum cause cause;
        } cases[] = {
                {403, XML("RequestTimeTooSkewed"), CAUSE_SKEW},
                {403, XML("InvalidAccessKeyId"), CAUSE_CREDENTIALS},
                {403, XML("SignatureDoesNotMatch"), CAUSE_CREDENTIALS},
                {400, XML("ExpiredToken"), CAUSE_CREDENTIALS},
                {400, XML("InvalidToken"), CAUSE_CREDENTIALS},
                {403, XML("AccessDenied"), CAUSE_DENIED},
                {403, XML("SomethingNew"), CAUSE_DENIED},
                {403, XML("InvalidObjectState"), CAUSE_ARCHIVED},
                {400, XML("KMS.DisabledException"), CAUSE_SERVER_KEY},
                {400, XML("KMS.KMSInvalidStateException"), CAUSE_SERVER_KEY},
                {400, XML("KMS.NotFoundException"), CAUSE_SERVER_KEY},
                {403, DENIED_BY_KMS, CAUSE_SERVER_KEY},
                {400, SSE_C, CAUSE_SERVER_KEY},
                {400, XML("InvalidRequest"), CAUSE_PROTOCOL},
                {403, NULL, CAUSE_PROTOCOL},
                {403, "", CAUSE_PROTOCOL},
                {403, "<html>", CAUSE_PROTOCOL},
                {404, XML("NoSuchKey"), CAUSE_GONE},
                {404, XML("SomethingNew"), CAUSE_GONE},
                {404, "<Error><Code>NoSuchKey</Code><Message></Message></Error>", CAUSE_GONE}, /* Ceph */
                {404, NULL, CAUSE_PROTOCOL},
                {404, "<Error><Message>m</Message></Error>", CAUSE_PROTOCOL},
                {404, "<html><head><title>404 Not Found</title></head></html>", CAUSE_PROTOCOL},
                {404, XML("NoSuchBucket"), CAUSE_NO_BUCKET},
                {412, XML("PreconditionFailed"), CAUSE_REPLACED},
                {412, NULL, CAUSE_PROTOCOL},
                {412, "<html>", CAUSE_PROTOCOL},
                {416, NULL, CAUSE_PROTOCOL},
                {416, XML("InvalidRange"), CAUSE_PROTOCOL}, /* no range was asked for */
                {429, NULL, CAUSE_THROTTLED},
                {503, XML("SlowDown"), CAUSE_THROTTLED},
                {503, XML("ServiceUnavailable"), CAUSE_SERVER},
                {503, NULL, CAUSE_SERVER},
                {500, XML("InternalError"), CAUSE_SERVER},
                {502, "<html>Bad Gateway</html>", CAUSE_SERVER},
                {400, XML("RequestTimeout"), CAUSE_TIMEOUT},
                {400, NULL, CAUSE_PROTOCOL},
                {301, NULL, CAUSE_PROTOCOL},
                {405, NULL, CAUSE_PROTOCOL},
                {407, NULL, CAUSE_PROXY},
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct answer a = read_answer(cases[i].status, cases[i].body);
                if (a.cause != cases[i].cause)
                        print_error("%u %s\n", cases[i].status, cases[i].body ? cases[i].body : "");
                assert_int_equal(a.cause, cases[i].cause);
        }
}

static void a_range_that_is_not_there(void **state)
{
        (void)state;
        static const char body[] = XML("InvalidRange"), html[] = "<html>416</html>";
        struct answer a;
        struct answer_input in = {
                .status = 416, .ranged = true, .body = body, .body_len = sizeof(body) - 1, .now_sec = NOW};
        answer_read(&in, &a);
        assert_int_equal(a.cause, CAUSE_SIZE);
        in.body = html;
        in.body_len = sizeof(html) - 1;
        answer_read(&in, &a);
        assert_int_equal(a.cause, CAUSE_PROTOCOL);
        assert_non_null(strstr(a.text, "proxy"));
        in.head = true;
        in.body_len = 0;
        answer_read(&in, &a);
        assert_string_equal(a.text, "416");
}

static void text_is_printable(void **state)
{
        (void)state;
        struct answer a =
                read_answer(403, "<Error><Code>A\tB</Code><Message>x&#10;y\xc3\xbc</Message></Error>");
        assert_non_null(strstr(a.text, "403 "));
        for (const char *p = a.text; *p; p++)
                assert_true(*p >= ' ' && *p < 0x7f);
        a = read_answer(500, NULL);
        assert_string_equal(a.text, "500");
        a = read_answer(403, XML("AccessDenied"));
        assert_string_equal(a.text, "403 AccessDenied: m");
        a = read_answer(400, XML("AuthorizationHeaderMalformed"));
        assert_string_equal(a.text, "400 AuthorizationHeaderMalformed: m (is [s3] region right?)");
}

static void regions(void **state)
{
        (void)state;
        static const struct {
                unsigned status;
                const char *header, *body, *region;
        } cases[] = {
                {301, "eu-west-1", NULL, "eu-west-1"},
                {307, "eu-west-1", XML("TemporaryRedirect"), "eu-west-1"},
                {400, NULL,
                        "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-2</Region></Error>",
                        "eu-west-2"},
                {400, "eu-west-3", NULL, "eu-west-3"},
                {301, "evil.example/", NULL, ""},
                {301, NULL, "<Error><Code>x</Code><Region>a.b</Region></Error>", ""},
                {301, NULL, NULL, ""},
                {403, "eu-west-1", XML("AccessDenied"), ""},
                {503, "eu-west-1", NULL, ""},
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct answer a;
                const struct answer_input in = {
                        .status = cases[i].status,
                        .bucket_region = cases[i].header,
                        .body = cases[i].body,
                        .body_len = cases[i].body ? strlen(cases[i].body) : 0,
                };
                answer_read(&in, &a);
                assert_string_equal(a.region, cases[i].region);
        }
}

static void times(void **state)
{
        (void)state;
        struct answer a;
        struct answer_input in = {.status = 503, .now_sec = NOW, .date = "Wed, 21 Oct 2015 07:28:30 GMT"};
        in.retry_after = "7";
        answer_read(&in, &a);
        assert_int_equal(a.retry_after_usec, 7 * USEC_PER_SEC);
        assert_int_equal(a.skew_sec, 0); /* half a minute is not worth a word */
        in.retry_after = "Wed, 21 Oct 2015 07:28:10 GMT";
        in.date = "Wed, 21 Oct 2015 07:08:00 GMT";
        answer_read(&in, &a);
        assert_int_equal(a.retry_after_usec, 10 * USEC_PER_SEC);
        assert_int_equal(a.skew_sec, -1200);
        in.retry_after = in.date = "nonsense";
        answer_read(&in, &a);
        assert_int_equal(a.retry_after_usec, 0);
        assert_int_equal(a.skew_sec, 0);
        a = read_answer(403, "<Error><Code>RequestTimeTooSkewed</Code>"
                             "<ServerTime>2015-10-21T08:28:00Z</ServerTime></Error>");
        assert_int_equal(a.skew_sec, 3600);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(causes),
                cmocka_unit_test(a_range_that_is_not_there),
                cmocka_unit_test(text_is_printable),
                cmocka_unit_test(regions),
                cmocka_unit_test(times),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
