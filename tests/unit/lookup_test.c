/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "lookup.h"

#define MANY 5000

static void each_is_found_by_its_name(void **state)
{
        (void)state;
        struct lookup *l = NULL;
        char name[16];
        size_t n;
        assert_int_equal(lookup_new(MANY, &l), 0);
        for (size_t i = 0; i < MANY; i++) {
                snprintf(name, sizeof(name), "%zu", i);
                lookup_add(l, name, i);
        }
        lookup_sort(l);
        for (size_t i = 0; i < MANY; i++) {
                snprintf(name, sizeof(name), "%zu", i);
                const struct lookup_entry *found = lookup_first(l, name);
                assert_non_null(found);
                assert_int_equal(found->number, i);
                assert_null(lookup_next(l, found));
        }
        assert_null(lookup_first(l, "no such name"));
        size_t at = 0;
        assert_null(lookup_group(l, &at, &n));
        assert_null(lookup_free(l));
}

static void equal_names_are_together(void **state)
{
        (void)state;
        struct lookup *l = NULL;
        static const char *const names[] = {"b", "a", "c", "b", "", "c", "b"};
        size_t n, at = 0, groups = 0, seen = 0;
        assert_int_equal(lookup_new(7, &l), 0);
        for (size_t i = 0; i < 7; i++)
                lookup_add(l, names[i], i);
        lookup_sort(l);
        const struct lookup_entry *found = lookup_first(l, "b");
        for (size_t i = 0; i < 3; i++, found = lookup_next(l, found)) {
                assert_non_null(found);
                assert_int_equal(found->number, 3 * i);
        }
        assert_null(found);
        found = lookup_first(l, "");
        assert_true(found && found->number == 4 && !lookup_next(l, found));
        while (lookup_group(l, &at, &n)) {
                groups++;
                seen += n;
        }
        assert_true(groups == 2 && seen == 5);
        lookup_free(l);
}

static void none_at_all(void **state)
{
        (void)state;
        struct lookup *l = NULL;
        size_t n = 1, at = 0;
        assert_int_equal(lookup_new(0, &l), 0);
        lookup_sort(l);
        assert_null(lookup_first(l, "a"));
        assert_null(lookup_group(l, &at, &n));
        lookup_free(l);
        assert_true(lookup_new(SIZE_MAX / 2, &l) < 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_is_found_by_its_name),
                cmocka_unit_test(equal_names_are_together),
                cmocka_unit_test(none_at_all),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
