/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "error.h"

static void set_returns_negative_errno_and_fills(void **state)
{
        (void)state;
        struct error e = {};
        assert_int_equal(error_set(&e, CAUSE_SIZE, EIO, "got %d", 3), -EIO);
        assert_int_equal(e.cause, CAUSE_SIZE);
        assert_string_equal(e.text, "got 3");
        assert_int_equal(error_set(NULL, CAUSE_SIZE, EIO, "ignored"), -EIO);
}

static void a_call_that_failed(void **state)
{
        (void)state;
        struct error e = {};
        assert_int_equal(error_errno(&e, ENOSPC, "%s/%s", "a", "b"), -ENOSPC);
        assert_int_equal(e.cause, CAUSE_SPACE);
        assert_string_equal(e.text, "a/b: No space left on device");
        assert_int_equal(error_errno(NULL, EIO, "ignored"), -EIO);
}

static void prefix_keeps_the_text(void **state)
{
        (void)state;
        struct error e = {};
        error_set(&e, CAUSE_IO, ENOSPC, "disk full");
        assert_int_equal(error_prefix(&e, "writing %s", "x"), -ENOSPC);
        assert_string_equal(e.text, "writing x: disk full");
}

static void names_go_both_ways_and_are_unique(void **state)
{
        (void)state;
        for (enum cause c = 0; c < CAUSE_MAX; c++)
                assert_int_equal(cause_from_name(cause_name(c)), c);
        assert_int_equal(cause_from_name("no such"), CAUSE_MAX);
}

static void a_long_text_is_cut(void **state)
{
        (void)state;
        struct error e = {};
        char big[2000];
        memset(big, 'x', sizeof(big) - 1);
        big[sizeof(big) - 1] = 0;
        error_set(&e, CAUSE_IO, EIO, "%s", big);
        error_prefix(&e, "%s", big);
        assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
}

static void remedies(void **state)
{
        (void)state;
        assert_int_equal(cause_remedy(CAUSE_BAD_MDC), REMEDY_REJECT);
        assert_int_equal(cause_remedy(cause_from_errno(ENOSPC)), REMEDY_PAUSE);
        assert_int_equal(cause_remedy(cause_from_errno(EIO)), REMEDY_RETRY);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(set_returns_negative_errno_and_fills),
                cmocka_unit_test(a_call_that_failed),
                cmocka_unit_test(prefix_keeps_the_text),
                cmocka_unit_test(names_go_both_ways_and_are_unique),
                cmocka_unit_test(a_long_text_is_cut),
                cmocka_unit_test(remedies),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
