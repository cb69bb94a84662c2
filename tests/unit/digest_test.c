/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "macro.h"
#include "str.h"

static void once(enum digest_kind kind, const void *p, size_t n, const char *want)
{
        uint8_t d[DIGEST_MAX];
        char hex[2 * DIGEST_MAX + 1];
        assert_int_equal(digest_once(kind, p, n, d), 0);
        hex_encode(d, digest_size(kind), hex);
        assert_string_equal(hex, want);
}

/* RFC 1321, FIPS 180-4 and the check values of the CRC catalogue */
static void known_answers(void **state)
{
        (void)state;
        once(DIGEST_MD5, "", 0, "d41d8cd98f00b204e9800998ecf8427e");
        once(DIGEST_MD5, "abc", 3, "900150983cd24fb0d6963f7d28e17f72");
        once(DIGEST_SHA1, "abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d");
        once(DIGEST_SHA256, "", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        once(DIGEST_SHA256, "abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        once(DIGEST_CRC32, "123456789", 9, "cbf43926");
        once(DIGEST_CRC32C, "123456789", 9, "e3069283");
        once(DIGEST_CRC64NVME, "123456789", 9, "ae8b14860a799888");
        once(DIGEST_CRC64NVME, "", 0, "0000000000000000");
        once(DIGEST_CRC32, "", 0, "00000000");
        once(DIGEST_CRC32C, "", 0, "00000000");
}

/* RFC 3720, B.4, as numbers */
static void crc32c_of_iscsi(void **state)
{
        (void)state;
        uint8_t p[32];
        memset(p, 0, sizeof(p));
        once(DIGEST_CRC32C, p, sizeof(p), "8a9136aa");
        memset(p, 0xff, sizeof(p));
        once(DIGEST_CRC32C, p, sizeof(p), "62a8ab43");
        for (unsigned i = 0; i < 32; i++)
                p[i] = (uint8_t)i;
        once(DIGEST_CRC32C, p, sizeof(p), "46dd794e");
        for (unsigned i = 0; i < 32; i++)
                p[i] = (uint8_t)(31 - i);
        once(DIGEST_CRC32C, p, sizeof(p), "113fdb5c");
}

/* Bit by bit, from the definition. */
static uint32_t slow_crc(uint32_t poly, const uint8_t *p, size_t n)
{
        uint32_t c = UINT32_MAX;
        for (size_t i = 0; i < n; i++) {
                c ^= p[i];
                for (unsigned bit = 0; bit < 8; bit++)
                        c = c >> 1 ^ (poly & (0U - (c & 1)));
        }
        return ~c;
}

static void a_crc_of_any_length_and_alignment(void **state)
{
        (void)state;
        uint8_t p[128];
        for (size_t i = 0; i < sizeof(p); i++)
                p[i] = (uint8_t)(i * 167 + (i >> 3) * 29);
        for (size_t from = 0; from < 8; from++)
                for (size_t n = 0; n + from <= sizeof(p); n++) {
                        char want[9];
                        uint32_t c = slow_crc(0xedb88320, p + from, n);
                        uint8_t be[] = {
                                (uint8_t)(c >> 24), (uint8_t)(c >> 16), (uint8_t)(c >> 8), (uint8_t)c};
                        hex_encode(be, 4, want);
                        once(DIGEST_CRC32, p + from, n, want);
                }
}

static void pieces_make_the_whole_and_final_starts_again(void **state)
{
        (void)state;
        uint8_t p[1000];
        for (size_t i = 0; i < sizeof(p); i++)
                p[i] = (uint8_t)(i * 31);
        for (enum digest_kind kind = 0; kind < DIGEST_KIND_MAX; kind++) {
                uint8_t whole[DIGEST_MAX], pieces[DIGEST_MAX];
                struct digest *d = NULL;
                size_t size = digest_size(kind);
                assert_int_equal(digest_once(kind, p, sizeof(p), whole), 0);
                assert_int_equal(digest_new(kind, &d), 0);
                for (unsigned round = 0; round < 2; round++) {
                        for (size_t at = 0, k = 0; at < sizeof(p); at += k, k++)
                                digest_update(d, p + at, MIN(k, sizeof(p) - at));
                        digest_update(d, NULL, 0);
                        digest_final(d, pieces);
                        assert_memory_equal(pieces, whole, size);
                }
                digest_update(d, "x", 1);
                digest_final(d, pieces);
                assert_memory_not_equal(pieces, whole, size);
                assert_null(digest_free(d));
        }
        assert_null(digest_free(NULL));
}

static void an_unknown_kind(void **state)
{
        (void)state;
        struct digest *d = NULL;
        assert_int_equal(digest_new(DIGEST_KIND_MAX, &d), -EOPNOTSUPP);
        assert_null(d);
}

static void hmac(const void *key, size_t key_len, const void *p, size_t n, const char *want)
{
        uint8_t d[SHA256_SIZE];
        char hex[SHA256_HEX];
        hmac_sha256(key, key_len, p, n, d);
        hex_encode(d, sizeof(d), hex);
        assert_string_equal(hex, want);
}

/* RFC 4231, cases 1, 2, 3 and 6 */
static void hmacs(void **state)
{
        (void)state;
        uint8_t key[131], data[50];
        memset(key, 0x0b, 20);
        hmac(key, 20, "Hi There", 8, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        hmac("Jefe", 4, "what do ya want for nothing?", 28,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        memset(key, 0xaa, sizeof(key));
        memset(data, 0xdd, sizeof(data));
        hmac(key, 20, data, sizeof(data), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
        hmac(key, sizeof(key), "Test Using Larger Than Block-Size Key - Hash Key First", 54,
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
        /* no key and an empty one are the same, and not the one of the call before */
        hmac(NULL, 0, "", 0, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(known_answers),
                cmocka_unit_test(crc32c_of_iscsi),
                cmocka_unit_test(a_crc_of_any_length_and_alignment),
                cmocka_unit_test(pieces_make_the_whole_and_final_starts_again),
                cmocka_unit_test(an_unknown_kind),
                cmocka_unit_test(hmacs),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
