/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "package.h"

#define DATA "edx-course-data"
#define DUMPS "course-data"
#define ALL_CATEGORIES (BIT(CATEGORY_MAX) - 1)

static struct package_spec make_spec(
        const char *org, const char *events, const char *database, const char *opt_in, const char *rdx)
{
        const char *urls[CATEGORY_MAX] = {events, database, opt_in, rdx};
        struct package_spec s = {.org = strdup(org)};
        assert_int_equal(strv_split(&s.sites, "edx edge"), 0);
        for (enum category c = 0; c < CATEGORY_MAX; c++)
                if (urls[c]) {
                        assert_int_equal(s3_location_parse(urls[c], &s.at[c], NULL), 0);
                        s.categories |= BIT(c);
                }
        return s;
}

static void spec_done(struct package_spec *s)
{
        free(s->org);
        strv_done(&s->sites);
        for (enum category c = 0; c < CATEGORY_MAX; c++)
                s3_location_done(&s->at[c]);
}

static struct package_spec usual_spec(void)
{
        return make_spec(
                "universityx", "s3://" DATA, "s3://" DUMPS, "s3://" DUMPS "/email-opt-in/", "s3://" DATA "/");
}

/* Does the location of that category give exactly these listings? */
static void expect_listings(enum category c, const char *url, const char *first, const char *second)
{
        const char *urls[CATEGORY_MAX] = {};
        urls[c] = url;
        struct package_spec s = make_spec("universityx", urls[0], urls[1], urls[2], urls[3]);
        struct package_prefix *p;
        size_t n;
        assert_int_equal(package_prefixes(&s, &p, &n), 0);
        assert_int_equal(n, second ? 2 : 1);
        assert_int_equal(p[0].category, c);
        assert_string_equal(p[0].bucket, s.at[c].bucket);
        assert_string_equal(p[0].prefix, first);
        if (second)
                assert_string_equal(p[1].prefix, second);
        package_prefixes_free(p, n);
        spec_done(&s);
}

static void category_names(void **state)
{
        (void)state;
        for (enum category c = 0; c < CATEGORY_MAX; c++)
                assert_int_equal(category_from_name(category_name(c)), c);
        assert_int_equal(category_from_name("email_opt_in"), CATEGORY_MAX);
        assert_string_equal(category_name(CATEGORY_EMAIL_OPT_IN), "email-opt-in");
}

static void locations(void **state)
{
        (void)state;
        struct s3_location l;
        assert_int_equal(s3_location_parse("s3://course-data", &l, NULL), 0);
        assert_string_equal(l.bucket, "course-data");
        assert_string_equal(l.prefix, "");
        s3_location_done(&l);
        assert_int_equal(s3_location_parse("s3://b.c-d/one/two/", &l, NULL), 0);
        assert_string_equal(l.bucket, "b.c-d");
        assert_string_equal(l.prefix, "one/two/");
        s3_location_done(&l);
        static const char *const bad[] = {"", "s3:/b", "s3://", "s3://ab", "s3://Course-Data/x", "s3://a_b/",
                "s3://-ab", "s3://ab-", "s3://a..b", "s3://bucket//x", "s3://bucket/x//y", "s3://bucket/../x",
                "s3://bucket/x/.", "s3://bucket/x\ny", "s3://bucket/x*", "https://bucket.s3.amazonaws.com/x",
                "course-data/x", "s3://bucket/\xff"};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                struct error e = {};
                assert_int_equal(s3_location_parse(bad[i], &l, &e), -EINVAL);
                assert_non_null(strstr(e.text, "expected"));
        }
}

