/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "config_fixture.h"

static void what_must_be_set(void **state)
{
        (void)state;
        expect_error("[staging]\nmin_free = 1G\n" PACKAGE, 1, "[staging] path: not set; expected");
        expect_error(PACKAGE, 0, "[staging] path: not set; expected");
        expect_error("[staging]\n\npath =\n" PACKAGE, 3, "[staging] path: not set; expected");
        expect_error(STAGING, 0, "no [package NAME] section; expected at least one");
        expect_error(STAGING "\n[package x]\ncategories = rdx database\nrdx = s3://bbb\n", 4,
                "[package x] database: not set; expected s3://bucket/prefix, or categories without database");
        expect_error(
                STAGING "[package x]\ncategories = email-opt-in\n", 3, "[package x] email_opt_in: not set");
        expect_error(STAGING "[package x]\ncategories = rdx\nrdx =\n", 3, "[package x] rdx: not set");
}

#define FPR "0123456789ABCDEF0123456789ABCDEF01234567"
#define DELIVERY                                                                                             \
        "[deliver d]\norg = universityx\npurpose = p\nuntil = 2030-01-01\nrecipients = " FPR                 \
        "\ncourses = A-B-C\ntables = grades_*\npath = /srv/out\n"

static void deliveries(void **state)
{
        (void)state;
        static const char *const needed[] = {
                "org", "purpose", "until", "recipients", "courses", "tables", "path"};
        struct config *c =
                load_good(STAGING PACKAGE DELIVERY "mode = once\n[deliver e]\norg = universityx\n"
                                                   "purpose = q\nuntil = 2030-01-01\nrecipients = " FPR
                                                   "\ncourses = *\ntables = *\npath = /srv/out2\n");
        assert_int_equal(c->n_deliveries, 2);
        assert_string_equal(c->deliveries[1].name, "e");
        assert_int_equal(c->deliveries[0].mode, DELIVERY_ONCE);
        assert_true(c->deliveries[1].keep_usec == 30 * USEC_PER_DAY);
        assert_ptr_equal(config_find_delivery(c, "e"), &c->deliveries[1]);
        assert_null(config_find_delivery(c, "f"));
        config_free(c);
        for (size_t i = 0; i < ELEMENTSOF(needed); i++) {
                _cleanup_free_ char *text = strdup(STAGING PACKAGE DELIVERY);
                char key[32], says[64];
                snprintf(key, sizeof(key), "\n%s = ", needed[i]);
                snprintf(says, sizeof(says), "[deliver d] %s: not set; expected", needed[i]);
                char *at = strstr(strstr(text, "[deliver d]"), key) + 1;
                assert_non_null(at);
                memset(at, '#', strcspn(at, "\n"));
                expect_error(text, 8, says);
        }
        expect_error(STAGING PACKAGE DELIVERY "[deliver e]\norg = other\npurpose = q\nuntil = 2030-01-01\n"
                                              "recipients = " FPR
                                              "\ncourses = *\ntables = *\npath = /srv/o\n",
                17, "[deliver e] org: no [package] section has it");
        expect_error(STAGING PACKAGE DELIVERY
                "[deliver e]\norg = universityx\npurpose = q\nuntil = 2030-01-01\n"
                "recipients = " FPR "\ncourses = *\ntables = events\npath = /srv/o\n",
                22, "[deliver e] tables: events can be handed out by course only where they are split");
        expect_error(STAGING PACKAGE DELIVERY
                "[deliver e]\norg = universityx\npurpose = q\nuntil = 2030-01-01\n"
                "recipients = " FPR "\ncourses = *\ntables = *\npath = /srv/out/e\n",
                23, "[deliver e] path: inside or around that of [deliver d]");
        static const char *const few[] = {"universityx-*", "* !a-b-c"};
        for (size_t i = 0; i < ELEMENTSOF(few); i++) {
                char text[2048];
                snprintf(text, sizeof(text),
                        STAGING PACKAGE DELIVERY "[deliver e]\norg = universityx\n"
                                                 "purpose = q\nuntil = 2030-01-01\nrecipients = " FPR
                                                 "\ncourses = %s\ntables = email_opt_in\npath = /srv/o\n",
                        few[i]);
                expect_error(text, 22,
                        "[deliver e] tables: email_opt_in is one list of all courses; expected "
                        "courses = * without exceptions");
        }
        expect_error(STAGING PACKAGE
                "categories = database\n[deliver e]\norg = universityx\npurpose = q\nuntil = 2030-01-01\n"
                "recipients = " FPR "\ncourses = *\ntables = email_opt_in\npath = /srv/o\n",
                15, "expected email-opt-in in categories of its [package]");
        expect_error(STAGING PACKAGE "[deliver]\n", 8, "expected [deliver NAME]");
        expect_error(STAGING PACKAGE DELIVERY "purpos = x\n", 16, "did you mean \"purpose\"?");
}

