/* SPDX-License-Identifier: Apache-2.0 */
/* The whole table, cause by cause, against every number of tries and refusals, in a run and in a
 * daemon. What is expected is written here by hand, not taken from the causes' remedies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "outcome.h"

#define NOW_SEC INT64_C(1720000000)
#define NOW_USEC ((uint64_t)NOW_SEC * USEC_PER_SEC)
#define DAY_SEC 86400
#define TRIES_MOST 40 /* no row changes any more */

/* BACKOFF: exponential, from 30 s to an hour; with --once from 1 s to a minute. HOURLY: in both. */
enum when { NEVER, BACKOFF, BACKOFF_ASKED, HOURLY, DAYS };

/* What an object of that cause is to become. */
static const struct row {
        enum cause cause;
        enum object_state next;
        enum when when;
        unsigned also;
} rows[] = {
        /* timeouts, resets, 5xx, 429, SlowDown, an answer that is not S3's: Retry-After is honoured */
        {CAUSE_NETWORK, OBJECT_RETRY, BACKOFF_ASKED, 0},
        {CAUSE_TIMEOUT, OBJECT_RETRY, BACKOFF_ASKED, 0},
        {CAUSE_DNS, OBJECT_RETRY, BACKOFF_ASKED, 0},
        {CAUSE_TLS, OBJECT_RETRY, BACKOFF_ASKED, 0},
        {CAUSE_PROXY, OBJECT_RETRY, BACKOFF_ASKED, 0},
        {CAUSE_SERVER, OBJECT_RETRY, BACKOFF_ASKED, 0},
        {CAUSE_THROTTLED, OBJECT_RETRY, BACKOFF_ASKED, 0},
        {CAUSE_SKEW, OBJECT_RETRY, BACKOFF_ASKED, 0},
        {CAUSE_PROTOCOL, OBJECT_RETRY, BACKOFF_ASKED, 0},
        /* the bucket's fault, not the object's */
        {CAUSE_CREDENTIALS, OBJECT_NEW, NEVER, OUTCOME_BLOCK_BUCKET},
        {CAUSE_NO_CREDENTIALS, OBJECT_NEW, NEVER, OUTCOME_BLOCK_BUCKET | OUTCOME_RENEW},
        {CAUSE_DENIED, OBJECT_RETRY, HOURLY, 0},
        {CAUSE_ARCHIVED, OBJECT_RETRY, HOURLY, 0},
        {CAUSE_SERVER_KEY, OBJECT_RETRY, HOURLY, 0},
        {CAUSE_NO_BUCKET, OBJECT_RETRY, HOURLY, 0},
        /* the listing says what there is now */
        {CAUSE_GONE, OBJECT_RETRY, BACKOFF, OUTCOME_RELIST},
        {CAUSE_REPLACED, OBJECT_RETRY, BACKOFF, OUTCOME_RELIST},
        {CAUSE_LOST, OBJECT_RETRY, BACKOFF_ASKED, 0},
        /* a repair at the server may cure it */
        {CAUSE_TRUNCATED, OBJECT_REJECTED, DAYS, 0},
        {CAUSE_SIZE, OBJECT_REJECTED, DAYS, 0},
        {CAUSE_ETAG, OBJECT_REJECTED, DAYS, 0},
        {CAUSE_CHECKSUM, OBJECT_REJECTED, DAYS, 0},
        /* the key */
        {CAUSE_NO_KEY, OBJECT_RETRY, HOURLY, 0},
        {CAUSE_PASSPHRASE, OBJECT_RETRY, HOURLY, OUTCOME_PAUSE_KEY},
        /* other bytes are needed */
        {CAUSE_NOT_FOR_US, OBJECT_REJECTED, NEVER, 0},
        {CAUSE_NO_MDC, OBJECT_REJECTED, NEVER, 0},
        {CAUSE_BAD_MDC, OBJECT_REJECTED, NEVER, 0},
        {CAUSE_BAD_PGP, OBJECT_REJECTED, NEVER, 0},
        {CAUSE_SIGNATURE, OBJECT_REJECTED, NEVER, 0},
        {CAUSE_BAD_GZIP, OBJECT_REJECTED, NEVER, 0},
        {CAUSE_BAD_ZIP, OBJECT_REJECTED, NEVER, 0},
        {CAUSE_ZIP_FORM, OBJECT_REJECTED, NEVER, 0},
        {CAUSE_UNSAFE_NAME, OBJECT_REJECTED, NEVER, 0},
        {CAUSE_LIMIT, OBJECT_REJECTED, NEVER, 0},
        /* this machine */
        {CAUSE_SPACE, OBJECT_NEW, NEVER, OUTCOME_PAUSE_SPACE},
        {CAUSE_STAGING, OBJECT_NEW, NEVER, OUTCOME_PAUSE_STAGING},
        {CAUSE_IO, OBJECT_RETRY, BACKOFF_ASKED, 0},
        {CAUSE_HELPER, OBJECT_RETRY, BACKOFF_ASKED, 0},
        {CAUSE_INTERNAL, OBJECT_RETRY, BACKOFF_ASKED, 0},
        {CAUSE_CONFIG, OBJECT_RETRY, BACKOFF_ASKED, 0},
        {CAUSE_LOCKED, OBJECT_RETRY, BACKOFF_ASKED, 0},
        {CAUSE_UNSAFE_MODE, OBJECT_RETRY, BACKOFF_ASKED, 0},
        {CAUSE_REFERENCE, OBJECT_RETRY, BACKOFF_ASKED, 0},
        {CAUSE_CANCELLED, OBJECT_NEW, NEVER, 0},
};

