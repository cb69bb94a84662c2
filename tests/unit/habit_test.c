/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "habit.h"
#include "macro.h"
#include "timespan.h"

static int day(const char *date)
{
        int d;
        assert_int_equal(date_parse(date, &d), 0);
        return d;
}

static void add(struct habit *h, const char *site, int d)
{
        enum category c = *site ? CATEGORY_EVENTS : CATEGORY_DATABASE;
        assert_int_equal(habit_add(h, "u", c, site, (struct habit_day){.day = d, .delay = 1}), 0);
}

/* Every day from..to but those in `without`. */
static void add_days(struct habit *h, const char *site, const char *from, const char *to, const char *without)
{
        for (int d = day(from); d <= day(to); d++) {
                char text[11];
                if (!strstr(without, date_format(d, text)))
                        add(h, site, d);
        }
}

static void expect(const struct habit *h, const struct habit_gap *g, const char *from, const char *to,
        unsigned missing, bool open)
{
        char a[11], b[11];
        assert_non_null(h);
        assert_string_equal(date_format(g->from, a), from);
        assert_string_equal(date_format(g->to, b), to);
        assert_int_equal(g->missing, missing);
        assert_int_equal(g->open, open);
}

static void test_daily(void **state)
{
        _cleanup_habit_ struct habit h = {};
        _cleanup_habit_gaps_ struct habit_gaps g = {};
        (void)state;
        add_days(&h, "edx", "2024-01-01", "2024-06-30", "2024-03-05 2024-04-10 2024-04-11");
        assert_int_equal(habit_step(&h.series[0]), 1);
        assert_int_equal(habit_find_gaps(&h, day("2024-07-02"), &g), 0);
        assert_int_equal(g.n, 2);
        expect(&h, &g.v[0], "2024-03-05", "2024-03-05", 1, false);
        expect(&h, &g.v[1], "2024-04-10", "2024-04-11", 2, false);
        assert_false(g.v[0].together);
}

/* The file of the last day has not come, and may still come. */
static void test_not_due_yet(void **state)
{
        _cleanup_habit_ struct habit h = {};
        (void)state;
        add_days(&h, "edx", "2024-01-01", "2024-06-30", "");
        for (int after = 1; after <= 4; after++) {
                _cleanup_habit_gaps_ struct habit_gaps g = {};
                assert_int_equal(habit_find_gaps(&h, day("2024-06-30") + after, &g), 0);
                /* 2024-07-01 comes on the 2nd; a day of patience makes the 3rd */
                assert_int_equal(g.n, after >= 3);
        }
}

/* A site without courses at weekends: no weekend is a gap, also not in a long silence. */
static void test_weekday_habit(void **state)
{
        _cleanup_habit_ struct habit h = {};
        _cleanup_habit_gaps_ struct habit_gaps g = {};
        (void)state;
        for (int d = day("2024-01-01"); d <= day("2024-05-31"); d++)
                if ((d + 4) % 7 != 0 && (d + 4) % 7 != 6 &&
                        d != day("2024-04-03")) /* 1970-01-01 was a Thursday */
                        add(&h, "edge", d);
        assert_int_equal(habit_find_gaps(&h, day("2024-09-01"), &g), 0);
        assert_int_equal(g.n, 2);
        expect(&h, &g.v[0], "2024-04-03", "2024-04-03", 1, false);
        assert_int_equal(g.v[1].from, day("2024-06-03"));
        assert_true(g.v[1].open);
        /* 2024-06-03 to 2024-08-30 are thirteen weeks: the silence does not become the habit */
        assert_int_equal(g.v[1].missing, 13 * 5);
}

static void test_weekly(void **state)
{
        _cleanup_habit_ struct habit h = {};
        _cleanup_habit_gaps_ struct habit_gaps g = {};
        (void)state;
        for (int i = 0; i < 20; i++)
                if (i != 9 && i != 10)
                        add(&h, "", day("2024-01-07") + 7 * i);
        assert_int_equal(habit_step(&h.series[0]), 7);
        assert_int_equal(habit_find_gaps(&h, day("2024-05-20"), &g), 0);
        assert_int_equal(g.n, 1);
        expect(&h, &g.v[0], "2024-03-10", "2024-03-17", 2, false);
        habit_gaps_done(&g);
        assert_int_equal(habit_find_gaps(&h, day("2024-06-10"), &g), 0);
        assert_int_equal(g.n, 2);
        expect(&h, &g.v[1], "2024-05-26", "2024-06-02", 2, true);
}

static void test_too_few(void **state)
{
        _cleanup_habit_ struct habit h = {};
        _cleanup_habit_gaps_ struct habit_gaps g = {};
        (void)state;
        add(&h, "edx", day("2024-01-01"));
        add(&h, "edx", day("2024-01-01"));
        add(&h, "edx", day("2024-01-05"));
        assert_int_equal(habit_step(&h.series[0]), 0);
        assert_int_equal(habit_find_gaps(&h, day("2024-09-01"), &g), 0);
        assert_int_equal(g.n, 0);
}

/* All stop: that is how an expired key looks. One stops: it is not. */
static void test_together(void **state)
{
        (void)state;
        for (int all = 0; all < 2; all++) {
                _cleanup_habit_ struct habit h = {};
                _cleanup_habit_gaps_ struct habit_gaps g = {};
                add_days(&h, "edx", "2024-01-01", "2024-05-31", "");
                add_days(&h, "edge", "2024-01-01", all ? "2024-05-30" : "2024-07-30", "");
                for (int d = day("2024-01-07"); d < day(all ? "2024-06-01" : "2024-07-30"); d += 7)
                        add(&h, "", d);
                assert_int_equal(habit_find_gaps(&h, day("2024-08-01"), &g), 0);
                assert_int_equal(g.n, all ? 3 : 1);
                for (size_t i = 0; i < g.n; i++)
                        assert_int_equal(g.v[i].together, all);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_daily),
                cmocka_unit_test(test_not_due_yet),
                cmocka_unit_test(test_weekday_habit),
                cmocka_unit_test(test_weekly),
                cmocka_unit_test(test_too_few),
                cmocka_unit_test(test_together),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