static void delivered_tables(void **state)
{
        (void)state;
        struct config *c = load_good(STAGING PACKAGE
                "events_by_course = edx\n" DELIVERY "[deliver e]\norg = universityx\npurpose = q\n"
                "until = 2030-01-01\nrecipients = " FPR "\ncourses = *\ntables = * !wiki_* auth_user events\n"
                "path = /srv/out2\n[deliver f]\norg = universityx\npurpose = q\nuntil = 2030-01-01\n"
                "recipients = " FPR "\ncourses = *\ntables = email_opt_in\npath = /srv/out3\n");
        const struct config_delivery *few = &c->deliveries[0], *all = &c->deliveries[1];
        assert_true(config_delivers_table(&c->deliveries[2], "email_opt_in"));
        assert_true(config_delivers_table(few, "grades_persistentcoursegrade"));
        assert_false(config_delivers_table(few, "events"));
        assert_false(config_delivers_table(few, "wiki_article"));
        assert_true(config_delivers_table(all, "student_courseenrollment"));
        assert_true(config_delivers_table(all, "events"));
        assert_true(config_delivers_table(all, "auth_user"));
        static const char *const never[] = {"auth_userprofile", "certificates_generatedcertificate", "forum",
                "ora/assessment_rubric", "email_opt_in", "wiki_article"};
        for (size_t i = 0; i < ELEMENTSOF(never); i++)
                assert_false(config_delivers_table(all, never[i]));
        config_free(c);
}

static void organisations(void **state)
{
        (void)state;
        expect_error(STAGING "[package UniversityX]\ncategories = rdx\nrdx = s3://bbb\n", 3,
                "did you mean \"universityx\"?");
        expect_error(STAGING "[package a]\ncategories = rdx\nrdx = s3://bbb\n[package b]\norg = "
                             "a\ncategories = rdx\nrdx = "
                             "s3://bbb\n",
                7, "[package b] org: the same organisation as [package a]");
        expect_error(STAGING "[package b]\norg = a\ncategories = rdx\nrdx = s3://bbb\n[package "
                             "a]\ncategories = rdx\nrdx = "
                             "s3://bbb\n",
                7, "[package a] org: the same organisation as [package b]");
        struct config *c =
                load_good(STAGING "[package Main]\norg = universityx\ncategories = rdx\nrdx = s3://bbb\n");
        assert_string_equal(c->packages[0].spec.org, "universityx");
        config_free(c);
}

static void http_only_to_loopback(void **state)
{
        (void)state;
        static const char *const good[] = {"http://127.0.0.1:9000", "http://localhost:1", "http://[::1]:9000",
                "http://[0:0::1]", "http://127.1.2.3", "https://s3.example.org", "https://10.0.0.1"};
        static const char *const bad[] = {"http://s3.example.org", "http://10.0.0.1:9000",
                "http://127.0.0.1.example.org", "http://localhost.example.org", "http://127.example.org",
                "http://[::2]", "http://0.0.0.0", "http://127.0.0.1x", "http://127.0.0.256",
                "http://127.0.0"};
        char text[512];
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                snprintf(text, sizeof(text), "[s3]\nendpoint = %s\n" STAGING PACKAGE, good[i]);
                struct config *c = load_good(text);
                assert_int_equal(c->warnings.n, 0);
                assert_int_equal(c->s3.addressing, ADDRESSING_PATH);
                config_free(c);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                snprintf(text, sizeof(text), "[s3]\nendpoint = %s\n" STAGING PACKAGE, bad[i]);
                expect_error(text, 2, "allow_http = yes");
                snprintf(text, sizeof(text), "[s3]\nallow_http = yes\nendpoint = %s\n" STAGING PACKAGE,
                        bad[i]);
                struct config *c = load_good(text);
                assert_int_equal(c->warnings.n, 1);
                assert_non_null(strstr(c->warnings.v[0], ":3: [s3] endpoint"));
                config_free(c);
        }
}

