/* SPDX-License-Identifier: Apache-2.0 */
/* ETags and checksums. Expected values were made with md5sum, python3 hashlib and the check values of the
 * CRC catalogue ("123456789"). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "macro.h"
#include "terms.h"
#include "verify.h"

#define MD5_ABC "\"900150983cd24fb0d6963f7d28e17f72\""      /* RFC 1321 */
#define PARTS_OF_3 "\"d322b115ece92a45e0909788b142235c-3\"" /* of abcdefg */
#define ONE_PART "\"a0103fc872cf964bf91ad5f2198ab494-1\""   /* of abcdefg */
#define ZEROS_8 "\"5452e5568d20a60209babc69a7b95911-3\""    /* 20 MiB of zeros in parts of 8 MiB */
#define ZEROS_10 "\"ebf97f8d4c26bb3f5f085ef95a90d3aa-2\""   /* ... of 10 MiB */

static const struct verify_headers none;

/* Feeds n bytes in pieces of step; returns the cause. */
static enum cause check(const char *etag, uint64_t part_size, const struct verify_headers *h, const char *p,
        size_t n, size_t step, uint32_t *ret_checks)
{
        struct verify *v;
        struct error e = {};
        *ret_checks = 0;
        assert_int_equal(verify_new(etag, n, part_size, &v), 0);
        assert_int_equal(verify_begin(v, h), 0);
        for (size_t i = 0; i < n; i += step)
                verify_update(v, p + i, MIN(step, n - i));
        int r = verify_finish(v, ret_checks, &e);
        assert_int_equal(r, e.cause == CAUSE_NONE ? 0 : -EBADMSG);
        verify_free(v);
        return e.cause;
}

static void etag_of_one_part(void **state)
{
        (void)state;
        uint32_t c;
        assert_int_equal(check(MD5_ABC, 0, &none, "abc", 3, 1, &c), CAUSE_NONE);
        assert_int_equal(c, CHECK_ETAG | CHECK_NO_CHECKSUM);
        assert_int_equal(check(MD5_ABC, 0, &none, "abd", 3, 2, &c), CAUSE_ETAG);
        assert_int_equal(c, 0);
        assert_int_equal(check("\"d41d8cd98f00b204e9800998ecf8427e\"", 0, &none, "", 0, 1, &c), CAUSE_NONE);
        assert_int_equal(c, CHECK_ETAG | CHECK_NO_CHECKSUM);
        assert_int_equal(check("\"some-opaque-tag\"", 0, &none, "abc", 3, 2, &c), CAUSE_NONE);
        assert_int_equal(c, CHECK_NO_ETAG | CHECK_NO_CHECKSUM);
}

static void etag_of_parts(void **state)
{
        (void)state;
        uint32_t c;
        for (size_t step = 1; step <= 7; step++) {
                assert_int_equal(check(PARTS_OF_3, 3, &none, "abcdefg", 7, step, &c), CAUSE_NONE);
                assert_int_equal(c, CHECK_ETAG | CHECK_NO_CHECKSUM);
                assert_int_equal(check(PARTS_OF_3, 3, &none, "abcdefh", 7, step, &c), CAUSE_ETAG);
                assert_int_equal(check(ONE_PART, 0, &none, "abcdefg", 7, step, &c), CAUSE_NONE);
                assert_int_equal(c, CHECK_ETAG | CHECK_NO_CHECKSUM);
                assert_int_equal(check(ONE_PART, 0, &none, "abcdefh", 7, step, &c), CAUSE_ETAG);
        }
        /* a part size that does not make three parts is none; nothing in use does either */
        assert_int_equal(check(PARTS_OF_3, 7, &none, "abcdefg", 7, 2, &c), CAUSE_NONE);
        assert_int_equal(c, CHECK_NO_ETAG | CHECK_NO_CHECKSUM);
        assert_int_equal(check(PARTS_OF_3, 0, &none, "abcdefg", 7, 2, &c), CAUSE_NONE);
        assert_int_equal(c, CHECK_NO_ETAG | CHECK_NO_CHECKSUM);
}

