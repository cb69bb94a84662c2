/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <time.h>

#include "macro.h"
#include "timespan.h"

static void spans(void **state)
{
        (void)state;
        static const struct {
                const char *s;
                uint64_t usec;
        } good[] = {
                {"0", 0},
                {"15min", 900000000},
                {" 15 min ", 900000000},
                {"1h 30min", 5400000000},
                {"1h30min", 5400000000},
                {"1d 2h", UINT64_C(93600000000)},
                {"60", 60000000},
                {"2.5", 2500000},
                {".7", 700000},
                {"5s500ms", 5500000},
                {" 5.5s  0.5ms ", 5500500},
                {".22s", 220000},
                {".50y", UINT64_C(15778800000000)},
                {"23us", 23},
                {"23\xc2\xb5s", 23},
                {"23\xce\xbcs", 23},
                {"1M", UINT64_C(2629800000000)},
                {"1m", 60000000},
                {"2 weeks", UINT64_C(1209600000000)},
                {"3 hours 2 minutes 1 second", 10921000000},
                {"0.4us", 0},
                {"1.00000000000000000000000000000000001s", 1000000},
                {"18446744073709551614us", UINT64_MAX - 1},
                {"infinity", UINT64_MAX},
                {" infinity ", UINT64_MAX},
        };
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                uint64_t v = 4711;
                assert_int_equal(timespan_parse(good[i].s, &v), 0);
                assert_int_equal(v, good[i].usec);
        }
}

static void bad_spans(void **state)
{
        (void)state;
        static const char *const bad[] = {"", " ", "xyz", "-1", "- 5s", "5 xx", "15 MIN", "3.s", "3. 1s",
                "12..34", "12.34.56", "..1", ".", "1 2", "1 2s", "2s 1", "1,5h", "infinity 1s", "1s infinity",
                "infinitys", "INFINITY", "1e3", "0x10", "15minx", "\xff 1s", "1\xc2", "+3s"};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                uint64_t v = 4711;
                assert_int_equal(timespan_parse(bad[i], &v), -EINVAL);
                assert_int_equal(v, 4711);
        }
        static const char *const large[] = {"18446744073709551615us", "18446744073709551616us",
                "600000 years", "99999999999999999999999999", "18446744073709551614us 2us",
                "584542y 1y 1y 1000y"};
        for (size_t i = 0; i < ELEMENTSOF(large); i++) {
                uint64_t v = 4711;
                assert_int_equal(timespan_parse(large[i], &v), -ERANGE);
                assert_int_equal(v, 4711);
        }
        uint64_t v;
        assert_int_equal(timespan_parse("99999999999999999999999999 cows", &v), -EINVAL);
}

static void sizes(void **state)
{
        (void)state;
        static const struct {
                const char *s;
                uint64_t bytes;
        } good[] = {
                {"0", 0},
                {"512", 512},
                {"512B", 512},
                {"1K", 1024},
                {"1KB", 1024},
                {"1KiB", 1024},
                {" 10 G ", UINT64_C(10737418240)},
                {"1.5M", 1572864},
                {".5K", 512},
                {"500G", UINT64_C(536870912000)},
                {"2T", UINT64_C(2199023255552)},
                {"1P", UINT64_C(1125899906842624)},
                {"15E", UINT64_C(17293822569102704640)},
                {"18446744073709551615", UINT64_MAX},
                {"1.99999999999999999999999999K", 2047},
        };
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                uint64_t v = 4711;
                assert_int_equal(size_parse(good[i].s, &v), 0);
                assert_int_equal(v, good[i].bytes);
        }
        static const struct {
                const char *s;
                int r;
        } bad[] = {
                {"", -EINVAL},
                {"G", -EINVAL},
                {"10g", -EINVAL},
                {"10 G G", -EINVAL},
                {"1G 1M", -EINVAL},
                {"1.5", -EINVAL},
                {"1.5B", -EINVAL},
                {"1.", -EINVAL},
                {"-1", -EINVAL},
                {"10Gi", -EINVAL},
                {"10GG", -EINVAL},
                {"infinity", -EINVAL},
                {"16E", -ERANGE},
                {"18446744073709551616", -ERANGE},
                {"999999999999999999999999K", -ERANGE},
        };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                uint64_t v = 4711;
                assert_int_equal(size_parse(bad[i].s, &v), bad[i].r);
                assert_int_equal(v, 4711);
        }
}

