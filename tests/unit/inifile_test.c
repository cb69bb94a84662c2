/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "inifile.h"
#include "limits.h"
#include "str.h"

#define LINE_MOST 197 /* bytes */

struct expected {
        enum inifile_kind kind;
        unsigned line;
        const char *section, *key, *value; /* value of an error: a part of it */
};

static void expect_items_n(const char *text, size_t len, const struct expected *want, size_t n)
{
        struct inifile f = {};
        assert_int_equal(inifile_read(text, len, &f), 0);
        for (size_t i = 0; i < f.n && i < n; i++) {
                assert_int_equal(f.items[i].line, want[i].line);
                assert_int_equal(f.items[i].kind, want[i].kind);
                if (want[i].section)
                        assert_string_equal(f.items[i].section, want[i].section);
                if (want[i].key)
                        assert_string_equal(f.items[i].key, want[i].key);
                if (want[i].kind == INIFILE_ERROR)
                        assert_non_null(strstr(f.items[i].value, want[i].value));
                else if (want[i].value)
                        assert_string_equal(f.items[i].value, want[i].value);
        }
        assert_int_equal(f.n, n);
        inifile_done(&f);
}

#define EXPECT(text, ...)                                                                                    \
        do {                                                                                                 \
                const struct expected want[] = {__VA_ARGS__};                                                \
                expect_items_n(text, strlen(text), want, ELEMENTSOF(want));                                  \
        } while (0)

static void lines_are_counted(void **state)
{
        (void)state;
        EXPECT("# one\n\n[a]\n; four\n  \t\nk = v\n\n[b c]\nx=y", {INIFILE_SECTION, 3, "a", "", ""},
                {INIFILE_PAIR, 6, "a", "k", "v"}, {INIFILE_SECTION, 8, "b c", "", ""},
                {INIFILE_PAIR, 9, "b c", "x", "y"});
        expect_items_n("", 0, NULL, 0);
        expect_items_n("\n\n#", 3, NULL, 0);
}

static void empty_sections_are_reported(void **state)
{
        (void)state;
        EXPECT("[a]\n[b]\n[a]\n", {INIFILE_SECTION, 1, "a", "", ""}, {INIFILE_SECTION, 2, "b", "", ""},
                {INIFILE_SECTION, 3, "a", "", ""});
}

static void bom_and_crlf(void **state)
{
        (void)state;
        EXPECT("\xef\xbb\xbf[a]\r\nk = v w\r\n  more\r\n\r\n", {INIFILE_SECTION, 1, "a", "", ""},
                {INIFILE_PAIR, 2, "a", "k", "v w"}, {INIFILE_MORE, 3, "a", "k", "more"});
        EXPECT("[a]\n\xef\xbb\xbfk = v\n", {INIFILE_SECTION, 1, "a", "", ""},
                {INIFILE_ERROR, 2, "a", "", "UTF-8"});
        EXPECT("[a]\nk = v\rw = x\n", {INIFILE_SECTION, 1, "a", "", ""},
                {INIFILE_ERROR, 2, "a", "", "control"});
}

static void comments(void **state)
{
        (void)state;
        EXPECT("[a] ; one\nk = v ; two\nl = v;w\nm = ; three\nn =\t;four\no =;five\np = a ;b ;c\n  ; six\n  "
               "d ; seven\n",
                {INIFILE_SECTION, 1, "a", "", ""}, {INIFILE_PAIR, 2, "a", "k", "v"},
                {INIFILE_PAIR, 3, "a", "l", "v;w"}, {INIFILE_PAIR, 4, "a", "m", ""},
                {INIFILE_PAIR, 5, "a", "n", ""}, {INIFILE_PAIR, 6, "a", "o", ";five"},
                {INIFILE_PAIR, 7, "a", "p", "a"}, {INIFILE_MORE, 9, "a", "p", "d"});
}

static void values_are_kept(void **state)
{
        (void)state;
        EXPECT("[a]\nk=v\nl  =  a  b  \nm = x=y:z\nn = caf\xc3\xa9 a\\*\no\t=\t1\tb\n",
                {INIFILE_SECTION, 1, "a", "", ""}, {INIFILE_PAIR, 2, "a", "k", "v"},
                {INIFILE_PAIR, 3, "a", "l", "a  b"}, {INIFILE_PAIR, 4, "a", "m", "x=y:z"},
                {INIFILE_PAIR, 5, "a", "n", "caf\xc3\xa9 a\\*"}, {INIFILE_PAIR, 6, "a", "o", "1 b"});
}

