/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "package.h"

#define TOP "universityx-2024-07-07"

static void known_members(void **state)
{
        (void)state;
        static const struct {
                const char *name, *path, *course, *table, *env;
                bool failed;
        } cases[] = {
                {TOP "/UniversityX-CS101-2024_T1-auth_user-prod-analytics.sql.gpg",
                        "UniversityX-CS101-2024_T1-auth_user-prod-analytics.sql", "UniversityX-CS101-2024_T1",
                        "auth_user", "prod", false},
                {TOP "/UniversityX-CS101-2024_T1-auth_userprofile-prod-edge-analytics.sql.gpg",
                        "UniversityX-CS101-2024_T1-auth_userprofile-prod-edge-analytics.sql",
                        "UniversityX-CS101-2024_T1", "auth_userprofile", "prod-edge", false},
                /* dots and hyphens in course and run */
                {TOP "/UniversityX-CS-101.1x-2024-T1-teams_membership-prod-analytics.sql.gpg",
                        "UniversityX-CS-101.1x-2024-T1-teams_membership-prod-analytics.sql",
                        "UniversityX-CS-101.1x-2024-T1", "teams_membership", "prod", false},
                {TOP "/UniversityX-edge-prod-user_id_map-edge-analytics.sql.gpg",
                        "UniversityX-edge-prod-user_id_map-edge-analytics.sql", "UniversityX-edge-prod",
                        "user_id_map", "edge", false},
                {TOP "/UniversityX-CS101-2024-analytics-wiki_article-prod-analytics.sql.gpg",
                        "UniversityX-CS101-2024-analytics-wiki_article-prod-analytics.sql",
                        "UniversityX-CS101-2024-analytics", "wiki_article", "prod", false},
                {TOP "/UniversityX-CS101-2024-prod.mongo.gpg", "UniversityX-CS101-2024-prod.mongo",
                        "UniversityX-CS101-2024", "forum", "prod", false},
                {TOP "/UniversityX-CS101-2024-edge.mongo.gpg", "UniversityX-CS101-2024-edge.mongo",
                        "UniversityX-CS101-2024", "forum", "edge", false},
                {TOP "/UniversityX-CS101-2024-prod-edge.mongo.gpg", "UniversityX-CS101-2024-prod-edge.mongo",
                        "UniversityX-CS101-2024", "forum", "prod-edge", false},
                {TOP "/ora/UniversityX-CS101-2024-assessment_peerworkflow-prod-analytics.sql.gpg",
                        "ora/UniversityX-CS101-2024-assessment_peerworkflow-prod-analytics.sql",
                        "UniversityX-CS101-2024", "ora/assessment_peerworkflow", "prod", false},
                {TOP "/UniversityX-CS101-2024-course-prod-analytics.xml.tar.gz.gpg",
                        "UniversityX-CS101-2024-course-prod-analytics.xml.tar.gz", "UniversityX-CS101-2024",
                        "course", "prod", false},
                {TOP "/UniversityX-CS101-2024-course_structure-prod-edge-analytics.json.gpg",
                        "UniversityX-CS101-2024-course_structure-prod-edge-analytics.json",
                        "UniversityX-CS101-2024", "course_structure", "prod-edge", false},
                {TOP "/UniversityX-CS101-2024-ccx-17-student_courseenrollment-prod-analytics.sql.gpg",
                        "UniversityX-CS101-2024-ccx-17-student_courseenrollment-prod-analytics.sql",
                        "UniversityX-CS101-2024-ccx-17", "student_courseenrollment", "prod", false},
                {TOP "/UniversityX-CS101-2024-auth_user-prod-analytics.sql.failed.gpg",
                        "UniversityX-CS101-2024-auth_user-prod-analytics.sql.failed",
                        "UniversityX-CS101-2024", "auth_user", "prod", true},
                {TOP "/UniversityX-CS101-2024-prod.mongo.failed.gpg",
                        "UniversityX-CS101-2024-prod.mongo.failed", "UniversityX-CS101-2024", "forum", "prod",
                        true},
                {TOP "/UniversityX-email_opt_in-prod-analytics.csv.gpg",
                        "UniversityX-email_opt_in-prod-analytics.csv", "", "email_opt_in", "prod", false},
                /* unknown, but it has the shape of a table */
                {TOP "/UniversityX-CS101-2024-badges_assertion-prod-analytics.sql.gpg",
                        "UniversityX-CS101-2024-badges_assertion-prod-analytics.sql",
                        "UniversityX-CS101-2024", "badges_assertion", "prod", false},
                {TOP "/UniversityX-CS101-2024-something-prod-analytics.parquet.gpg",
                        "UniversityX-CS101-2024-something-prod-analytics.parquet", "",
                        "UniversityX-CS101-2024-something", "prod", false},
                /* cut, with an MD5 suffix */
                {TOP "/UniversityX-Long-2024-courseware_stud-0123456789abcdef0123456789abcdef.sql.gpg",
                        "UniversityX-Long-2024-courseware_stud-0123456789abcdef0123456789abcdef.sql", "",
                        "UniversityX-Long-2024-courseware_stud-0123456789abcdef0123456789abcdef", "", false},
                {TOP "/UniversityX-Lo-0123456789abcdef0123456789abcdef-auth_user-prod-analytics.sql.gpg",
                        "UniversityX-Lo-0123456789abcdef0123456789abcdef-auth_user-prod-analytics.sql",
                        "UniversityX-Lo-0123456789abcdef0123456789abcdef", "auth_user", "prod", false},
                /* no course has fewer than three parts */
                {TOP "/UniversityX-auth_user-prod-analytics.sql.gpg",
                        "UniversityX-auth_user-prod-analytics.sql", "", "auth_user", "prod", false},
                {TOP "/UniversityX-CS1.1x-R_\xc3\xa9t\xc3\xa9-auth_user-prod-analytics.sql.gpg",
                        "UniversityX-CS1.1x-R_\xc3\xa9t\xc3\xa9-auth_user-prod-analytics.sql",
                        "UniversityX-CS1.1x-R_\xc3\xa9t\xc3\xa9", "auth_user", "prod", false},
                {TOP "/-analytics.sql.gpg", "-analytics.sql", "", "-analytics", "", false},
                {TOP "/archive.tar.gz.gpg", "archive.tar.gz", "", "archive", "", false},
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct package_member m;
                assert_int_equal(package_parse_member(TOP, cases[i].name, 255, &m, NULL), 0);
                assert_string_equal(m.path, cases[i].path);
                assert_string_equal(m.course, cases[i].course);
                assert_string_equal(m.table, cases[i].table);
                assert_string_equal(m.env, cases[i].env);
                assert_int_equal(m.failed, cases[i].failed);
                assert_true(m.encrypted);
        }
}

