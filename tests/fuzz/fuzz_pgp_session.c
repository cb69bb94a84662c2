/* SPDX-License-Identifier: Apache-2.0 */
/* The session-key packets of a message for a key that is known, with anything within the RSA block. What the
 * fast engine makes of it is what a plain reading of PKCS #1 (RFC 8017, 7.2.2) and RFC 4880, 5.1 makes of it:
 * the session key, a random one (the same each time, and nothing is decrypted with it), or it declines. The
 * start of a message says nothing else than the whole of it. */
#define OPENSSL_API_COMPAT 0x10100000L
#include <assert.h>
#include <errno.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "macro.h"
#include "openpgp.h"
#include "pgp_fast.h"
#include "str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BLOCK = 128, MESSAGE_MOST = 8192, PACKETS_MOST = 6, RECIPIENTS = 4, CONTENT = 20 };

/* An RSA key that is nobody's: modulus, private exponent, primes, inverse of the first modulo the second. */
static const char *const numbers[] = {
        "b5b593724867c564ec4b0bce8e6a6d820304088a2fee8954c14c659036effb0201761f8dae405ccb2c51af542a434500"
        "82adb366d829781baf395e833ceb741812feb6593647e2b898a8bc63a5f3b9f83401719f2cc574191361cc84c50f0168"
        "24da76200a573cc30a14eb793d9696e2032e5c84f208c69fe56070afca55ca81",
        "34eb126bbfe668b841908179c044026c50908624285d61a54b3e027e0361d449fb3ef9657b8fc6f66c8bc571cf7513cd"
        "584159f3e39400249fdd27473520a50837986d8ae3498442cc9dcb45bc0f0828cf87c9086a9b9b1c6d3fb336e39d4148"
        "7f302b224791e5d700cd7c5498e96869a6eb0096c74a330ad13b47fdf4056839",
        "c3b902d3f38e400781b3b09466ac99d02c481166498f0d2f632e2607b9800aa52366bf350815993087230757465e2fe6"
        "9d02a6c63d7028cc8695994ea927d61f",
        "edabbb5ce73e44e08f5138b8f6baee27a8a51d5e8777ac5d623e6d9c0b79dddedf1b1aa69ebad1d5c16a7c42f1e8a187"
        "62c82a5c3aa1ddf3eeed44f942660b5f",
        "7e90eb0ac47fefa0c5cf68c5fe2579df1e6910acbb87b1bf7ba9c3e8e2fd37b238367322a105ca0fe1414a3c1dba5cbb"
        "ec1cd749c358c12a3b1f1a5d0aa44386",
};
static struct pgp_secret *secret;
static uint8_t key_id[8], modulus[BLOCK];

/* Bytes as decisions; 0 when they are used up. */
struct tape {
        const uint8_t *p;
        size_t left;
};

static unsigned next(struct tape *t)
{
        return t->left ? (t->left--, *t->p++) : 0;
}

struct bytes {
        uint8_t p[MESSAGE_MOST];
        size_t n;
};

static void put(struct bytes *b, const void *p, size_t n)
{
        assert(n <= sizeof(b->p) - b->n);
        memcpy(b->p + b->n, p, n);
        b->n += n;
}

static void put_number(struct bytes *b, uint64_t v, size_t n)
{
        while (n-- > 0)
                put(b, &(uint8_t){(uint8_t)(v >> 8 * n)}, 1);
}

static void put_mpi(struct bytes *b, const uint8_t *p, size_t n)
{
        for (; n > 0 && *p == 0; n--)
                p++;
        size_t bits = 8 * n;
        for (unsigned top = n ? 0x80 : 0; top && !(*p & top); top >>= 1)
                bits--;
        put_number(b, bits, 2);
        put(b, p, n);
}

static void put_packet(struct bytes *b, enum packet_tag tag, bool old, const struct bytes *body)
{
        put_number(b, old ? 0x80U | (unsigned)tag << 2 | 1 : 0xc0U | (unsigned)tag, 1);
        if (old)
                put_number(b, body->n, 2);
        else
                put_number(b, UINT64_C(0xff) << 32 | body->n, 5);
        put(b, body->p, body->n);
}