/* Debian's inih cuts at 200 bytes: every length below that must come through whole. */
static void long_values_are_whole(void **state)
{
        (void)state;
        for (size_t n = 1; n <= LINE_MOST - strlen("key = "); n++) {
                char value[LINE_MOST], text[1024];
                for (size_t i = 0; i < n; i++)
                        value[i] = i % 7 == 3 && i + 1 < n && i > 0 ? ' ' : (char)('a' + i % 26);
                value[n] = 0;
                snprintf(text, sizeof(text), "[section]\nkey = %s\nnext = 1\n", value);
                EXPECT(text, {INIFILE_SECTION, 1, "section", "", ""},
                        {INIFILE_PAIR, 2, "section", "key", value},
                        {INIFILE_PAIR, 3, "section", "next", "1"});
        }
        /* a value that is all separators and comment signs */
        char text[LINE_MOST + 8] = "[s]\nk =";
        size_t start = strlen(text);
        for (size_t i = 0; i < LINE_MOST - strlen("k ="); i++)
                text[start + i] = ";=:#["[i % 5];
        EXPECT(text, {INIFILE_SECTION, 1, "s", "", ""}, {INIFILE_PAIR, 2, "s", "k", text + start});
}

static void a_line_has_a_limit(void **state)
{
        (void)state;
        for (size_t n = LINE_MOST + 1; n < 1000; n++) {
                char text[1024] = "[s]\nk=a\n";
                size_t at = strlen(text);
                memset(text + at, 'x', n);
                strcpy(text + at + n, "\n b\nl=1\n"); /* what goes on with it is no other fault */
                memcpy(text + at, "x =", 3);
                EXPECT(text, {INIFILE_SECTION, 1, "s", "", ""}, {INIFILE_PAIR, 2, "s", "k", "a"},
                        {INIFILE_ERROR, 3, "s", "x",
                                "more than 197 bytes; expected lists to go on in indented"},
                        {INIFILE_MORE, 4, "s", NULL, "b"}, {INIFILE_PAIR, 5, "s", "l", "1"});
        }
}

static void items_have_a_limit(void **state)
{
        (void)state;
        size_t lines = LIMIT_CONFIG_ITEMS + 10;
        _cleanup_free_ char *text = malloc(4 * lines + 1);
        struct inifile f = {};
        strcpy(text, "[s]\n");
        for (size_t i = 1; i < lines; i++)
                memcpy(text + 4 * i, "k=1\n", 4);
        assert_int_equal(inifile_read(text, 4 * (LIMIT_CONFIG_ITEMS - 1), &f), 0);
        assert_int_equal(f.n, LIMIT_CONFIG_ITEMS - 1);
        assert_int_equal(f.items[f.n - 1].kind, INIFILE_PAIR);
        inifile_done(&f);
        assert_int_equal(inifile_read(text, 4 * lines, &f), 0);
        assert_int_equal(f.n, LIMIT_CONFIG_ITEMS);
        assert_int_equal(f.items[f.n - 1].kind, INIFILE_ERROR);
        assert_int_equal(f.items[f.n - 1].line, LIMIT_CONFIG_ITEMS);
        assert_non_null(strstr(f.items[f.n - 1].value, "20000"));
        inifile_done(&f);
}

/* inih keeps 49 bytes of a name and drops the rest in silence. */
static void long_names_are_errors(void **state)
{
        (void)state;
#define TEN "abcdefghij"
#define N49 TEN TEN TEN TEN "abcdefghi"
        EXPECT("[" N49 "]\n" N49 " = 1\n", {INIFILE_SECTION, 1, N49, "", ""},
                {INIFILE_PAIR, 2, N49, N49, "1"});
        EXPECT("[" N49 "x]\nk = 1\n", {INIFILE_ERROR, 1, INIFILE_NO_SECTION, "", "49"},
                {INIFILE_PAIR, 2, INIFILE_NO_SECTION, "k", "1"});
        EXPECT("[s]\n" N49 "x = 1\n", {INIFILE_SECTION, 1, "s", "", ""}, {INIFILE_ERROR, 2, "s", "", "49"});
}