static void the_top_folder(void **state)
{
        (void)state;
        static const struct {
                const char *top, *name, *path;
        } cases[] = {
                {TOP, TOP "/README.txt", "README.txt"},
                {TOP, "README.txt", "README.txt"},
                {TOP, "elsewhere/README.txt", "elsewhere/README.txt"},
                {TOP, TOP "/a/b.gpg", "a/b"},
                {NULL, "any/x.csv.gpg", "x.csv"},
                {NULL, "x.csv.gpg", "x.csv"},
                {NULL, "any/deep/x.csv.gpg", "deep/x.csv"},
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct package_member m;
                assert_int_equal(package_parse_member(cases[i].top, cases[i].name, 255, &m, NULL), 0);
                assert_string_equal(m.path, cases[i].path);
                assert_int_equal(m.encrypted, str_ends(cases[i].name, ".gpg"));
        }
}

static void unsafe_names(void **state)
{
        (void)state;
        static const char *const names[] = {"", "/etc/passwd", "/", "../x", TOP "/../x", TOP "/a/../../x",
                TOP "/..", "..", ".", TOP "/./x", TOP "//x", TOP "/a//", TOP "/.hidden", TOP "/.ssh/keys.gpg",
                TOP "/.gpg", TOP "/a\\b", "C:\\x", TOP "/a\nb", TOP "/a\x1b[2J", TOP "/a\x7f", TOP "/\xff",
                TOP "/\xc0\xaf", TOP "/\xed\xa0\x80", TOP "/\xc2\x85x", TOP "/\xe2\x82", TOP "/SHA256SUMS",
                TOP "/SHA256SUMS.gpg", TOP "/MANIFEST.jsonl.gpg", TOP "/REJECTED", TOP "/latest.gpg",
                TOP "/latest/x", "SHA256SUMS", TOP "/../", "../"};
        struct package_member m = {.path = "untouched"};
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                struct error e = {};
                assert_int_equal(package_parse_member(TOP, names[i], 255, &m, &e), -EBADMSG);
                assert_int_equal(e.cause, CAUSE_UNSAFE_NAME);
        }
        assert_string_equal(m.path, "untouched");
}

static void folders_are_told(void **state)
{
        (void)state;
        struct package_member m;
        assert_int_equal(package_parse_member(TOP, TOP "/", 255, &m, NULL), -EISDIR);
        assert_int_equal(package_parse_member(TOP, TOP "/ora/", 255, &m, NULL), -EISDIR);
}

static void name_lengths(void **state)
{
        (void)state;
        struct package_member m;
        struct error e = {};
        char name[1024] = TOP "/";
        memset(name + strlen(TOP "/"), 'x', 255);
        assert_int_equal(package_parse_member(TOP, name, 255, &m, &e), 0);
        assert_int_equal(strlen(m.path), 255);
        assert_int_equal(strlen(m.table), sizeof(m.table) - 1);
        assert_int_equal(package_parse_member(TOP, name, 254, &m, &e), -EBADMSG);
        assert_int_equal(e.cause, CAUSE_LIMIT);
        /* components are short enough, the whole is not */
        strcpy(name, TOP);
        for (size_t i = 0; i < 300; i++)
                strcat(name, "/x");
        assert_int_equal(package_parse_member(TOP, name, 255, &m, &e), -EBADMSG);
        assert_int_equal(e.cause, CAUSE_LIMIT);
        /* a cut copy never ends in half a character */
        strcpy(name, TOP "/a");
        for (size_t i = 0; i < 100; i++)
                strcat(name, "\xc3\xa9");
        assert_int_equal(package_parse_member(TOP, name, 255, &m, &e), 0);
        assert_int_equal(strlen(m.table), sizeof(m.table) - 1);
        assert_int_equal((unsigned char)m.table[sizeof(m.table) - 2], 0xa9);
        strcpy(name, TOP "/");
        for (size_t i = 0; i < 100; i++)
                strcat(name, "\xc3\xa9");
        assert_int_equal(package_parse_member(TOP, name, 255, &m, &e), 0);
        assert_int_equal(strlen(m.table), sizeof(m.table) - 2);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(known_members),
                cmocka_unit_test(the_top_folder),
                cmocka_unit_test(unsafe_names),
                cmocka_unit_test(folders_are_told),
                cmocka_unit_test(name_lengths),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
