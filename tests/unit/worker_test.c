/* SPDX-License-Identifier: Apache-2.0 */
/* czard-decrypt over its channel, with real keys and messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "ledger.h"
#include "str.h"
#include "worker_driver.h"

static struct gpg_fixture fx;
static char *plain, *plain_gz;
static size_t plain_len, plain_gz_len;

static int make(void **state)
{
        (void)state;
        gpg_fixture_make(&fx);
        plain = gpg_read(&fx, "plain", &plain_len);
        plain_gz = gpg_read(&fx, "plain.gz", &plain_gz_len);
        gpg_run(&fx, "$G -r maker@x.org -r open@x.org -o two.gpg -e plain");
        return 0;
}

static int clean(void **state)
{
        (void)state;
        free(plain);
        free(plain_gz);
        gpg_fixture_remove(&fx);
        return 0;
}

static char *fingerprint(const char *home, char ret[65])
{
        char name[32];
        size_t n;
        snprintf(name, sizeof(name), "%s.fpr", home);
        char *p = gpg_read(&fx, name, &n);
        snprintf(ret, 65, "%.*s", (int)strcspn(p, "\n"), p);
        free(p);
        return ret;
}

/* The message must decrypt to plain, and a digest of our own must agree. */
static void expect_plain(struct driver *d, const char *name, uint32_t warnings, uint32_t checks)
{
        struct result r = {};
        uint8_t sha[SHA256_SIZE];
        driver_file(d, name, FORMAT_OPAQUE, &r);
        if (r.m.verdict.outcome.cause)
                print_error("%s: %s\n", name, r.m.verdict.outcome.detail);
        assert_int_equal(r.m.verdict.outcome.cause, CAUSE_NONE);
        assert_int_equal(r.out_len, plain_len);
        assert_memory_equal(r.out, plain, plain_len);
        assert_int_equal(r.m.verdict.plain_size, plain_len);
        assert_int_equal(digest_once(DIGEST_SHA256, plain, plain_len, sha), 0);
        assert_memory_equal(r.m.verdict.sha256, sha, sizeof(sha));
        assert_int_equal(r.m.verdict.warnings, warnings);
        assert_int_equal(r.m.verdict.checks, checks);
        result_done(&r);
}

static void expect_cause(struct driver *d, const char *name, enum proto_format format, enum cause cause)
{
        struct result r = {};
        driver_file(d, name, format, &r);
        if (r.m.verdict.outcome.cause != cause)
                print_error("%s: %s: %s\n", name, cause_name((enum cause)r.m.verdict.outcome.cause),
                        r.m.verdict.outcome.detail);
        assert_int_equal(r.m.verdict.outcome.cause, cause);
        assert_true(*r.m.verdict.outcome.detail);
        assert_int_equal(r.out_len, 0);
        result_done(&r);
}

static void start(struct driver *d, const char *source)
{
        driver_start(d, &fx, &(struct driver_options){.source = source, .signatures = SIGNATURES_OPTIONAL});
        if (d->ready.ready.outcome.cause)
                print_error("%s\n", d->ready.ready.outcome.detail);
        assert_int_equal(d->ready.ready.outcome.cause, CAUSE_NONE);
}

static void foreign_recipient_first(void **state)
{
        (void)state;
        struct driver d;
        struct result r = {};
        char fpr[65];
        start(&d, "open");
        assert_int_equal(d.ready.ready.n_keys, 1);
        assert_string_equal(d.ready.ready.keys[0].fingerprint, fingerprint("open", fpr));
        assert_int_equal(d.ready.ready.keys[0].expires, 0);
        expect_plain(&d, "two.gpg", 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        driver_file(&d, "two.gpg", FORMAT_OPAQUE, &r);
        assert_string_equal(r.m.verdict.fingerprint, fpr);
        assert_int_equal(strlen(r.m.verdict.recipients), 33);
        assert_string_equal(r.m.verdict.recipients + 17, d.ready.ready.keys[0].key_ids);
        result_done(&r);
        driver_stop(&d);
}

static void damage_is_told_apart(void **state)
{
        (void)state;
        struct driver d;
        size_t n;
        start(&d, "open");
        char *p = gpg_read(&fx, "two.gpg", &n);
        gpg_write(&fx, "cut.gpg", p, n / 2);
        gpg_write(&fx, "empty.gpg", p, 0);
        p[n - 3] ^= 1;
        gpg_write(&fx, "mdc.gpg", p, n);
        free(p);
        expect_cause(&d, "mdc.gpg", FORMAT_OPAQUE, CAUSE_BAD_MDC);
        expect_cause(&d, "cut.gpg", FORMAT_OPAQUE, CAUSE_BAD_PGP);
        expect_cause(&d, "empty.gpg", FORMAT_OPAQUE, CAUSE_BAD_PGP);
        expect_plain(&d, "two.gpg", 0, CHECK_INTEGRITY | CHECK_NO_SIGNATURE);
        driver_stop(&d);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(foreign_recipient_first),
                cmocka_unit_test(damage_is_told_apart),
        };
        return cmocka_run_group_tests(tests, make, clean);
}
