/* SPDX-License-Identifier: Apache-2.0 */
#include "textfile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define ROW(what, in, out)                                                                                   \
        {                                                                                                    \
                what, in, sizeof(in) - 1, out, sizeof(out) - 1                                               \
        }
static const struct {
        const char *what, *in;
        size_t n;
        const char *out;
        size_t n_out;
} rows[] = {
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

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