static void spans_to_text(void **state)
{
        (void)state;
        char buf[32];
        static const struct {
                uint64_t usec;
                const char *s;
        } cases[] = {
                {0, "0s"},
                {1, "1us"},
                {999, "999us"},
                {1500, "1ms 500us"},
                {1000000, "1s"},
                {900 * USEC_PER_SEC, "15min"},
                {93600 * USEC_PER_SEC, "1d 2h"},
                {93600 * USEC_PER_SEC + 59 * USEC_PER_MINUTE, "1d 2h"},
                {USEC_PER_DAY + USEC_PER_MINUTE, "1d"},
                {UINT64_MAX, "infinity"},
                {UINT64_MAX - 1, "213503982d 8h"},
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_string_equal(timespan_format(cases[i].usec, buf, sizeof(buf)), cases[i].s);
        assert_string_equal(timespan_format(93600 * USEC_PER_SEC, buf, 4), "1d ");
}

static void sizes_to_text(void **state)
{
        (void)state;
        char buf[32];
        static const struct {
                uint64_t bytes;
                const char *s;
        } cases[] = {
                {0, "0 B"},
                {1023, "1023 B"},
                {1024, "1.0 KiB"},
                {1536, "1.5 KiB"},
                {1024 * 1024 - 1, "1023.9 KiB"},
                {12897484, "12.2 MiB"}, /* 12.29999: rounded down */
                {12897485, "12.3 MiB"},
                {UINT64_MAX, "15.9 EiB"},
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_string_equal(size_format(cases[i].bytes, buf, sizeof(buf)), cases[i].s);
}

static void dates(void **state)
{
        (void)state;
        static const struct {
                const char *s;
                int days;
        } good[] = {
                {"1970-01-01", 0},
                {"1969-12-31", -1},
                {"2000-02-29", 11016},
                {"2024-02-29", 19782},
                {"2024-07-07", 19911},
                {"2024-07-07.zip", 19911},
        };
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                int v = 4711;
                assert_int_equal(date_parse(good[i].s, &v), 0);
                assert_int_equal(v, good[i].days);
                bool whole = strlen(good[i].s) == 10;
                v = 4711;
                assert_int_equal(date_parse_whole(good[i].s, &v), whole ? 0 : -EINVAL);
                assert_int_equal(v, whole ? good[i].days : 4711);
        }
        static const char *const bad[] = {"", "2024", "2024-", "2024-07-", "2024-07-0", "2024-7-07",
                "2024-00-01", "2024-13-01", "2024-01-00", "2024-01-32", "2024-04-31", "2023-02-29",
                "1900-02-29", "2100-02-29", "2024/07/07", "0000-01-01", "20240707", " 2024-07-07",
                "2024-07- 7", "-024-07-07", "2024-07+07"};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                int v = 4711;
                assert_int_equal(date_parse(bad[i], &v), -EINVAL);
                assert_int_equal(date_parse_whole(bad[i], &v), -EINVAL);
                assert_int_equal(v, 4711);
        }
}

