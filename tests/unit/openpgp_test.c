/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "openpgp.h"

#define CURSOR(...)                                                                                          \
        (struct cursor)                                                                                      \
        {                                                                                                    \
                .p = (const uint8_t[]){__VA_ARGS__}, .left = sizeof((const uint8_t[]){__VA_ARGS__})          \
        }

static void numbers_and_mpis(void **state)
{
        (void)state;
        struct cursor c = CURSOR(1, 2, 3, 4, 0, 9, 1, 0xff, 0, 16, 7);
        uint64_t v;
        const uint8_t *p;
        size_t n;
        assert_int_equal(cursor_number(&c, 4, &v), 0);
        assert_int_equal(v, 0x01020304);
        assert_int_equal(cursor_mpi(&c, &p, &n), 0); /* 9 bits are two bytes */
        assert_int_equal(n, 2);
        assert_int_equal(p[1], 0xff);
        assert_int_equal(cursor_mpi(&c, &p, &n), -EBADMSG); /* 16 bits promised, one byte there */
}

static void lengths_of_both_formats(void **state)
{
        (void)state;
        struct packet p;
        struct cursor one = CURSOR(0xc1, 2, 7, 8, 0x84, 1, 9);
        assert_int_equal(packet_next(&one, &p), 0);
        assert_int_equal(p.tag, 1);
        assert_int_equal(p.len, 2);
        assert_int_equal(packet_next(&one, &p), 0); /* old format, one-byte length, tag 1 */
        assert_int_equal(p.tag, 1);
        assert_int_equal(p.body[0], 9);
        assert_int_equal(packet_next(&one, &p), -ENODATA);
        uint8_t two_bytes[3 + 192 + 5] = {0xcb, 192, 5};
        struct cursor two = {.p = two_bytes, .left = sizeof(two_bytes)};
        assert_int_equal(packet_next(&two, &p), 0);
        assert_int_equal(p.len, 197);
        struct cursor five = CURSOR(0xcb, 255, 0, 0, 0, 1, 42);
        assert_int_equal(packet_next(&five, &p), 0);
        assert_int_equal(p.body[0], 42);
}

static void partial_lengths_are_joined(void **state)
{
        (void)state;
        struct packet p;
        struct cursor c = CURSOR(0xd2, 0xe1, 1, 2, 0xe0, 3, 2, 4, 5);
        assert_int_equal(packet_next(&c, &p), 0);
        assert_int_equal(p.tag, 18);
        assert_int_equal(p.len, 5);
        assert_memory_equal(p.body, ((const uint8_t[]){1, 2, 3, 4, 5}), 5);
        packet_done(&p);
}

static void what_is_cut_or_no_packet_is_refused(void **state)
{
        (void)state;
        struct packet p;
        struct cursor cut[] = {CURSOR(0xc1), CURSOR(0xc1, 5, 1), CURSOR(0xc1, 200), CURSOR(0xc1, 255, 0, 0),
                CURSOR(0xd2, 0xe1, 1, 2), CURSOR(0xd2, 0xe1, 1, 2, 0xe0), CURSOR(0x85, 0),
                CURSOR(0x86, 0xff, 0xff, 0xff, 0xff, 1), CURSOR(0x7f, 1, 1)};
        for (size_t i = 0; i < sizeof(cut) / sizeof(cut[0]); i++)
                assert_int_equal(packet_next(&cut[i], &p), -EBADMSG);
        struct cursor indeterminate = CURSOR(0x87, 1, 2);
        assert_int_equal(packet_next(&indeterminate, &p), -ENOTSUP);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(numbers_and_mpis),
                cmocka_unit_test(lengths_of_both_formats),
                cmocka_unit_test(partial_lengths_are_joined),
                cmocka_unit_test(what_is_cut_or_no_packet_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
