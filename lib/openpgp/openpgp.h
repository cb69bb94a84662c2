/* SPDX-License-Identifier: Apache-2.0 */
/* OpenPGP without keys (RFC 4880): packets, whole in memory or passing by; the frame of a message, which is
 * looked at without opening it; and the packets inside, once it is open. No more of it than is needed here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cleanup.h"
#include "sink.h"

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

/* --- the outermost packets of a stream, watched as they pass by: is it one encrypted message, whole, with
 * nothing before and nothing after? Nothing is decrypted or kept. --- */

enum frame_state {
        FRAME_START,      /* nothing yet */
        FRAME_PACKETS,    /* within a packet that may be there, or before one */
        FRAME_INDEFINITE, /* a packet up to the end of the stream */
        FRAME_DONE,       /* the encrypted data is complete */
        FRAME_ARMOR,      /* in the lines of an armored message */
        FRAME_ARMOR_DONE, /* after its last line */
        FRAME_FOREIGN,    /* it does not begin like a message */
        FRAME_TRAILING,   /* something follows the message */
};

enum armor_part {
        ARMOR_BEGIN,   /* the rest of the line that begins it */
        ARMOR_HEADERS, /* up to an empty line */
        ARMOR_FIRST,   /* the first line of data */
        ARMOR_DATA,
};

struct frame {
        enum frame_state state;
        struct packet_reader packet; /* the one at hand */
        unsigned tag;                /* of that one, also when it has gone by */
        char line[80];               /* armor: the start of the line at hand */
        size_t line_len;
        uint64_t bytes;
        bool begun; /* a byte of this packet's body was seen */
        bool newer; /* a packet of RFC 9580: a session key of version 6, data of version 2 */
        enum armor_part armor_part;
};

void frame_feed(struct frame *f, const void *p, size_t n);

/* At the end of the stream: NULL when it was one whole message, else what is wrong with it. */
const char *frame_fault(const struct frame *f);

/* It is encrypted in the way of RFC 9580, which GnuPG does not read. */
static inline bool frame_is_newer(const struct frame *f)
{
        return f->newer;
}

/* The encrypted data is an AEAD packet. */
static inline bool frame_is_aead(const struct frame *f)
{
        return f->tag == PACKET_AEAD;
}

static inline bool frame_is_armor(const struct frame *f)
{
        return f->state == FRAME_ARMOR || f->state == FRAME_ARMOR_DONE;
}

/* --- what was encrypted, behind the random prefix and without the MDC (RFC 4880, 5.6 and 5.9): at most one
 * compressed packet, and in it one binary literal. It passes by in pieces; the literal's content goes out as
 * it comes. Whatever else is found makes it odd, and the rest is swallowed. --- */

struct pgp_inside;

/* Content goes to write. 0 or -ENOMEM. */
int pgp_inside_new(sink_fn *write, void *arg, struct pgp_inside **ret);
struct pgp_inside *pgp_inside_free(struct pgp_inside *s);
DEFINE_CLEANUP(struct pgp_inside, pgp_inside, pgp_inside_free)

/* The next n bytes. 0, or what write returned: then it is over. */
int pgp_inside_feed(struct pgp_inside *s, const void *p, size_t n, struct error *e);
/* Has something been seen that is not for us? */
bool pgp_inside_is_odd(const struct pgp_inside *s);
/* After the last byte: what was written is the content, and nothing else was there. */
bool pgp_inside_is_plain(const struct pgp_inside *s);