static void addressing_is_decided(void **state)
{
        (void)state;
        struct config *c = load_good("[s3]\naddressing = path\n" STAGING PACKAGE);
        assert_int_equal(c->s3.addressing, ADDRESSING_PATH);
        config_free(c);
        c = load_good("[s3]\naddressing = virtual\nendpoint = https://x.example\n" STAGING PACKAGE);
        assert_int_equal(c->s3.addressing, ADDRESSING_VIRTUAL);
        config_free(c);
}

static void secrets_stay_out_of_staging(void **state)
{
        (void)state;
        expect_error("[daemon]\nstate_dir = /srv/x/state\n" STAGING PACKAGE
                     "homedir = /h\n[openpgp]\nhomedir = /h\n",
                2, "[daemon] state_dir: inside [staging] path");
        expect_error("[openpgp]\nhomedir = /srv/x\n" STAGING PACKAGE, 2, "[openpgp] homedir: inside");
        expect_error("[openpgp]\npassphrase_file = /srv/x/p\n" STAGING PACKAGE, 2, "passphrase_file: inside");
        expect_error("[s3]\ncredentials = /srv/x/c.csv\n" STAGING PACKAGE, 2, "[s3] credentials: inside");
        expect_error(STAGING PACKAGE "homedir = /srv/x/h\n", 8, "[package universityx] homedir: inside");
        struct config *c =
                load_good("[daemon]\nstate_dir = /srv\n[openpgp]\nhomedir = /srv/xy\n" STAGING PACKAGE);
        config_free(c);
        c = load_good("[daemon]\nstate_dir = /other\n" STAGING PACKAGE);
        assert_string_equal(c->openpgp.homedir, "/other/gnupg");
        config_free(c);
}

static void locations_are_checked(void **state)
{
        (void)state;
        expect_error(STAGING "[package x]\ncategories = events\nevents = s3://bbb/x/edx/events/2024/\n", 5,
                "[package x] events: names a year");
        expect_error(STAGING "[package x]\ncategories = database\ndatabase = s3://bbb/other-\n", 5,
                "[package x] database: names the beginning");
        struct config *c =
                load_good(STAGING "[package x]\ncategories = events\nevents = s3://bbb/x/edx/events/\n");
        assert_int_equal(c->warnings.n, 1);
        assert_non_null(strstr(c->warnings.v[0], ":5: [package x] events: names the site edx"));
        config_free(c);
        c = load_good(
                STAGING "[package x]\nsites = edx\ncategories = events\nevents = s3://bbb/x/edx/events/\n");
        assert_int_equal(c->warnings.n, 0);
        config_free(c);
}

/* What nobody means. */
static void mistakes(void **state)
{
        (void)state;
        static const struct {
                const char *text;
                unsigned line;
                const char *says;
        } rows[] = {
                {STAGING PACKAGE "tables = auth_user !*\n", 8,
                        "tables: leaves out everything; expected exceptions"},
                {STAGING PACKAGE "courses = [UnivX-*\n", 8,
                        "courses: \"[UnivX-*\"; expected each [ with its ]"},
                {STAGING PACKAGE "courses = U[nN]ivX-[*\n", 8, "expected each [ with its ]"},
                {STAGING PACKAGE "tables = auth_.*\n", 8, "expected a pattern as of a shell"},
                {STAGING PACKAGE "tables = ^auth_user\n", 8, "expected a pattern as of a shell"},
                {STAGING PACKAGE "courses = UnivX-.*-2024$\n", 8, "expected a pattern as of a shell"},
                {"[staging]\npath = /\n" PACKAGE, 2,
                        "path: the root of all folders; expected a folder of its own"},
                {STAGING PACKAGE "[openpgp]\npassphrase = x\n", 9,
                        "passphrase: a passphrase does not belong in this file"},
                {STAGING PACKAGE "[s3]\nsecret_access_key = x\n", 9, "keys of S3 do not belong in this file"},
                {STAGING PACKAGE "[s3]\naws_access_key_id = x\n", 9, "keys of S3 do not belong in this file"},
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                expect_error(rows[i].text, rows[i].line, rows[i].says);
        static const char *const good[] = {STAGING PACKAGE "courses = UnivX-CS50.*-202[0-4] !*-ccx-*\n",
                STAGING PACKAGE "tables = auth_* !auth_user ora/*\n", STAGING PACKAGE "since = 2020-01-01\n"};
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                struct config *c = load_good(good[i]);
                assert_int_equal(c->warnings.n, 0);
                config_free(c);
        }
        struct config *c = load_good(STAGING PACKAGE "since = 2999-01-01\n");
        assert_int_equal(c->warnings.n, 1);
        assert_non_null(strstr(c->warnings.v[0], ":8: [package universityx] since: is in the future"));
        config_free(c);
}

