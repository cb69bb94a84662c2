/* SPDX-License-Identifier: Apache-2.0 */
/* Weekly snapshots over the channels of czard-index and czard-decrypt: directory and members of archives made
 * by Info-ZIP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "str.h"
#include "terms.h"
#include "worker_driver.h"

static struct gpg_fixture fx;
static char *plain;
static size_t plain_len;
static struct driver d, ix; /* czard-decrypt, czard-index */
static struct listing l;

#define FOLDER "org-2024-07-07/"
#define MEMBER(x) FOLDER "Org-c" x "-run-auth_user-prod-analytics.sql.gpg"

static int make(void **state)
{
        (void)state;
        gpg_fixture_make(&fx);
        plain = gpg_read(&fx, "plain", &plain_len);
        gpg_run(&fx,
                "$G -r maker@x.org -r open@x.org -o m.gpg -e plain; mkdir -p %sora; for i in 0 1 2 3 4 5 6 "
                "7; do "
                "cp m.gpg %sOrg-c$i-run-auth_user-prod-analytics.sql.gpg; done; cp plain %sreadme.txt; "
                "cp m.gpg %sora/x.failed.gpg; zip -q -r snap.zip %s; zip -q -r - %s < /dev/null | cat > "
                "stream.zip; "
                "zip -q -fz -r zip64.zip %s; printf 'a comment' | zip -q -z snap.zip >/dev/null",
                FOLDER, FOLDER, FOLDER, FOLDER, "org-2024-07-07", "org-2024-07-07", "org-2024-07-07");
        driver_start(&d, &fx, &(struct driver_options){.source = "open", .signatures = SIGNATURES_OPTIONAL});
        assert_int_equal(d.ready.ready.outcome.cause, CAUSE_NONE);
        driver_start_index(&ix, &fx, 1000);
        return 0;
}

static int clean(void **state)
{
        (void)state;
        driver_stop(&d);
        driver_stop(&ix);
        free(plain);
        gpg_fixture_remove(&fx);
        return 0;
}

static bool is_folder(const struct archive_entry *e)
{
        return str_ends(e->name, "/");
}

/* Each verdict is good, but for the member named except, which has that cause. */
static void check_all(const char *zip, const char *except, enum cause cause)
{
        struct result r[PROTO_RUN_MAX];
        driver_members(&d, zip, l.e, l.n, r);
        for (size_t i = 0; i < l.n; i++) {
                const struct proto_verdict *v = &r[i].m.verdict;
                bool spoiled = except && streq(l.e[i].name, except);
                if (v->outcome.cause != (spoiled ? cause : CAUSE_NONE))
                        print_error("%s: %s: %s\n", zip, l.e[i].name, v->outcome.detail);
                assert_int_equal(v->outcome.cause, spoiled ? cause : CAUSE_NONE);
                if (spoiled) {
                        assert_int_equal(r[i].out_len, 0);
                } else if (is_folder(&l.e[i])) {
                        assert_int_equal(v->plain_size, 0);
                } else {
                        assert_int_equal(r[i].out_len, plain_len);
                        assert_memory_equal(r[i].out, plain, plain_len);
                        bool gpg = str_ends(l.e[i].name, ".gpg");
                        uint64_t rows = 0;
                        for (size_t j = 0; j < plain_len; j++)
                                rows += plain[j] == '\n';
                        bool is_table = str_ends(l.e[i].name, gpg ? ".sql.gpg" : ".sql");
                        assert_int_equal(v->rows, is_table ? rows : 0);
                        assert_int_equal(v->warnings, gpg ? 0 : WARN_NOT_ENCRYPTED);
                        assert_int_equal(
                                v->checks, CHECK_ZIP | (gpg ? CHECK_INTEGRITY | CHECK_NO_SIGNATURE : 0));
                }
                result_done(&r[i]);
        }
}

static void whole_archives(void **state)
{
        (void)state;
        static const char *const zips[] = {"snap.zip", "stream.zip", "zip64.zip"};
        for (size_t i = 0; i < ELEMENTSOF(zips); i++) {
                assert_int_equal(driver_directory(&ix, zips[i], 0, &l), CAUSE_NONE);
                assert_int_equal(l.n, 12); /* 2 folders, 8 tables, 1 failed, 1 text */
                for (size_t j = 1; j < l.n; j++)
                        assert_int_equal(
                                l.e[j].place.offset, l.e[j - 1].place.offset + l.e[j - 1].place.extent);
                assert_int_equal(listing_find(&l, FOLDER "readme.txt")->size, plain_len);
                check_all(zips[i], NULL, CAUSE_NONE);
                listing_done(&l);
        }
}

static void window_that_is_too_small(void **state)
{
        (void)state;
        size_t n;
        free(gpg_read(&fx, "snap.zip", &n));
        assert_int_equal(driver_directory(&ix, "snap.zip", n - 60, &l), CAUSE_NONE);
        uint64_t start = l.need_start;
        assert_true(start > 0 && start < n - 60);
        assert_int_equal(l.n, 0);
        listing_done(&l);
        assert_int_equal(driver_directory(&ix, "snap.zip", start, &l), CAUSE_NONE);
        assert_int_equal(l.need_start, 0);
        assert_int_equal(l.n, 12);
        /* it was no more than needed: the last member ends where the window begins */
        assert_int_equal(l.e[11].place.offset + l.e[11].place.extent, start);
        listing_done(&l);
}

