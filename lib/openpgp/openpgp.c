/* SPDX-License-Identifier: Apache-2.0 */
/* Partial lengths are joined for a packet in memory, so that one body is seen in any case. The frame and what
 * is inside are read by packet_reader, in pieces of any size. */
#include "openpgp.h"

#include <bzlib.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "macro.h"

const uint8_t *cursor_take(struct cursor *c, size_t n)
{
        if (n > c->left)
                return NULL;
        const uint8_t *p = c->p;
        c->p += n;
        c->left -= n;
        return p;
}

int cursor_number(struct cursor *c, size_t n, uint64_t *ret)
{
        const uint8_t *p = cursor_take(c, n);
        uint64_t v = 0;
        if (!p)
                return -EBADMSG;
        for (size_t i = 0; i < n; i++)
                v = v << 8 | p[i];
        *ret = v;
        return 0;
}

int cursor_mpi(struct cursor *c, const uint8_t **ret, size_t *ret_len)
{
        uint64_t bits;
        if (cursor_number(c, 2, &bits) < 0)
                return -EBADMSG;
        size_t n = (size_t)(bits + 7) / 8;
        const uint8_t *p = cursor_take(c, n);
        if (!p)
                return -EBADMSG;
        for (; n > 0 && *p == 0; p++)
                n--;
        *ret = p;
        *ret_len = n;
        return 0;
}

static int join(struct packet *p, const uint8_t *piece, size_t n)
{
        if (p->len + n > p->joined_size) {
                size_t size = MAX(p->joined_size * 2, p->len + n);
                uint8_t *joined = malloc(size ? size : 1);
                if (!joined)
                        return -ENOMEM;
                if (p->len)
                        memcpy(joined, p->joined, p->len);
                if (p->joined)
                        OPENSSL_cleanse(p->joined, p->joined_size);
                free(p->joined);
                p->joined = joined;
                p->joined_size = size;
        }
        memcpy(p->joined + p->len, piece, n);
        p->len += n;
        p->body = p->joined;
        return 0;
}

int packet_next(struct cursor *c, struct packet *ret)
{
        struct packet_reader reader = {};
        if (c->left == 0)
                return -ENODATA;
        struct packet p = {.tag = packet_tag(*c->p)};
        const uint8_t *piece;
        size_t n;
        int r = 0;
        while (r == 0 && (n = packet_reader_body(&reader, &c->p, &c->left, &piece)) > 0) {
                if (reader.indefinite) {
                        r = -ENOTSUP;
                } else if (!p.joined && reader.state == READER_END) {
                        p.body = piece;
                        p.len = n;
                } else {
                        r = join(&p, piece, n);
                }
        }
        if (r == 0 && reader.state != READER_END)
                r = reader.indefinite ? -ENOTSUP : -EBADMSG;
        if (r < 0) {
                packet_done(&p);
                return r;
        }
        if (!p.body)
                p.body = c->p;
        *ret = p;
        return 0;
}

void packet_done(struct packet *p)
{
        if (p->joined)
                OPENSSL_cleanse(p->joined, p->joined_size);
        free(p->joined);
        p->joined = NULL;
}

unsigned mdc_differs(const uint8_t mdc[MDC_SIZE], const uint8_t sum[MDC_SUM_SIZE])
{
        return (unsigned)(mdc[0] ^ 0xd3) | (unsigned)(mdc[1] ^ 0x14) |
               (unsigned)CRYPTO_memcmp(sum, mdc + 2, MDC_SUM_SIZE);
}

/* --- a packet that passes by --- */

static void take_tag(struct packet_reader *f, uint8_t c)
{
        f->old = !(c & 0x40);
        f->tag = packet_tag(c);
        f->indefinite = (c & 0xc3) == 0x83;
        f->need = f->old ? (size_t)1 << (c & 3) : 1;
        f->state = !(c & 0x80) || (f->indefinite && f->tag != PACKET_COMPRESSED) ? READER_BROKEN
                   : f->indefinite                                               ? READER_BODY
                                                                                 : READER_LENGTH;
}

static void body_or_end(struct packet_reader *f)
{
        f->have = 0;
        f->need = 1;
        f->state = f->left > 0 ? READER_BODY : f->partial ? READER_LENGTH : READER_END;
}

