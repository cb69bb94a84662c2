/* SPDX-License-Identifier: Apache-2.0 */
/* The session key; a small message in memory: cipher and MDC (RFC 4880, 5.1 and 5.13), then pgp_inside; and a
 * large one as it passes by. Of a small one nothing is looked at inside before the MDC is right. A
 * session-key packet that is not right inside gives a random key: whether padding, checksum or MDC was wrong,
 * the same is done, and the same is said at the end.
 */
#include "pgp_fast.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "openpgp.h"
#include "str.h"

#define RSA_MOST 2048

/* Cipher by its number in OpenPGP; NULL: not one for us. */
static const EVP_CIPHER *cipher_of(unsigned algorithm)
{
        switch (algorithm) {
        case 7:
                return EVP_aes_128_cfb128();
        case 8:
                return EVP_aes_192_cfb128();
        case 9:
                return EVP_aes_256_cfb128();
        default:
                return NULL;
        }
}

/* --- session key --- */

/* All-ones when a == b, else zero, without a branch. */
static unsigned ct_equal(unsigned a, unsigned b)
{
        unsigned d = a ^ b;
        return (unsigned)(((uint64_t)d - 1) >> 32);
}

/* PKCS #1 v1.5 (RFC 8017, 7.2.2): 0, 2, at least eight non-zero bytes, 0, then algorithm, key, sum. The key
 * is at the end and its length follows from the algorithm, so everything is at a fixed place for each of the
 * three possible lengths: each is tried without a branch on secret bytes, and what fits is chosen by masks.
 */
static unsigned match(const uint8_t *em, size_t n, unsigned algorithm, size_t key_len)
{
        size_t data = n - (1 + key_len + 2), sum_at = n - 2;
        unsigned good = ct_equal(em[0], 0) & ct_equal(em[1], 2) & ct_equal(em[data - 1], 0) &
                        ct_equal(em[data], algorithm);
        for (size_t i = 2; i < data - 1; i++)
                good &= ~ct_equal(em[i], 0);
        unsigned sum = 0;
        for (size_t i = data + 1; i < sum_at; i++)
                sum += em[i];
        return good & ct_equal(em[sum_at], sum >> 8 & 0xff) & ct_equal(em[sum_at + 1], sum & 0xff);
}

/* Key lengths of the ciphers that OpenPGP has numbers for. Those that are not for us go to gpg, which takes a
 * right packet to get there: that says as little to an attacker as a message that is accepted. */
static const struct {
        unsigned algorithm;
        size_t len;
        bool ours;
} kinds[] = {{7, 16, true}, {8, 24, true}, {9, 32, true}, {1, 16, false}, {2, 24, false}, {3, 16, false},
        {4, 16, false}, {10, 32, false}, {11, 16, false}, {12, 24, false}, {13, 32, false}};

static int choose_key(
        const uint8_t *em, size_t n, const uint8_t instead[PGP_SECRET_INSTEAD], struct fast_session *ret)
{
        uint8_t key[FAST_SESSION_KEY] = {9};
        if (n < 2 + 8 + 1 + 1 + 32 + 2)
                return -ENOTSUP;
        memcpy(key + 1, instead, PGP_SECRET_INSTEAD);
        unsigned any = 0, len = 33, foreign = 0;
        for (size_t k = 0; k < ELEMENTSOF(kinds); k++) {
                unsigned good = match(em, n, kinds[k].algorithm, kinds[k].len);
                unsigned take = kinds[k].ours ? good : 0;
                const uint8_t *from = em + n - 2 - kinds[k].len - 1;
                for (size_t i = 0; i < 1 + kinds[k].len; i++)
                        key[i] = (uint8_t)((key[i] & ~take) | (from[i] & take));
                len = (len & ~take) | ((unsigned)(1 + kinds[k].len) & take);
                any |= take;
                foreign |= good & ~take;
        }
        memcpy(ret->key, key, sizeof(ret->key));
        ret->len = len;
        ret->random = ~any & 1;
        OPENSSL_cleanse(key, sizeof(key));
        return foreign ? -ENOTSUP : 0;
}