static void events_listings(void **state)
{
        (void)state;
        static const char *const same[] = {"s3://" DATA, "s3://" DATA "/", "s3://" DATA "/universityx",
                "s3://" DATA "/universityx/", "s3://" DATA "/universityx/edx",
                "s3://" DATA "/universityx/edge/", "s3://" DATA "/universityx/edx/events",
                "s3://" DATA "/universityx/edx/events/", "s3://" DATA "/universityx/patches/events/"};
        for (size_t i = 0; i < ELEMENTSOF(same); i++)
                expect_listings(
                        CATEGORY_EVENTS, same[i], "universityx/edx/events/", "universityx/edge/events/");
        expect_listings(
                CATEGORY_EVENTS, "s3://mirror/x", "x/universityx/edx/events/", "x/universityx/edge/events/");
        expect_listings(CATEGORY_EVENTS, "s3://mirror/x/universityx/", "x/universityx/edx/events/",
                "x/universityx/edge/events/");
        /* only whole components are the grammar's */
        expect_listings(CATEGORY_EVENTS, "s3://mirror/myuniversityx", "myuniversityx/universityx/edx/events/",
                "myuniversityx/universityx/edge/events/");
}

static void database_listings(void **state)
{
        (void)state;
        static const char *const same[] = {"s3://" DUMPS, "s3://" DUMPS "/", "s3://" DUMPS "/universityx-",
                "s3://" DUMPS "/universityx"};
        for (size_t i = 0; i < ELEMENTSOF(same); i++)
                expect_listings(CATEGORY_DATABASE, same[i], "universityx-", NULL);
        expect_listings(CATEGORY_DATABASE, "s3://mirror/x", "x/universityx-", NULL);
        expect_listings(CATEGORY_DATABASE, "s3://mirror/x/", "x/universityx-", NULL);
        expect_listings(CATEGORY_DATABASE, "s3://mirror/x/universityx-", "x/universityx-", NULL);
        expect_listings(CATEGORY_DATABASE, "s3://mirror/universityx/", "universityx/universityx-", NULL);
}

static void opt_in_listings(void **state)
{
        (void)state;
        static const char *const same[] = {"s3://" DUMPS, "s3://" DUMPS "/", "s3://" DUMPS "/email-opt-in",
                "s3://" DUMPS "/email-opt-in/", "s3://" DUMPS "/email-opt-in/universityx-",
                "s3://" DUMPS "/email-opt-in/email-opt-in-universityx-"};
        for (size_t i = 0; i < ELEMENTSOF(same); i++)
                expect_listings(CATEGORY_EMAIL_OPT_IN, same[i], "email-opt-in/email-opt-in-universityx-",
                        "email-opt-in/universityx-");
        expect_listings(
                CATEGORY_EMAIL_OPT_IN, "s3://mirror/x/", "x/email-opt-in-universityx-", "x/universityx-");
        expect_listings(CATEGORY_EMAIL_OPT_IN, "s3://mirror/x/email-opt-in",
                "x/email-opt-in/email-opt-in-universityx-", "x/email-opt-in/universityx-");
}

static void rdx_listings(void **state)
{
        (void)state;
        static const char *const same[] = {"s3://" DATA, "s3://" DATA "/universityx",
                "s3://" DATA "/universityx/", "s3://" DATA "/universityx/rdx",
                "s3://" DATA "/universityx/rdx/"};
        for (size_t i = 0; i < ELEMENTSOF(same); i++)
                expect_listings(CATEGORY_RDX, same[i], "universityx/rdx/", NULL);
        expect_listings(CATEGORY_RDX, "s3://mirror/x/", "x/universityx/rdx/", NULL);
}

static void only_chosen_categories_are_listed(void **state)
{
        (void)state;
        struct package_spec s = usual_spec();
        struct package_prefix *p;
        size_t n;
        assert_int_equal(package_prefixes(&s, &p, &n), 0);
        assert_int_equal(n, 2 + 1 + 2 + 1);
        assert_string_equal(p[0].site, "edx");
        assert_null(p[2].site);
        package_prefixes_free(p, n);
        s.categories = BIT(CATEGORY_DATABASE);
        assert_int_equal(package_prefixes(&s, &p, &n), 0);
        assert_int_equal(n, 1);
        package_prefixes_free(p, n);
        struct package_item item;
        assert_int_equal(package_parse_key(&s, DATA,
                                 "universityx/edx/events/2024/universityx-edx-events-2024-07-07.log.gz.gpg",
                                 &item, NULL),
                -ENOENT);
        spec_done(&s);
}

