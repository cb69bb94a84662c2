/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "str.h"

static enum course_key_result parse(const char *text, bool usage, struct course_key *ret)
{
        /* exactly as long as it is, so that a byte too far is seen */
        size_t n = strlen(text);
        char *p = malloc(n ? n : 1);
        memcpy(p, text, n);
        enum course_key_result r = usage ? course_key_of_usage(p, n, ret) : course_key_parse(p, n, ret);
        free(p);
        return r;
}

static void assert_name(const struct course_key *key, const char *name)
{
        char got[COURSE_NAME_MAX + 1];
        course_key_name(key, got);
        assert_string_equal(got, name);
}

static void test_courses(void **state)
{
        (void)state;
        static const struct {
                const char *key, *name;
        } good[] = {
                {"course-v1:M+6+1T", "M_6_1T"},
                {"course-v1:Org.x-y_z~:+a+b", "Org.x-y_z___a_b"},
                {"ccx-v1:M+6+1T+ccx@12", "M_6_1T_ccx_12"},
                {"library-v1:M+lib", "M_lib"},
                {"M/6/1T", "M_6_1T"},
                {"M/6/", "M_6_"},
                {"M%20x/6.0-1/a_b", "M_20x_6.0-1_a_b"},
        };
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                struct course_key key;
                assert_int_equal(parse(good[i].key, false, &key), COURSE_KEY_OK);
                assert_string_equal(key.text, good[i].key);
                assert_int_equal(key.len, strlen(good[i].key));
                assert_name(&key, good[i].name);
        }
}

static void test_no_courses(void **state)
{
        (void)state;
        static const char *const bad[] = {"", "x", "course-v1:", "course-v1:A+B", "course-v1:A+B+",
                "course-v1:A++C", "course-v1:A+B+C D", "course-v1:A+B+C+D", "course-v1:A+B+C+branch@x",
                "course-v1:A+B+C+version@0", "course-v1:A+B+C%20", "Course-v1:A+B+C", "course-v1:A/B/C",
                "course-v1:A+B+C\n", " M/6/1T", "ccx-v1:A+B+C", "ccx-v1:A+B+C+ccx@", "ccx-v1:A+B+C+ccx@x",
                "ccx-v1:A+B+C+CCX@1", "ccx-v1:A+B+C+ccx@1+x", "course-v1:A+B+C+ccx@1", "library-v1:A",
                "library-v1:A+B+C", "library-v1:A+B+", "slashes:A+B+C", "A/B", "/B/C", "A//C", "A/B/C/",
                "A/B/C/D", "A~/B/C", "A:/B/C", "A+B+C", "A/B/C+", "\xc3\xa9/B/C",
                "block-v1:A+B+C+type@x+block@y", "i4x://M/6/sequential/abc"};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                struct course_key key;
                assert_int_equal(parse(bad[i], false, &key), COURSE_KEY_NONE);
        }
}

static void test_usage(void **state)
{
        (void)state;
        static const struct {
                const char *usage, *key;
        } cases[] = {
                {"block-v1:M+6+1T+type@problem+block@a1", "course-v1:M+6+1T"},
                {"block-v1:M+6+1T+block@a1", "course-v1:M+6+1T"},
                {"block-v1:M+6+1T+type@problem+block@a%20b", "course-v1:M+6+1T"},
                {"ccx-block-v1:M+6+1T+ccx@12+type@p+block@b", "ccx-v1:M+6+1T+ccx@12"},
                {"lib-block-v1:M+lib+type@p+block@b", "library-v1:M+lib"},
                {"lib-block-v1:M+lib+block@b", NULL},
                {"block-v1:M+6+1T", NULL},
                {"block-v1:M+6+1T+type@problem", NULL},
                {"block-v1:M+6+1T+type@+block@b", NULL},
                {"block-v1:M+6+1T+type@p+block@", NULL},
                {"block-v1:M+6+1T+block@b+type@p", NULL},
                {"block-v1:M+6+1T+branch@x+type@p+block@b", NULL},
                {"block-v1:M+6+1T+type@p+block@b+c", NULL},
                {"block-v1:M+6+type@p+block@b", NULL},
                {"ccx-block-v1:M+6+1T+type@p+block@b", NULL},
                {"course-v1:M+6+1T", NULL},
                {"i4x:;_;_M;_6;_problem;_x", NULL},
                {"M/6/1T", NULL},
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct course_key key;
                enum course_key_result want = cases[i].key ? COURSE_KEY_OK : COURSE_KEY_NONE;
                assert_int_equal(parse(cases[i].usage, true, &key), want);
                if (cases[i].key)
                        assert_string_equal(key.text, cases[i].key);
        }
}

static void test_names_that_cannot_be(void **state)
{
        (void)state;
        struct course_key key;
        assert_int_equal(parse("course-v1:.A+B+C", false, &key), COURSE_KEY_BAD_NAME);
        assert_int_equal(parse("course-v1:-A+B+C", false, &key), COURSE_KEY_BAD_NAME);
        assert_int_equal(parse("../x/y", false, &key), COURSE_KEY_BAD_NAME);
        assert_int_equal(parse("block-v1:-A+B+C+block@x", true, &key), COURSE_KEY_BAD_NAME);
        char text[400] = "ccx-v1:";
        memset(text + 7, 'a', 180);
        strcpy(text + 187, "+b+c+ccx@1234567890123"); /* 180 + 22 */
        assert_int_equal(parse(text, false, &key), COURSE_KEY_BAD_NAME);
        text[strlen(text) - 2] = 0; /* 200 bytes: it just can */
        assert_int_equal(parse(text, false, &key), COURSE_KEY_OK);
        assert_string_equal(key.text, text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_courses),
                cmocka_unit_test(test_no_courses),
                cmocka_unit_test(test_usage),
                cmocka_unit_test(test_names_that_cannot_be),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