static void part_sizes_in_use_are_found(void **state)
{
        (void)state;
        uint32_t c;
        size_t n = 20 * MIB;
        char *zeros = calloc(1, n);
        assert_int_equal(check(ZEROS_8, 0, &none, zeros, n, 65536, &c), CAUSE_NONE);
        assert_int_equal(c, CHECK_ETAG | CHECK_NO_CHECKSUM);
        assert_int_equal(check(ZEROS_10, 0, &none, zeros, n, 65537, &c), CAUSE_NONE);
        assert_int_equal(c, CHECK_ETAG | CHECK_NO_CHECKSUM);
        /* a wrong guess is no mismatch, a wrong body under a known size is */
        zeros[9 * MIB] = 1;
        assert_int_equal(check(ZEROS_8, 0, &none, zeros, n, 65536, &c), CAUSE_NONE);
        assert_int_equal(c, CHECK_NO_ETAG | CHECK_NO_CHECKSUM);
        assert_int_equal(check(ZEROS_8, 8 * MIB, &none, zeros, n, 65536, &c), CAUSE_ETAG);
        free(zeros);

        uint64_t sizes[3];
        assert_int_equal(verify_part_sizes(200 * MIB, 25, sizes, 3), 1);
        assert_int_equal(sizes[0], 8 * MIB);
        assert_int_equal(verify_part_sizes(12 * MIB, 2, sizes, 3), 3);
        assert_int_equal(sizes[0], 8 * MIB);
        assert_int_equal(verify_part_sizes(12 * MIB, 500, sizes, 3), 0);
        assert_int_equal(verify_part_sizes(INT64_MAX, 10000, sizes, 3), 0);
        assert_int_equal(verify_part_sizes(0, 2, sizes, 3), 0);
}

static void encrypted_by_kms(void **state)
{
        (void)state;
        uint32_t c;
        const struct verify_headers kms = {.encryption = "aws:kms"}, dsse = {.encryption = "aws:kms:dsse"},
                                    customer = {.customer_key = "AES256"}, s3 = {.encryption = "AES256"};
        assert_int_equal(check(MD5_ABC, 0, &kms, "abd", 3, 3, &c), CAUSE_NONE);
        assert_int_equal(c, CHECK_NO_ETAG | CHECK_NO_CHECKSUM);
        assert_int_equal(check(MD5_ABC, 0, &dsse, "abd", 3, 3, &c), CAUSE_NONE);
        assert_int_equal(check(MD5_ABC, 0, &customer, "abd", 3, 3, &c), CAUSE_NONE);
        assert_int_equal(check(MD5_ABC, 0, &s3, "abd", 3, 3, &c), CAUSE_ETAG);
}

static void checksums(void **state)
{
        (void)state;
        static const struct {
                const char *text;
                struct verify_headers h;
        } good[] = {
                {"123456789", {.checksum = {"y/Q5Jg=="}}},
                {"123456789", {.checksum = {NULL, "4waSgw=="}, .checksum_type = "FULL_OBJECT"}},
                {"123456789", {.checksum = {[4] = "rosUhgp5mIg="}}},
                {"123456789", {.checksum = {[4] = "rosUhgp5mIg="}, .checksum_type = "FULL_OBJECT"}},
                {"abc", {.checksum = {NULL, NULL, "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="}}},
                {"abc", {.checksum = {NULL, NULL, NULL, "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="}}},
        };
        uint32_t c;
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                size_t n = strlen(good[i].text);
                char wrong[16];
                memcpy(wrong, good[i].text, n);
                wrong[n - 1] ^= 1;
                assert_int_equal(check("\"x\"", 0, &good[i].h, good[i].text, n, 2, &c), CAUSE_NONE);
                assert_int_equal(c, CHECK_NO_ETAG | CHECK_CHECKSUM);
                assert_int_equal(check("\"x\"", 0, &good[i].h, wrong, n, 2, &c), CAUSE_CHECKSUM);
                assert_int_equal(c, 0);
        }
        static const struct verify_headers other[] = {
                {.checksum = {"y/Q5Jw==-3"}},
                {.checksum = {"y/Q5Jw=="}, .checksum_type = "COMPOSITE"},
                {.checksum = {"nonsense"}},
                {.checksum = {""}},
        };
        for (size_t i = 0; i < ELEMENTSOF(other); i++) {
                assert_int_equal(check("\"x\"", 0, &other[i], "123456789", 9, 9, &c), CAUSE_NONE);
                assert_int_equal(c, CHECK_NO_ETAG | CHECK_NO_CHECKSUM);
        }
}

