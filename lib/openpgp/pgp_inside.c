/* SPDX-License-Identifier: Apache-2.0 */
/* Each layer gives what it has to the next one, and keeps only what it needs of it:
 *
 *   feed -> packet -> inflate, or not -> packet -> literal -> write */
#include "pgp_inside.h"

#include <bzlib.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "openpgp.h"

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
        return !s->odd && s->state == LITERAL_CONTENT && packet_reader_is_whole(&s->outer) &&
               (s->outer.tag == PACKET_LITERAL ||
                       (s->inflater == INFLATE_ENDED && packet_reader_is_whole(&s->inner)));
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
