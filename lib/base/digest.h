/* SPDX-License-Identifier: Apache-2.0 */
/* Running digests (OpenSSL EVP; CRCs by table: no library of Debian 12 has CRC-64/NVME), one struct for all.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum digest_kind {
        DIGEST_MD5,
        DIGEST_SHA1,
        DIGEST_SHA256,
        DIGEST_CRC32,
        DIGEST_CRC32C,
        DIGEST_CRC64NVME,
        DIGEST_KIND_MAX
};

#define DIGEST_MAX 32
#define SHA256_SIZE 32
#define SHA256_HEX 65 /* with NUL */

struct digest;

/* Returns 0 and *ret, -ENOMEM or -EOPNOTSUPP. */
int digest_new(enum digest_kind kind, struct digest **ret);
void digest_update(struct digest *d, const void *p, size_t n);
/* Writes digest_size(kind) bytes (big-endian for CRCs) and starts again from nothing. */
void digest_final(struct digest *d, uint8_t *ret);
size_t digest_size(enum digest_kind kind);
struct digest *digest_free(struct digest *d);

/* One call. 0, -ENOMEM or -EOPNOTSUPP. */
int digest_once(enum digest_kind kind, const void *p, size_t n, uint8_t *ret);
/* Of what fd gives from where it stands to its end; *ret_size: how much that was. 0 or -errno. */
int digest_fd(enum digest_kind kind, int fd, uint8_t *ret, uint64_t *ret_size);
void hmac_sha256(const void *key, size_t key_len, const void *p, size_t n, uint8_t ret[SHA256_SIZE]);