static void warnings(void **state)
{
        (void)state;
        struct config *c =
                load_good("[openpgp]\nsignatures = none\nsigners = 0123456789abcdef0123456789abcdef01234567\n"
                          "[staging]\npath = /srv/x\nfile_mode = 0660\n" PACKAGE);
        assert_int_equal(c->warnings.n, 2);
        assert_non_null(strstr(c->warnings.v[0], ":3: [openpgp] signers"));
        assert_non_null(strstr(c->warnings.v[1], ":6: [staging] file_mode"));
        config_free(c);
}

static void polls_are_minutes_apart(void **state)
{
        (void)state;
        expect_error("[daemon]\npoll_interval = 15\n" STAGING PACKAGE, 2,
                "[daemon] poll_interval: 15s is less than a minute (a number without a unit is seconds); "
                "expected");
        expect_error("[daemon]\npoll_interval = 1s\n" STAGING PACKAGE, 2, "such as 15min");
        expect_error("[daemon]\npoll_interval = 59s\n" STAGING PACKAGE, 2, "less than a minute");
        config_free(load_good("[daemon]\npoll_interval = 1min\n" STAGING PACKAGE));
        config_free(load_good("[daemon]\npoll_interval = 60\n" STAGING PACKAGE));
}

/* A number alone was meant as days or hours. */
static void spans_that_lack_their_unit(void **state)
{
        (void)state;
        expect_error("[daemon]\nfull_list_interval = 24\n" STAGING PACKAGE, 2,
                "[daemon] full_list_interval: 24s is less than a minute (a number without a unit is "
                "seconds); "
                "expected a span such as 1d");
        expect_error(STAGING "keep_replaced = 30\n" PACKAGE, 3,
                "[staging] keep_replaced: 30s is less than an hour (a number without a unit is seconds); "
                "expected a span such as 30d, or 0");
        config_free(load_good(STAGING "keep_replaced = 0\n" PACKAGE));
        config_free(load_good(STAGING "keep_replaced = 1h\n" PACKAGE));
        config_free(load_good("[daemon]\nfull_list_interval = 1min\n" STAGING PACKAGE));
}

/* Half edited is not edited. */
static void the_example_in_part(void **state)
{
        (void)state;
        static const char *const warned[] = {
                "categories = events\nevents = s3://edx-course-data/universityx/\n",
                "categories = events database\nevents = s3://edx-course-data/universityx/\n"
                "database = s3://ours/universityx-\n"};
        static const char *const fine[] = {
                "org = mitx\ncategories = events\nevents = s3://edx-course-data/mitx/\n",
                "categories = events\nevents = s3://ours/universityx/\n"};
        for (size_t i = 0; i < ELEMENTSOF(warned) + ELEMENTSOF(fine); i++) {
                bool good = i >= ELEMENTSOF(warned);
                _cleanup_free_ char *text = str_printf(
                        STAGING "[package universityx]\n%s", good ? fine[i - ELEMENTSOF(warned)] : warned[i]);
                struct config *c = load_good(text);
                assert_int_equal(c->warnings.n, good ? 0 : 1);
                config_free(c);
        }
}