static void take_length(struct packet_reader *f, uint8_t c)
{
        f->length[f->have++] = c;
        unsigned first = f->length[0];
        if (!f->old && f->have == 1)
                f->need = first == 255 ? 5 : first >= 192 && first < 224 ? 2 : 1;
        if (f->have < f->need)
                return;
        f->partial = !f->old && first >= 224 && first < 255;
        f->left = 0;
        for (size_t i = !f->old && f->need == 5; i < f->need; i++)
                f->left = f->left << 8 | f->length[i];
        if (f->partial)
                f->left = UINT64_C(1) << (first & 31);
        else if (!f->old && f->need == 2)
                f->left = f->left - (192 << 8) + 192;
        body_or_end(f);
}

size_t packet_reader_body(struct packet_reader *f, const uint8_t **p, size_t *n, const uint8_t **ret)
{
        while (*n > 0 && (f->state == READER_TAG || f->state == READER_LENGTH)) {
                if (f->state == READER_TAG)
                        take_tag(f, **p);
                else
                        take_length(f, **p);
                (*p)++;
                (*n)--;
        }
        if (f->state != READER_BODY)
                return 0;
        size_t k = f->indefinite ? *n : (size_t)MIN(f->left, (uint64_t)*n);
        *ret = *p;
        *p += k;
        *n -= k;
        if (!f->indefinite && (f->left -= k) == 0)
                body_or_end(f);
        return k;
}

/* May it end here? */
static bool is_whole(const struct packet_reader *f)
{
        return f->state == READER_END || (f->indefinite && f->state == READER_BODY);
}

/* --- the frame ---
 *
 * gpg tells damage from within a message well, but says the same for a message that was cut off, for one with
 * garbage behind it and for a manipulated one, and skips text before an armored one: this names what a person
 * can act on. The verdict stays gpg's; a fault here only adds to it. */

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

/* --- inside ---
 *
 * Each layer gives what it has to the next one, and keeps only what it needs of it:
 *
 *   feed -> packet -> inflate, or not -> packet -> literal -> write */

enum literal_state { LITERAL_FORMAT, LITERAL_NAME_LEN, LITERAL_NAME, LITERAL_DATE, LITERAL_CONTENT };
enum inflater { INFLATE_UNKNOWN, INFLATE_ZLIB, INFLATE_BZIP2, INFLATE_ENDED };

struct pgp_inside {
        sink_fn *write;
        void *arg;
        bool odd;

        struct packet_reader outer, inner; /* inner: only in compressed data */
        enum inflater inflater;
        z_stream z;
        bz_stream bz;

        enum literal_state state;
        size_t name_len, name_have, date_have;
        char name[8];

        uint8_t inflated[64 * KIB];
};

static int odd(struct pgp_inside *s)
{
        s->odd = true;
        return 0;
}

static void literal_byte(struct pgp_inside *s, uint8_t c)
{
        switch (s->state) {
        case LITERAL_FORMAT:
                s->odd |= c != 'b'; /* text is converted by gpg */
                s->state = LITERAL_NAME_LEN;
                break;
        case LITERAL_NAME_LEN:
                s->name_len = c;
                s->state = c ? LITERAL_NAME : LITERAL_DATE;
                break;
        case LITERAL_NAME:
                if (s->name_have < sizeof(s->name))
                        s->name[s->name_have] = (char)c;
                if (++s->name_have < s->name_len)
                        break;
                s->odd |= s->name_len == 8 && memcmp(s->name, "_CONSOLE", 8) == 0;
                s->state = LITERAL_DATE;
                break;
        case LITERAL_DATE:
                if (++s->date_have == 4)
                        s->state = LITERAL_CONTENT;
                break;
        case LITERAL_CONTENT:
                break;
        }
}

static int literal_body(struct pgp_inside *s, const uint8_t *p, size_t n, struct error *e)
{
        for (; n > 0 && !s->odd && s->state != LITERAL_CONTENT; p++, n--)
                literal_byte(s, *p);
        return n > 0 && !s->odd ? s->write(s->arg, p, n, e) : 0;
}

/* What came out of the compression: one literal and nothing else. */
static int literal_packet(struct pgp_inside *s, const uint8_t *p, size_t n, struct error *e)
{
        const uint8_t *body;
        size_t k;
        while (!s->odd && (k = packet_reader_body(&s->inner, &p, &n, &body)) > 0) {
                if (s->inner.tag != PACKET_LITERAL)
                        return odd(s);
                int r = literal_body(s, body, k, e);
                if (r < 0)
                        return r;
        }
        return n > 0 || s->inner.state == READER_BROKEN ? odd(s) : 0;
}

