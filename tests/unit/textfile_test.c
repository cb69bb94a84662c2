/* SPDX-License-Identifier: Apache-2.0 */
#include "str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define ROW(what, in, out)                                                                                   \
        {                                                                                                    \
                what, in, sizeof(in) - 1, out, sizeof(out) - 1                                               \
        }
struct row {
        const char *what, *in;
        size_t n;
        const char *out;
        size_t n_out;
};

static const struct row rows[] = {
        ROW("nothing", "", ""),
        ROW("plain", "User,Key\n", "User,Key\n"),
        ROW("UTF-8 stays", "Žofie", "Žofie"),
        ROW("UTF-8 with a mark",
                "\xef\xbb\xbf"
                "a,b",
                "a,b"),
        ROW("little",
                "\xff\xfe"
                "a\0,\0\n\0",
                "a,\n"),
        ROW("big", "\xfe\xff\0a\0,\0\n", "a,\n"),
        ROW("little, no mark", "a\0b\0", "ab"),
        ROW("big, no mark", "\0a\0b", "ab"),
        ROW("two bytes stay two", "\xff\xfe\x7d\x01", "Ž"), /* U+017D */
        ROW("three do not fit",
                "\xff\xfe\x03\x26"
                "a\0",
                "?a"),
        ROW("half a unit at the end",
                "\xff\xfe"
                "a\0b",
                "a"),
        ROW("only a mark", "\xff\xfe", ""),
        ROW("a zero in the middle is not ours to judge", "ab\0d", "ab\0d"),
        ROW("OpenPGP in binary", "\x95\x01\x0d\x04", "\x95\x01\x0d\x04"),
};

static void test_rows(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char buf[64];
                memcpy(buf, rows[i].in, rows[i].n);
                size_t n = textfile_to_utf8(buf, rows[i].n);
                if (n != rows[i].n_out || memcmp(buf, rows[i].out, n) != 0)
                        fail_msg("%s: %zu bytes", rows[i].what, n);
        }
}

/* What a mail program put before each line goes, from the block on; all else stays. */
static void test_unquote(void **state)
{
        (void)state;
        static const struct row quoted[] = {
                ROW("quoted", "Hi\n> -----BEGIN X\n>\n> ab>\n> c\n", "Hi\n-----BEGIN X\n\nab>\nc\n"),
                ROW("twice", "> > -----BEGIN X\n> > a\n>>b\n", "-----BEGIN X\na\n>b\n"),
                ROW("indented", "  -----BEGIN X\n\n  a", "-----BEGIN X\n\na"),
                ROW("not quoted", "-----BEGIN X\n> a\n", "-----BEGIN X\n> a\n"),
                ROW("another mark", ":-----BEGIN X\n:a\n", ":-----BEGIN X\n:a\n"),
                ROW("no block", "> a\n", "> a\n"),
                ROW("ends in a mark", "> -----BEGIN X\n>", "-----BEGIN X\n"),
                ROW("a mark too long", "                  -----BEGIN X\n",
                        "                  -----BEGIN X\n"),
                ROW("nothing", "", ""),
        };
        for (size_t i = 0; i < sizeof(quoted) / sizeof(quoted[0]); i++) {
                char buf[64];
                memcpy(buf, quoted[i].in, quoted[i].n);
                size_t n = textfile_unquote(buf, quoted[i].n, "-----BEGIN X");
                if (n != quoted[i].n_out || memcmp(buf, quoted[i].out, n) != 0)
                        fail_msg("%s: %.*s", quoted[i].what, (int)n, buf);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_unquote)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
