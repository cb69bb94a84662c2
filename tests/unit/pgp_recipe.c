/* SPDX-License-Identifier: Apache-2.0 */
#include "pgp_recipe.h"

#include <bzlib.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "macro.h"

#define BLOCK 16

struct bytes {
        uint8_t *p;
        size_t n, size;
};

static void put(struct bytes *b, const void *p, size_t n)
{
        if (b->n + n > b->size || !b->p) {
                b->size = (b->n + n) * 2 + 64;
                b->p = realloc(b->p, b->size);
                if (!b->p)
                        abort();
        }
        if (n)
                memcpy(b->p + b->n, p, n);
        b->n += n;
}

static void put_byte(struct bytes *b, unsigned v)
{
        put(b, &(uint8_t){(uint8_t)v}, 1);
}

static void put_number(struct bytes *b, size_t v, unsigned size)
{
        while (size-- > 0)
                put_byte(b, (unsigned)(v >> 8 * size & 0xff));
}

/* --- framing --- */

enum { FRAME_FORMS = 10 };

/* Body in pieces of powers of two (RFC 4880, 4.2.2.4), the last one of any length. */
static void put_partial(struct bytes *b, const struct bytes *body, unsigned power)
{
        size_t done = 0, piece = (size_t)1 << power;
        for (; body->n - done > piece; done += piece) {
                put_byte(b, 224 + power);
                put(b, body->p + done, piece);
        }
        size_t left = body->n - done;
        put_byte(b, 255);
        put_number(b, left, 4);
        put(b, body->p + done, left);
}

static void put_new_length(struct bytes *b, size_t n)
{
        if (n < 192) {
                put_byte(b, (unsigned)n);
        } else if (n < 8384) {
                put_byte(b, (unsigned)((n - 192) >> 8) + 192);
                put_byte(b, (unsigned)(n - 192) & 0xff);
        } else {
                put_byte(b, 255);
                put_number(b, n, 4);
        }
}

/* The packet in one of its forms; off is added to its length. */
static void put_packet(struct bytes *b, unsigned tag, const struct bytes *body, unsigned form, int off)
{
        size_t n = body->n + (size_t)off;
        bool old = tag < 16 && form >= 6;
        form %= FRAME_FORMS;
        if (!old) {
                put_byte(b, 0xc0 | tag);
                if (form == 1) {
                        put_byte(b, 255);
                        put_number(b, n, 4);
                } else if (form >= 2 && form <= 5) {
                        static const unsigned powers[] = {9, 13, 0, 3};
                        put_partial(b, body, powers[form - 2]);
                        return;
                } else {
                        put_new_length(b, n);
                }
        } else {
                unsigned type = form - 6; /* 1, 2, 4 bytes, indeterminate */
                if (type < 2 && n >> (8 << type))
                        type = 2;
                put_byte(b, 0x80 | tag << 2 | type);
                if (type < 3)
                        put_number(b, n, 1u << type);
        }
        put(b, body->p, body->n);
}

/* --- session keys --- */

static size_t key_size(const uint8_t *d)
{
        static const size_t sizes[] = {32, 16, 24};
        return sizes[d[D_CIPHER] % 3];
}

static unsigned key_algorithm(const uint8_t *d)
{
        static const unsigned algorithms[] = {9, 7, 8};
        return algorithms[d[D_CIPHER] % 3];
}

static void session_key(const uint8_t *d, uint8_t key[32])
{
        for (size_t i = 0; i < 32; i++)
                key[i] = (uint8_t)(i * 7 + d[D_CIPHER]);
}

