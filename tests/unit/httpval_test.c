/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "httpval.h"
#include "macro.h"

static void numbers(void **state)
{
        (void)state;
        uint64_t v = 7;
        assert_int_equal(httpval_u64(" 12 ", 100, &v), 0);
        assert_int_equal(v, 12);
        static const char *const bad[] = {"", " ", "-1", "+1", "1 2", "0x1", "1.5", "1,2"};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(httpval_u64(bad[i], UINT64_MAX, &v), -EINVAL);
        assert_int_equal(httpval_u64("101", 100, &v), -ERANGE);
        assert_int_equal(httpval_u64("18446744073709551616", UINT64_MAX, &v), -ERANGE);
        assert_int_equal(v, 12);
}

static void content_ranges(void **state)
{
        (void)state;
        struct httpval_range r = {};
        assert_int_equal(httpval_content_range("bytes 5-9/10", &r), 0);
        assert_true(r.satisfied && r.has_total && r.first == 5 && r.last == 9 && r.total == 10);
        assert_int_equal(httpval_content_range(" Bytes 0-0/* ", &r), 0);
        assert_true(r.satisfied && !r.has_total && r.first == 0 && r.last == 0);
        assert_int_equal(httpval_content_range("bytes */10", &r), 0);
        assert_true(!r.satisfied && r.has_total && r.total == 10);
        static const char *const bad[] = {"", "bytes", "bytes=0-1/2", "bytes 1-0/2", "bytes 0-2/2",
                "bytes 0-1", "bytes -1/2", "bytes 0-/2", "bytes 0-1/2x", "bytes 0 -1/2", "items 0-1/2",
                "bytes */*", "bytes 0-1/99999999999999999999",
                "bytes 0-9223372036854775808/9223372036854775809",
                "bytes 00000000000000000000000000000000000-1/2", "bytes0-1/2"};
        struct httpval_range before = r;
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                assert_int_not_equal(httpval_content_range(bad[i], &r), 0);
                assert_memory_equal(&r, &before, sizeof(r));
        }
}

static void retry_after(void **state)
{
        (void)state;
        uint64_t v = 0;
        assert_int_equal(httpval_retry_after("120", 0, &v), 0);
        assert_int_equal(v, 120 * USEC_PER_SEC);
        assert_int_equal(httpval_retry_after("99999999999999999999999", 0, &v), 0);
        assert_int_equal(v, HTTPVAL_RETRY_AFTER_MAX_SEC * USEC_PER_SEC);
        /* 1445412480 is that moment: date -u -d '2015-10-21 07:28:00' +%s */
        assert_int_equal(httpval_retry_after("Wed, 21 Oct 2015 07:28:00 GMT", 1445412420, &v), 0);
        assert_int_equal(v, 60 * USEC_PER_SEC);
        assert_int_equal(httpval_retry_after("Wed, 21 Oct 2015 07:28:00 GMT", 1445412481, &v), 0);
        assert_int_equal(v, 0);
        v = 5;
        assert_int_equal(httpval_retry_after("soon", 0, &v), -EINVAL);
        assert_int_equal(httpval_retry_after("", 0, &v), -EINVAL);
        assert_int_equal(v, 5);
}

static void dates(void **state)
{
        (void)state;
        int64_t v = 1;
        assert_int_equal(httpval_date(" Wed, 21 Oct 2015 07:28:00 GMT\r\n", &v), 0);
        assert_int_equal(v, 1445412480);
        assert_int_not_equal(httpval_date("Wed, 31 Feb 2015 07:28:00 GMT", &v), 0);
        assert_int_equal(v, 1445412480);
}

