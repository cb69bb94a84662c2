/* SPDX-License-Identifier: Apache-2.0 */
/* The outermost packets of an OpenPGP stream (RFC 4880, 4.2), watched as they pass by: is it one encrypted
 * message, whole, with nothing before and nothing after? Nothing is decrypted or kept. */
#pragma once

#include <stdbool.h>

#include "openpgp.h"

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