static const struct row *row_of(enum cause cause)
{
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (rows[i].cause == cause)
                        return &rows[i];
        return NULL;
}

/* The greatest delay after so many failed tries, this one included. */
static uint64_t top_of(unsigned tries, bool once)
{
        uint64_t top = once ? USEC_PER_SEC : 30 * USEC_PER_SEC, cap = once ? USEC_PER_MINUTE : USEC_PER_HOUR;
        while (--tries > 0 && top < cap)
                top *= 2;
        return MIN(top, cap);
}

static void check_delay(const struct outcome_decision *o, uint64_t least, uint64_t most)
{
        assert_true(o->delay_usec >= least && o->delay_usec <= most);
        int64_t sec = (int64_t)((o->delay_usec + USEC_PER_SEC - 1) / USEC_PER_SEC);
        assert_int_equal(o->at, NOW_SEC + sec); /* never before the delay has passed */
}

/* Days that a refused object rests: after the fifth refusal one, then twice as many each time, up to 32. */
static int64_t days_after(unsigned refusals)
{
        static const int64_t days[] = {1, 2, 4, 8, 16, 32};
        return refusals - 5 < ELEMENTSOF(days) ? days[refusals - 5] : 0;
}

static void check_refused(const struct outcome_case *c, const struct outcome_decision *o)
{
        unsigned refusals = c->refusals + 1;
        assert_int_equal(o->refusals, refusals);
        if (refusals < 5) {
                assert_int_equal(o->next, OBJECT_RETRY);
                uint64_t top = top_of(c->tries + 1, c->once);
                check_delay(o, c->random ? top : c->retry_after_usec, MAX(top, c->retry_after_usec));
                return;
        }
        assert_int_equal(o->next, OBJECT_REJECTED);
        int64_t days = days_after(refusals);
        assert_int_equal(o->at, days ? NOW_SEC + days * DAY_SEC : 0);
        assert_int_equal(o->delay_usec, (uint64_t)days * USEC_PER_DAY);
}