/* What is encrypted with RSA, right or wrong; returns false when it is not below the modulus. */
static void encode(const struct pgp_pair *p, const uint8_t *d, uint8_t *em)
{
        uint8_t key[32];
        size_t n = p->modulus_len, len = key_size(d), data = n - len - 3;
        unsigned sum = 0;
        session_key(d, key);
        for (size_t i = 0; i < data; i++)
                em[i] = (uint8_t)(1 + i % 251);
        em[0] = 0;
        em[1] = 2;
        em[data - 1] = 0;
        em[data] = (uint8_t)key_algorithm(d);
        memcpy(em + data + 1, key, len);
        for (size_t i = 0; i < len; i++)
                sum += key[i];
        em[n - 2] = (uint8_t)(sum >> 8);
        em[n - 1] = (uint8_t)sum;
        switch (d[D_SESSION] % 16) {
        case 8:
                em[1] = 1;
                break;
        case 9:
                em[5] = 0;
                break;
        case 10:
                em[n - 1] ^= 1;
                break;
        case 11:
                em[data] = 2;
                break;
        case 12:
                em[data] ^= 3;
                break;
        case 13:
                em[data - 1] = 1;
                break;
        case 14:
                em[data - 1] = 9;
                em[data - 2] = 0;
                break;
        case 15:
                em[2] = 0;
                break;
        default:
                break;
        }
}

static void rsa(const struct pgp_pair *p, const uint8_t *em, uint8_t *ret)
{
        BN_CTX *ctx = BN_CTX_new();
        BIGNUM *n = BN_bin2bn(p->modulus, (int)p->modulus_len, NULL), *e = BN_new(),
               *m = BN_bin2bn(em, (int)p->modulus_len, NULL), *c = BN_new();
        if (!ctx || !n || !e || !m || !c || !BN_set_word(e, 65537) || !BN_mod_exp(c, m, e, n, ctx) ||
                BN_bn2binpad(c, ret, (int)p->modulus_len) < 0)
                abort();
        BN_free(n);
        BN_free(e);
        BN_free(m);
        BN_free(c);
        BN_CTX_free(ctx);
}

/* As RFC 4880 wants it: no leading zeroes. extra: so many zero bytes in front after all. */
static void put_mpi(struct bytes *b, const uint8_t *p, size_t n, unsigned extra, int off)
{
        while (n > 0 && *p == 0) {
                p++;
                n--;
        }
        unsigned bits = (unsigned)n * 8;
        for (unsigned bit = 0x80; n > 0 && bit && !(*p & bit); bit >>= 1)
                bits--;
        put_number(b, bits + 8 * extra + (unsigned)off, 2);
        while (extra-- > 0)
                put_byte(b, 0);
        put(b, p, n);
}

static void put_our_pkesk(struct bytes *b, const struct pgp_pair *p, const uint8_t *d)
{
        uint8_t em[256], c[256];
        struct bytes body = {};
        unsigned kind = d[D_PKESK] & 15, form = d[D_PKESK] >> 4;
        static const uint8_t hidden[8];
        encode(p, d, em);
        rsa(p, em, c);
        put_byte(&body, kind == 8 ? 2 : kind == 9 ? 4 : 3);
        put(&body, kind == 10 ? hidden : p->key_id, 8);
        put_byte(&body, kind == 11 ? 2 : kind == 12 ? 16 : kind == 13 ? 3 : 1);
        put_mpi(&body, c, p->modulus_len, kind == 14, kind == 7 ? 1 : kind == 6 ? -1 : 0);
        if (kind == 15)
                put_byte(&body, 0);
        if (kind == 5)
                body.n--;
        put_packet(b, 1, &body, form, 0);
        free(body.p);
}

