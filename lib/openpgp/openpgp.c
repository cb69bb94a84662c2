/* SPDX-License-Identifier: Apache-2.0 */
/* Partial lengths are joined for a packet in memory, so that one body is seen in any case. */
#include "openpgp.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

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

bool packet_reader_is_whole(const struct packet_reader *f)
{
        return f->state == READER_END || (f->indefinite && f->state == READER_BODY);
}