static void no_bucket_in_the_endpoint(void **state)
{
        (void)state;
        expect_error("[s3]\nendpoint = https://data-bucket.s3.example.org\n" STAGING PACKAGE, 2,
                "[s3] endpoint: begins with the name of a bucket, which belongs in the package section; "
                "expected "
                "https://s3.example.org");
        expect_error("[s3]\nendpoint = https://other.s3.amazonaws.com\n" STAGING PACKAGE, 2,
                "expected https://s3.amazonaws.com");
        expect_error("[s3]\nendpoint = https://other.s3.eu-west-1.amazonaws.com\n" STAGING PACKAGE, 2,
                "expected https://s3.eu-west-1.amazonaws.com");
        static const char *const good[] = {"https://s3.amazonaws.com", "https://s3.eu-west-1.amazonaws.com",
                "https://s3.example.org", "https://data-bucketeer.example.org",
                "https://minio.s3.example.org:9000"};
        char text[512];
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                snprintf(text, sizeof(text), "[s3]\nendpoint = %s\n" STAGING PACKAGE, good[i]);
                config_free(load_good(text));
        }
}

static void expect_warning(const char *text, const char *says)
{
        struct config *c = load_good(text);
        assert_int_equal(c->warnings.n, says ? 1 : 0);
        if (says && !strstr(c->warnings.v[0], says))
                fail_msg("%s", c->warnings.v[0]);
        config_free(c);
}

static void a_region_with_a_typing_error(void **state)
{
        (void)state;
        static const char *const good[] = {
                "us-east-1", "ap-southeast-4", "us-gov-west-1", "cn-northwest-1", "il-central-1"};
        static const char *const bad[] = {"us-esat-1", "useast1", "us-east", "east-us-1", "default"};
        char text[512];
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                snprintf(text, sizeof(text), "[s3]\nregion = %s\n" STAGING PACKAGE, good[i]);
                expect_warning(text, NULL);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                snprintf(text, sizeof(text), "[s3]\nregion = %s\n" STAGING PACKAGE, bad[i]);
                expect_warning(text, ":2: [s3] region: AWS has none of this form");
                snprintf(text, sizeof(text),
                        "[s3]\nregion = %s\nendpoint = https://s3.example.org\n" STAGING PACKAGE, bad[i]);
                expect_warning(text, NULL); /* other servers have names of their own */
        }
}

static void the_page_for_browsers_is_no_endpoint(void **state)
{
        (void)state;
        expect_error("[s3]\nendpoint = https://console.aws.amazon.com\n" STAGING PACKAGE, 2,
                "[s3] endpoint: the page of AWS for browsers");
        expect_error("[s3]\nendpoint = https://us-east-1.console.aws.amazon.com\n" STAGING PACKAGE, 2,
                "[s3] endpoint: the page of AWS for browsers");
}

static void staging_inside_the_state(void **state)
{
        (void)state;
        expect_warning(
                "[daemon]\nstate_dir = /var/lib/czard\n[staging]\npath = /var/lib/czard/data\n" PACKAGE,
                ":4: [staging] path: inside [daemon] state_dir");
        expect_warning("[daemon]\nstate_dir = /srv/cz\n[staging]\npath = /srv/czard\n" PACKAGE, NULL);
}

static void patterns_that_can_match_nothing(void **state)
{
        (void)state;
        static const struct {
                const char *line, *says;
        } bad[] = {
                {"courses = course-v1:UniversityX+CS1+2024", "Org-Course-Run: UniversityX-CS1-2024"},
                {"courses = !course-v1:UniversityX+CS1+2024", "Org-Course-Run: !UniversityX-CS1-2024"},
                {"courses = UniversityX/CS1/2024", "Org-Course-Run: UniversityX-CS1-2024"},
                {"courses = ccx-v1:UniversityX+CS1+2024+ccx@7", "UniversityX-CS1-2024-ccx-7"},
                {"courses = UniversityX-CS1-2024-auth_user-prod-analytics.sql", "not a file"},
                {"tables = auth_user.sql", "without the extension: auth_user"},
                {"tables = *.mongo", "without the extension: *"},
        };
        char text[1024];
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                snprintf(text, sizeof(text), STAGING PACKAGE "%s\n", bad[i].line);
                expect_error(text, 8, bad[i].says);
        }
        config_free(load_good(
                STAGING PACKAGE "courses = UniversityX-* UnivHSX-CS50.1x-2023_T1 !*-ccx-[0-9]*\ntables = "
                                "auth_* ora/assessment_* forum course_structure\n"));
        expect_error(STAGING PACKAGE "sites = prod\n", 8, "edx or edge");
}