static void location_checks(void **state)
{
        (void)state;
        static const struct {
                enum category c;
                const char *url, *says;
                int result;
        } cases[] = {
                {CATEGORY_EVENTS, "s3://" DATA "/universityx/", NULL, 0},
                {CATEGORY_EVENTS, "s3://mirror/long/folder/universityx", NULL, 0},
                {CATEGORY_EVENTS, "s3://mirror/long/folder", NULL, 0},
                {CATEGORY_EVENTS, "s3://" DATA "/universityx/edx/events", "sites = edx", -EEXIST},
                {CATEGORY_EVENTS, "s3://" DATA "/universityx/edx/", "sites = edx", -EEXIST},
                {CATEGORY_EVENTS, "s3://" DATA "/universityx/edx/events/2024", "since = 2024-01-01", -EINVAL},
                {CATEGORY_EVENTS, "s3://mirror/2024/", NULL, 0},
                {CATEGORY_DATABASE, "s3://" DUMPS "/universityx-", NULL, 0},
                {CATEGORY_DATABASE, "s3://" DUMPS "/universityx", NULL, 0},
                {CATEGORY_DATABASE, "s3://" DUMPS "/otherx-", "universityx-", -EINVAL},
                {CATEGORY_EMAIL_OPT_IN, "s3://" DUMPS "/email-opt-in/email-opt-in-otherx-", "universityx-",
                        -EINVAL},
                {CATEGORY_EMAIL_OPT_IN, "s3://" DUMPS, NULL, 0},
                {CATEGORY_RDX, "s3://" DATA "/universityx/rdx/", NULL, 0},
                {CATEGORY_RDX, "s3://" DATA "/UniversityX/", "expected universityx", -EINVAL},
                {CATEGORY_EVENTS, "s3://" DATA "/UniversityX", "expected universityx", -EINVAL},
                {CATEGORY_DATABASE, "s3://" DUMPS "/UniversityX-", "expected universityx", -EINVAL},
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const char *urls[CATEGORY_MAX] = {};
                struct error e = {};
                urls[cases[i].c] = cases[i].url;
                struct package_spec s = make_spec("universityx", urls[0], urls[1], urls[2], urls[3]);
                assert_int_equal(package_location_check(&s, cases[i].c, &e), cases[i].result);
                if (cases[i].says)
                        assert_non_null(strstr(e.text, cases[i].says));
                spec_done(&s);
        }
}

static void other_sites_are_a_matter_of_configuration(void **state)
{
        (void)state;
        struct package_spec s =
                make_spec("universityx", "s3://" DATA "/universityx/campus/", NULL, NULL, NULL);
        const char *key = "universityx/campus/events/2024/universityx-campus-events-2024-07-07.log.gz.gpg";
        struct package_item item;
        assert_int_equal(package_parse_key(&s, DATA, key, &item, NULL), -ENOENT);
        assert_int_equal(strv_add(&s.sites, "campus"), 0);
        assert_int_equal(package_parse_key(&s, DATA, key, &item, NULL), 0);
        assert_string_equal(item.site, "campus");
        assert_true(package_may_read(&s, DATA, key));
        spec_done(&s);
}

