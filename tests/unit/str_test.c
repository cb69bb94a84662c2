/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "str.h"

static void ends_and_after(void **state)
{
        (void)state;
        assert_true(str_ends("a.gpg", ".gpg"));
        assert_true(str_ends("a", ""));
        assert_false(str_ends("gpg", ".gpg"));
        assert_false(str_ends("a.gpg.x", ".gpg"));
        assert_string_equal(str_after("s3://b", "s3://"), "b");
        assert_null(str_after("s3:/", "s3://"));
}

static void a_buffer_grows_and_stays_terminated(void **state)
{
        (void)state;
        _cleanup_strbuf_ struct strbuf b = {};
        for (unsigned i = 0; i < 1000; i++) {
                strbuf_add(&b, "ab");
                strbuf_add_n(&b, "xyz", 1);
                strbuf_printf(&b, "%u", i % 10);
        }
        assert_int_equal(b.err, 0);
        assert_int_equal(b.len, 4000);
        assert_int_equal(strlen(b.s), 4000);
        for (unsigned i = 0; i < 1000; i++) {
                char want[] = {'a', 'b', 'x', (char)('0' + i % 10)};
                assert_memory_equal(b.s + 4 * i, want, 4);
        }
}

static void an_empty_addition_makes_a_string(void **state)
{
        (void)state;
        _cleanup_strbuf_ struct strbuf b = {};
        strbuf_add(&b, "");
        assert_string_equal(b.s, "");
        assert_int_equal(b.len, 0);
}

static void a_buffer_keeps_nul_bytes(void **state)
{
        (void)state;
        _cleanup_strbuf_ struct strbuf b = {};
        strbuf_add_n(&b, "a\0b", 3);
        assert_int_equal(b.len, 3);
        assert_memory_equal(b.s, "a\0b", 4);
}

/* A shell makes of each word what it was. */
static void a_word_of_a_shell(void **state)
{
        (void)state;
        static const char *const words[] = {"/srv/czard", "a b", "it's", "", "$HOME", "a\\b", "a\nb",
                "\x1b[1m\x7f", "universit\xc3\xa9 d'\xc3\x89t\xc3\xa9", "\xff\\'\001\067", "-rf", "~", "a;b",
                "*", "\"", "`id`"};
        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                _cleanup_strbuf_ struct strbuf b = {};
                char out[256] = "";
                strbuf_add(&b, "exec bash -c 'printf %s \"$1\"' - ");
                strbuf_add_word(&b, words[i]);
                assert_int_equal(b.err, 0);
                for (const char *p = b.s; *p; p++)
                        assert_true(*p >= 0x20 && *p < 0x7f);
                _cleanup_free_ char *line = str_printf("exec bash -c \"$(cat <<'END'\n%s\nEND\n)\"", b.s);
                FILE *f = popen(line, "r");
                assert_non_null(f);
                size_t n = fread(out, 1, sizeof(out) - 1, f);
                assert_int_equal(pclose(f), 0);
                out[n] = 0;
                assert_string_equal(out, words[i]);
        }
        char small[12];
        assert_string_equal(shell_word("/a/path", small, sizeof(small)), "/a/path");
        assert_string_equal(shell_word("/a/long/path", small, sizeof(small)), "PATH");
}

static void errors_of_a_buffer_stick(void **state)
{
        (void)state;
        _cleanup_strbuf_ struct strbuf b = {};
        strbuf_add(&b, "whole");
        strbuf_add_n(&b, "x", SIZE_MAX - 2); /* refused before anything is read */
        assert_int_equal(b.err, -ENOMEM);
        strbuf_add(&b, "more");
        strbuf_printf(&b, "%d", 1);
        assert_string_equal(b.s, "whole");
        assert_int_equal(b.len, 5);
        strbuf_done(&b);
        assert_null(b.s);
        strbuf_add(&b, "again");
        assert_string_equal(b.s, "again");
}

static void printf_allocates(void **state)
{
        (void)state;
        _cleanup_free_ char *s = str_printf("%s-%03d", "x", 7);
        assert_string_equal(s, "x-007");
}