/* The C library's calendar is the oracle. */
static void check_day(int day)
{
        time_t t = (time_t)day * 86400;
        struct tm tm;
        char want[32], got[11], want_time[32], got_time[21];
        assert_non_null(gmtime_r(&t, &tm));
        strftime(want, sizeof(want), "%Y-%m-%d", &tm);
        int back = 0;
        assert_string_equal(date_format(day, got), want);
        assert_int_equal(date_parse(want, &back), 0);
        assert_int_equal(back, day);
        t += 12345;
        assert_non_null(gmtime_r(&t, &tm));
        strftime(want_time, sizeof(want_time), "%Y-%m-%dT%H:%M:%SZ", &tm);
        assert_string_equal(time_format(t, got_time), want_time);
        int64_t sec = 0;
        assert_int_equal(time_parse_rfc3339(want_time, &sec), 0);
        assert_int_equal(sec, t);
        strftime(want_time, sizeof(want_time), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        assert_int_equal(time_parse_http(want_time, &sec), 0);
        assert_int_equal(sec, t);
}

static void the_calendar_agrees_with_the_c_library(void **state)
{
        (void)state;
        for (int day = -400; day < 366 * 40; day++)
                check_day(day);
        for (int day = -354285 /* 1000-01-01 */; day < 2932897; day += 499)
                check_day(day);
        check_day(2932896);
}

static void times_out_of_reach_are_cut(void **state)
{
        (void)state;
        char t[21], d[11];
        assert_string_equal(time_format(INT64_MAX, t), "9999-12-31T23:59:59Z");
        assert_string_equal(time_format(INT64_MIN, t), "0001-01-01T00:00:00Z");
        assert_string_equal(time_format(-1, t), "1969-12-31T23:59:59Z");
        assert_string_equal(date_format(INT32_MAX, d), "9999-12-31");
        assert_string_equal(date_format(INT32_MIN, d), "0001-01-01");
}

static void rfc3339(void **state)
{
        (void)state;
        int64_t v = 0;
        assert_int_equal(time_parse_rfc3339("2024-07-07T01:02:03.000Z", &v), 0);
        assert_int_equal(v, 1720314123);
        assert_int_equal(time_parse_rfc3339("2024-07-07T01:02:03Z", &v), 0);
        assert_int_equal(v, 1720314123);
        assert_int_equal(time_parse_rfc3339("2016-12-31T23:59:60Z", &v), 0);
        assert_int_equal(v, 1483228800);
        static const char *const same[] = {"2024-07-07T01:02:03+00:00", "2024-07-07T01:02:03.5-00:00",
                "2024-07-07T03:02:03+02:00", "2024-07-06T19:32:03-05:30", "2024-07-07T01:02:03+0000",
                "2024-07-06T19:32:03.1-0530"};
        for (size_t i = 0; i < ELEMENTSOF(same); i++) {
                assert_int_equal(time_parse_rfc3339(same[i], &v), 0);
                assert_int_equal(v, 1720314123);
        }
        static const char *const bad[] = {"", "2024-07-07", "2024-07-07T", "2024-07-07T01:02:03",
                "2024-07-07 01:02:03Z", "2024-07-07T01:02:03.Z", "2024-07-07T01:02:03.1",
                "2024-07-07T01:02:03+24:00", "2024-07-07T01:02:03+00:60", "2024-07-07T01:02:03+00:0",
                "2024-07-07T01:02:03+000", "2024-07-07T01:02:03+00000", "2024-07-07T01:02:03+0060",
                "2024-07-07T01:02:03+00:00Z", "2024-07-07T01:02:03 00:00", "2024-07-07T24:00:00Z",
                "2024-07-07T01:60:00Z", "2024-07-07T01:02:60Z", "2024-07-07T01:02:61Z", "2024-07-07T1:02:03Z",
                "2024-07-07T01:02:03Zx", "2024-02-30T01:02:03Z", "2024-07-07t01:02:03z", "2024-07-07T01:02"};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                v = 4711;
                assert_int_equal(time_parse_rfc3339(bad[i], &v), -EINVAL);
                assert_int_equal(v, 4711);
        }
}

static void http_dates(void **state)
{
        (void)state;
        int64_t v = 0;
        assert_int_equal(time_parse_http("Sun, 06 Nov 1994 08:49:37 GMT", &v), 0); /* RFC 9110, 5.6.7 */
        assert_int_equal(v, 784111777);
        assert_int_equal(time_parse_http("Wed, 21 Oct 2015 07:28:00 GMT", &v), 0);
        assert_int_equal(v, 1445412480);
        static const char *const bad[] = {"", "Sun", "Sun,", "Sun, 06 Nov 1994 08:49:37",
                "Mon, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
                "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 UTC",
                "Sun, 06 Nov 1994 08:49:37 GMT ", "Sun, 06 Foo 1994 08:49:37 GMT",
                "Sun, 06 Nov 1994 25:49:37 GMT", "Sun, 31 Nov 1994 08:49:37 GMT",
                "xxx, 06 Nov 1994 08:49:37 GMT", "unM, 06 Nov 1994 08:49:37 GMT",
                "Sun, 06 anF 1994 08:49:37 GMT"};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                v = 4711;
                assert_int_equal(time_parse_http(bad[i], &v), -EINVAL);
                assert_int_equal(v, 4711);
        }
}

static void now_goes_on(void **state)
{
        (void)state;
        /* time(2) may be a tick behind */
        uint64_t before = (uint64_t)time(NULL), real = now_usec(CLOCK_REALTIME), after = (uint64_t)time(NULL);
        assert_uint_in_range(real / USEC_PER_SEC, before, after + 1);
        uint64_t a = now_usec(CLOCK_MONOTONIC), b = now_usec(CLOCK_MONOTONIC);
        assert_true(a > 0 && a <= b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(spans),
                cmocka_unit_test(bad_spans),
                cmocka_unit_test(sizes),
                cmocka_unit_test(spans_to_text),
                cmocka_unit_test(sizes_to_text),
                cmocka_unit_test(dates),
                cmocka_unit_test(the_calendar_agrees_with_the_c_library),
                cmocka_unit_test(times_out_of_reach_are_cut),
                cmocka_unit_test(rfc3339),
                cmocka_unit_test(http_dates),
                cmocka_unit_test(now_goes_on),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