static void may_read_is_the_listings(void **state)
{
        (void)state;
        struct package_spec s = usual_spec();
        assert_true(package_may_read(&s, DATA, "universityx/edx/events/2024/x"));
        assert_true(package_may_read(&s, DATA, "universityx/rdx/r/x"));
        assert_true(package_may_read(&s, DUMPS, "universityx-2024-07-07.zip"));
        assert_true(package_may_read(&s, DUMPS, "email-opt-in/universityx-2024-07-07.zip"));
        assert_false(package_may_read(&s, DATA, "universityx/private/x"));
        assert_false(package_may_read(&s, DATA, "otherx/edx/events/2024/x"));
        assert_false(package_may_read(&s, DATA, ""));
        assert_false(package_may_read(&s, DUMPS, "universityx/edx/events/2024/x"));
        assert_false(package_may_read(&s, DUMPS, "otherx-2024-07-07.zip"));
        assert_false(package_may_read(&s, "other-bucket", "universityx-2024-07-07.zip"));
        s.categories = BIT(CATEGORY_EVENTS);
        assert_false(package_may_read(&s, DUMPS, "universityx-2024-07-07.zip"));
        spec_done(&s);
}

static void keys_that_are_ours(void **state)
{
        (void)state;
        static const struct {
                const char *bucket, *key, *path, *date, *site, *request;
                enum category category;
                bool zip;
        } cases[] = {
                {DATA, "universityx/edx/events/2024/universityx-edx-events-2024-07-07.log.gz.gpg",
                        "universityx/events/edx/2024/universityx-edx-events-2024-07-07.log.gz", "2024-07-07",
                        "edx", "", CATEGORY_EVENTS, false},
                {DATA, "universityx/edge/events/2024/universityx-edge-events-2024-02-29.log.gz.gpg",
                        "universityx/events/edge/2024/universityx-edge-events-2024-02-29.log.gz",
                        "2024-02-29", "edge", "", CATEGORY_EVENTS, false},
                /* a folder of another year: kept as it is */
                {DATA, "universityx/edx/events/2025/universityx-edx-events-2024-12-31.log.gz.gpg",
                        "universityx/events/edx/2025/universityx-edx-events-2024-12-31.log.gz", "2024-12-31",
                        "edx", "", CATEGORY_EVENTS, false},
                {DUMPS, "universityx-2024-07-07.zip", "universityx/database/2024-07-07", "2024-07-07", "", "",
                        CATEGORY_DATABASE, true},
                {DUMPS, "email-opt-in/email-opt-in-universityx-2024-07-06.zip",
                        "universityx/email-opt-in/2024-07-06", "2024-07-06", "", "", CATEGORY_EMAIL_OPT_IN,
                        true},
                {DUMPS, "email-opt-in/universityx-2024-07-06.zip", "universityx/email-opt-in/2024-07-06",
                        "2024-07-06", "", "", CATEGORY_EMAIL_OPT_IN, true},
                {DATA, "universityx/rdx/REQ-12.a_b/universityx_CS101_2024_T1.tar.gz.gpg",
                        "universityx/rdx/REQ-12.a_b/universityx_CS101_2024_T1.tar.gz", "", "", "REQ-12.a_b",
                        CATEGORY_RDX, false},
                {DATA, "universityx/rdx/a+b %=&~`/universityx_C_R.tar.gz.gpg",
                        "universityx/rdx/a+b %=&~`/universityx_C_R.tar.gz", "", "", "a+b %=&~`", CATEGORY_RDX,
                        false},
                {DATA, "universityx/rdx/d\xc3\xa9j\xc3\xa0/universityx_C_R.tar.gz.gpg",
                        "universityx/rdx/d\xc3\xa9j\xc3\xa0/universityx_C_R.tar.gz", "", "",
                        "d\xc3\xa9j\xc3\xa0", CATEGORY_RDX, false},
        };
        struct package_spec s = usual_spec();
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct package_item item;
                assert_int_equal(package_parse_key(&s, cases[i].bucket, cases[i].key, &item, NULL), 0);
                assert_int_equal(item.category, cases[i].category);
                assert_string_equal(item.path, cases[i].path);
                assert_string_equal(item.date, cases[i].date);
                assert_string_equal(item.site, cases[i].site);
                assert_string_equal(item.request, cases[i].request);
                assert_int_equal(item.is_zip, cases[i].zip);
                assert_false(item.legacy);
                assert_true(package_may_read(&s, cases[i].bucket, cases[i].key));
        }
        spec_done(&s);
}

