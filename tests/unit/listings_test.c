/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger_fixture.h"

#include "wants.h"

static char org[] = "universityx", bucket[] = "edx-course-data", prefix[] = "universityx/", edx[] = "edx",
            edge[] = "edge";
static struct config_package package = {
        .spec = {.org = org,
                .sites = {.v = (char *[]){edx, edge, NULL}, .n = 2},
                .categories = BIT(CATEGORY_EVENTS) | BIT(CATEGORY_DATABASE) | BIT(CATEGORY_RDX),
                .at = {[CATEGORY_EVENTS] = {bucket, prefix},
                        [CATEGORY_DATABASE] = {bucket, prefix},
                        [CATEGORY_RDX] = {bucket, prefix}}}};

static int on_listing(const struct listing_spec *l, void *arg)
{
        strbuf_printf(arg, "%s %s > %s\n", category_name(l->category), l->prefix, l->start_after);
        return 0;
}

#define JANUARY_2024 INT64_C(1704153600) /* 2024-01-02 */

static void check(struct ledger *l, bool full, const char *want)
{
        _cleanup_strbuf_ struct strbuf text = {};
        assert_int_equal(listings_each(l, &package, full, JANUARY_2024, on_listing, &text), 0);
        assert_string_equal(text.s, want);
}

static void know(struct fixture *f, const char *key)
{
        struct ledger_object o;
        enum listed what;
        assert_int_equal(listings_object(&package.spec, CATEGORY_EVENTS, bucket, key, &o), 0);
        strcpy(o.etag, "e");
        assert_int_equal(ledger_listed(f->l, &o, 1, &what, NULL), 0);
        assert_int_equal(what, LISTED_NEW);
}

static void test_what_is_listed(void **state)
{
        struct fixture *f = *state;
        static const char everything[] = "events universityx/edx/events/ > \n"
                                         "events universityx/edge/events/ > \n"
                                         "database universityx/universityx- > \n"
                                         "rdx universityx/rdx/ > \n";
        check(NULL, false, everything);
        /* where nothing is known yet it may begin anywhere */
        check(f->l, false, everything);
        know(f, "universityx/edx/events/2023/universityx-edx-events-2023-12-31.log.gz.gpg");
        know(f, "universityx/universityx-2023-12-31.zip");
        check(f->l, false,
                "events universityx/edx/events/2024/ > \n"
                "events universityx/edx/events/2023/ > "
                "universityx/edx/events/2023/universityx-edx-events-2023-12-01\n"
                "events universityx/edge/events/ > \n"
                "database universityx/universityx- > universityx/universityx-2023-12-01\n"
                "rdx universityx/rdx/ > \n");
        check(f->l, true, everything);
}

static void test_a_date_to_come_hides_nothing(void **state)
{
        struct fixture *f = *state;
        know(f, "universityx/universityx-2203-11-12.zip");
        check(f->l, false,
                "events universityx/edx/events/ > \n"
                "events universityx/edge/events/ > \n"
                "database universityx/universityx- > universityx/universityx-2023-12-03\n"
                "rdx universityx/rdx/ > \n");
}

static int on_second(const struct listing_spec *l, void *arg)
{
        int *left = arg;
        (void)l;
        return --*left == 0 ? -ECANCELED : 0;
}

static void test_ends_when_told(void **state)
{
        struct fixture *f = *state;
        int left = 2;
        assert_int_equal(listings_each(f->l, &package, true, JANUARY_2024, on_second, &left), -ECANCELED);
        assert_int_equal(left, 0);
}

static void test_what_a_key_says(void **state)
{
        (void)state;
        struct ledger_object o = {.id = 7, .state = OBJECT_GONE, .path = "x"};
        assert_int_equal(
                listings_object(&package.spec, CATEGORY_EVENTS, bucket, "elsewhere/file.gpg", &o), -ENOENT);
        assert_int_equal(o.id, 7);
        assert_int_equal(
                listings_object(&package.spec, CATEGORY_EVENTS, bucket,
                        "universityx/edx/events/2023/universityx-edx-events-2023-12-31.log.gz.gpg", &o),
                0);
        assert_int_equal(o.id, 0);
        assert_int_equal(o.state, OBJECT_NEW);
        assert_int_equal(o.plain_size, -1);
        assert_false(o.is_zip);
        assert_string_equal(o.path, "");
        assert_string_equal(o.org, "universityx");
        assert_string_equal(o.site, "edx");
        assert_string_equal(o.date, "2023-12-31");
        assert_int_equal(listings_object(&package.spec, CATEGORY_RDX, bucket,
                                 "universityx/rdx/-x/universityx_C.1x_2023.tar.gz.gpg", &o),
                -EBADMSG);
        assert_int_equal(o.category, CATEGORY_RDX);
        assert_string_equal(o.bucket, bucket);
        assert_string_equal(o.key, "universityx/rdx/-x/universityx_C.1x_2023.tar.gz.gpg");
        assert_string_equal(o.org, "universityx");
        assert_string_equal(o.request, "");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_what_is_listed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_date_to_come_hides_nothing, setup, teardown),
                cmocka_unit_test_setup_teardown(test_ends_when_told, setup, teardown),
                cmocka_unit_test(test_what_a_key_says),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