static void lists(void **state)
{
        (void)state;
        _cleanup_(strv_done) struct strv l = {};
        assert_false(strv_has(&l, "a"));
        assert_int_equal(strv_split(&l, " \t one two\n\n three\r\n"), 0);
        assert_int_equal(l.n, 3);
        assert_string_equal(l.v[0], "one");
        assert_string_equal(l.v[2], "three");
        assert_null(l.v[3]);
        assert_int_equal(strv_add_n(&l, "fourth", 4), 0);
        assert_true(strv_has(&l, "four"));
        assert_false(strv_has(&l, "fourth"));
        assert_null(l.v[4]);
        strv_done(&l);
        assert_int_equal(l.n, 0);
        assert_int_equal(strv_split(&l, "  \n"), 0);
        assert_int_equal(l.n, 0);
}

static void unsigned_numbers(void **state)
{
        (void)state;
        static const struct {
                const char *s;
                uint64_t max;
                int r;
                uint64_t v;
        } cases[] = {
                {"0", 0, 0, 0},
                {"007", 10, 0, 7},
                {"18446744073709551615", UINT64_MAX, 0, UINT64_MAX},
                {"18446744073709551616", UINT64_MAX, -ERANGE, 0},
                {"18446744073709551625", UINT64_MAX, -ERANGE, 0},
                {"99999999999999999999999999", UINT64_MAX, -ERANGE, 0},
                {"11", 10, -ERANGE, 0},
                {"99999999999999999999999999x", UINT64_MAX, -EINVAL, 0},
                {"", 10, -EINVAL, 0},
                {"+1", 10, -EINVAL, 0},
                {"-1", 10, -EINVAL, 0},
                {" 1", 10, -EINVAL, 0},
                {"1 ", 10, -EINVAL, 0},
                {"0x1", 10, -EINVAL, 0},
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint64_t v = 4711;
                assert_int_equal(parse_u64(cases[i].s, cases[i].max, &v), cases[i].r);
                assert_int_equal(v, cases[i].r == 0 ? cases[i].v : 4711);
        }
}

static void distances(void **state)
{
        (void)state;
        assert_int_equal(str_distance("", ""), 0);
        assert_int_equal(str_distance("", "abc"), 3);
        assert_int_equal(str_distance("abc", ""), 3);
        assert_int_equal(str_distance("kitten", "sitting"), 3);
        assert_int_equal(str_distance("regoin", "region"), 1);
        assert_int_equal(str_distance("poll_intervall", "poll_interval"), 1);
        assert_int_equal(str_distance("ca", "abc"), 3); /* optimal string alignment, not Damerau's 2 */
        char a[64], b[64];
        memset(a, 'a', 63);
        memset(b, 'b', 63);
        a[63] = b[63] = 0;
        assert_int_equal(str_distance(a, b), 63);
}

static void a_distance_out_of_bounds_is_large(void **state)
{
        (void)state;
        char big[1000];
        memset(big, 'a', sizeof(big) - 1);
        big[sizeof(big) - 1] = 0;
        assert_true(str_distance(big, "a") >= 64);
        assert_true(str_distance("a", big) >= 64);
}

static void hex(void **state)
{
        (void)state;
        static const uint8_t bytes[] = {0x00, 0x1f, 0xa0, 0xff};
        char text[9];
        hex_encode(bytes, 4, text);
        assert_string_equal(text, "001fa0ff");
        uint8_t back[4] = {1, 2, 3, 4};
        assert_int_equal(hex_decode("001FA0ff", back, 4), 0);
        assert_memory_equal(back, bytes, 4);

        uint8_t kept[4] = {1, 2, 3, 4};
        static const char *const bad[] = {"", "001fa0f", "001fa0ff0", "001fa0fg", "00 fa0ff", "0x1fa0ff"};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(hex_decode(bad[i], kept, 4), -EINVAL);
        assert_memory_equal(kept, "\1\2\3\4", 4);
}

static void visible(void **state)
{
        (void)state;
        char buf[32];
        assert_string_equal(
                str_visible("a\n\x1b[0m\xc3\xa9~", buf, sizeof(buf)), "a\\x0a\\x1b[0m\\xc3\\xa9~");
        /* no half escape */
        assert_string_equal(str_visible("ab\n", buf, 6), "ab");
        assert_string_equal(str_visible("ab\n", buf, 7), "ab\\x0a");
        assert_string_equal(str_visible("abc", buf, 3), "ab");
        assert_string_equal(str_visible("abc", buf, 1), "");
}

