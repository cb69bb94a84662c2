/* SPDX-License-Identifier: Apache-2.0 */
/* Running digests. A struct digest owns either an EVP context or the tables and the register of a CRC; it is
 * always ready for more bytes, from digest_new() on and again after digest_final(). The CRCs are our own
 * because Debian 12's ISA-L has no CRC-64/NVME, which is S3's default; its tables do the other two as well,
 * at 1.1 GB/s where ISA-L has 8 and the SHA-256 that every byte passes too has 1.4. */
#include "digest.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "cleanup.h"
#include "macro.h"

/* Reflected polynomials: zlib's and gzip's CRC-32, Castagnoli's of RFC 3720, and the one of S3's default. */
#define POLY_CRC32 UINT64_C(0xedb88320)
#define POLY_CRC32C UINT64_C(0x82f63b78)
#define POLY_CRC64NVME UINT64_C(0x9a6c9329ac4bc9b5) /* of NVM Express */

#define READ_SIZE 65536 /* less than malloc() takes from the kernel each time */

struct digest {
        enum digest_kind kind;
        EVP_MD_CTX *evp; /* NULL: a CRC */
        uint64_t crc;
        uint64_t table[][256]; /* 8 of them with a CRC, none otherwise */
};

static const struct {
        uint8_t size;
        uint64_t poly;
        const EVP_MD *(*md)(void);
} kinds[DIGEST_KIND_MAX] = {
        [DIGEST_MD5] = {.size = 16, .md = EVP_md5},
        [DIGEST_SHA1] = {.size = 20, .md = EVP_sha1},
        [DIGEST_SHA256] = {.size = 32, .md = EVP_sha256},
        [DIGEST_CRC32] = {.size = 4, .poly = POLY_CRC32},
        [DIGEST_CRC32C] = {.size = 4, .poly = POLY_CRC32C},
        [DIGEST_CRC64NVME] = {.size = 8, .poly = POLY_CRC64NVME},
};

DEFINE_CLEANUP(struct digest, digest, digest_free)

/* table[k][b]: what byte b does to the register k bytes later. */
static void crc_tables(uint64_t table[][256], uint64_t poly)
{
        for (uint64_t b = 0; b < 256; b++) {
                uint64_t c = b;
                for (unsigned bit = 0; bit < 8; bit++)
                        c = c & 1 ? c >> 1 ^ poly : c >> 1;
                table[0][b] = c;
        }
        for (unsigned k = 1; k < 8; k++)
                for (unsigned b = 0; b < 256; b++)
                        table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 0xff];
}

static uint64_t load_le64(const uint8_t *p)
{
        uint64_t v = 0;
        for (unsigned i = 0; i < 8; i++)
                v |= (uint64_t)p[i] << (8 * i);
        return v;
}

/* Slicing by 8 (Kounavis and Berry, 2005): eight look-ups that do not wait for one another. A register of 32
 * bits is one of 64 whose upper half is empty. */
static uint64_t crc_update(const uint64_t table[][256], uint64_t c, const uint8_t *p, size_t n)
{
        for (; n >= 8; p += 8, n -= 8) {
                uint64_t x = load_le64(p) ^ c;
                c = table[7][x & 0xff] ^ table[6][x >> 8 & 0xff] ^ table[5][x >> 16 & 0xff] ^
                    table[4][x >> 24 & 0xff] ^ table[3][x >> 32 & 0xff] ^ table[2][x >> 40 & 0xff] ^
                    table[1][x >> 48 & 0xff] ^ table[0][x >> 56];
        }
        for (; n > 0; p++, n--)
                c = c >> 8 ^ table[0][(c ^ *p) & 0xff];
        return c;
}

static uint64_t crc_begin(enum digest_kind kind)
{
        return UINT64_MAX >> (64 - 8 * kinds[kind].size);
}

int digest_new(enum digest_kind kind, struct digest **ret)
{
        if ((unsigned)kind >= DIGEST_KIND_MAX)
                return -EOPNOTSUPP;
        bool is_crc = kinds[kind].poly != 0;
        _cleanup_(cleanup_digest) struct digest *d =
                calloc(1, sizeof(*d) + (is_crc ? 8 * sizeof(d->table[0]) : 0));
        if (!d)
                return -ENOMEM;
        d->kind = kind;
        if (is_crc) {
                crc_tables(d->table, kinds[kind].poly);
                d->crc = crc_begin(kind);
        } else {
                d->evp = EVP_MD_CTX_new();
                if (!d->evp)
                        return -ENOMEM;
                /* MD5 is not there under a FIPS policy */
                if (EVP_DigestInit_ex(d->evp, kinds[kind].md(), NULL) != 1)
                        return -EOPNOTSUPP;
        }
        *ret = take_ptr(&d);
        return 0;
}

/* Once initialised OpenSSL's digests fail only when they are misused. Going on would compare garbage. */
static void must(int ok)
{
        if (ok != 1)
                abort();
}

void digest_update(struct digest *d, const void *p, size_t n)
{
        if (n == 0)
                return;
        if (d->evp)
                must(EVP_DigestUpdate(d->evp, p, n));
        else
                d->crc = crc_update((const uint64_t(*)[256])d->table, d->crc, p, n);
}

void digest_final(struct digest *d, uint8_t *ret)
{
        if (d->evp) {
                must(EVP_DigestFinal_ex(d->evp, ret, NULL));
                must(EVP_DigestInit_ex(d->evp, NULL, NULL));
                return;
        }
        unsigned size = kinds[d->kind].size;
        for (unsigned i = 0; i < size; i++)
                ret[i] = (uint8_t)(~d->crc >> (8 * (size - 1 - i)));
        d->crc = crc_begin(d->kind);
}

size_t digest_size(enum digest_kind kind)
{
        assert((unsigned)kind < DIGEST_KIND_MAX);
        return kinds[kind].size;
}

struct digest *digest_free(struct digest *d)
{
        if (d) {
                EVP_MD_CTX_free(d->evp);
                free(d);
        }
        return NULL;
}

int digest_once(enum digest_kind kind, const void *p, size_t n, uint8_t *ret)
{
        _cleanup_(cleanup_digest) struct digest *d = NULL;
        int r = digest_new(kind, &d);
        if (r < 0)
                return r;
        digest_update(d, p, n);
        digest_final(d, ret);
        return 0;
}

int digest_fd(enum digest_kind kind, int fd, uint8_t *ret, uint64_t *ret_size)
{
        _cleanup_(cleanup_digest) struct digest *d = NULL;
        _cleanup_free_ char *buffer = malloc(READ_SIZE);
        int r = buffer ? digest_new(kind, &d) : -ENOMEM;
        if (r < 0)
                return r;
        uint64_t size = 0;
        for (ssize_t n; (n = read(fd, buffer, READ_SIZE)) != 0;) {
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n < 0)
                        continue;
                digest_update(d, buffer, (size_t)n);
                size += (uint64_t)n;
        }
        digest_final(d, ret);
        *ret_size = size;
        return 0;
}

void hmac_sha256(const void *key, size_t key_len, const void *p, size_t n, uint8_t ret[SHA256_SIZE])
{
        /* HMAC() takes a NULL key for "the one of last time" */
        if (!key)
                key = "";
        if (key_len > INT32_MAX || !HMAC(EVP_sha256(), key, (int)key_len, p, n, ret, NULL))
                abort(); /* a signature must not be made of what the stack held */
}