/* For a key that we do not have, of an algorithm that may be unknown, perhaps malformed. */
static void put_other_pkesk(struct bytes *b, const struct pgp_pair *p, const uint8_t *d, unsigned kind)
{
        static const unsigned algorithms[] = {1, 16, 18, 99, 1, 1, 2, 17};
        struct bytes body = {};
        uint8_t noise[128];
        static const uint8_t hidden[8];
        unsigned algorithm = algorithms[kind & 7], alter = d[D_OTHER_BYTE];
        memset(noise, 0x5a, sizeof(noise));
        put_byte(&body, 3);
        put(&body, kind == 4 ? hidden : kind == 5 ? p->key_id : p->other_id, 8);
        put_byte(&body, algorithm);
        put_mpi(&body, noise, sizeof(noise), 0, 0);
        if (algorithm == 16)
                put_mpi(&body, noise, sizeof(noise), 0, 0);
        if (algorithm == 18) {
                put_byte(&body, 48);
                put(&body, noise, 48);
        }
        if (alter >= 0xf0)
                body.n -= alter & 15;
        else if (alter >= 0xe0)
                put(&body, noise, alter & 15);
        else if (alter)
                body.p[(alter >> 1) % body.n] ^= alter & 1 ? 0x80 : 0x01;
        put_packet(b, 1, &body, kind >> 3 & 7, 0);
        free(body.p);
}

/* --- inside --- */

static size_t content_length(const uint8_t *d, size_t rest)
{
        static const size_t lengths[] = {10, 0, 1, 2, 100, 180, 185, 186, 187, 191, 192, 193, 500, 511, 512,
                513, 1023, 1024, 1025, 8180, 8190, 8191, 8192, 8193, 8371, 8378, 8383, 8384, 8385, 16384,
                32767, 65535, 65536, 65537, 70000};
        return d[D_LENGTH] < ELEMENTSOF(lengths) ? lengths[d[D_LENGTH]] : rest;
}

static void put_content(struct bytes *b, const uint8_t *d, const uint8_t *rest, size_t n)
{
        uint32_t noise = d[D_CONTENT] * 2654435761u + 1;
        size_t len = content_length(d, n);
        static const char text[] = "id\tname\r\n1\tx \n";
        for (size_t i = 0; i < len; i++) {
                noise = noise * 1664525 + 1013904223;
                unsigned c = 0;
                switch (d[D_CONTENT] & 3) {
                case 1:
                        c = (uint8_t)text[i % (sizeof(text) - 1)];
                        break;
                case 2:
                        c = noise >> 24;
                        break;
                case 3:
                        c = n ? rest[i % n] : 0;
                        break;
                default:
                        break;
                }
                put_byte(b, c);
        }
}

static void put_literal(struct bytes *b, const uint8_t *d, const uint8_t *rest, size_t n)
{
        static const char formats[] = "bbbbtu1lmB";
        struct bytes body = {};
        put_byte(&body, (unsigned)formats[d[D_FORMAT] % (sizeof(formats) - 1)]);
        switch (d[D_NAME] & 3) {
        case 1:
                put_byte(&body, 8);
                put(&body, "_CONSOLE", 8);
                break;
        case 2:
                put_byte(&body, 255);
                for (unsigned i = 0; i < 255; i++)
                        put_byte(&body, i);
                break;
        case 3:
                put_byte(&body, 5);
                put(&body, "a.sql", 5);
                break;
        default:
                put_byte(&body, 0);
                break;
        }
        put_number(&body, d[D_NAME] >> 2, 4);
        put_content(&body, d, rest, n);
        unsigned fault = d[D_LITERAL_FAULT];
        if (fault >= 0xf0)
                body.n = MIN(body.n, (size_t)(fault & 15)); /* too short to be one */
        put_packet(b, fault == 0xe3 ? 9 : 11, &body, d[D_LITERAL_FRAME],
                fault == 0xe1   ? 1
                : fault == 0xe2 ? -1
                                : 0);
        free(body.p);
}

static void deflate_into(struct bytes *b, const struct bytes *in, int level, int window)
{
        z_stream z = {.next_in = in->p, .avail_in = (unsigned)in->n};
        size_t most = in->n + in->n / 100 + 1000;
        uint8_t *out = malloc(most);
        if (!out || deflateInit2(&z, level, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY) != Z_OK)
                abort();
        z.next_out = out;
        z.avail_out = (unsigned)most;
        if (deflate(&z, Z_FINISH) != Z_STREAM_END)
                abort();
        put(b, out, most - z.avail_out);
        deflateEnd(&z);
        free(out);
}

