/* SPDX-License-Identifier: Apache-2.0 */
/* The small parts of czard-fetch that decide: where a request goes, whether it is tried again, at what rate
 * bytes come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "access.h"
#include "answer.h"
#include "http.h"

static void places(void **state)
{
        (void)state;
        char endpoint[] = "http://127.0.0.1:8080", secure[] = "https://s3.example.org";
        static const struct {
                bool is_virtual;
                int endpoint;
                const char *region, *bucket, *key, *scheme, *host, *path;
        } cases[] = {
                {true, 0, "us-east-1", "course-data", "a/b", "https",
                        "course-data.s3.us-east-1.amazonaws.com", "/a/b"},
                {true, 0, "us-east-1", "course-data", NULL, "https", "course-data.s3.us-east-1.amazonaws.com",
                        "/"},
                {true, 0, "eu-west-1", "course.data", "k", "https", "s3.eu-west-1.amazonaws.com",
                        "/course.data/k"},
                {false, 0, "eu-west-1", "b", "k", "https", "s3.eu-west-1.amazonaws.com", "/b/k"},
                {true, 0, "cn-north-1", "b", "k", "https", "b.s3.cn-north-1.amazonaws.com.cn", "/k"},
                {false, 1, "us-east-1", "b", "k//x", "http", "127.0.0.1:8080", "/b/k//x"},
                {false, 2, "eu-west-1", "b", "/k", "https", "s3.example.org", "/b//k"},
                {true, 2, "us-east-1", "b", NULL, "https", "b.s3.example.org", "/"},
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const struct config_s3 c = {
                        .endpoint = cases[i].endpoint == 0   ? NULL
                                    : cases[i].endpoint == 1 ? endpoint
                                                             : secure,
                        .addressing = cases[i].is_virtual ? ADDRESSING_VIRTUAL : ADDRESSING_PATH,
                };
                _cleanup_s3_host_ struct s3_host p;
                assert_int_equal(s3_host_find(&c, cases[i].region, cases[i].bucket, cases[i].key, &p), 0);
                assert_string_equal(p.scheme, cases[i].scheme);
                assert_string_equal(p.host.s, cases[i].host);
                assert_string_equal(p.path.s, cases[i].path);
                assert_int_equal(s3_host_is_tls(&c), cases[i].endpoint != 1);
        }
}

/* How many tries in a row are made, each failing with that cause. */
static unsigned tries(enum cause cause, bool begun, uint64_t retry_after)
{
        struct heal h = {};
        uint64_t delay = 0;
        unsigned n = 0;
        while (n < 100 && heal_next(&h, cause, begun, 0, retry_after, &delay) == 0) {
                assert_true(delay <= MAX(5 * USEC_PER_SEC, retry_after));
                assert_true(delay >= retry_after);
                n++;
        }
        return n;
}

static void ports(void **state)
{
        static const struct {
                const char *endpoint, *proxy;
                uint16_t port;
        } cases[] = {
                {NULL, NULL, 443},
                {NULL, "", 443},
                {"https://s3", NULL, 443},
                {"http://s3", NULL, 80},
                {"http://s3:9000", NULL, 9000},
                {"https://[::1]", NULL, 443},
                {"https://[fe80::80]:8443", NULL, 8443},
                {"http://s3:9000", "http://proxy:3128", 3128},
                {NULL, "http://proxy:3128/", 3128},
                {NULL, "http://proxy", 1080},
                {NULL, "https://proxy", 443},
                {NULL, "proxy:3128", 3128},
                {NULL, "http://user:80secret@proxy", 1080},
                {NULL, "https://user:80@proxy", 443},
                {NULL, "http://user:p@80:90@[::1]:3128", 3128},
                {NULL, "http://user:secret@proxy:99999", 1080},
        };
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const struct config_s3 c = {.endpoint = (char *)(uintptr_t)cases[i].endpoint};
                assert_int_equal(s3_host_port(&c, cases[i].proxy), cases[i].port);
        }
}

