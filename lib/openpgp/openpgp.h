/* SPDX-License-Identifier: Apache-2.0 */
/* OpenPGP packets (RFC 4880, 4.2), whole in memory or passing by: what the fast engine needs of them, and no
 * more. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum packet_tag {
        PACKET_PKESK = 1,
        PACKET_SKESK = 3,
        PACKET_SECRET_KEY = 5,
        PACKET_SECRET_SUBKEY = 7,
        PACKET_COMPRESSED = 8,
        PACKET_SED = 9,
        PACKET_MARKER = 10,
        PACKET_LITERAL = 11,
        PACKET_SEIPD = 18,
        PACKET_AEAD = 20, /* GnuPG's */
};

/* From the first byte of a packet, whose highest bit must be set. */
static inline unsigned packet_tag(uint8_t head)
{
        return head & 0x40 ? head & 0x3f : head >> 2 & 0xf;
}

struct cursor {
        const uint8_t *p;
        size_t left;
};

/* Moves n bytes on; NULL when there are not so many. */
const uint8_t *cursor_take(struct cursor *c, size_t n);
/* Big-endian number of n <= 8 bytes. 0 or -EBADMSG. */
int cursor_number(struct cursor *c, size_t n, uint64_t *ret);
/* A multi-precision integer: two bytes of bit length, then its bytes. Points into the cursor's memory, behind
 * leading zeroes, which RFC 4880 forbids and gpg skips: *ret_len is the size of the number. 0 or -EBADMSG. */
int cursor_mpi(struct cursor *c, const uint8_t **ret, size_t *ret_len);

struct packet {
        unsigned tag;
        const uint8_t *body; /* within the cursor's memory, or in joined */
        size_t len;
        uint8_t *joined; /* owned: a body that came in partial lengths; NULL otherwise */
        size_t joined_size;
};

/* The next packet. 0; -ENODATA at the end; -EBADMSG: malformed or cut; -ENOTSUP: of indeterminate length;
 * -ENOMEM. */
int packet_next(struct cursor *c, struct packet *ret);
/* Wipes and frees what was joined. */
void packet_done(struct packet *p);
#define _cleanup_packet_ __attribute__((cleanup(packet_done)))

/* --- the end of encrypted data (RFC 4880, 5.13 and 5.14) --- */

enum {
        SEIPD_BLOCK = 16,               /* of AES */
        SEIPD_PREFIX = SEIPD_BLOCK + 2, /* random, its last bytes repeated */
        MDC_SUM_SIZE = 20,              /* SHA-1 */
        MDC_SIZE = 2 + MDC_SUM_SIZE,    /* 0xD3 0x14 and the sum */
};

/* Does the MDC differ from what it should be? sum: SHA-1 of all before it and its first two bytes. 0: no.
 * Takes the same time whatever is wrong. */
unsigned mdc_differs(const uint8_t mdc[MDC_SIZE], const uint8_t sum[MDC_SUM_SIZE]);

/* --- a packet that passes by --- */

enum reader_state { READER_TAG, READER_LENGTH, READER_BODY, READER_END, READER_BROKEN };

/* Reads one packet from any pieces of it. Starts zeroed. */
struct packet_reader {
        enum reader_state state;
        unsigned tag;
        bool old, partial, indefinite;
        uint8_t length[5];
        size_t have, need; /* of length */
        uint64_t left;     /* of the body, or of this part of it */
};

/* The next bytes of the body within *p, which moves on: how many, at *ret. 0: *p is used up, the packet has
 * ended, or it is broken. */
size_t packet_reader_body(struct packet_reader *f, const uint8_t **p, size_t *n, const uint8_t **ret);
/* May it end here? */
bool packet_reader_is_whole(const struct packet_reader *f);