/* --- the key --- */

static void start(void)
{
        static struct bytes body, export;
        uint8_t number[BLOCK], sum[20], head[3];
        char id[17], *wanted[] = {id};
        assert(pgp_secret_init() == 0 && hex_decode(numbers[0], modulus, BLOCK) == 0);
        put_number(&body, 4, 1);
        put_number(&body, 0, 4);
        put_number(&body, 1, 1);
        put_mpi(&body, modulus, BLOCK);
        put_mpi(&body, (const uint8_t *)"\1\0\1", 3);
        head[0] = 0x99;
        head[1] = (uint8_t)(body.n >> 8);
        head[2] = (uint8_t)body.n;
        EVP_MD_CTX *md = EVP_MD_CTX_new();
        assert(md && EVP_DigestInit_ex(md, EVP_sha1(), NULL) && EVP_DigestUpdate(md, head, 3) &&
                EVP_DigestUpdate(md, body.p, body.n) && EVP_DigestFinal_ex(md, sum, NULL));
        EVP_MD_CTX_free(md);
        memcpy(key_id, sum + 12, sizeof(key_id));
        hex_encode(key_id, sizeof(key_id), id);
        put_number(&body, 0, 1);
        size_t from = body.n;
        unsigned check = 0;
        for (size_t i = 1; i < ELEMENTSOF(numbers); i++) {
                size_t n = strlen(numbers[i]) / 2;
                assert(hex_decode(numbers[i], number, n) == 0);
                put_mpi(&body, number, n);
        }
        for (size_t i = from; i < body.n; i++)
                check += body.p[i];
        put_number(&body, check & 0xffff, 2);
        put_packet(&export, PACKET_SECRET_KEY, false, &body);
        struct error e = {};
        const struct secret none = {};
        assert(pgp_secret_read(export.p, export.n, &none, wanted, 1, &secret, &e) == 0);
        assert(pgp_secret_count(secret) == 1 && pgp_secret_find(secret, key_id) == 0);
}

/* --- what a message is made of, and what is to come of it --- */

enum expected { DECLINED, OPENED, OPENED_AT_RANDOM };

struct play {
        struct bytes message;
        enum expected expected;
        bool ours; /* a packet for us was there */
        uint8_t key[FAST_SESSION_KEY];
        size_t key_len, recipients;
};

static size_t key_len_of(unsigned algorithm)
{
        static const uint8_t len[] = {[1] = 16,
                [2] = 24,
                [3] = 16,
                [4] = 16,
                [7] = 16,
                [8] = 24,
                [9] = 32,
                [10] = 32,
                [11] = 16,
                [12] = 24,
                [13] = 32};
        return algorithm < sizeof(len) ? len[algorithm] : 0;
}

/* RFC 8017, 7.2.2, and RFC 4880, 5.1, as one reads them. */
static enum expected read_block(const uint8_t *em, uint8_t key[FAST_SESSION_KEY], size_t *key_len)
{
        size_t i = 2;
        while (i < BLOCK && em[i] != 0)
                i++;
        if (em[0] != 0 || em[1] != 2 || i < 2 + 8 || i + 1 >= BLOCK)
                return OPENED_AT_RANDOM;
        const uint8_t *m = em + i + 1;
        size_t n = BLOCK - i - 1, len = key_len_of(m[0]);
        if (len == 0 || n != 1 + len + 2)
                return OPENED_AT_RANDOM;
        unsigned sum = 0;
        for (size_t k = 1; k <= len; k++)
                sum += m[k];
        if ((sum >> 8 & 0xff) != m[1 + len] || (sum & 0xff) != m[2 + len])
                return OPENED_AT_RANDOM;
        if (m[0] < 7 || m[0] > 9)
                return DECLINED; /* a right packet, for gpg */
        memcpy(key, m, 1 + len);
        *key_len = 1 + len;
        return OPENED;
}

