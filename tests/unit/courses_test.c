/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "courses.h"

static void start(struct courses *c, struct config_delivery *d, const char *list)
{
        *d = (struct config_delivery){};
        assert_int_equal(strv_split(&d->courses, list), 0);
        assert_int_equal(courses_init(c, d), 0);
}

static void stop(struct courses *c, struct config_delivery *d)
{
        courses_done(c);
        strv_done(&d->courses);
}

static void forms(void **state)
{
        (void)state;
        static const struct {
                const char *key, *form;
        } v[] = {{"course-v1:A+B.1+C_2", "A-B.1-C_2"}, {"ccx-v1:M+6+1T+ccx@12", "M-6-1T-ccx-12"},
                {"A/B/C", "A-B-C"}, {"library-v1:A+L", "A-L"}, {"A/B/", "A-B-"}};
        for (size_t i = 0; i < ELEMENTSOF(v); i++) {
                char form[COURSE_FORM_MAX];
                course_form(v[i].key, form);
                assert_string_equal(form, v[i].form);
        }
}

static void what_is_listed(void **state)
{
        (void)state;
        struct courses c;
        struct config_delivery d;
        start(&c, &d, "A-B-* course-v1:X+Y+Z P/Q/R !*-ccx-*");
        assert_true(courses_want_key(&c, "course-v1:A+B+C"));
        assert_true(courses_want_form(&c, "A-B-C"));
        assert_false(courses_want_key(&c, "course-v1:a+B+C"));
        assert_false(courses_want_key(&c, "course-v1:A+BX+C"));
        assert_false(courses_want_key(&c, "ccx-v1:A+B+C+ccx@1"));
        assert_true(courses_want_key(&c, "course-v1:X+Y+Z"));
        assert_false(courses_want_key(&c, "X/Y/Z"));
        assert_true(courses_want_form(&c, "X-Y-Z"));
        assert_true(courses_want_key(&c, "P/Q/R"));
        assert_false(courses_want_form(&c, ""));
        assert_false(courses_want_form(&c, "X-Y-ZZ"));
        stop(&c, &d);
}

/* A learner can invent a key that has the form of a listed course. */
static void two_of_one_form(void **state)
{
        (void)state;
        struct courses c;
        struct config_delivery d;
        struct strv held = {};
        start(&c, &d, "A-B-C-D");
        courses_know(&c, "course-v1:A-B+C+D");
        assert_true(courses_want_key(&c, "course-v1:A-B+C+D"));
        courses_know(&c, "course-v1:A+B-C+D");
        courses_know(&c, "course-v1:A+B-C+D");
        assert_false(courses_want_key(&c, "course-v1:A-B+C+D"));
        assert_false(courses_want_key(&c, "course-v1:A+B-C+D"));
        assert_false(courses_want_form(&c, "A-B-C-D"));
        assert_int_equal(courses_list_ambiguous(&c, &held), 0);
        assert_int_equal(held.n, 1);
        assert_string_equal(held.v[0], "A-B-C-D");
        strv_done(&held);
        stop(&c, &d);

        start(&c, &d, "course-v1:A-B+C+D");
        courses_know(&c, "course-v1:A-B+C+D");
        courses_know(&c, "course-v1:A+B-C+D");
        assert_true(courses_want_key(&c, "course-v1:A-B+C+D"));
        assert_false(courses_want_key(&c, "course-v1:A+B-C+D"));
        assert_false(courses_want_form(&c, "A-B-C-D")); /* whose tables are they? */
        stop(&c, &d);

        start(&c, &d, "course-v1:A-B+C+D course-v1:A+B-C+D");
        courses_know(&c, "course-v1:A-B+C+D");
        courses_know(&c, "course-v1:A+B-C+D");
        assert_true(courses_want_key(&c, "course-v1:A+B-C+D"));
        assert_true(courses_want_form(&c, "A-B-C-D"));
        stop(&c, &d);
}

static void names(void **state)
{
        (void)state;
        struct courses c;
        struct config_delivery d;
        char name[COURSE_FORM_MAX];
        static const struct {
                const char *form, *name;
        } v[] = {{"A-B-C", "A_B_C"}, {"U-x-y-1T", "U_x_y-1T"}, {"P-Q-R", "P_Q_R"}, {"O-A-B-C", "O_A-B_C"},
                {"M-6-1T-ccx-12", "M_6_1T_ccx_12"}, {"K-a-b-c", "K_a_b-c"}};
        start(&c, &d, "* U/x/y-1T");
        courses_know(&c, "course-v1:K+a+b-c");
        for (size_t i = 0; i < ELEMENTSOF(v); i++) {
                courses_name(&c, v[i].form, name);
                assert_string_equal(name, v[i].name);
        }
        stop(&c, &d);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(forms),
                cmocka_unit_test(what_is_listed),
                cmocka_unit_test(two_of_one_form),
                cmocka_unit_test(names),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
