/* SPDX-License-Identifier: Apache-2.0 */
/* Is the body the one that was uploaded? Digests of a whole object against its ETag and the checksums the
 * uploader stored. Source: AWS, S3 user guide, "Checking object integrity", and API reference, "Object". */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct verify;

/* etag: as listed. part_size: of the first part, as S3 tells it, or 0: then those are tried that uploaders
 * use and that fit. 0 or -errno. */
int verify_new(const char *etag, uint64_t size, uint64_t part_size, struct verify **ret);

/* The headers of the answer that begins the body; NULL where there was none. Each call starts the digests
 * again from nothing. */
enum { VERIFY_CHECKSUMS = 5 };
extern const char *const verify_checksum_header[VERIFY_CHECKSUMS];
struct verify_headers {
        const char *encryption;                 /* x-amz-server-side-encryption */
        const char *customer_key;               /* x-amz-server-side-encryption-customer-algorithm */
        const char *checksum_type;              /* x-amz-checksum-type */
        const char *checksum[VERIFY_CHECKSUMS]; /* in the order of verify_checksum_header */
};
int verify_begin(struct verify *v, const struct verify_headers *h);
void verify_update(struct verify *v, const void *p, size_t n);
/* All bytes were seen. 0 and the bits of enum check, or -EBADMSG with CAUSE_ETAG or CAUSE_CHECKSUM. */
int verify_finish(struct verify *v, uint32_t *ret_checks, struct error *e);
struct verify *verify_free(struct verify *v);

/* The part sizes (of those in use) that make so many parts of size bytes, the likeliest first. Returns how
 * many, at most max. */
size_t verify_part_sizes(uint64_t size, unsigned parts, uint64_t *ret, size_t max);