static void a_passphrase_belongs_to_a_homedir(void **state)
{
        (void)state;
#define SECOND(file) "[package b]\ncategories = rdx\nrdx = s3://bbb\nhomedir = /own\n" file
        struct config *c = load_good("[openpgp]\npassphrase_file = /p\n" STAGING PACKAGE SECOND(""));
        assert_string_equal(c->packages[1].passphrase_file, "/p");
        assert_false(c->packages[1].own_passphrase);
        config_free(c);
        c = load_good("[openpgp]\npassphrase_file = /p\n" STAGING PACKAGE SECOND("passphrase_file = /q\n"));
        assert_string_equal(c->packages[0].passphrase_file, "/p");
        assert_false(c->packages[0].own_passphrase);
        assert_string_equal(c->packages[1].passphrase_file, "/q");
        assert_true(c->packages[1].own_passphrase);
        config_free(c);
        expect_error(STAGING PACKAGE "passphrase_file = /q\n", 8,
                "[package universityx] passphrase_file: its homedir is that of [openpgp]");
        expect_error(
                STAGING PACKAGE "passphrase_file = /srv/x/q\nhomedir = /own\n", 8, "passphrase_file: inside");
        expect_error(STAGING PACKAGE
                "homedir = /own\npassphrase_file = /p\n" SECOND("passphrase_file = /q\n"),
                14, "[package b] passphrase_file: another one than in [package universityx]");
        config_free(load_good(
                STAGING PACKAGE "homedir = /own\npassphrase_file = /p\n" SECOND("passphrase_file = /p\n")));
#undef SECOND
}

static void credentials_and_homedir_are_inherited(void **state)
{
        (void)state;
        struct config *c =
                load_good("[s3]\ncredentials = /general.csv\n" STAGING PACKAGE
                          "[package other]\ncategories = rdx\nrdx = s3://bbb\ncredentials = /own.csv\n"
                          "homedir = /own\n");
        assert_string_equal(c->packages[0].credentials, "/general.csv");
        assert_string_equal(c->packages[0].homedir, "/var/lib/czard/gnupg");
        assert_string_equal(c->packages[1].credentials, "/own.csv");
        assert_string_equal(c->packages[1].homedir, "/own");
        config_free(c);
}

static void groups(void **state)
{
        (void)state;
        struct config *c = load_good(
                STAGING "group = all\nrdx_group = projects\n" PACKAGE
                        "[package other]\ncategories = rdx events\nrdx = s3://bbb\nevents = s3://bbb\n"
                        "group = others\nevents_group = other-events\n");
        const struct config_package *p = &c->packages[0], *o = &c->packages[1];
        assert_string_equal(config_group(p, CATEGORY_EVENTS), "all");
        assert_string_equal(config_group(p, CATEGORY_RDX), "projects");
        /* another czar's data never go to a group that [staging] names for a category */
        assert_string_equal(config_group(o, CATEGORY_RDX), "others");
        assert_string_equal(config_group(o, CATEGORY_EVENTS), "other-events");
        assert_int_equal(c->warnings.n, 1);
        assert_non_null(strstr(c->warnings.v[0], "[package other] group"));
        config_free(c);
        c = load_good(STAGING PACKAGE);
        assert_null(config_group(&c->packages[0], CATEGORY_EVENTS));
        config_free(c);
}

/* --- reload --- */

static void expect_restart(const char *old_text, const char *new_text, const char *key)
{
        struct config *old = load_good(old_text), *new = load_good(new_text);
        const char *got = config_needs_restart(old, new);
        if (key) {
                assert_non_null(got);
                assert_string_equal(got, key);
        } else {
                assert_null(got);
        }
        config_free(old);
        config_free(new);
}

#define BASE STAGING PACKAGE
#define OTHER "[package other]\ncategories = rdx\nrdx = s3://bbb\n"

