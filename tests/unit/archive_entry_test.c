/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "archive_entry.h"

/* As czard has them: a place, and what the place is of. */
struct item {
        struct archive_place place;
        char name;
};

/* Their names in the order they are put in, or "overlap", "behind". */
static const char *divide(struct item *v, size_t n, uint64_t end)
{
        static char order[16];
        struct error e = {};
        int r = archive_divide(v, n, sizeof(*v), end, &e);
        if (r < 0) {
                assert_int_equal(r, -EBADMSG);
                assert_int_equal(e.cause, CAUSE_BAD_ZIP);
                return strstr(e.text, "overlap") ? "overlap" : strstr(e.text, "behind") ? "behind" : "?";
        }
        for (size_t i = 0; i < n; i++) {
                order[i] = v[i].name;
                assert_int_equal(
                        v[i].place.offset + v[i].place.extent, i + 1 < n ? v[i + 1].place.offset : end);
        }
        order[n] = 0;
        return order;
}
#define DIVIDE(end, ...)                                                                                     \
        divide((struct item[]){__VA_ARGS__}, sizeof((struct item[]){__VA_ARGS__}) / sizeof(struct item), end)

static void members_share_the_archive(void **state)
{
        (void)state;
        assert_string_equal(divide(NULL, 0, 0), "");
        assert_string_equal(DIVIDE(40, {{0, 31}, 'a'}), "a");
        assert_string_equal(DIVIDE(100, {{0, 31}, 'a'}, {{31, 40}, 'b'}), "ab");
        assert_string_equal(DIVIDE(200, {{100, 31}, 'c'}, {{0, 31}, 'a'}, {{60, 31}, 'b'}), "abc");
        assert_string_equal(DIVIDE(200, {{169, 31}, 'c'}, {{60, 109}, 'b'}, {{0, 60}, 'a'}), "abc");
}

static void members_in_each_others_way_spoil_it(void **state)
{
        (void)state;
        assert_string_equal(DIVIDE(100, {{0, 31}, 'a'}, {{30, 31}, 'b'}), "overlap");
        assert_string_equal(DIVIDE(100, {{30, 31}, 'a'}, {{0, 31}, 'b'}), "overlap");
        assert_string_equal(DIVIDE(100, {{0, 31}, 'a'}, {{0, 31}, 'b'}), "overlap");
        assert_string_equal(DIVIDE(100, {{0, UINT64_MAX}, 'a'}), "overlap");
        assert_string_equal(DIVIDE(100, {{70, 31}, 'a'}), "overlap"); /* the directory */
        assert_string_equal(DIVIDE(100, {{100, 31}, 'a'}), "overlap");
        assert_string_equal(DIVIDE(100, {{101, 31}, 'a'}), "behind");
        assert_string_equal(DIVIDE(100, {{UINT64_MAX, 31}, 'a'}, {{0, 31}, 'b'}), "behind");
}

static void what_a_member_needs(void **state)
{
        (void)state;
        struct archive_entry entry = {.name = "name", .packed = 6};
        assert_int_equal(archive_least(&entry), 40);
        entry.packed = UINT64_MAX - 5;
        assert_true(archive_least(&entry) == UINT64_MAX);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(members_share_the_archive),
                cmocka_unit_test(members_in_each_others_way_spoil_it),
                cmocka_unit_test(what_a_member_needs),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
