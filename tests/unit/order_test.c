/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cleanup.h"
#include "order.h"

/* Several parts, by their number and by their bytes. */
#define MANY 30000

struct names {
        const char *const *v; /* NULL: as told by number */
        size_t long_ones;     /* every so many of them */
        size_t fail_at;
        unsigned calls;
};

static int name_of(void *arg, size_t i, struct strbuf *ret, struct error *e)
{
        struct names *n = arg;
        n->calls++;
        if (i == n->fail_at)
                return error_set(e, CAUSE_IO, EIO, "cannot read");
        if (n->v) {
                if (!n->v[i])
                        return 0;
                strbuf_add(ret, n->v[i]);
                return 1;
        }
        if (i % 10 == 9)
                return 0;
        strbuf_printf(ret, "%08zu", i * 7919 % MANY);
        for (size_t k = 0; n->long_ones && i % n->long_ones == 0 && k < 1000; k++)
                strbuf_add(ret, "0123456789012345678901234567890123456789");
        return 1;
}

static void some_in_order(void **state)
{
        (void)state;
        static const char *const v[] = {"b", "\xc3\xbc", "B", NULL, "a b", "", "ora/z", "b", "ora.txt"};
        static const size_t want[] = {5, 2, 4, 0, 7, 8, 6, 1};
        struct names n = {.v = v, .fail_at = SIZE_MAX};
        struct order *o = NULL;
        size_t i;
        const char *name;
        assert_int_equal(order_new(ELEMENTSOF(v), name_of, &n, &o, NULL), 0);
        for (size_t k = 0; k < ELEMENTSOF(want); k++) {
                assert_int_equal(order_next(o, &i, &name, NULL), 1);
                assert_int_equal(i, want[k]);
                assert_string_equal(name, v[i]);
        }
        assert_int_equal(order_next(o, &i, &name, NULL), 0);
        assert_int_equal(order_next(o, &i, &name, NULL), 0);
        assert_null(order_free(o));
}

static void many_in_order(void **state)
{
        (void)state;
        for (size_t k = 0; k < 2; k++) {
                struct names n = {.long_ones = k ? 50 : 0, .fail_at = SIZE_MAX};
                struct order *o = NULL;
                _cleanup_strbuf_ struct strbuf last = {};
                const char *name;
                size_t i, got = 0;
                int r;
                assert_int_equal(order_new(MANY, name_of, &n, &o, NULL), 0);
                for (; (r = order_next(o, &i, &name, NULL)) == 1; got++) {
                        assert_true(!last.len || strcmp(last.s, name) < 0);
                        last.len = 0;
                        strbuf_add(&last, name);
                }
                assert_int_equal(r, 0);
                assert_int_equal(got, MANY / 10 * 9);
                assert_int_equal(n.calls, MANY + got); /* once to sort, once to merge */
                order_free(o);
        }
}

static void equal_ones_by_number(void **state)
{
        (void)state;
        static const char *v[10000];
        struct names n = {.v = v, .fail_at = SIZE_MAX};
        struct order *o = NULL;
        const char *name;
        size_t got;
        for (size_t i = 0; i < ELEMENTSOF(v); i++)
                v[i] = i % 2 ? "a" : "b";
        assert_int_equal(order_new(ELEMENTSOF(v), name_of, &n, &o, NULL), 0);
        for (size_t i = 0; i < ELEMENTSOF(v); i++) {
                assert_int_equal(order_next(o, &got, &name, NULL), 1);
                assert_int_equal(got, i < 5000 ? 2 * i + 1 : 2 * (i - 5000));
        }
        order_free(o);
}

static void none_and_what_cannot_be_read(void **state)
{
        (void)state;
        struct names n = {.fail_at = 17};
        struct order *o = NULL;
        struct error e = {};
        const char *name;
        size_t i;
        assert_int_equal(order_new(0, name_of, &n, &o, NULL), 0);
        assert_int_equal(order_next(o, &i, &name, NULL), 0);
        o = order_free(o);
        assert_int_equal(order_new(MANY, name_of, &n, &o, &e), -EIO);
        assert_null(o);
        assert_string_equal(e.text, "cannot read");
        n.fail_at = SIZE_MAX;
        assert_int_equal(order_new(3, name_of, &n, &o, NULL), 0);
        n.fail_at = 1;
        int r = 1;
        while (r == 1)
                r = order_next(o, &i, &name, NULL);
        assert_int_equal(r, -EIO);
        order_free(o);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(some_in_order),
                cmocka_unit_test(many_in_order),
                cmocka_unit_test(equal_ones_by_number),
                cmocka_unit_test(none_and_what_cannot_be_read),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
