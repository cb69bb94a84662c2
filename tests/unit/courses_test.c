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
        courses_know(&c, "course-v1:A+B+C");
        assert_int_equal(courses_key(&c, "course-v1:A+B+C"), COURSE_LISTED);
        assert_int_equal(courses_form(&c, "A-B-C"), COURSE_LISTED);
        assert_int_equal(courses_key(&c, "course-v1:a+B+C"), COURSE_UNLISTED);
        assert_int_equal(courses_key(&c, "course-v1:A+BX+C"), COURSE_UNLISTED);
        assert_int_equal(courses_key(&c, "ccx-v1:A+B+C+ccx@1"), COURSE_UNLISTED);
        assert_int_equal(courses_key(&c, "course-v1:X+Y+Z"), COURSE_LISTED);
        assert_int_equal(courses_key(&c, "X/Y/Z"), COURSE_UNLISTED);
        assert_int_equal(courses_form(&c, "X-Y-Z"), COURSE_LISTED);
        assert_int_equal(courses_key(&c, "P/Q/R"), COURSE_LISTED);
        assert_int_equal(courses_form(&c, ""), COURSE_UNLISTED);
        assert_int_equal(courses_form(&c, "X-Y-ZZ"), COURSE_UNLISTED);
        stop(&c, &d);
}

/* A learner can invent a key that has the form of a listed course. */
static void two_of_one_form(void **state)
{
        (void)state;
        static const char one[] = "course-v1:A-B+C+D", two[] = "course-v1:A+B-C+D", same[] = "A-B/C/D";
        static const struct {
                const char *list, *known[3];
                enum course_word one, two, same, form;
        } v[] = {/* a key that came since the keys were read waits for the next look */
                {"A-B-C-D", {one}, COURSE_LISTED, COURSE_HELD, COURSE_HELD, COURSE_LISTED},
                /* nobody says which: both stay */
                {"A-B-C-D", {one, two, two}, COURSE_HELD, COURSE_HELD, COURSE_HELD, COURSE_HELD},
                {"A-*", {one, same}, COURSE_HELD, COURSE_HELD, COURSE_HELD, COURSE_HELD},
                /* one is listed; whose tables are they? */
                {"course-v1:A-B+C+D", {one, two}, COURSE_LISTED, COURSE_UNLISTED, COURSE_UNLISTED,
                        COURSE_HELD},
                {"A-* course-v1:A-B+C+D", {two}, COURSE_LISTED, COURSE_UNLISTED, COURSE_UNLISTED,
                        COURSE_HELD},
                /* of the same parts they are the listed one's; of another's the admin may say so */
                {"course-v1:A-B+C+D", {same, one}, COURSE_LISTED, COURSE_UNLISTED, COURSE_UNLISTED,
                        COURSE_LISTED},
                {"course-v1:A-B+C+D A-B-C-D", {two, one}, COURSE_LISTED, COURSE_UNLISTED, COURSE_UNLISTED,
                        COURSE_LISTED},
                {"course-v1:A-B+C+D course-v1:A+B-C+D", {one, two}, COURSE_LISTED, COURSE_LISTED,
                        COURSE_UNLISTED, COURSE_LISTED},
                {"course-v1:A-B+C+D !A-*", {one}, COURSE_UNLISTED, COURSE_UNLISTED, COURSE_UNLISTED,
                        COURSE_UNLISTED}};
        for (size_t i = 0; i < ELEMENTSOF(v); i++) {
                struct courses c;
                struct config_delivery d;
                start(&c, &d, v[i].list);
                print_message("%s\n", v[i].list);
                for (size_t k = 0; k < ELEMENTSOF(v[i].known) && v[i].known[k]; k++)
                        courses_know(&c, v[i].known[k]);
                assert_int_equal(courses_key(&c, one), v[i].one);
                assert_int_equal(courses_key(&c, two), v[i].two);
                assert_int_equal(courses_key(&c, same), v[i].same);
                assert_int_equal(courses_form(&c, "A-B-C-D"), v[i].form);
                stop(&c, &d);
        }
}

static void what_is_held_is_told(void **state)
{
        (void)state;
        struct courses c;
        struct config_delivery d;
        struct strv held = {}, keys = {};
        start(&c, &d, "*");
        courses_know(&c, "course-v1:A+B+C");
        courses_know(&c, "A/B/C");
        courses_know(&c, "course-v1:X+Y+Z");
        courses_tell_held(&c, "A-B-C");
        courses_tell_held(&c, "A-B-C");
        assert_int_equal(courses_list_held(&c, &held, &keys), 0);
        assert_int_equal(held.n, 1);
        assert_int_equal(keys.n, 1);
        assert_string_equal(held.v[0], "A-B-C");
        assert_string_equal(keys.v[0], "A-B-C (course-v1:A+B+C, A/B/C)");
        strv_done(&held);
        strv_done(&keys);
        stop(&c, &d);
}

/* The one that is listed names the course, whatever came first. */
static void named_by_what_is_listed(void **state)
{
        (void)state;
        struct courses c;
        struct config_delivery d;
        char name[COURSE_FORM_MAX];
        start(&c, &d, "A-B-C-D course-v1:A+B-C+D");
        courses_know(&c, "course-v1:A-B+C+D");
        courses_name(&c, "A-B-C-D", name);
        assert_string_equal(name, "A_B-C_D");
        assert_false(courses_is_parted(&c, "A-B-C-D"));
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
                cmocka_unit_test(what_is_held_is_told),
                cmocka_unit_test(named_by_what_is_listed),
                cmocka_unit_test(names),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
