/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "macro.h"
#include "timespan.h"

static const struct retry_policy policy = {.base_usec = USEC_PER_SEC, .cap_usec = 300 * USEC_PER_SEC};

static uint64_t longest(unsigned attempt)
{
        return retry_delay_usec(&policy, attempt, 0, UINT64_MAX);
}

static void the_longest_delay_doubles_up_to_the_cap(void **state)
{
        (void)state;
        assert_int_equal(longest(0), USEC_PER_SEC);
        assert_int_equal(longest(1), USEC_PER_SEC);
        assert_int_equal(longest(2), 2 * USEC_PER_SEC);
        assert_int_equal(longest(9), 256 * USEC_PER_SEC);
        assert_int_equal(longest(10), 300 * USEC_PER_SEC);
        assert_int_equal(longest(64), 300 * USEC_PER_SEC);
        assert_int_equal(longest(65), 300 * USEC_PER_SEC);
        assert_int_equal(longest(UINT32_MAX), 300 * USEC_PER_SEC);
}

static void jitter_is_full_and_even(void **state)
{
        (void)state;
        assert_int_equal(retry_delay_usec(&policy, 3, 0, 0), 0);
        unsigned quarter[4] = {};
        for (uint64_t i = 0; i < 4096; i++) {
                uint64_t delay = retry_delay_usec(&policy, 3, 0, i << 52);
                assert_true(delay <= 4 * USEC_PER_SEC);
                quarter[MIN(delay / USEC_PER_SEC, 3U)]++;
        }
        for (unsigned i = 0; i < 4; i++)
                assert_uint_in_range(quarter[i], 1023, 1025);
}

static void retry_after_is_a_floor_with_a_cap(void **state)
{
        (void)state;
        uint64_t after = 90 * USEC_PER_SEC;
        assert_int_equal(retry_delay_usec(&policy, 1, after, UINT64_MAX), after);
        assert_int_equal(retry_delay_usec(&policy, 1, after, 0), after);
        assert_int_equal(retry_delay_usec(&policy, 20, after, UINT64_MAX), policy.cap_usec);
        assert_int_equal(retry_delay_usec(&policy, 1, UINT64_MAX, 0), USEC_PER_HOUR);
}

static void odd_policies(void **state)
{
        (void)state;
        static const struct retry_policy none = {}, huge = {.base_usec = 1, .cap_usec = UINT64_MAX},
                                         upside_down = {.base_usec = 10, .cap_usec = 5};
        assert_int_equal(retry_delay_usec(&none, 50, 0, UINT64_MAX), 0);
        assert_int_equal(retry_delay_usec(&huge, 64, 0, UINT64_MAX), UINT64_C(1) << 63);
        assert_int_equal(retry_delay_usec(&huge, 100, 0, UINT64_MAX), UINT64_MAX);
        assert_int_equal(retry_delay_usec(&upside_down, 3, 0, UINT64_MAX), 5);
}

static void random_numbers_differ(void **state)
{
        (void)state;
        uint64_t a = retry_random(), b = retry_random();
        assert_true(a != b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_longest_delay_doubles_up_to_the_cap),
                cmocka_unit_test(jitter_is_full_and_even),
                cmocka_unit_test(retry_after_is_a_floor_with_a_cap),
                cmocka_unit_test(odd_policies),
                cmocka_unit_test(random_numbers_differ),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