static void check_case(const struct row *row, const struct outcome_case *c)
{
        struct outcome_decision o = outcome_of(c);
        unsigned also = row->also;
        uint64_t top = top_of(c->tries + 1, c->once),
                 asked = row->when == BACKOFF_ASKED ? c->retry_after_usec : 0;
        if (c->cause == CAUSE_NO_KEY && c->keys + 1 >= 3)
                also |= OUTCOME_PAUSE_KEY;
        assert_int_equal(o.also, also);
        assert_int_equal(o.forget, c->cause == CAUSE_CANCELLED);
        assert_int_equal(o.tries, c->tries + (o.next != OBJECT_NEW));
        if (row->when == DAYS) {
                check_refused(c, &o);
                return;
        }
        assert_int_equal(o.refusals, c->refusals);
        assert_int_equal(o.next, row->next);
        switch (row->when) {
        case NEVER:
                assert_int_equal(o.at, 0);
                break;
        case BACKOFF:
        case BACKOFF_ASKED:
                check_delay(&o, c->random ? MAX(top, asked) : asked, MAX(top, asked));
                break;
        case HOURLY:
                check_delay(&o, USEC_PER_HOUR, USEC_PER_HOUR);
                break;
        case DAYS:
                break;
        }
}

static void check_tries(const struct row *row, unsigned tries, unsigned refusals)
{
        for (unsigned n = 0; n < 2 * 2 * 2 * 4; n++) {
                const struct outcome_case c = {
                        .cause = row->cause,
                        .tries = tries,
                        .refusals = refusals,
                        .once = n % 2,
                        .retry_after_usec = n / 2 % 2 ? 7 * USEC_PER_MINUTE : 0,
                        .random = n / 4 % 2 ? UINT64_MAX : 0,
                        .keys = n / 8,
                        .now_usec = NOW_USEC,
                };
                check_case(row, &c);
        }
}

static void test_every_cause(void **state)
{
        (void)state;
        for (enum cause cause = CAUSE_NONE + 1; cause < CAUSE_MAX; cause++) {
                const struct row *row = row_of(cause);
                if (!row)
                        fail_msg("no row for %s", cause_name(cause));
                for (unsigned tries = 0; tries < TRIES_MOST; tries++)
                        for (unsigned refusals = 0; refusals < TRIES_MOST; refusals++)
                                check_tries(row, tries, refusals);
        }
}

/* The life of an object whose bytes never become right: five tries, then six more. */
static void test_refused_again_and_again(void **state)
{
        (void)state;
        struct outcome_decision o = {};
        uint64_t now = NOW_USEC;
        unsigned retries = 0, rejections = 0;
        do {
                const struct outcome_case c = {.cause = CAUSE_ETAG,
                        .tries = o.next == OBJECT_REJECTED ? 0 : o.tries,
                        .refusals = o.refusals,
                        .now_usec = now,
                        .random = UINT64_MAX};
                o = outcome_of(&c);
                retries += o.next == OBJECT_RETRY;
                rejections += o.next == OBJECT_REJECTED;
                now += o.delay_usec;
        } while (o.at != 0);
        assert_int_equal(retries, 4);
        assert_int_equal(rejections, 7);
        assert_true(now - NOW_USEC >= (1 + 2 + 4 + 8 + 16 + 32) * USEC_PER_DAY);
}

/* Failures of the network do not use up the tries of a digest that is wrong. */
static void test_other_failures_are_no_refusals(void **state)
{
        (void)state;
        struct outcome_decision o = {};
        for (unsigned i = 0; i < 20; i++)
                o = outcome_of(&(struct outcome_case){.cause = CAUSE_NETWORK,
                        .tries = o.tries,
                        .refusals = o.refusals,
                        .now_usec = NOW_USEC});
        o = outcome_of(&(struct outcome_case){
                .cause = CAUSE_ETAG, .tries = o.tries, .refusals = o.refusals, .now_usec = NOW_USEC});
        assert_int_equal(o.next, OBJECT_RETRY);
        assert_int_equal(o.tries, 21);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_every_cause),
                cmocka_unit_test(test_refused_again_and_again),
                cmocka_unit_test(test_other_failures_are_no_refusals),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
