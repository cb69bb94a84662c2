/* SPDX-License-Identifier: Apache-2.0 */
/* Watches the packets of a stream go by. gpg tells damage from within a message well, but says the same for a
 * message that was cut off, for one with garbage behind it and for a manipulated one, and skips text before
 * an armored one: this names what a person can act on. The verdict stays gpg's; a fault here only adds to it.
 */
#include "pgp_frame.h"

#include <string.h>

#include "macro.h"

enum { TAG_PKESK = 1, TAG_SKESK = 3, TAG_SED = 9, TAG_MARKER = 10, TAG_SEIPD = 18, TAG_AEAD = 20 };

static const char armor_begin[] = "-----BEGIN PGP MESSAGE-----";
static const char armor_end[] = "-----END PGP MESSAGE-----";

static bool is_data(unsigned tag)
{
        return tag == TAG_SED || tag == TAG_SEIPD || tag == TAG_AEAD;
}

static bool is_expected(unsigned tag)
{
        return is_data(tag) || tag == TAG_PKESK || tag == TAG_SKESK || tag == TAG_MARKER;
}

/* How long the header is, as far as it is known. */
static size_t header_need(const struct frame *f)
{
        const uint8_t *h = f->header;
        bool first = h[0] != 0; /* the length of a later piece has no tag: kept with 0 in its place */
        if (first && !(h[0] & 0x40)) {
                static const size_t old[] = {2, 3, 5, 1};
                return old[h[0] & 3];
        }
        if (f->header_len < 2)
                return 2;
        return h[1] < 192 ? 2 : h[1] < 224 ? 3 : h[1] < 255 ? 2 : 6;
}

static uint64_t big_endian(const uint8_t *p, size_t n)
{
        uint64_t v = 0;
        for (size_t i = 0; i < n; i++)
                v = v << 8 | p[i];
        return v;
}

static void body_starts(struct frame *f)
{
        const uint8_t *h = f->header;
        size_t len = f->header_len;
        f->partial = false;
        f->header_len = 0;
        f->state = FRAME_BODY;
        if (h[0] && !(h[0] & 0x40)) {
                f->skip = big_endian(h + 1, len - 1);
                if ((h[0] & 3) == 3)
                        f->state = FRAME_INDEFINITE;
        } else if (len == 2 && h[1] < 192) {
                f->skip = h[1];
        } else if (len == 2) {
                f->skip = UINT64_C(1) << (h[1] & 31);
                f->partial = true;
        } else if (len == 3) {
                f->skip = ((uint64_t)(h[1] - 192) << 8) + h[2] + 192;
        } else {
                f->skip = big_endian(h + 2, 4);
        }
}

/* The tag of a new packet is known: does it belong here? */
static void on_tag(struct frame *f, uint8_t ctb)
{
        f->tag = ctb & 0x40 ? ctb & 63 : (ctb >> 2) & 15;
        if (!(ctb & 0x80) || !is_expected(f->tag))
                f->state = FRAME_FOREIGN;
}

static void body_ends(struct frame *f)
{
        if (f->partial) {
                f->header[0] = 0;
                f->header_len = 1;
                f->state = FRAME_HEADER;
        } else {
                f->state = is_data(f->tag) ? FRAME_DONE : FRAME_BETWEEN;
        }
}

static void on_line(struct frame *f)
{
        while (f->line_len && strchr(" \t\r", f->line[f->line_len - 1]))
                f->line_len--;
        f->line[f->line_len] = 0;
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
                f->state = FRAME_BETWEEN;
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

static void header_byte(struct frame *f, uint8_t c)
{
        if (f->state == FRAME_BETWEEN) {
                f->state = FRAME_HEADER;
                on_tag(f, c);
        }
        f->header[f->header_len++] = c;
        if (f->state == FRAME_HEADER && f->header_len >= header_need(f)) {
                body_starts(f);
                if (f->state == FRAME_BODY && f->skip == 0)
                        body_ends(f);
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
                        if (f->state != FRAME_BETWEEN)
                                c++;
                        break;
                case FRAME_BETWEEN:
                case FRAME_HEADER:
                        header_byte(f, *c++);
                        break;
                case FRAME_BODY: {
                        uint64_t k = MIN(f->skip, (uint64_t)(end - c));
                        c += k;
                        f->skip -= k;
                        if (f->skip == 0)
                                body_ends(f);
                        break;
                }
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
        case FRAME_HEADER:
        case FRAME_BODY:
        case FRAME_BETWEEN:
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