static int open_packet(const struct pgp_secret *secret, int i, struct cursor *c, struct fast_session *ret)
{
        const uint8_t *in;
        size_t n, size = pgp_secret_size(secret, i);
        uint8_t em[RSA_MOST], instead[PGP_SECRET_INSTEAD];
        if (cursor_mpi(c, &in, &n) < 0 || c->left != 0 || size > sizeof(em) ||
                pgp_secret_rsa(secret, i, in, n, em, instead) < 0)
                return -ENOTSUP;
        int r = choose_key(em, size, instead, ret);
        OPENSSL_cleanse(em, size);
        OPENSSL_cleanse(instead, sizeof(instead));
        ret->secret = i;
        return r;
}

/* Is what follows the algorithm of a packet for somebody else as gpg wants it? It gives up the whole message
 * for a malformed one. Other algorithms are for it to judge. */
static bool foreign_is_well(struct cursor c, uint64_t algorithm)
{
        const uint8_t *p;
        size_t n;
        uint64_t len;
        unsigned mpis = algorithm == 1 || algorithm == 2 || algorithm == 18 ? 1 : algorithm == 16 ? 2 : 0;
        for (unsigned i = 0; i < mpis; i++)
                if (cursor_mpi(&c, &p, &n) < 0 || n == 0 || n > RSA_MOST)
                        return false;
        if (algorithm == 18 &&
                (cursor_number(&c, 1, &len) < 0 || len == 0 || len == 0xff || !cursor_take(&c, (size_t)len)))
                return false;
        return mpis > 0 && c.left == 0;
}

/* One session-key packet; opens it when it is the first for a key of ours. */
static int take_pkesk(const struct pgp_secret *secret, const struct packet *p, bool *have,
        struct fast_session *ret, char *recipient)
{
        struct cursor c = {.p = p->body, .left = p->len};
        uint64_t version, algorithm;
        if (p->joined || cursor_number(&c, 1, &version) < 0 || version != 3)
                return -ENOTSUP;
        const uint8_t *id = cursor_take(&c, 8);
        static const uint8_t hidden[8];
        if (!id || cursor_number(&c, 1, &algorithm) < 0 || memcmp(id, hidden, 8) == 0)
                return -ENOTSUP;
        hex_encode(id, 8, recipient);
        for (char *s = recipient; *s; s++)
                if (*s >= 'a')
                        *s = (char)(*s - 'a' + 'A');
        int i = pgp_secret_find(secret, id);
        if (i < 0)
                return foreign_is_well(c, algorithm) ? 0 : -ENOTSUP;
        if (*have || algorithm != 1) /* two for keys of ours, or our RSA key under another name */
                return -ENOTSUP;
        *have = true;
        return open_packet(secret, i, &c, ret);
}

static int open_session(const struct pgp_secret *secret, const uint8_t *p, size_t n, struct fast_session *ret,
        char (*recipients)[17], size_t most, size_t *n_recipients)
{
        struct cursor c = {.p = p, .left = n};
        bool have = false;
        *n_recipients = 0;
        for (;;) {
                struct cursor before = c;
                if (c.left == 0)
                        return -ENOTSUP;
                /* The data packet is not whole when only the start of the message is here: its tag is enough.
                 */
                unsigned tag = packet_tag(*c.p);
                if (!(*c.p & 0x80) || (tag != PACKET_PKESK && tag != PACKET_SEIPD))
                        return -ENOTSUP;
                if (tag == PACKET_SEIPD) {
                        ret->after = n - before.left;
                        return have ? 0 : -ENOTSUP;
                }
                _cleanup_packet_ struct packet packet = {};
                if (*n_recipients == most || packet_next(&c, &packet) < 0 ||
                        take_pkesk(secret, &packet, &have, ret, recipients[*n_recipients]) < 0)
                        return -ENOTSUP;
                (*n_recipients)++;
        }
}

int fast_open_session(const struct pgp_secret *secret, const uint8_t *p, size_t n, struct fast_session *ret,
        char (*recipients)[17], size_t most, size_t *n_recipients)
{
        struct fast_session session = {};
        int r = open_session(secret, p, n, &session, recipients, most, n_recipients);
        if (r == 0)
                *ret = session;
        OPENSSL_cleanse(&session, sizeof(session));
        return r;
}

/* --- a small message --- */

void fast_plaintext_done(struct fast_plaintext *p)
{
        if (p->p)
                OPENSSL_cleanse(p->p, p->size);
        free(p->p);
        *p = (struct fast_plaintext){};
}