static void make_block(struct tape *t, uint8_t em[BLOCK])
{
        unsigned how = next(t), algorithm = 7 + how / 4 % 3;
        if (how & 0x40)
                algorithm = next(t) % 16;
        size_t len = key_len_of(algorithm);
        memset(em, 0x55, BLOCK);
        if (how & 1) {
                em[0] = 0;
                em[1] = 2;
                size_t at = BLOCK - 3 - len;
                unsigned sum = 0;
                em[at - 1] = 0;
                em[at] = (uint8_t)algorithm;
                for (size_t i = 1; i <= len; i++)
                        sum += em[at + i] = (uint8_t)next(t);
                em[BLOCK - 2] = (uint8_t)(sum >> 8);
                em[BLOCK - 1] = (uint8_t)sum;
        }
        for (unsigned n = how & 2 ? next(t) % 4 : 0; n > 0; n--) {
                unsigned at = next(t) % BLOCK;
                em[at] = (uint8_t)next(t);
        }
        em[0] &= 0x7f; /* below the modulus */
}

static void close_block(const uint8_t em[BLOCK], uint8_t ret[BLOCK])
{
        BN_CTX *ctx = BN_CTX_new();
        BIGNUM *n = BN_bin2bn(modulus, BLOCK, NULL), *m = BN_bin2bn(em, BLOCK, NULL), *e = BN_new();
        assert(ctx && n && m && e && BN_set_word(e, 0x10001) && BN_mod_exp(m, m, e, n, ctx) &&
                BN_bn2binpad(m, ret, BLOCK) == BLOCK);
        BN_free(n);
        BN_free(m);
        BN_free(e);
        BN_CTX_free(ctx);
}

static void put_ours(struct tape *t, struct play *p)
{
        struct bytes body = {};
        uint8_t em[BLOCK], closed[BLOCK];
        unsigned how = next(t), algorithm = how & 8 ? how >> 4 : 1, version = how & 4 ? next(t) : 3;
        make_block(t, em);
        close_block(em, closed);
        put_number(&body, version, 1);
        put(&body, key_id, sizeof(key_id));
        put_number(&body, algorithm, 1);
        put_mpi(&body, closed, BLOCK);
        if (how & 2)
                put_number(&body, next(t), 1);
        put_packet(&p->message, PACKET_PKESK, how & 1, &body);
        enum expected x = read_block(em, p->key, &p->key_len);
        if (p->ours || algorithm != 1 || version != 3 || how & 2)
                x = DECLINED;
        if (p->expected != DECLINED)
                p->expected = x;
        p->ours = true;
        p->recipients++;
}

/* For somebody else, as gpg wants it, or not. */
static void put_foreign(struct tape *t, struct play *p)
{
        struct bytes body = {};
        uint8_t number[64];
        unsigned how = next(t);
        size_t n = how >> 4;
        memset(number, 0x81, sizeof(number));
        put_number(&body, 3, 1);
        put_number(&body, how & 1 ? UINT64_C(0x1122334455667788) : 0, 8);
        put_number(&body, how & 2 ? 1 : next(t), 1);
        bool rsa = body.p[9] == 1 || body.p[9] == 2, elgamal = body.p[9] == 16, ecdh = body.p[9] == 18;
        put_mpi(&body, number, n);
        if (how & 4)
                put_mpi(&body, number, 3);
        if (how & 8)
                put(&body, "\2xx", 3);
        put_packet(&p->message, PACKET_PKESK, false, &body);
        bool two = how & 4, wrapped = how & 8;
        if (!(how & 1) || n == 0 ||
                !((rsa && !two && !wrapped) || (elgamal && two && !wrapped) || (ecdh && !two && wrapped)))
                p->expected = DECLINED;
        p->recipients++;
}

static void put_any(struct tape *t, struct play *p)
{
        for (unsigned n = next(t) % 64; n > 0; n--)
                put_number(&p->message, next(t), 1);
        p->expected = DECLINED; /* unless it is lucky; see check() */
}