static void bzip2_into(struct bytes *b, const struct bytes *in, int level)
{
        unsigned most = (unsigned)(in->n + in->n / 50 + 1000);
        union {
                uint8_t *in;
                char *out;
        } from = {.in = in->p};
        char *out = malloc(most);
        if (!out ||
                BZ2_bzBuffToBuffCompress(out, &most, from.out, (unsigned)in->n, MAX(level, 1), 0, 0) != BZ_OK)
                abort();
        put(b, out, most);
        free(out);
}

/* in becomes a compressed packet. */
static void compress_packet(struct bytes *in, const uint8_t *d, unsigned kind)
{
        struct bytes body = {}, out = {};
        int level = d[D_LEVEL] % 10, window = 15 - (d[D_LEVEL] >> 5) % 7;
        unsigned fault = d[D_COMPRESS_FAULT];
        put_byte(&body, fault == 0xe1 ? 0 : fault == 0xe2 ? 4 : kind);
        if (kind == 1)
                deflate_into(&body, in, level, -window);
        else if (kind == 2)
                deflate_into(&body, in, level, window);
        else
                bzip2_into(&body, in, level);
        if (fault >= 0xf0)
                body.n -= MIN(body.n - 1, (size_t)(fault & 15));
        else if (fault == 0xe3)
                put(&body, "more", 4);
        else if (fault == 0xe4)
                put_byte(&body, 0);
        else if (fault && fault < 0xe0)
                body.p[1 + fault % (body.n - 1)] ^= 1 << (fault & 7);
        put_packet(&out, 8, &body, d[D_COMPRESS_FRAME] == 0 ? 9 : d[D_COMPRESS_FRAME], 0);
        free(body.p);
        free(in->p);
        *in = out;
}

static void put_inside(struct bytes *b, const uint8_t *d, const uint8_t *rest, size_t n)
{
        struct bytes in = {}, small = {};
        put(&small, "PGP", 3);
        unsigned more = d[D_INSIDE];
        if (more == 0xe1)
                put_packet(&in, 10, &small, 0, 0); /* marker */
        if (more == 0xe2)
                put_packet(&in, 60, &small, 0, 0); /* private */
        if (d[D_RAW] & 1)
                put(&in, rest, n);
        else
                put_literal(&in, d, rest, n);
        if (more == 0xe3)
                put_packet(&in, 10, &small, 0, 0);
        if (more == 0xe4)
                put_literal(&in, d, rest, n);
        if (more == 0xe5)
                put_packet(&in, 2, &small, 0, 0);
        if (more == 0xe6)
                put_byte(&in, 0);
        if (more == 0xe7)
                put_packet(&in, 19, &small, 0, 0);
        for (unsigned kinds = d[D_COMPRESS]; kinds; kinds >>= 2)
                if (kinds & 3)
                        compress_packet(&in, d, kinds & 3);
        if (more == 0xe8)
                put_byte(&in, 0);
        if (more == 0xe9)
                put_packet(&in, 10, &small, 0, 0);
        put(b, in.p, in.n);
        free(in.p);
        free(small.p);
}

/* --- the data packet --- */

static void put_mdc(struct bytes *b, const uint8_t *d)
{
        uint8_t sum[20];
        unsigned fault = d[D_MDC];
        if (fault == 0xe0)
                return;
        put_byte(b, fault == 0xe1 ? 0xd2 : 0xd3);
        put_byte(b, fault == 0xe2 ? 0x15 : 0x14);
        if (!EVP_Digest(b->p, b->n, sum, NULL, EVP_sha1(), NULL))
                abort();
        if (fault >= 0xec)
                sum[fault - 0xec] ^= 0x10;
        put(b, sum, fault == 0xe3 ? 19 : 20);
        if (fault == 0xe4)
                put_byte(b, 0);
}