static void indented_lines(void **state)
{
        (void)state;
        EXPECT("[s]\nk = a\n b\n\tc d\n\n# x\n  e\nl = 1\n", {INIFILE_SECTION, 1, "s", "", ""},
                {INIFILE_PAIR, 2, "s", "k", "a"}, {INIFILE_MORE, 3, "s", "k", "b"},
                {INIFILE_MORE, 4, "s", "k", "c d"}, {INIFILE_MORE, 7, "s", "k", "e"},
                {INIFILE_PAIR, 8, "s", "l", "1"});
        EXPECT("[s]\n  k = a\n", {INIFILE_SECTION, 1, "s", "", ""}, {INIFILE_ERROR, 2, "s", "", "indented"});
        EXPECT("  [s]\n", {INIFILE_ERROR, 1, "", "", "indented"});
        EXPECT("[s]\nk = a\n  other = b\n  [t]\n", {INIFILE_SECTION, 1, "s", "", ""},
                {INIFILE_PAIR, 2, "s", "k", "a"}, {INIFILE_ERROR, 3, "s", "k", "indented"},
                {INIFILE_ERROR, 4, "s", "k", "indented"});
        /* a section ends what an indented line could go on with */
        EXPECT("[s]\nk = a\n[t]\n  b\n", {INIFILE_SECTION, 1, "s", "", ""}, {INIFILE_PAIR, 2, "s", "k", "a"},
                {INIFILE_SECTION, 3, "t", "", ""}, {INIFILE_ERROR, 4, "t", "", "none"});
}

static void syntax_errors(void **state)
{
        (void)state;
        static const struct {
                const char *line, *says;
        } cases[] = {
                {"word", "key = value"},
                {"= v", "key = value"},
                {"key: value", "key = value"},
                {"a:b = c", "not a key"},
                {"two words = c", "not a key"},
                {"[t", "without ]"},
                {"[t] x", "after"},
                {"[t] # x", "after"},
                {"[]", "name of a section"},
                {"[  ]", "name of a section"},
                {"k = \"v\"", "quotes"},
                {"k = 'v'", "quotes"},
                {"k = v # c", "#"},
                {"k = # c", "#"},
                {"k = a\x01", "control"},
                {"k = \xff", "UTF-8"},
                {"# a comment too\x01", "control"},
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char text[128];
                snprintf(text, sizeof(text), "[s]\n%s\n[u]\n", cases[i].line);
                EXPECT(text, {INIFILE_SECTION, 1, "s", "", ""}, {INIFILE_ERROR, 2, NULL, NULL, cases[i].says},
                        {INIFILE_SECTION, 3, "u", "", ""});
        }
        EXPECT("k = v\n[s]\n", {INIFILE_ERROR, 1, "", "", "before the first"},
                {INIFILE_SECTION, 2, "s", "", ""});
        /* keys after a bad section line belong to no section */
        EXPECT("[s]\n[t\nk = v\n", {INIFILE_SECTION, 1, "s", "", ""},
                {INIFILE_ERROR, 2, INIFILE_NO_SECTION, "", "without ]"},
                {INIFILE_PAIR, 3, INIFILE_NO_SECTION, "k", "v"});
        const char nul[] = "[s]\nk = a\0b\nl = 1\n";
        const struct expected want[] = {{INIFILE_SECTION, 1, "s", "", ""}, {INIFILE_ERROR, 2, "s", "", "NUL"},
                {INIFILE_PAIR, 3, "s", "l", "1"}};
        expect_items_n(nul, sizeof(nul) - 1, want, ELEMENTSOF(want));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lines_are_counted),
                cmocka_unit_test(empty_sections_are_reported),
                cmocka_unit_test(bom_and_crlf),
                cmocka_unit_test(comments),
                cmocka_unit_test(values_are_kept),
                cmocka_unit_test(long_values_are_whole),
                cmocka_unit_test(a_line_has_a_limit),
                cmocka_unit_test(items_have_a_limit),
                cmocka_unit_test(long_names_are_errors),
                cmocka_unit_test(indented_lines),
                cmocka_unit_test(syntax_errors),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