/* Checksums of the checksums of parts: "abc", "def", "g". */
static void composite_checksums(void **state)
{
        (void)state;
        static const struct verify_headers good[] = {
                {.checksum = {"EojhaQ==-3"}, .checksum_type = "COMPOSITE"},
                {.checksum = {NULL, NULL, NULL, "6o5/08Ympx17ang4QPRop+CVQg3Nw8ubuxpbJ0N0Cvw=-3"},
                        .checksum_type = "COMPOSITE"},
        };
        const struct verify_headers kms = {.encryption = "aws:kms",
                                            .checksum = {"EojhaQ==-3"},
                                            .checksum_type = "COMPOSITE"},
                                    other = {.checksum = {"EojhaQ==-2"}, .checksum_type = "COMPOSITE"};
        uint32_t c;
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                assert_int_equal(check(PARTS_OF_3, 3, &good[i], "abcdefg", 7, 2, &c), CAUSE_NONE);
                assert_int_equal(c, CHECK_ETAG | CHECK_CHECKSUM);
                /* it cannot be told where the parts end */
                assert_int_equal(check(PARTS_OF_3, 7, &good[i], "abcdefg", 7, 2, &c), CAUSE_NONE);
                assert_int_equal(c, CHECK_NO_ETAG | CHECK_NO_CHECKSUM);
        }
        /* where the ETag is no digest the checksum is all there is */
        assert_int_equal(check(PARTS_OF_3, 3, &kms, "abcdefg", 7, 2, &c), CAUSE_NONE);
        assert_int_equal(c, CHECK_NO_ETAG | CHECK_CHECKSUM);
        assert_int_equal(check(PARTS_OF_3, 3, &kms, "abcdefh", 7, 2, &c), CAUSE_CHECKSUM);
        /* of another number of parts */
        assert_int_equal(check(PARTS_OF_3, 3, &other, "abcdefg", 7, 2, &c), CAUSE_NONE);
        assert_int_equal(c, CHECK_ETAG | CHECK_NO_CHECKSUM);
}

/* "abc", "d", "efg": the first part says three bytes, and that would make three parts too. */
static void uneven_parts(void **state)
{
        (void)state;
        static const char etag[] = "\"beebe576876d94e53bf4074352b5c706-3\"";
        const struct verify_headers whole = {.checksum = {"MSpqpg=="}, .checksum_type = "FULL_OBJECT"};
        uint32_t c;
        assert_int_equal(check(etag, 3, &whole, "abcdefg", 7, 2, &c), CAUSE_NONE);
        assert_int_equal(c, CHECK_NO_ETAG | CHECK_CHECKSUM);
        assert_int_equal(check(etag, 3, &whole, "abcdefh", 7, 2, &c), CAUSE_CHECKSUM);
        assert_int_equal(check(etag, 0, &none, "abcdefg", 7, 2, &c), CAUSE_NONE);
        assert_int_equal(c, CHECK_NO_ETAG | CHECK_NO_CHECKSUM);
}

static void a_body_that_begins_again(void **state)
{
        (void)state;
        struct verify *v;
        uint32_t c = 0;
        const struct verify_headers h = {.checksum = {NULL, NULL, "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="}};
        assert_int_equal(verify_new(MD5_ABC, 3, 0, &v), 0);
        assert_int_equal(verify_begin(v, &h), 0);
        verify_update(v, "xy", 2);
        assert_int_equal(verify_begin(v, &h), 0);
        verify_update(v, "abc", 3);
        assert_int_equal(verify_finish(v, &c, NULL), 0);
        assert_int_equal(c, CHECK_ETAG | CHECK_CHECKSUM);
        verify_free(v);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(etag_of_one_part),
                cmocka_unit_test(etag_of_parts),
                cmocka_unit_test(part_sizes_in_use_are_found),
                cmocka_unit_test(encrypted_by_kms),
                cmocka_unit_test(checksums),
                cmocka_unit_test(composite_checksums),
                cmocka_unit_test(uneven_parts),
                cmocka_unit_test(a_body_that_begins_again),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