static void etags(void **state)
{
        (void)state;
        struct httpval_etag t = {};
        assert_int_equal(httpval_etag("\"d41d8cd98f00b204e9800998ecf8427e\"", &t), 0);
        assert_true(t.is_md5 && t.parts == 0 && t.md5[0] == 0xd4 && t.md5[15] == 0x7e);
        assert_int_equal(httpval_etag("D41D8CD98F00B204E9800998ECF8427E-12", &t), 0);
        assert_true(t.is_md5 && t.parts == 12);
        static const char *const opaque[] = {"\"abc\"", "\"d41d8cd98f00b204e9800998ecf8427e-0\"",
                "\"d41d8cd98f00b204e9800998ecf8427e-10001\"", "\"d41d8cd98f00b204e9800998ecf8427e-x\"",
                "\"z41d8cd98f00b204e9800998ecf8427e\""};
        for (size_t i = 0; i < ELEMENTSOF(opaque); i++) {
                assert_int_equal(httpval_etag(opaque[i], &t), 0);
                assert_true(!t.is_md5 && t.parts == 0);
        }
        static const char *const bad[] = {"", "\"\"", "W/\"abc\"", "\"a\"b\"", "\"a b\"", "\"a", "\"a\nb\""};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(httpval_etag(bad[i], &t), -EINVAL);
        char long_tag[300];
        memset(long_tag, 'a', sizeof(long_tag) - 1);
        long_tag[sizeof(long_tag) - 1] = 0;
        assert_int_equal(httpval_etag(long_tag, &t), -EINVAL);

        assert_true(httpval_etag_equal("\"abc\"", "abc"));
        assert_false(httpval_etag_equal("\"abc\"", "\"abd\""));
        assert_false(httpval_etag_equal("W/\"abc\"", "W/\"abc\""));
        assert_false(httpval_etag_equal("", ""));
}

static void base64(void **state)
{
        (void)state;
        uint8_t b[32] = {};
        /* RFC 4648, section 10 */
        assert_int_equal(httpval_base64("Zg==", b, 1), 0);
        assert_memory_equal(b, "f", 1);
        assert_int_equal(httpval_base64("Zm8=", b, 2), 0);
        assert_memory_equal(b, "fo", 2);
        assert_int_equal(httpval_base64(" Zm9vYmFy ", b, 6), 0);
        assert_memory_equal(b, "foobar", 6);
        assert_int_equal(httpval_base64("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", b, 32), 0);
        assert_true(b[0] == 0xe3 && b[1] == 0xb0 && b[31] == 0x55);
        static const char *const bad[] = {
                "", "Zg", "Zg=", "Zg==Zg==", "Z===", "Zm8=", "Z*==", "=g==", "Zg=a"};
        b[0] = 0x42;
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(httpval_base64(bad[i], b, 1), -EINVAL);
        assert_int_equal(b[0], 0x42);
}

static void url_encoding(void **state)
{
        (void)state;
        char a[] = "a+b%2Bc%20d%C3%bc%25~", bad1[] = "a%2", bad2[] = "%", bad3[] = "%zz", nul[] = "a%00b";
        assert_int_equal(httpval_urldecode(a), 0);
        assert_string_equal(a, "a b+c dü%~");
        assert_int_equal(httpval_urldecode(bad1), -EINVAL);
        assert_int_equal(httpval_urldecode(bad2), -EINVAL);
        assert_int_equal(httpval_urldecode(bad3), -EINVAL);
        assert_int_equal(httpval_urldecode(nul), -EILSEQ);
}

static void regions(void **state)
{
        (void)state;
        assert_true(httpval_is_region("us-east-1"));
        assert_true(httpval_is_region("x"));
        static const char *const bad[] = {"", "-", "us-east-1.evil.example", "us_east", "US-EAST-1", "a/b",
                "a-", "012345678901234567890123456789012"};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_false(httpval_is_region(bad[i]));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(numbers),
                cmocka_unit_test(content_ranges),
                cmocka_unit_test(retry_after),
                cmocka_unit_test(dates),
                cmocka_unit_test(etags),
                cmocka_unit_test(base64),
                cmocka_unit_test(url_encoding),
                cmocka_unit_test(regions),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
