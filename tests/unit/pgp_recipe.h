/* SPDX-License-Identifier: Apache-2.0 */
/* Messages made from bytes that decide, so that a fuzzer reaches what the cipher and the MDC would keep it
 * from: session-key packets, framing, compression, literals, each right or wrong in a way of its own. All
 * decisions 0 make the plainest message. */
#pragma once

#include "pgp_pair.h"

enum decision {
        D_CIPHER,     /* AES-256, -128, -192 */
        D_SESSION,    /* faults of what RSA encrypts */
        D_PKESK,      /* faults and forms of our session-key packet */
        D_OTHERS,     /* other session-key packets */
        D_OTHER_BYTE, /* what is altered in them */
        D_FRAME,      /* length form of the data packet */
        D_DATA,       /* faults of the data packet */
        D_MDC,
        D_AROUND,   /* packets and garbage around the message */
        D_RAW,      /* 1: the rest is what is encrypted, as it is */
        D_COMPRESS, /* kinds, in layers of 2 bits */
        D_LEVEL,
        D_COMPRESS_FRAME,
        D_COMPRESS_FAULT,
        D_FORMAT, /* of the literal */
        D_LITERAL_FRAME,
        D_LITERAL_FAULT,
        D_NAME,
        D_INSIDE,  /* more packets inside */
        D_LENGTH,  /* of the content: one of those around boundaries, or that of the rest */
        D_CONTENT, /* zeroes, text, noise, the rest */
        DECISIONS = 24,
};

/* The caller frees *ret. Anything makes a message; one too short is filled with zeroes. */
void recipe_make(const struct pgp_pair *p, const uint8_t *d, size_t n, uint8_t **ret, size_t *ret_n);