static void what_is_tried_again(void **state)
{
        (void)state;
        assert_int_equal(tries(CAUSE_NETWORK, true, 0), 5);
        assert_int_equal(tries(CAUSE_NETWORK, false, 0), 1);
        assert_int_equal(tries(CAUSE_TIMEOUT, true, 0), 5);
        assert_int_equal(tries(CAUSE_SERVER, true, 0), 5);
        assert_int_equal(tries(CAUSE_THROTTLED, true, 2 * USEC_PER_SEC), 5);
        assert_int_equal(tries(CAUSE_THROTTLED, true, 31 * USEC_PER_SEC), 0);
        assert_int_equal(tries(CAUSE_TLS, true, 0), 5);
        assert_int_equal(tries(CAUSE_TLS, false, 0), 0);
        static const enum cause never[] = {CAUSE_CREDENTIALS, CAUSE_NO_BUCKET, CAUSE_DENIED, CAUSE_GONE,
                CAUSE_REPLACED, CAUSE_PROTOCOL, CAUSE_SIZE, CAUSE_ETAG, CAUSE_SKEW, CAUSE_HELPER,
                CAUSE_CANCELLED};
        for (size_t i = 0; i < ELEMENTSOF(never); i++)
                assert_int_equal(tries(never[i], true, 0), 0);
}

static void progress_counts_again_from_nothing(void **state)
{
        (void)state;
        struct heal h = {};
        uint64_t delay;
        for (uint64_t i = 1; i <= 100; i++)
                assert_int_equal(heal_next(&h, CAUSE_NETWORK, i * MIB, MIB, 0, &delay), 0);
        for (int i = 0; i < 4; i++)
                assert_int_equal(heal_next(&h, CAUSE_NETWORK, 100 * MIB, 0, 0, &delay), 0);
        assert_int_equal(heal_next(&h, CAUSE_NETWORK, 100 * MIB, 0, 0, &delay), -1);
}

static void a_few_bytes_at_a_time_end(void **state)
{
        (void)state;
        struct heal h = {};
        uint64_t delay, came = 0;
        unsigned n = 0;
        while (n < 1000 && heal_next(&h, CAUSE_NETWORK, came += 5, 5, 0, &delay) == 0)
                n++;
        assert_uint_in_range(n, 10, 100);
}

/* Bytes that pass in 10 simulated seconds, in chunks, asked for every step milliseconds. */
static uint64_t pass(uint64_t limit, size_t chunk, uint64_t step)
{
        struct rate_limit r;
        uint64_t bytes = 0;
        rate_init(&r, limit, 5000);
        for (uint64_t now = 5000; now <= 15000; now += step)
                for (unsigned n = 0; n < 1000 && rate_has_room(&r, now); n++) {
                        rate_take(&r, chunk);
                        bytes += chunk;
                }
        return bytes;
}

static void the_rate(void **state)
{
        (void)state;
        assert_uint_in_range(pass(1000000, 16384, 50), 9800000, 10300000);
        assert_uint_in_range(pass(1000000, 16384, 7), 9800000, 10300000);
        assert_uint_in_range(pass(999, 100, 1), 9700, 10300);
        assert_uint_in_range(pass(1, 1, 1), 9, 12);
        /* no limit, also for what no line reaches */
        assert_int_equal(pass(0, 10, 1000), 11 * 1000 * 10);
        assert_int_equal(pass(UINT64_MAX, 10, 1000), 11 * 1000 * 10);
        /* an idle hour is not saved up */
        struct rate_limit r;
        rate_init(&r, 1000000, 0);
        uint64_t bytes = 0;
        while (rate_has_room(&r, 3600000)) {
                rate_take(&r, 1000);
                bytes += 1000;
        }
        assert_uint_in_range(bytes, 1, 300000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(places),
                cmocka_unit_test(ports),
                cmocka_unit_test(what_is_tried_again),
                cmocka_unit_test(progress_counts_again_from_nothing),
                cmocka_unit_test(a_few_bytes_at_a_time_end),
                cmocka_unit_test(the_rate),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
