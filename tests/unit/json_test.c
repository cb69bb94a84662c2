/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "json.h"

static void one_object_of_everything(void **state)
{
        (void)state;
        _cleanup_json_ struct json j = {};
        json_open(&j, NULL, '{');
        json_u64(&j, "version", 1);
        json_str(&j, "name", "x");
        json_str(&j, "none", NULL);
        json_null(&j, "null");
        json_bool(&j, "yes", true);
        json_bool(&j, "no", false);
        json_u64(&j, "u", UINT64_MAX);
        json_i64(&j, "i", INT64_MIN);
        json_time(&j, "t", 0);
        json_open(&j, "empty", '[');
        json_close(&j, ']');
        json_open(&j, "list", '[');
        json_u64(&j, NULL, 1);
        json_str(&j, NULL, "two");
        json_open(&j, NULL, '{');
        json_close(&j, '}');
        json_open(&j, NULL, '{');
        json_u64(&j, "a", 1);
        json_u64(&j, "b", 2);
        json_close(&j, '{'); /* either bracket names the kind */
        json_close(&j, '[');
        json_u64(&j, "last", 0);
        json_close(&j, '}');
        assert_int_equal(j.out.err, 0);
        assert_string_equal(j.out.s,
                "{\"version\":1,\"name\":\"x\",\"none\":null,\"null\":null,\"yes\":true,\"no\":false,"
                "\"u\":18446744073709551615,\"i\":-9223372036854775808,\"t\":\"1970-01-01T00:00:00Z\","
                "\"empty\":[],\"list\":[1,\"two\",{},{\"a\":1,\"b\":2}],\"last\":0}");
}

static void string_is(const char *value, const char *want)
{
        _cleanup_json_ struct json j = {};
        json_str(&j, NULL, value);
        assert_string_equal(j.out.s, want);
}

static void strings_are_escaped(void **state)
{
        (void)state;
        string_is("", "\"\"");
        string_is("a\"b\\c/", "\"a\\\"b\\\\c/\"");
        string_is("\x01\n\r\t\x1f", "\"\\u0001\\u000a\\u000d\\u0009\\u001f\"");
        string_is("\x7f", "\"\\u007f\"");
        string_is("\xc2\x80\xc2\x85\xc2\x9f\xc2\xa0", "\"\\u0080\\u0085\\u009f\xc2\xa0\"");
        string_is("\xd8\x9c\xe2\x80\x8e\xe2\x80\x8f\xe2\x80\xa8\xe2\x80\xae",
                "\"\\u061c\\u200e\\u200f\\u2028\\u202e\"");
        string_is("\xe2\x81\xa6\xe2\x81\xa9\xef\xbb\xbf", "\"\\u2066\\u2069\\ufeff\"");
        string_is("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
}

static void what_was_written_raw_is_shown_escaped(void **state)
{
        (void)state;
        _cleanup_strbuf_ struct strbuf b = {};
        static const char raw[] = "{\"a\\n\":\"\xc2\x9b\xe2\x80\xae\xff\"}, and what follows";
        json_add_shown(&b, raw, strlen(raw) - strlen(", and what follows"));
        assert_string_equal(b.s, "{\"a\\n\":\"\\u009b\\u202e\xef\xbf\xbd\"}");
}

static void invalid_utf8_is_replaced_byte_by_byte(void **state)
{
        (void)state;
        string_is("a\xff"
                  "b",
                "\"a\xef\xbf\xbd"
                "b\"");
        string_is("\xc0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\"");
        string_is("\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\"");
        string_is("\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
        string_is("\xe2\"", "\"\xef\xbf\xbd\\\"\""); /* a cut character does not swallow the quote */
}

static void names_are_escaped_too(void **state)
{
        (void)state;
        _cleanup_json_ struct json j = {};
        json_open(&j, NULL, '{');
        json_null(&j, "a\"\n");
        json_close(&j, '}');
        assert_string_equal(j.out.s, "{\"a\\\"\\u000a\":null}");
}

static void done_starts_afresh(void **state)
{
        (void)state;
        _cleanup_json_ struct json j = {};
        json_u64(&j, NULL, 1);
        json_done(&j);
        json_u64(&j, NULL, 2);
        assert_string_equal(j.out.s, "2");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(one_object_of_everything),
                cmocka_unit_test(strings_are_escaped),
                cmocka_unit_test(what_was_written_raw_is_shown_escaped),
                cmocka_unit_test(invalid_utf8_is_replaced_byte_by_byte),
                cmocka_unit_test(names_are_escaped_too),
                cmocka_unit_test(done_starts_afresh),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