static void reload(void **state)
{
        (void)state;
        expect_restart(BASE, BASE, NULL);
        expect_restart(
                BASE, BASE "sites = edx\ncourses = X-*\n[daemon]\nworkers = 2\nlog_level = err\n", NULL);
        expect_restart(BASE, BASE "[daemon]\nstate_dir = /other\n", "daemon.state_dir");
        expect_restart(BASE, BASE "[daemon]\nsocket = /s\n", "daemon.socket");
        expect_restart(BASE, BASE "[staging]\ngroup = g\n", NULL);
        expect_restart(BASE, BASE "[staging]\ndir_mode = 0700\n", "staging.dir_mode");
        expect_restart(BASE, BASE "[openpgp]\npassphrase_file = /p\n", "openpgp.passphrase_file");
        /* czard-fetch begins anew, groups are looked up again, and another GnuPG home is opened */
        expect_restart(BASE "[s3]\ncredentials = /a\n", BASE "[s3]\ncredentials = /b\n", NULL);
        expect_restart(BASE, BASE "credentials = /own\n", NULL);
        expect_restart(BASE, BASE "rdx_group = g\n", NULL);
        expect_restart(BASE, BASE "homedir = /own\n", NULL);
        expect_restart(BASE "homedir = /own\n", BASE, NULL);
        expect_restart(BASE, BASE "homedir = /own\npassphrase_file = /p\n", NULL);
        /* but one that is open stays so */
        expect_restart(BASE, BASE "[openpgp]\nhomedir = /other\n", "openpgp.homedir");
        expect_restart(BASE "homedir = /own\n", BASE "homedir = /own\npassphrase_file = /p\n",
                "package.passphrase_file");
        expect_restart(BASE "homedir = /own\npassphrase_file = /p\n",
                BASE OTHER "homedir = /own\npassphrase_file = /q\n", "package.passphrase_file");
        /* packages come and go */
        expect_restart(BASE, BASE OTHER, NULL);
        expect_restart(BASE OTHER "homedir = /own\n", BASE, NULL);
        expect_restart(BASE, BASE OTHER "homedir = /own\n", NULL);
}

/* --- filters --- */

static void filters(void **state)
{
        (void)state;
        struct config *c = load_good(BASE "courses = UniversityX-CS* UniversityX-ART1-2024 !*-ccx-*\n"
                                          "tables = !ora/* !forum\n" OTHER);
        const struct config_package *p = &c->packages[0], *all = &c->packages[1];
        assert_true(config_wants_course(p, "UniversityX-CS101-2024"));
        assert_true(config_wants_course(p, "UniversityX-ART1-2024"));
        assert_false(config_wants_course(p, "UniversityX-ART1-2025"));
        assert_false(config_wants_course(p, "UniversityX-CS101-2024-ccx-7"));
        assert_false(config_wants_course(p, "universityx-CS101-2024"));
        assert_true(config_wants_course(p, "")); /* organisation-wide */
        assert_true(config_wants_table(p, "auth_user"));
        assert_false(config_wants_table(p, "ora/assessment_assessment"));
        assert_false(config_wants_table(p, "forum"));
        assert_true(config_wants_course(all, "anything"));
        assert_true(config_wants_table(all, "anything"));
        config_free(c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_must_be_set),
                cmocka_unit_test(organisations),
                cmocka_unit_test(deliveries),
                cmocka_unit_test(delivered_tables),
                cmocka_unit_test(http_only_to_loopback),
                cmocka_unit_test(addressing_is_decided),
                cmocka_unit_test(secrets_stay_out_of_staging),
                cmocka_unit_test(locations_are_checked),
                cmocka_unit_test(mistakes),
                cmocka_unit_test(warnings),
                cmocka_unit_test(polls_are_minutes_apart),
                cmocka_unit_test(spans_that_lack_their_unit),
                cmocka_unit_test(the_example_in_part),
                cmocka_unit_test(no_bucket_in_the_endpoint),
                cmocka_unit_test(a_region_with_a_typing_error),
                cmocka_unit_test(the_page_for_browsers_is_no_endpoint),
                cmocka_unit_test(staging_inside_the_state),
                cmocka_unit_test(patterns_that_can_match_nothing),
                cmocka_unit_test(a_passphrase_belongs_to_a_homedir),
                cmocka_unit_test(credentials_and_homedir_are_inherited),
                cmocka_unit_test(groups),
                cmocka_unit_test(reload),
                cmocka_unit_test(filters),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