/* A sink_fn: grows up to FAST_PLAINTEXT_MAX. */
static int keep(void *arg, const void *p, size_t n, struct error *e)
{
        struct fast_plaintext *out = arg;
        (void)e;
        if (n > FAST_PLAINTEXT_MAX - out->len)
                return -ENOTSUP;
        if (n > out->size - out->len) {
                struct fast_plaintext more = {.len = out->len, .size = MAX(2 * out->size, out->len + n)};
                more.p = malloc(more.size);
                if (!more.p)
                        return -ENOMEM;
                if (out->len)
                        memcpy(more.p, out->p, out->len);
                fast_plaintext_done(out);
                *out = more;
        }
        if (n)
                memcpy(out->p + out->len, p, n);
        out->len += n;
        return 0;
}

/* CFB with a zero IV over random prefix, packets and MDC; the prefix's repeated bytes are not looked at: that
 * check is the oracle of Mister and Zuccherato. */
static int decrypt_seipd(
        const struct fast_session *s, const uint8_t *body, size_t n, struct fast_plaintext *ret)
{
        const EVP_CIPHER *cipher = cipher_of(s->key[0]);
        static const uint8_t iv[SEIPD_BLOCK];
        if (!cipher || n < 1 + SEIPD_PREFIX + MDC_SIZE || body[0] != 1)
                return -ENOTSUP;
        struct fast_plaintext b = {.p = malloc(n), .size = n, .len = n - 1};
        EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
        int len = 0;
        bool well = b.p && ctx && EVP_DecryptInit_ex(ctx, cipher, NULL, s->key + 1, iv) &&
                    EVP_DecryptUpdate(ctx, b.p, &len, body + 1, (int)(n - 1)) && (size_t)len == n - 1;
        EVP_CIPHER_CTX_free(ctx);
        uint8_t sum[MDC_SUM_SIZE];
        size_t covered = b.len - MDC_SUM_SIZE;
        well = well && EVP_Digest(b.p, covered, sum, NULL, EVP_sha1(), NULL);
        unsigned bad = s->random;
        if (well)
                bad |= mdc_differs(b.p + b.len - MDC_SIZE, sum);
        if (!well || bad) {
                fast_plaintext_done(&b);
                return well ? -EBADMSG : -ENOTSUP;
        }
        *ret = b;
        return 0;
}

/* The one packet that must be all of p. */
static int only_packet(const uint8_t *p, size_t n, struct packet *ret)
{
        struct cursor c = {.p = p, .left = n};
        int r = packet_next(&c, ret);
        if (r == 0 && c.left == 0)
                return 0;
        if (r == 0)
                packet_done(ret);
        return r == -ENOMEM ? r : -ENOTSUP;
}

static int open_inside(const struct fast_plaintext *plain, struct fast_plaintext *ret)
{
        _cleanup_(cleanup_pgp_inside) struct pgp_inside *inside = NULL;
        struct fast_plaintext content = {};
        struct error e = {};
        int r = pgp_inside_new(keep, &content, &inside);
        if (r == 0)
                r = pgp_inside_feed(
                        inside, plain->p + SEIPD_PREFIX, plain->len - SEIPD_PREFIX - MDC_SIZE, &e);
        if (r == 0 && !pgp_inside_is_plain(inside))
                r = -ENOTSUP;
        if (r < 0)
                fast_plaintext_done(&content);
        else
                *ret = content;
        return r;
}

int fast_decrypt(const struct fast_session *session, const uint8_t *p, size_t n, struct fast_plaintext *ret)
{
        _cleanup_packet_ struct packet data = {};
        struct fast_plaintext plain = {};
        if (n > FAST_MESSAGE_MAX || session->after >= n)
                return -ENOTSUP;
        int r = only_packet(p + session->after, n - session->after, &data);
        if (r < 0)
                return r;
        if (data.tag != PACKET_SEIPD)
                return -ENOTSUP;
        r = decrypt_seipd(session, data.body, data.len, &plain);
        if (r >= 0)
                r = open_inside(&plain, ret);
        fast_plaintext_done(&plain);
        return r;
}

/* --- a large message ---
 *
 * Each layer gives what it has to the next one, and keeps only what it needs of it:
 *
 *   feed -> packet -> CFB -> MDC -> pgp_inside
 *
 * Whatever is wrong behind the cipher only makes the message odd: the rest still goes through the MDC, so
 * that a wrong session key, an altered message and a strange one are told apart by the MDC alone.
 *
 * CFB is made of ECB: each block of the key stream is the encryption of the ciphertext block before it, and
 * those are all known when one decrypts. OpenSSL's own CFB does one block after the other, ten times slower.
 */

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
