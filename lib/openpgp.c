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
        *ret = p;
        *ret_len = n;
        return 0;
}

/* RFC 4880, 4.2.2: lengths of new-format packets. */
static int new_length(struct cursor *c, size_t *ret, bool *ret_partial)
{
        uint64_t first, more;
        *ret_partial = false;
        if (cursor_number(c, 1, &first) < 0)
                return -EBADMSG;
        if (first < 192) {
                *ret = (size_t)first;
        } else if (first < 224) {
                if (cursor_number(c, 1, &more) < 0)
                        return -EBADMSG;
                *ret = (size_t)((first - 192) << 8 | more) + 192;
        } else if (first < 255) {
                *ret = (size_t)1 << (first & 31);
                *ret_partial = true;
        } else {
                if (cursor_number(c, 4, &more) < 0)
                        return -EBADMSG;
                *ret = (size_t)more;
        }
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

static int new_body(struct cursor *c, struct packet *p)
{
        bool partial, joined = false;
        do {
                size_t n;
                if (new_length(c, &n, &partial) < 0)
                        return -EBADMSG;
                const uint8_t *piece = cursor_take(c, n);
                if (!piece)
                        return -EBADMSG;
                if (!partial && !joined) {
                        p->body = piece;
                        p->len = n;
                        return 0;
                }
                joined = true;
                int r = join(p, piece, n);
                if (r < 0)
                        return r;
        } while (partial);
        return 0;
}

static int old_body(struct cursor *c, unsigned length_type, struct packet *p)
{
        uint64_t n;
        if (length_type == 3)
                return -ENOTSUP;
        if (cursor_number(c, (size_t)1 << length_type, &n) < 0 || n > c->left)
                return -EBADMSG;
        p->len = (size_t)n;
        p->body = cursor_take(c, p->len);
        return 0;
}

int packet_next(struct cursor *c, struct packet *ret)
{
        struct packet p = {};
        uint64_t head;
        if (c->left == 0)
                return -ENODATA;
        if (cursor_number(c, 1, &head) < 0 || !(head & 0x80))
                return -EBADMSG;
        int r;
        if (head & 0x40) {
                p.tag = head & 0x3f;
                r = new_body(c, &p);
        } else {
                p.tag = head >> 2 & 0xf;
                r = old_body(c, head & 3, &p);
        }
        if (r < 0) {
                packet_done(&p);
                return r;
        }
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
        f->tag = f->old ? c >> 2 & 0xf : c & 0x3f;
        f->indefinite = f->old && (c & 3) == 3;
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
