/* SPDX-License-Identifier: Apache-2.0 */
/* Each layer gives what it has to the next one, and keeps only what it needs of it:
 *
 *   feed -> packet -> CFB -> MDC -> pgp_inside
 *
 * Whatever is wrong behind the cipher only makes the message odd: the rest still goes through the MDC, so
 * that a wrong session key, an altered message and a strange one are told apart by the MDC alone.
 *
 * CFB is made of ECB: each block of the key stream is the encryption of the ciphertext block before it, and
 * those are all known when one decrypts. OpenSSL's own CFB does one block after the other, ten times slower.
 */
#include "pgp_stream.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "openpgp.h"
#include "pgp_inside.h"

#define CHUNK (64 * KIB)

struct pgp_stream {
        bool random;
        struct packet_reader packet;
        bool versioned, foreign; /* foreign: not one SEIPD v1 packet */
        EVP_CIPHER_CTX *ecb;
        EVP_MD_CTX *sha1;
        size_t n_cipher, n_plain, prefix_left;
        struct pgp_inside *inside;

        uint8_t cipher[SEIPD_BLOCK + CHUNK]; /* the block before, then n_cipher bytes */
        uint8_t key_stream[CHUNK + SEIPD_BLOCK];
        uint8_t plain[MDC_SIZE + CHUNK]; /* n_plain bytes that may be the MDC, then new ones */
};

/* n new bytes stand in plain, behind those that were held back. */
static int take_plain(struct pgp_stream *s, size_t n, struct error *e)
{
        size_t total = s->n_plain + n, free_now = total > MDC_SIZE ? total - MDC_SIZE : 0;
        size_t prefix = MIN(s->prefix_left, free_now);
        if (!EVP_DigestUpdate(s->sha1, s->plain, free_now))
                return error_set(e, CAUSE_HELPER, EIO, "SHA-1 fails");
        int r = pgp_inside_feed(s->inside, s->plain + prefix, free_now - prefix, e);
        s->prefix_left -= prefix;
        s->n_plain = total - free_now;
        memmove(s->plain, s->plain + free_now, s->n_plain);
        return r;
}

static void add_key_stream(uint8_t *out, const uint8_t *in, const uint8_t *key_stream, size_t n)
{
        size_t i = 0;
        for (uint64_t a, b; i + sizeof(a) <= n; i += sizeof(a)) {
                memcpy(&a, in + i, sizeof(a));
                memcpy(&b, key_stream + i, sizeof(b));
                a ^= b;
                memcpy(out + i, &a, sizeof(a));
        }
        for (; i < n; i++)
                out[i] = in[i] ^ key_stream[i];
}

static int decrypt(struct pgp_stream *s, struct error *e)
{
        size_t n = s->n_cipher;
        int len, blocks = (int)((n + SEIPD_BLOCK - 1) / SEIPD_BLOCK * SEIPD_BLOCK);
        if (n == 0)
                return 0;
        if (!EVP_EncryptUpdate(s->ecb, s->key_stream, &len, s->cipher, blocks) || len != blocks)
                return error_set(e, CAUSE_HELPER, EIO, "the cipher fails");
        add_key_stream(s->plain + s->n_plain, s->cipher + SEIPD_BLOCK, s->key_stream, n);
        memmove(s->cipher, s->cipher + n, SEIPD_BLOCK); /* less than a block only at the end */
        s->n_cipher = 0;
        return take_plain(s, n, e);
}

static int seipd_body(struct pgp_stream *s, const uint8_t *p, size_t n, struct error *e)
{
        if (!s->versioned) {
                s->versioned = true;
                s->foreign |= s->packet.tag != PACKET_SEIPD || *p != 1;
                p++;
                n--;
        }
        int r = 0;
        while (n > 0 && r == 0) {
                size_t k = MIN(n, CHUNK - s->n_cipher);
                memcpy(s->cipher + SEIPD_BLOCK + s->n_cipher, p, k);
                s->n_cipher += k;
                p += k;
                n -= k;
                if (s->n_cipher == CHUNK)
                        r = decrypt(s, e);
        }
        return r;
}

int pgp_stream_feed(struct pgp_stream *s, const void *message, size_t n, struct error *e)
{
        const uint8_t *p = message, *body;
        size_t k;
        int r = 0;
        while (r == 0 && (k = packet_reader_body(&s->packet, &p, &n, &body)) > 0)
                r = seipd_body(s, body, k, e);
        s->foreign |= r == 0 && n > 0;
        return r;
}

bool pgp_stream_is_odd(const struct pgp_stream *s)
{
        return s->foreign || pgp_inside_is_odd(s->inside);
}

int pgp_stream_end(struct pgp_stream *s, struct error *e)
{
        uint8_t sum[EVP_MAX_MD_SIZE];
        int r = decrypt(s, e);
        if (r < 0)
                return r;
        if (s->foreign || s->packet.state != READER_END || s->prefix_left > 0 || s->n_plain != MDC_SIZE)
                return -ENOTSUP;
        if (!EVP_DigestUpdate(s->sha1, s->plain, 2) || !EVP_DigestFinal_ex(s->sha1, sum, NULL))
                return error_set(e, CAUSE_HELPER, EIO, "SHA-1 fails");
        unsigned bad = (unsigned)s->random | mdc_differs(s->plain, sum);
        return bad ? -EBADMSG : pgp_inside_is_plain(s->inside) ? 0 : -ENOTSUP;
}

static const EVP_CIPHER *ecb_of(unsigned algorithm)
{
        return algorithm == 7   ? EVP_aes_128_ecb()
               : algorithm == 8 ? EVP_aes_192_ecb()
               : algorithm == 9 ? EVP_aes_256_ecb()
                                : NULL;
}

int pgp_stream_new(const struct fast_session *session, sink_fn *write, void *arg, struct pgp_stream **ret)
{
        const EVP_CIPHER *cipher = ecb_of(session->key[0]);
        _cleanup_(cleanup_pgp_stream) struct pgp_stream *s = cipher ? calloc(1, sizeof(*s)) : NULL;
        if (!s)
                return cipher ? -ENOMEM : -ENOTSUP;
        s->random = session->random;
        s->prefix_left = SEIPD_PREFIX;
        s->ecb = EVP_CIPHER_CTX_new();
        s->sha1 = EVP_MD_CTX_new();
        if (pgp_inside_new(write, arg, &s->inside) < 0 || !s->ecb || !s->sha1 ||
                !EVP_EncryptInit_ex(s->ecb, cipher, NULL, session->key + 1, NULL) ||
                !EVP_CIPHER_CTX_set_padding(s->ecb, 0) || !EVP_DigestInit_ex(s->sha1, EVP_sha1(), NULL))
                return -ENOMEM;
        *ret = take_ptr(&s);
        return 0;
}

struct pgp_stream *pgp_stream_free(struct pgp_stream *s)
{
        if (!s)
                return NULL;
        pgp_inside_free(s->inside);
        EVP_CIPHER_CTX_free(s->ecb);
        EVP_MD_CTX_free(s->sha1);
        OPENSSL_cleanse(s, sizeof(*s));
        free(s);
        return NULL;
}
