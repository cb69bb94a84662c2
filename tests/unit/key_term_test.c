/* SPDX-License-Identifier: Apache-2.0 */
#include "terms.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NONE (-1) /* ends a row's list of subkeys */

static const struct {
        const char *what;
        int64_t primary, subkeys[4], end;
} rows[] = {
        {"nothing ends", 0, {0, NONE}, 0},
        {"no subkey that encrypts: the primary's end", 50, {NONE}, 50},
        {"an old subkey beside a good one", 0, {10, 90, NONE}, 90},
        {"the same, the other way round", 0, {90, 10, NONE}, 90},
        {"an old subkey beside one without end", 0, {10, 0, NONE}, 0},
        {"one without end stays that, whatever follows", 0, {0, 10, 90, NONE}, 0},
        {"the primary ends first", 20, {90, NONE}, 20},
        {"the primary ends first, the subkey never", 20, {0, NONE}, 20},
        {"the primary ends last", 99, {10, 90, NONE}, 90},
};

static void test_end(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct key_term t = {};
                for (size_t j = 0; rows[i].subkeys[j] != NONE; j++)
                        key_term_add(&t, rows[i].subkeys[j]);
                if (key_term_end(&t, rows[i].primary) != rows[i].end)
                        fail_msg("%s: %lld", rows[i].what, (long long)key_term_end(&t, rows[i].primary));
        }
}

static void test_earlier(void **state)
{
        (void)state;
        assert_int_equal(key_term_earlier(0, 0), 0);
        assert_int_equal(key_term_earlier(0, 5), 5);
        assert_int_equal(key_term_earlier(5, 0), 5);
        assert_int_equal(key_term_earlier(5, 7), 5);
        assert_int_equal(key_term_earlier(7, 5), 5);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_end), cmocka_unit_test(test_earlier)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
