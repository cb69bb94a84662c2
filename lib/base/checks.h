/* SPDX-License-Identifier: Apache-2.0 */
/* What was checked of an object or member, and what must be: shared by the helpers that check, the messages
 * that say so, and the ledger that keeps it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "macro.h"

/* What was checked of an object or member, as bits. */
enum check {
        CHECK_TLS = BIT(0),       /* the server's certificate */
        CHECK_SIZE = BIT(1),      /* size as listed */
        CHECK_ETAG = BIT(2),      /* MD5 of the whole body, or of its parts */
        CHECK_CHECKSUM = BIT(3),  /* x-amz-checksum-* */
        CHECK_ONE_ETAG = BIT(4),  /* If-Match on every request */
        CHECK_ZIP = BIT(5),       /* CRC-32, sizes, local header against directory */
        CHECK_INTEGRITY = BIT(6), /* MDC or AEAD */
        CHECK_GZIP = BIT(7),      /* gzip trailer */
        CHECK_SIGNATURE = BIT(8), /* a good signature of an accepted signer */
        CHECK_NO_ETAG = BIT(16),  /* the ETag is not a digest (KMS), part sizes cannot be had, or it came in
                                   * ranges */
        CHECK_NO_CHECKSUM = BIT(17),  /* the uploader stored none, or it came in ranges */
        CHECK_NO_SIGNATURE = BIT(18), /* there is none, or signatures=none does not look */
};
#define CHECKS_MISSING (CHECK_NO_ETAG | CHECK_NO_CHECKSUM | CHECK_NO_SIGNATURE)
/* "tls size etag ... (not: checksum)" for a person, into ret. */
const char *checks_format(uint32_t checks, char *ret, size_t size);

/* Whether a message must be signed, and by whom it is opened: keys of [openpgp]. */
enum signature_policy { SIGNATURES_NONE, SIGNATURES_OPTIONAL, SIGNATURES_REQUIRED };
enum pgp_engine { ENGINE_AUTO, ENGINE_GNUPG };