static void utf8(void **state)
{
        (void)state;
        static const struct {
                const char *s;
                size_t n;
        } cases[] = {
                {"", 0},
                {"a", 1},
                {"\x7f", 1},
                {"\xc2\x80", 2},
                {"\xdf\xbf", 2},
                {"\xe0\xa0\x80", 3},
                {"\xed\x9f\xbf", 3},
                {"\xef\xbf\xbf", 3},
                {"\xf0\x90\x80\x80", 4},
                {"\xf4\x8f\xbf\xbf", 4},
                {"\x80", 0},
                {"\xc0\x80", 0}, /* overlong NUL */
                {"\xc1\xbf", 0},
                {"\xe0\x9f\xbf", 0},
                {"\xed\xa0\x80", 0}, /* surrogate */
                {"\xf0\x8f\xbf\xbf", 0},
                {"\xf4\x90\x80\x80", 0}, /* above U+10FFFF */
                {"\xf5\x80\x80\x80", 0},
                {"\xff", 0},
                {"\xc3", 0}, /* cut short */
                {"\xe2\x82", 0},
                {"\xf0\x9f\x98", 0},
                {"\xe2\x82x", 0},
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                /* exactly as long as it is, so that the sanitizer sees a read behind the NUL */
                _cleanup_free_ char *s = strdup(cases[i].s);
                assert_int_equal(utf8_valid_len(s), cases[i].n);
        }
}

static void doubles_go(void **state)
{
        (void)state;
        _cleanup_(strv_done) struct strv l = {};
        strv_unique(&l);
        assert_int_equal(l.n, 0);
        assert_int_equal(strv_split(&l, "b a \xc3\xbc B b a b"), 0);
        strv_unique(&l);
        assert_int_equal(l.n, 4);
        static const char *const want[] = {"B", "a", "b", "\xc3\xbc"};
        for (size_t i = 0; i < l.n; i++)
                assert_string_equal(l.v[i], want[i]);
        assert_null(l.v[4]);
        for (size_t i = 0; i < l.n; i++)
                assert_true(strv_sorted_has(&l, want[i]));
        assert_false(strv_sorted_has(&l, "A"));
        assert_false(strv_sorted_has(&(struct strv){}, "a"));
        assert_int_equal(strv_add(&l, "b"), 0);
        strv_unique(&l);
        assert_int_equal(l.n, 4);
}

/* Of any length, at any address, beside the bytes that differ from a line break in one bit. */
static void newlines(void **state)
{
        (void)state;
        static const char bytes[] =
                "\n\x0b\x8a\n\0\xff\n\n\x0a\x09\x0e\x02\x1a\x2a\x4a\x8b\xf5\n\n\n\x75\x7f\x80\x81\n";
        for (size_t from = 0; from < sizeof(bytes); from++)
                for (size_t n = 0; from + n <= sizeof(bytes); n++) {
                        uint64_t want = 0;
                        for (size_t i = from; i < from + n; i++)
                                want += bytes[i] == '\n';
                        assert_int_equal(count_newlines(bytes + from, n), want);
                }
        for (unsigned c = 0; c < 256; c++) {
                unsigned char eight[8] = {'\n', (unsigned char)c, '\n', (unsigned char)c, (unsigned char)c, 1,
                        (unsigned char)c, '\n'};
                assert_int_equal(count_newlines(eight, sizeof(eight)), 3 + 4 * (c == '\n'));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(ends_and_after),
                cmocka_unit_test(a_buffer_grows_and_stays_terminated),
                cmocka_unit_test(an_empty_addition_makes_a_string),
                cmocka_unit_test(a_buffer_keeps_nul_bytes),
                cmocka_unit_test(a_word_of_a_shell),
                cmocka_unit_test(errors_of_a_buffer_stick),
                cmocka_unit_test(printf_allocates),
                cmocka_unit_test(lists),
                cmocka_unit_test(unsigned_numbers),
                cmocka_unit_test(distances),
                cmocka_unit_test(a_distance_out_of_bounds_is_large),
                cmocka_unit_test(hex),
                cmocka_unit_test(visible),
                cmocka_unit_test(utf8),
                cmocka_unit_test(doubles_go),
                cmocka_unit_test(newlines),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