static void start_inflating(struct pgp_inside *s, unsigned algorithm)
{
        bool well = algorithm == 1   ? inflateInit2(&s->z, -15) == Z_OK
                    : algorithm == 2 ? inflateInit2(&s->z, 15) == Z_OK
                    : algorithm == 3 ? BZ2_bzDecompressInit(&s->bz, 0, 0) == BZ_OK
                                     : false;
        if (well)
                s->inflater = algorithm == 3 ? INFLATE_BZIP2 : INFLATE_ZLIB;
        s->odd |= !well;
}

static void stop_inflating(struct pgp_inside *s)
{
        if (s->inflater == INFLATE_ZLIB)
                inflateEnd(&s->z);
        else if (s->inflater == INFLATE_BZIP2)
                BZ2_bzDecompressEnd(&s->bz);
        s->inflater = INFLATE_ENDED;
}

/* One step from *p into inflated; how much of that is left free goes into *ret_free. */
static void inflate_step(struct pgp_inside *s, const uint8_t **p, size_t *n, size_t *ret_free)
{
        union {
                const uint8_t *in;
                uint8_t *z;
                char *bz;
        } next = {.in = *p};
        bool ended, well;
        size_t left;
        if (s->inflater == INFLATE_ZLIB) {
                s->z.next_in = next.z;
                s->z.avail_in = (unsigned)*n;
                s->z.next_out = s->inflated;
                s->z.avail_out = sizeof(s->inflated);
                int status = inflate(&s->z, Z_NO_FLUSH);
                ended = status == Z_STREAM_END;
                well = ended || status == Z_OK || status == Z_BUF_ERROR;
                left = s->z.avail_in;
                *ret_free = s->z.avail_out;
        } else {
                s->bz.next_in = next.bz;
                s->bz.avail_in = (unsigned)*n;
                s->bz.next_out = (char *)s->inflated;
                s->bz.avail_out = sizeof(s->inflated);
                int status = BZ2_bzDecompress(&s->bz);
                ended = status == BZ_STREAM_END;
                well = ended || status == BZ_OK;
                left = s->bz.avail_in;
                *ret_free = s->bz.avail_out;
        }
        *p += *n - left;
        *n = left;
        if (ended)
                stop_inflating(s);
        s->odd |= !well;
}

static int compressed_body(struct pgp_inside *s, const uint8_t *p, size_t n, struct error *e)
{
        size_t left = 0;
        if (s->inflater == INFLATE_UNKNOWN) {
                start_inflating(s, *p++);
                n--;
        }
        while (!s->odd && s->inflater != INFLATE_ENDED && (n > 0 || left == 0)) {
                inflate_step(s, &p, &n, &left);
                int r = s->odd ? 0 : literal_packet(s, s->inflated, sizeof(s->inflated) - left, e);
                if (r < 0)
                        return r;
        }
        return n > 0 ? odd(s) : 0;
}

int pgp_inside_feed(struct pgp_inside *s, const void *data, size_t n, struct error *e)
{
        const uint8_t *p = data, *body;
        size_t k;
        while (!s->odd && (k = packet_reader_body(&s->outer, &p, &n, &body)) > 0) {
                if (s->outer.tag != PACKET_LITERAL && s->outer.tag != PACKET_COMPRESSED)
                        return odd(s);
                int r = s->outer.tag == PACKET_LITERAL ? literal_body(s, body, k, e)
                                                       : compressed_body(s, body, k, e);
                if (r < 0)
                        return r;
        }
        return n > 0 || s->outer.state == READER_BROKEN ? odd(s) : 0;
}

bool pgp_inside_is_odd(const struct pgp_inside *s)
{
        return s->odd;
}

bool pgp_inside_is_plain(const struct pgp_inside *s)
{
        return !s->odd && s->state == LITERAL_CONTENT && is_whole(&s->outer) &&
               (s->outer.tag == PACKET_LITERAL || (s->inflater == INFLATE_ENDED && is_whole(&s->inner)));
}

int pgp_inside_new(sink_fn *write, void *arg, struct pgp_inside **ret)
{
        struct pgp_inside *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->write = write;
        s->arg = arg;
        *ret = s;
        return 0;
}

struct pgp_inside *pgp_inside_free(struct pgp_inside *s)
{
        if (!s)
                return NULL;
        stop_inflating(s);
        OPENSSL_cleanse(s, sizeof(*s));
        free(s);
        return NULL;
}
