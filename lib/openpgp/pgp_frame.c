/* SPDX-License-Identifier: Apache-2.0 */
/* Watches the packets of a stream go by. gpg tells damage from within a message well, but says the same for a
 * message that was cut off, for one with garbage behind it and for a manipulated one, and skips text before
 * an armored one: this names what a person can act on. The verdict stays gpg's; a fault here only adds to it.
 */
#include "pgp_frame.h"

#include <openssl/evp.h>
#include <string.h>

static const char armor_begin[] = "-----BEGIN PGP MESSAGE-----";
static const char armor_end[] = "-----END PGP MESSAGE-----";

static bool is_data(unsigned tag)
{
        return tag == PACKET_SED || tag == PACKET_SEIPD || tag == PACKET_AEAD;
}

static bool is_expected(unsigned tag)
{
        return is_data(tag) || tag == PACKET_PKESK || tag == PACKET_SKESK || tag == PACKET_MARKER;
}

/* A packet begins: does it belong here? */
static bool packet_begins(struct frame *f, uint8_t head)
{
        f->tag = packet_tag(head);
        if ((head & 0x80) && is_expected(f->tag))
                return true;
        f->state = FRAME_FOREIGN;
        return false;
}

static void skip_packet(struct frame *f, const uint8_t **p, const uint8_t *end)
{
        const uint8_t *body;
        size_t n = (size_t)(end - *p);
        if (f->packet.state == READER_TAG && !packet_begins(f, **p))
                return;
        if (packet_reader_body(&f->packet, p, &n, &body) > 0 && !f->begun) {
                f->begun = true;
                f->newer |= (f->tag == PACKET_PKESK && *body == 6) || (f->tag == PACKET_SEIPD && *body == 2);
        }
        if (f->packet.indefinite) {
                f->state = FRAME_INDEFINITE;
        } else if (f->packet.state == READER_END) {
                f->packet = (struct packet_reader){};
                f->begun = false;
                f->state = is_data(f->tag) ? FRAME_DONE : FRAME_PACKETS;
        }
}

/* The first packet tells: of RFC 9580 all are. */
static void first_armor_line(struct frame *f)
{
        enum { CHARS = 12 };
        uint8_t data[CHARS / 4 * 3];
        struct frame inner = {.state = FRAME_PACKETS};
        if (f->line_len < CHARS || EVP_DecodeBlock(data, (const uint8_t *)f->line, CHARS) != sizeof(data))
                return;
        const uint8_t *p = data;
        while (p < data + sizeof(data) && inner.state == FRAME_PACKETS && !inner.begun)
                skip_packet(&inner, &p, data + sizeof(data));
        f->newer |= inner.newer;
}

static void on_line(struct frame *f)
{
        while (f->line_len && strchr(" \t\r", f->line[f->line_len - 1]))
                f->line_len--;
        f->line[f->line_len] = 0;
        if (f->state == FRAME_ARMOR && f->armor_part < ARMOR_DATA) {
                if (f->armor_part == ARMOR_FIRST)
                        first_armor_line(f);
                if (f->armor_part != ARMOR_HEADERS || f->line_len == 0)
                        f->armor_part++;
        }
        if (f->state == FRAME_ARMOR_DONE) {
                if (f->line_len)
                        f->state = FRAME_TRAILING;
        } else if (strcmp(f->line, armor_end) == 0) {
                f->state = FRAME_ARMOR_DONE;
        }
        f->line_len = 0;
}

static void armor_byte(struct frame *f, char c)
{
        if (c == '\n')
                on_line(f);
        else if (c && f->line_len < sizeof(f->line) - 1)
                f->line[f->line_len++] = c;
}

static void first_byte(struct frame *f, uint8_t c)
{
        if (c & 0x80) {
                f->state = FRAME_PACKETS;
        } else if (f->line_len < sizeof(armor_begin) - 1 && c == (uint8_t)armor_begin[f->line_len]) {
                f->line[f->line_len++] = (char)c;
                if (f->line_len == sizeof(armor_begin) - 1) {
                        f->state = FRAME_ARMOR;
                        f->line_len = 0;
                }
        } else {
                f->state = FRAME_FOREIGN;
        }
}

void frame_feed(struct frame *f, const void *p, size_t n)
{
        const uint8_t *c = p, *end = c + n;
        f->bytes += n;
        while (c < end) {
                switch (f->state) {
                case FRAME_START:
                        first_byte(f, *c);
                        if (f->state != FRAME_PACKETS)
                                c++;
                        break;
                case FRAME_PACKETS:
                        skip_packet(f, &c, end);
                        break;
                case FRAME_ARMOR:
                case FRAME_ARMOR_DONE:
                        armor_byte(f, (char)*c++);
                        break;
                case FRAME_DONE:
                        f->state = FRAME_TRAILING;
                        return;
                case FRAME_INDEFINITE:
                case FRAME_FOREIGN:
                case FRAME_TRAILING:
                        return;
                }
        }
}

const char *frame_fault(const struct frame *f)
{
        switch (f->state) {
        case FRAME_START:
                return f->bytes ? "not an OpenPGP message" : "it is empty";
        case FRAME_PACKETS:
                return "the message is cut off";
        case FRAME_ARMOR: {
                struct frame end = *f;
                on_line(&end); /* the last line may lack its newline */
                return end.state == FRAME_ARMOR_DONE ? NULL : "the armored message is cut off";
        }
        case FRAME_ARMOR_DONE: {
                struct frame end = *f;
                on_line(&end);
                return end.state == FRAME_ARMOR_DONE ? NULL : "something follows the message";
        }
        case FRAME_DONE:
        case FRAME_INDEFINITE:
                return NULL;
        case FRAME_FOREIGN:
                return f->tag ? "not an encrypted OpenPGP message" : "not an OpenPGP message";
        case FRAME_TRAILING:
                return "something follows the message";
        }
        return "not an OpenPGP message";
}