static void neighbours_are_not_ours(void **state)
{
        (void)state;
        static const char *const dumps[] = {"universityx-pro-2024-07-07.zip",
                "universityx-2024-07-07.zip.bak", "universityx-2024-07-07-copy.zip",
                "universityx-2024-02-30.zip", "universityx-2023-02-29.zip", "universityx-2024-7-07.zip",
                "universityx-2024-07-07.ZIP", "universityx-.zip", "universityx-", "otherx-2024-07-07.zip",
                "myuniversityx-2024-07-07.zip", "UniversityX-2024-07-07.zip",
                "legacy/universityx-2024-07-07.zip", "test/universityx-2024-07-07.zip",
                "universityx/universityx-2024-07-07.zip", "email-opt-in/universityx-pro-2024-07-07.zip",
                "email-opt-in/email-opt-in-universityx-2024-07-07.zip.gpg",
                "email-opt-in/email-opt-in-otherx-2024-07-07.zip", "email-opt-in/",
                "email-opt-in-universityx-2024-07-06.zip", "2024-07-07-otherx-tracking.tar",
                "2014-13-01-universityx-tracking.tar", "2014-01-01-universityx-tracking.tar.gz", "",
                "universityx-+024-07-07.zip", "universityx- 024-07-07.zip"};
        static const char *const data[] = {
                "universityx/edx/events/2024/universityx-edge-events-2024-07-07.log.gz.gpg",
                "universityx/edx/events/2024/otherx-edx-events-2024-07-07.log.gz.gpg",
                "universityx/edx/events/2024/universityx-edx-events-2024-07-07.log.gz",
                "universityx/edx/events/2024/universityx-edx-events-2024-07-32.log.gz.gpg",
                "universityx/edx/events/2024/x/universityx-edx-events-2024-07-07.log.gz.gpg",
                "universityx/edx/events/24/universityx-edx-events-2024-07-07.log.gz.gpg",
                "universityx/edx/events/20x4/universityx-edx-events-2024-07-07.log.gz.gpg",
                "universityx/edx/events/universityx-edx-events-2024-07-07.log.gz.gpg",
                "universityx/patches/events/2024/universityx-patches-events-2024-07-07.log.gz.gpg",
                "otherx/edx/events/2024/otherx-edx-events-2024-07-07.log.gz.gpg", "universityx/rdx/r1/",
                "universityx/rdx/r1/README.txt", "universityx/rdx/r1/manifest.json",
                "universityx/rdx/r1/deep/universityx_C_R.tar.gz.gpg",
                "universityx/rdx/universityx_C_R.tar.gz.gpg", "universityx/rdx/r1/universityx_C.tar.gz.gpg",
                "universityx/rdx/r1/.tar.gz.gpg", "universityx/rdx/r1/_C_R.tar.gz.gpg",
                "universityx/rdx/r1/a__.tar.gz.gpg"};
        struct package_spec s = usual_spec();
        struct package_item item = {.path = "untouched"};
        for (size_t i = 0; i < ELEMENTSOF(dumps); i++)
                assert_int_equal(package_parse_key(&s, DUMPS, dumps[i], &item, NULL), -ENOENT);
        for (size_t i = 0; i < ELEMENTSOF(data); i++)
                assert_int_equal(package_parse_key(&s, DATA, data[i], &item, NULL), -ENOENT);
        assert_int_equal(
                package_parse_key(&s, "other-bucket", "universityx-2024-07-07.zip", &item, NULL), -ENOENT);
        assert_string_equal(item.path, "untouched");
        spec_done(&s);
}

