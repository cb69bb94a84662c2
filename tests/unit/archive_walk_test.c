/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "archive.h"

#define BIG ((uint64_t)UINT32_MAX)
#define FIELD(n) "\x01\x00" n "\x00"
#define EIGHT(c) c "\0\0\0\0\0\0\0"

static int apply(
        const char *extra, size_t n, uint64_t size, uint64_t packed, uint64_t offset, uint64_t ret[3])
{
        ret[0] = size;
        ret[1] = packed;
        ret[2] = offset;
        return zip64_apply((const uint8_t *)extra, n, &ret[0], &ret[1], &ret[2]);
}
#define APPLY(extra, a, b, c) apply(extra, sizeof(extra) - 1, a, b, c, r)

static void only_placeholders_are_replaced(void **state)
{
        (void)state;
        uint64_t r[3];
        assert_int_equal(APPLY("", 1, 2, 3), 0);
        assert_int_equal(APPLY(FIELD("\x08") EIGHT("\x07"), BIG, 2, 3), 0);
        assert_true(r[0] == 7 && r[1] == 2 && r[2] == 3);
        assert_int_equal(APPLY(FIELD("\x08") EIGHT("\x07"), 1, 2, BIG), 0);
        assert_true(r[0] == 1 && r[1] == 2 && r[2] == 7);
        assert_int_equal(APPLY("\x55\x54\x01\x00y" FIELD("\x18") EIGHT("\x07") EIGHT("\x08") EIGHT("\x09"),
                                 BIG, BIG, BIG),
                0);
        assert_true(r[0] == 7 && r[1] == 8 && r[2] == 9);
        assert_int_equal(APPLY("\0\0\0", 1, 2, 3), 0); /* padding */
}

static void damaged_fields(void **state)
{
        (void)state;
        uint64_t r[3];
        assert_int_equal(APPLY("", BIG, 2, 3), -EBADMSG);
        assert_int_equal(APPLY("\x55\x54\x01\x00y", 1, BIG, 3), -EBADMSG);
        assert_int_equal(APPLY(FIELD("\x08") EIGHT("\x07"), BIG, BIG, 3), -EBADMSG); /* too short */
        assert_int_equal(APPLY(FIELD("\x10") EIGHT("\x07"), BIG, 2, 3), -EBADMSG);   /* cut off */
        assert_int_equal(APPLY(FIELD("\x08") EIGHT("\x07") FIELD("\x08") EIGHT("\x08"), BIG, 2, 3), -EBADMSG);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(only_placeholders_are_replaced),
                cmocka_unit_test(damaged_fields),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