static void some_members_from_one_stream(void **state)
{
        (void)state;
        assert_int_equal(driver_directory(&ix, "snap.zip", 0, &l), CAUSE_NONE);
        struct archive_entry some[2] = {*listing_find(&l, MEMBER("1")), *listing_find(&l, MEMBER("6"))};
        if (some[0].place.offset > some[1].place.offset) {
                struct archive_entry swap = some[0];
                some[0] = some[1];
                some[1] = swap;
        }
        struct result r[2];
        driver_members(&d, "snap.zip", some, 2, r);
        for (size_t i = 0; i < 2; i++) {
                assert_int_equal(r[i].m.verdict.outcome.cause, CAUSE_NONE);
                assert_int_equal(r[i].out_len, plain_len);
                result_done(&r[i]);
        }
        listing_done(&l);
}

/* Bytes at an offset from a member's local header are changed. */
static void spoil(const char *zip, const char *to, const char *member, uint64_t at, char value, size_t count)
{
        size_t n;
        assert_int_equal(driver_directory(&ix, zip, 0, &l), CAUSE_NONE);
        uint64_t offset = listing_find(&l, member)->place.offset + at;
        char *p = gpg_read(&fx, zip, &n);
        for (size_t i = 0; i < count; i++)
                p[offset + i] ^= value;
        gpg_write(&fx, to, p, n);
        free(p);
}

static void damage_stays_within_its_member(void **state)
{
        (void)state;
        static const struct {
                uint64_t at;
                size_t count;
        } places[] = {
                {0, 1},     /* signature of the local header */
                {8, 1},     /* its method */
                {14, 4},    /* its CRC-32 */
                {18, 1},    /* its packed size */
                {22, 2},    /* its size */
                {26, 1},    /* length of its name */
                {28, 2},    /* length of its extra field */
                {35, 1},    /* its name */
                {2000, 10}, /* the data */
        };
        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                spoil("snap.zip", "bad.zip", MEMBER("3"), places[i].at, 1, places[i].count);
                check_all("bad.zip", MEMBER("3"), CAUSE_BAD_ZIP);
                listing_done(&l);
        }
        spoil("snap.zip", "bad.zip", FOLDER "readme.txt", 5000, 1, 1);
        check_all("bad.zip", FOLDER "readme.txt", CAUSE_BAD_ZIP);
        listing_done(&l);
}

static void bad_message_in_a_good_zip(void **state)
{
        (void)state;
        size_t n;
        char *p = gpg_read(&fx, "m.gpg", &n);
        p[n - 3] ^= 1;
        gpg_write(&fx, MEMBER("5"), p, n);
        free(p);
        gpg_run(&fx, "zip -q -r message.zip org-2024-07-07; cp m.gpg '%s'", MEMBER("5"));
        assert_int_equal(driver_directory(&ix, "message.zip", 0, &l), CAUSE_NONE);
        check_all("message.zip", MEMBER("5"), CAUSE_BAD_MDC);
        listing_done(&l);
}

static void stream_that_ends_early(void **state)
{
        (void)state;
        assert_int_equal(driver_directory(&ix, "snap.zip", 0, &l), CAUSE_NONE);
        size_t n, half = l.n / 2;
        char *p = gpg_read(&fx, "snap.zip", &n);
        gpg_write(&fx, "short.zip", p, l.e[half].place.offset + l.e[half].place.extent / 2);
        free(p);
        struct result r[PROTO_RUN_MAX];
        driver_members(&d, "short.zip", l.e, l.n, r);
        for (size_t i = 0; i < l.n; i++) {
                assert_int_equal(r[i].m.verdict.outcome.cause, i < half ? CAUSE_NONE : CAUSE_TRUNCATED);
                result_done(&r[i]);
        }
        listing_done(&l);
}

static void limits(void **state)
{
        (void)state;
        struct driver narrow;
        gpg_run(&fx,
                "mkdir long; cp m.gpg long/%s.gpg; head -c 300000 /dev/zero > long/zeroes; zip -q -r "
                "long.zip long",
                "a_name_of_more_than_twenty_bytes");
        driver_start(&narrow, &fx,
                &(struct driver_options){.source = "open", .max_name = 20, .max_plaintext = 200000});
        ix.max_members = 5;
        assert_int_equal(driver_directory(&ix, "snap.zip", 0, &l), CAUSE_LIMIT);
        listing_done(&l);
        ix.max_members = 1000;
        assert_int_equal(driver_directory(&ix, "long.zip", 0, &l), CAUSE_NONE);
        struct result r[PROTO_RUN_MAX];
        driver_members(&narrow, "long.zip", l.e, l.n, r);
        for (size_t i = 0; i < l.n; i++) {
                assert_int_equal(r[i].m.verdict.outcome.cause, is_folder(&l.e[i]) ? CAUSE_NONE : CAUSE_LIMIT);
                assert_int_equal(r[i].out_len, 0);
                result_done(&r[i]);
        }
        listing_done(&l);
        driver_stop(&narrow);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(whole_archives),
                cmocka_unit_test(window_that_is_too_small),
                cmocka_unit_test(some_members_from_one_stream),
                cmocka_unit_test(damage_stays_within_its_member),
                cmocka_unit_test(bad_message_in_a_good_zip),
                cmocka_unit_test(stream_that_ends_early),
                cmocka_unit_test(limits),
        };
        alarm(1000); /* a worker that hangs fails the test */
        return cmocka_run_group_tests(tests, make, clean);
}