static void put_data(struct bytes *b, const uint8_t *d, const uint8_t *rest, size_t n)
{
        struct bytes plain = {}, body = {};
        uint8_t key[32], prefix[BLOCK + 2];
        static const uint8_t iv[BLOCK];
        const EVP_CIPHER *cipher = key_size(d) == 32   ? EVP_aes_256_cfb128()
                                   : key_size(d) == 16 ? EVP_aes_128_cfb128()
                                                       : EVP_aes_192_cfb128();
        unsigned fault = d[D_DATA];
        session_key(d, key);
        memset(prefix, 0x33, sizeof(prefix));
        if (fault == 0xe1)
                prefix[BLOCK + 1] ^= 1; /* the repeated bytes differ */
        put(&plain, prefix, sizeof(prefix));
        put_inside(&plain, d, rest, n);
        put_mdc(&plain, d);
        put_byte(&body, fault == 0xe2 ? 2 : fault == 0xe3 ? 0 : 1);
        uint8_t *out = malloc(plain.n + BLOCK);
        int len = 0;
        EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
        if (!out || !ctx || !EVP_EncryptInit_ex(ctx, cipher, NULL, key, iv) ||
                !EVP_EncryptUpdate(ctx, out, &len, plain.p, (int)plain.n))
                abort();
        EVP_CIPHER_CTX_free(ctx);
        put(&body, out, (size_t)len);
        if (fault == 0xe4)
                body.p[body.n - 1] ^= 1;
        if (fault == 0xe5)
                body.p[body.n / 2] ^= 1;
        if (fault >= 0xf0)
                body.n -= MIN(body.n, (size_t)(fault & 15) * 3);
        put_packet(b,
                fault == 0xe6   ? 9
                : fault == 0xe7 ? 20
                                : 18,
                &body, d[D_FRAME],
                fault == 0xe8   ? 1
                : fault == 0xe9 ? -1
                                : 0);
        free(out);
        free(plain.p);
        free(body.p);
}

static void put_message(
        struct bytes *b, const struct pgp_pair *p, const uint8_t *d, const uint8_t *rest, size_t n)
{
        unsigned others = d[D_OTHERS];
        if (others & 0x40)
                put_other_pkesk(b, p, d, others & 0x3f);
        put_our_pkesk(b, p, d);
        if (others & 0x80)
                put_other_pkesk(b, p, d, others & 0x3f);
        put_data(b, d, rest, n);
}

void recipe_make(const struct pgp_pair *p, const uint8_t *d, size_t n, uint8_t **ret, size_t *ret_n)
{
        uint8_t decisions[DECISIONS] = {};
        memcpy(decisions, d, MIN(n, sizeof(decisions)));
        const uint8_t *rest = d + MIN(n, sizeof(decisions));
        n -= MIN(n, sizeof(decisions));
        struct bytes b = {}, small = {};
        put(&small, "PGP", 3);
        unsigned around = decisions[D_AROUND];
        if (around == 0xe1)
                put_packet(&b, 10, &small, 0, 0);
        if (around == 0xe2)
                put(&b, "hello\n", 6);
        if (around == 0xe3)
                put_packet(&b, 60, &small, 0, 0);
        put_message(&b, p, decisions, rest, n);
        if (around == 0xe4)
                put_message(&b, p, decisions, rest, n);
        if (around == 0xe5)
                put_packet(&b, 10, &small, 0, 0);
        if (around == 0xe6)
                put_byte(&b, 0);
        if (around == 0xe7)
                put_literal(&b, decisions, rest, n);
        if (around >= 0xf0)
                b.n -= MIN(b.n, (size_t)(around & 15) * 5);
        free(small.p);
        *ret = b.p;
        *ret_n = b.n;
}