static void unsafe_keys_are_refused(void **state)
{
        (void)state;
        static const char *const keys[] = {"universityx/rdx/../universityx_C_R.tar.gz.gpg",
                "universityx/rdx/./universityx_C_R.tar.gz.gpg", "universityx/rdx//universityx_C_R.tar.gz.gpg",
                "universityx/rdx/.r/universityx_C_R.tar.gz.gpg",
                "universityx/rdx/-r/universityx_C_R.tar.gz.gpg",
                "universityx/rdx/r\t1/universityx_C_R.tar.gz.gpg",
                "universityx/rdx/r\\1/universityx_C_R.tar.gz.gpg",
                "universityx/rdx/r\xff/universityx_C_R.tar.gz.gpg",
                "universityx/rdx/r1/.universityx_C_R.tar.gz.gpg",
                "universityx/rdx/r1/universityx_C\n_R.tar.gz.gpg",
                "universityx/rdx/r1/universityx_C\\_R.tar.gz.gpg",
                "universityx/rdx/r1/universityx_C_\xc3.tar.gz.gpg"};
        struct package_spec s = usual_spec();
        struct package_item item;
        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                struct error e = {};
                assert_int_equal(package_parse_key(&s, DATA, keys[i], &item, &e), -EBADMSG);
                assert_int_equal(e.cause, CAUSE_UNSAFE_NAME);
        }
        char key[1024] = "universityx/rdx/r1/universityx_C_";
        size_t n = strlen(key);
        memset(key + n, 'r', 300);
        strcpy(key + n + 300, ".tar.gz.gpg");
        struct error e = {};
        assert_int_equal(package_parse_key(&s, DATA, key, &item, &e), -EBADMSG);
        assert_int_equal(e.cause, CAUSE_LIMIT);
        for (size_t len = 127; len <= 128; len++) {
                snprintf(key, sizeof(key), "universityx/rdx/%0*d/universityx_C_R.tar.gz.gpg", (int)len, 1);
                assert_int_equal(package_parse_key(&s, DATA, key, &item, &e), len == 127 ? 0 : -EBADMSG);
        }
        spec_done(&s);
}

static void legacy_tars(void **state)
{
        (void)state;
        struct package_spec s = usual_spec();
        struct package_item item;
        assert_int_equal(package_parse_key(&s, DUMPS, "2014-01-05-universityx-tracking.tar", &item, NULL), 0);
        assert_true(item.legacy);
        assert_string_equal(item.date, "2014-01-05");
        assert_string_equal(item.path, "");
        spec_done(&s);
}

static void one_bucket_for_all(void **state)
{
        (void)state;
        struct package_spec s = make_spec("universityx", "s3://mirror/m", "s3://mirror/m/", "s3://mirror/m",
                "s3://mirror/m/universityx");
        static const struct {
                const char *key;
                enum category c;
        } cases[] = {
                {"m/universityx/edx/events/2024/universityx-edx-events-2024-07-07.log.gz.gpg",
                        CATEGORY_EVENTS},
                {"m/universityx-2024-07-07.zip", CATEGORY_DATABASE},
                {"m/email-opt-in-universityx-2024-07-07.zip", CATEGORY_EMAIL_OPT_IN},
                {"m/universityx/rdx/r/universityx_c_r.tar.gz.gpg", CATEGORY_RDX},
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct package_item item;
                assert_int_equal(package_parse_key(&s, "mirror", cases[i].key, &item, NULL), 0);
                assert_int_equal(item.category, cases[i].c);
        }
        spec_done(&s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(category_names),
                cmocka_unit_test(locations),
                cmocka_unit_test(events_listings),
                cmocka_unit_test(database_listings),
                cmocka_unit_test(opt_in_listings),
                cmocka_unit_test(rdx_listings),
                cmocka_unit_test(only_chosen_categories_are_listed),
                cmocka_unit_test(location_checks),
                cmocka_unit_test(other_sites_are_a_matter_of_configuration),
                cmocka_unit_test(may_read_is_the_listings),
                cmocka_unit_test(keys_that_are_ours),
                cmocka_unit_test(neighbours_are_not_ours),
                cmocka_unit_test(unsafe_keys_are_refused),
                cmocka_unit_test(legacy_tars),
                cmocka_unit_test(one_bucket_for_all),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