/* A literal, closed with the session key that is in the packet, or with one of our own. */
static void put_data(struct play *p)
{
        static const uint8_t iv[16], content[CONTENT] = "content of literal.";
        struct bytes plain = {}, literal = {}, body = {};
        uint8_t key[FAST_SESSION_KEY] = {7};
        int len;
        if (p->expected == OPENED)
                memcpy(key, p->key, p->key_len);
        put_number(&literal, UINT64_C(0x6200) << 32, 6);
        put(&literal, content, CONTENT);
        put(&plain, "0123456789abcdefef", SEIPD_PREFIX);
        put_packet(&plain, PACKET_LITERAL, false, &literal);
        put_number(&plain, 0xd314, 2);
        assert(EVP_Digest(plain.p, plain.n, plain.p + plain.n, NULL, EVP_sha1(), NULL));
        plain.n += MDC_SUM_SIZE;
        EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
        put_number(&body, 1, 1);
        assert(ctx &&
                EVP_EncryptInit_ex(ctx,
                        key[0] == 7   ? EVP_aes_128_cfb128()
                        : key[0] == 8 ? EVP_aes_192_cfb128()
                                      : EVP_aes_256_cfb128(),
                        NULL, key + 1, iv) &&
                EVP_EncryptUpdate(ctx, body.p + body.n, &len, plain.p, (int)plain.n));
        EVP_CIPHER_CTX_free(ctx);
        body.n += (size_t)len;
        put_packet(&p->message, PACKET_SEIPD, false, &body);
}

static bool same_session(const struct fast_session *a, const struct fast_session *b)
{
        return a->len == b->len && memcmp(a->key, b->key, a->len) == 0 && a->random == b->random &&
               a->after == b->after && a->secret == b->secret;
}

/* lucky: something in it is not as it was made on purpose, and what is right is not known. */
static void check(const struct play *p, bool lucky, size_t cut)
{
        struct fast_session s = {}, again = {};
        struct fast_plaintext plain = {};
        char recipients[RECIPIENTS][17];
        size_t n, start = 0;
        const uint8_t *m = p->message.p;
        int r = fast_open_session(secret, m, p->message.n, &s, recipients, RECIPIENTS, &n);
        assert(r == 0 || r == -ENOTSUP);
        assert(n <= RECIPIENTS);
        int q = fast_open_session(secret, m, cut, &again, recipients, RECIPIENTS, &n);
        assert(q == -ENOTSUP || (r == 0 && same_session(&s, &again)));
        if (lucky && r < 0)
                return;
        if (!lucky)
                assert((r == 0) == (p->expected != DECLINED));
        if (r < 0)
                return;
        start = s.after;
        assert(start < p->message.n && packet_tag(m[start]) == PACKET_SEIPD && s.secret == 0);
        assert(fast_open_session(secret, m, p->message.n, &again, recipients, RECIPIENTS, &n) == 0 &&
                same_session(&s, &again));
        r = fast_decrypt(&s, m, p->message.n, &plain);
        assert(!s.random || r < 0);
        if (!lucky) {
                assert(n == p->recipients && s.random == (p->expected == OPENED_AT_RANDOM));
                assert(s.random || (s.len == p->key_len && memcmp(s.key, p->key, s.len) == 0 && r == 0 &&
                                           plain.len == CONTENT &&
                                           memcmp(plain.p, "content of literal.", CONTENT) == 0));
                assert(!s.random || (s.len == FAST_SESSION_KEY && s.key[0] == 9 && r == -EBADMSG));
        }
        fast_plaintext_done(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct tape t = {data, size};
        static struct play p;
        bool lucky = false;
        if (!secret)
                start();
        p = (struct play){.expected = OPENED};
        unsigned n = 1 + next(&t) % PACKETS_MOST, cut = next(&t);
        for (; n > 0; n--) {
                unsigned kind = next(&t) % 8;
                if (kind == 0) {
                        put_any(&t, &p);
                        lucky = true;
                } else if (kind < 4) {
                        put_foreign(&t, &p);
                } else {
                        put_ours(&t, &p);
                }
        }
        if (!p.ours || p.recipients > RECIPIENTS)
                p.expected = DECLINED;
        put_data(&p);
        check(&p, lucky, p.message.n * cut / 256);
        return 0;
}
