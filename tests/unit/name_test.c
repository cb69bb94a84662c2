/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "name.h"

static void clean_text(void **state)
{
        (void)state;
        static const char *const good[] = {"", "a b", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
                "\xc2\xa0", "\xed\x9f\xbf", "\xee\x80\x80", "\xf4\x8f\xbf\xbf", "\xe0\xa0\x80",
                "\xf0\x90\x80\x80", "\xe2\x80\x8d", "\xe2\x80\xaf", "\xe2\x81\xa5", "\xd8\x9b",
                "\xef\xbb\xbc"};
        static const char *const bad[] = {"\t", "\x01", "\x7f", "\\", "\x80", "\xc0\x80", "\xc1\xbf", "\xc3",
                "\xc3(", "\xe0\x9f\xbf", "\xe2\x82", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
                "\xf5\x80\x80\x80", "\xc2\x80", "\xc2\x9f", "\xff", "a\xd8\x9c", "a\xe2\x80\x8e",
                "a\xe2\x80\xa8", "a\xe2\x80\xae", "a\xe2\x81\xa6", "a\xe2\x81\xa9", "a\xef\xbb\xbf"};
        for (size_t i = 0; i < ELEMENTSOF(good); i++)
                assert_true(name_is_clean_text(good[i]));
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_false(name_is_clean_text(bad[i]));
}

static void tokens(void **state)
{
        (void)state;
        assert_true(name_is_token("A-z_0.9", 7));
        assert_false(name_is_token("", 0));
        assert_false(name_is_token(".a", 2));
        assert_false(name_is_token("a/b", 3));
        assert_false(name_is_token("a b", 3));
        assert_false(name_is_token("a\0b", 3));
        assert_true(name_is_lower_token("university.x-1_2"));
        assert_false(name_is_lower_token("universityX"));
        assert_false(name_is_lower_token("-universityx"));
        assert_false(name_is_lower_token(""));
        assert_true(name_equals("abc", 2, "ab"));
        assert_false(name_equals("abc", 2, "abc"));
}

static void copies_end_at_a_character(void **state)
{
        (void)state;
        char out[4];
        name_copy(out, sizeof(out), "abcdef", 6);
        assert_string_equal(out, "abc");
        name_copy(out, sizeof(out), "ab\xc3\xa9", 4);
        assert_string_equal(out, "ab");
        name_copy(out, sizeof(out), "a\xc3\xa9", 3);
        assert_string_equal(out, "a\xc3\xa9");
        assert_true(name_fill(out, sizeof(out), "%d", 123));
        assert_false(name_fill(out, sizeof(out), "%d", 1234));
}

static void what_is_obeyed_is_shown(void **state)
{
        (void)state;
        static const struct {
                const char *in, *out;
        } rows[] = {
                {"a\xc3\xa9", "a\xc3\xa9"},
                {"\x1b[2J\n\t\x7f", "\\x1b[2J\\x0a\\x09\\x7f"},
                {"\xc2\x9b\xc2\x85", "\\xc2\\x9b\\xc2\\x85"},
                {"\xe2\x80\xae\xe2\x81\xa7", "\\xe2\\x80\\xae\\xe2\\x81\\xa7"},
                {"\xff\xe2\x80", "\\xff\\xe2\\x80"},
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_strbuf_ struct strbuf b = {};
                strbuf_add(&b, ">");
                name_add_shown(&b, rows[i].in);
                assert_string_equal(b.s + 1, rows[i].out);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(clean_text),
                cmocka_unit_test(tokens),
                cmocka_unit_test(what_is_obeyed_is_shown),
                cmocka_unit_test(copies_end_at_a_character),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
