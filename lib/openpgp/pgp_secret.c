/* SPDX-License-Identifier: Apache-2.0 */
/* Secret keys. A protected one is opened here, once, so that the cost of its S2K is paid once. All memory
 * that OpenSSL asks for in this process comes from its secure heap, because it makes copies of what it is
 * given (the Montgomery forms of the primes, blinding, key schedules) in what it takes for ordinary memory.
 */
#define OPENSSL_API_COMPAT 0x10100000L
#include "pgp_secret.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "openpgp.h"
#include "str.h"

#define SECURE_HEAP (4 * 1024 * 1024) /* only what is used is locked and resident */
#define SECURE_LEAST 64
#define KEYS_MOST 16
#define RSA_BITS_LEAST 1024
#define RSA_BITS_MOST 16384
#define S2K_NONE 0
#define S2K_SHA1 254     /* protected, checked by SHA-1 */
#define S2K_CHECKSUM 255 /* protected, checked by a sum */
#define S2K_ITERATED 3
#define SECRET_MOST (16 * 1024) /* bytes of the secret numbers of one key */

struct secret_key {
        uint8_t id[8];
        RSA *rsa;
        uint8_t instead[SHA256_DIGEST_LENGTH]; /* of d: makes session keys for packets that hold none */
};

struct pgp_secret {
        struct secret_key keys[KEYS_MOST];
        size_t n;
};

/* Where parsing one key packet has got to. */
struct raw_key {
        const uint8_t *n, *e;
        size_t n_len, e_len;
        uint8_t id[8];
};

static const struct {
        unsigned algorithm;
        const EVP_CIPHER *(*cipher)(void);
} ciphers[] = {{7, EVP_aes_128_cfb128}, {8, EVP_aes_192_cfb128}, {9, EVP_aes_256_cfb128}};

static const struct {
        unsigned algorithm;
        const EVP_MD *(*md)(void);
} hashes[] = {{2, EVP_sha1}, {8, EVP_sha256}, {9, EVP_sha384}, {10, EVP_sha512}};

/* --- memory --- */

/* While the secure heap is being made, its own lists come from the C library; those hold no secret. Once it
 * is there, nothing spills over: when it is full, there is no memory. */
static void *on_malloc(size_t n, const char *file, int line)
{
        if (n == 0)
                return NULL;
        return CRYPTO_secure_malloc_initialized() ? CRYPTO_secure_malloc(n, file, line) : malloc(n);
}

static void on_free(void *p, const char *file, int line)
{
        if (CRYPTO_secure_allocated(p))
                CRYPTO_secure_free(p, file, line); /* wipes it */
        else
                free(p);
}

static void *on_realloc(void *p, size_t n, const char *file, int line)
{
        if (p && !CRYPTO_secure_allocated(p))
                return realloc(p, n);
        void *more = on_malloc(n, file, line);
        if (more && p)
                memcpy(more, p, MIN(n, CRYPTO_secure_actual_size(p)));
        if (more || n == 0)
                on_free(p, file, line);
        return more;
}

int pgp_secret_init(void)
{
        if (CRYPTO_secure_malloc_initialized())
                return 0;
        if (!CRYPTO_set_mem_functions(on_malloc, on_realloc, on_free))
                return -EBUSY;
        /* 2: not locked, for RLIMIT_MEMLOCK is small; swap is the lesser evil than not running */
        return CRYPTO_secure_malloc_init(SECURE_HEAP, SECURE_LEAST) ? 0 : -ENOMEM;
}

/* --- reading --- */

/* RFC 4880, 12.2: the key id is the end of the SHA-1 of the public part. */
static int take_public(struct cursor *c, struct raw_key *ret)
{
        uint64_t version, created, algorithm;
        const uint8_t *start = c->p;
        if (cursor_number(c, 1, &version) < 0 || cursor_number(c, 4, &created) < 0 ||
                cursor_number(c, 1, &algorithm) < 0)
                return -EBADMSG;
        if (version != 4 || (algorithm != 1 && algorithm != 2))
                return -ENOTSUP;
        if (cursor_mpi(c, &ret->n, &ret->n_len) < 0 || cursor_mpi(c, &ret->e, &ret->e_len) < 0)
                return -EBADMSG;
        size_t len = (size_t)(c->p - start);
        if (len > UINT16_MAX)
                return -EBADMSG;
        uint8_t head[3] = {0x99, (uint8_t)(len >> 8), (uint8_t)len}, sum[20];
        EVP_MD_CTX *md = EVP_MD_CTX_new();
        bool well = md && EVP_DigestInit_ex(md, EVP_sha1(), NULL) &&
                    EVP_DigestUpdate(md, head, sizeof(head)) && EVP_DigestUpdate(md, start, len) &&
                    EVP_DigestFinal_ex(md, sum, NULL);
        EVP_MD_CTX_free(md);
        if (!well)
                return -ENOMEM;
        memcpy(ret->id, sum + 12, sizeof(ret->id));
        return 0;
}

/* RFC 4880, 3.7.1.3: count bytes of salt and passphrase, again and again, into as many hashes as the key is
 * long. */
static int s2k_iterated(const EVP_MD *md, const uint8_t salt[8], size_t count,
        const struct secret *passphrase, uint8_t *key, size_t key_len)
{
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        uint8_t sum[EVP_MAX_MD_SIZE];
        size_t round_len = 8 + passphrase->len, done = 0, md_len = (size_t)EVP_MD_size(md);
        if (!ctx)
                return -ENOMEM;
        bool well = true;
        for (size_t preload = 0; well && done < key_len; preload++) {
                well = EVP_DigestInit_ex(ctx, md, NULL);
                for (size_t i = 0; well && i < preload; i++)
                        well = EVP_DigestUpdate(ctx, "", 1);
                size_t left = MAX(count, round_len);
                while (well && left > 0) {
                        size_t n = MIN(left, (size_t)8), m = MIN(left - n, passphrase->len);
                        well = EVP_DigestUpdate(ctx, salt, n) &&
                               (m == 0 || EVP_DigestUpdate(ctx, passphrase->p, m));
                        left -= n + m;
                }
                well = well && EVP_DigestFinal_ex(ctx, sum, NULL);
                size_t n = MIN(md_len, key_len - done);
                memcpy(key + done, sum, n);
                done += n;
        }
        OPENSSL_cleanse(sum, sizeof(sum));
        EVP_MD_CTX_free(ctx);
        return well ? 0 : -EIO;
}

struct protection {
        const EVP_CIPHER *cipher;
        const EVP_MD *md;
        const uint8_t *salt, *iv;
        size_t count;
};

static int take_protection(struct cursor *c, struct protection *ret)
{
        uint64_t algorithm, kind, hash, count;
        if (cursor_number(c, 1, &algorithm) < 0 || cursor_number(c, 1, &kind) < 0)
                return -EBADMSG;
        *ret = (struct protection){};
        for (size_t i = 0; i < ELEMENTSOF(ciphers); i++)
                if (ciphers[i].algorithm == algorithm)
                        ret->cipher = ciphers[i].cipher();
        if (kind != S2K_ITERATED || !ret->cipher) /* among others gnu-dummy: no secret part, or a smartcard */
                return -ENOTSUP;
        if (cursor_number(c, 1, &hash) < 0)
                return -EBADMSG;
        for (size_t i = 0; i < ELEMENTSOF(hashes); i++)
                if (hashes[i].algorithm == hash)
                        ret->md = hashes[i].md();
        ret->salt = cursor_take(c, 8);
        if (!ret->md)
                return -ENOTSUP;
        if (!ret->salt || cursor_number(c, 1, &count) < 0)
                return -EBADMSG;
        ret->count = (size_t)(16 + (count & 15)) << ((count >> 4) + 6);
        ret->iv = cursor_take(c, (size_t)EVP_CIPHER_iv_length(ret->cipher));
        return ret->iv ? 0 : -EBADMSG;
}

static int unprotect(const struct protection *p, const struct secret *passphrase, const uint8_t *in, size_t n,
        uint8_t *out)
{
        uint8_t key[EVP_MAX_KEY_LENGTH];
        int r = s2k_iterated(
                    p->md, p->salt, p->count, passphrase, key, (size_t)EVP_CIPHER_key_length(p->cipher)),
            len = 0;
        EVP_CIPHER_CTX *ctx = r < 0 ? NULL : EVP_CIPHER_CTX_new();
        if (r >= 0 && (!ctx || !EVP_DecryptInit_ex(ctx, p->cipher, NULL, key, p->iv) ||
                              !EVP_DecryptUpdate(ctx, out, &len, in, (int)n) || (size_t)len != n))
                r = -EIO;
        EVP_CIPHER_CTX_free(ctx);
        OPENSSL_cleanse(key, sizeof(key));
        return r;
}

/* The secret numbers, opened and checked, in secure memory: wrong passphrase is -EACCES. */
static int open_numbers(struct cursor *c, const struct secret *passphrase, uint8_t **ret, size_t *ret_len)
{
        uint64_t usage;
        struct protection protection = {};
        if (cursor_number(c, 1, &usage) < 0)
                return -EBADMSG;
        if (usage != S2K_NONE && usage != S2K_SHA1 && usage != S2K_CHECKSUM)
                return -ENOTSUP;
        int r = usage == S2K_NONE ? 0 : take_protection(c, &protection);
        size_t n = c->left, tail = usage == S2K_SHA1 ? 20 : 2;
        if (r < 0 || n <= tail || n > SECRET_MOST)
                return r < 0 ? r : -EBADMSG;
        uint8_t *out = OPENSSL_secure_malloc(n);
        if (!out)
                return -ENOMEM;
        if (usage == S2K_NONE)
                memcpy(out, c->p, n);
        else
                r = unprotect(&protection, passphrase, c->p, n, out);
        uint8_t sum[20];
        unsigned plain_sum = 0;
        for (size_t i = 0; i < n - tail; i++)
                plain_sum += out[i];
        sum[0] = (uint8_t)(plain_sum >> 8);
        sum[1] = (uint8_t)plain_sum;
        if (r >= 0 && usage == S2K_SHA1 && !EVP_Digest(out, n - tail, sum, NULL, EVP_sha1(), NULL))
                r = -EIO;
        if (r >= 0 && CRYPTO_memcmp(sum, out + n - tail, tail) != 0)
                r = -EACCES;
        if (r < 0) {
                OPENSSL_secure_clear_free(out, n);
                return r;
        }
        *ret = out;
        *ret_len = n;
        return 0;
}

static BIGNUM *secure_number(const uint8_t *p, size_t n)
{
        BIGNUM *b = BN_secure_new();
        if (b && !BN_bin2bn(p, (int)n, b)) {
                BN_clear_free(b);
                return NULL;
        }
        if (b)
                BN_set_flags(b, BN_FLG_CONSTTIME);
        return b;
}

/* Does the key open what it has closed? RSA_check_key() would also look for primes: 0.2 s for a key of 3072
 * bits, 9 s for one of 8192, at every start. Numbers that do not fit each other do no harm later, either:
 * OpenSSL checks each result with the public key before it gives it out. */
static bool works(RSA *rsa)
{
        uint8_t in[RSA_BITS_MOST / 8] = {}, closed[RSA_BITS_MOST / 8], opened[RSA_BITS_MOST / 8];
        int size = RSA_size(rsa);
        bool well = size > 1 && size <= RSA_BITS_MOST / 8 && RAND_bytes(in + 1, size - 1) == 1 &&
                    RSA_public_encrypt(size, in, closed, rsa, RSA_NO_PADDING) == size &&
                    RSA_private_decrypt(size, closed, opened, rsa, RSA_NO_PADDING) == size;
        return well && memcmp(in, opened, (size_t)size) == 0;
}

/* OpenPGP's u is the inverse of p modulo q; with p and q changed over it is OpenSSL's iqmp. */
static RSA *make_rsa(const struct raw_key *raw, const uint8_t *v[4], const size_t n[4])
{
        RSA *rsa = RSA_new();
        BN_CTX *ctx = BN_CTX_secure_new();
        BIGNUM *modulus = BN_bin2bn(raw->n, (int)raw->n_len, NULL),
               *e = BN_bin2bn(raw->e, (int)raw->e_len, NULL);
        BIGNUM *d = secure_number(v[0], n[0]), *q = secure_number(v[1], n[1]), *p = secure_number(v[2], n[2]);
        BIGNUM *iqmp = secure_number(v[3], n[3]), *dmp1 = BN_secure_new(), *dmq1 = BN_secure_new(),
               *one_less = BN_secure_new();
        bool well = rsa && ctx && modulus && e && d && p && q && iqmp && dmp1 && dmq1 && one_less &&
                    BN_sub(one_less, p, BN_value_one()) && BN_mod(dmp1, d, one_less, ctx) &&
                    BN_sub(one_less, q, BN_value_one()) && BN_mod(dmq1, d, one_less, ctx);
        BN_clear_free(one_less);
        if (well && RSA_set0_key(rsa, modulus, e, d)) {
                modulus = e = d = NULL;
                well = RSA_set0_factors(rsa, p, q);
                if (well)
                        p = q = NULL;
                well = well && RSA_set0_crt_params(rsa, dmp1, dmq1, iqmp);
                if (well)
                        dmp1 = dmq1 = iqmp = NULL;
        } else {
                well = false;
        }
        BIGNUM *const rest[] = {modulus, e, d, p, q, iqmp, dmp1, dmq1};
        for (size_t i = 0; i < ELEMENTSOF(rest); i++)
                BN_clear_free(rest[i]);
        BN_CTX_free(ctx);
        if (!well || !works(rsa)) {
                RSA_free(rsa);
                ERR_clear_error();
                return NULL;
        }
        return rsa;
}

static bool is_wanted(const uint8_t id[8], char *const *wanted, size_t n)
{
        char hex[17];
        hex_encode(id, 8, hex);
        for (size_t i = 0; i < n; i++)
                if (strcasecmp(hex, wanted[i]) == 0)
                        return true;
        return false;
}

static int take_key(struct pgp_secret *s, const struct packet *p, const struct secret *passphrase,
        char *const *wanted, size_t n_wanted)
{
        struct cursor c = {.p = p->body, .left = p->len};
        struct raw_key raw;
        int r = take_public(&c, &raw);
        size_t bits = r < 0 ? 0 : raw.n_len * 8;
        if (r < 0 || s->n == KEYS_MOST || !is_wanted(raw.id, wanted, n_wanted) || bits < RSA_BITS_LEAST ||
                bits > RSA_BITS_MOST)
                return r == -ENOMEM ? r : 0;
        uint8_t *numbers;
        size_t len;
        r = open_numbers(&c, passphrase, &numbers, &len);
        if (r < 0)
                return r == -ENOMEM || r == -EACCES ? r : 0;
        struct cursor secret = {.p = numbers, .left = len};
        const uint8_t *v[4];
        size_t n[4];
        bool well = true;
        for (size_t i = 0; well && i < 4; i++)
                well = cursor_mpi(&secret, &v[i], &n[i]) >= 0;
        struct secret_key *key = &s->keys[s->n];
        well = well && EVP_Digest(v[0], n[0], key->instead, NULL, EVP_sha256(), NULL);
        RSA *rsa = well ? make_rsa(&raw, v, n) : NULL;
        OPENSSL_secure_clear_free(numbers, len);
        if (rsa) {
                key->rsa = rsa;
                memcpy(key->id, raw.id, sizeof(raw.id));
                s->n++;
        }
        return 0;
}

int pgp_secret_read(const void *export, size_t n, const struct secret *passphrase, char *const *wanted,
        size_t n_wanted, struct pgp_secret **ret, struct error *e)
{
        struct pgp_secret *s = OPENSSL_zalloc(sizeof(*s));
        struct cursor c = {.p = export, .left = n};
        int r = s ? 0 : -ENOMEM;
        while (r >= 0) {
                struct packet p;
                r = packet_next(&c, &p);
                if (r < 0)
                        break;
                if (p.tag == PACKET_SECRET_KEY || p.tag == PACKET_SECRET_SUBKEY)
                        r = take_key(s, &p, passphrase, wanted, n_wanted);
                packet_done(&p);
        }
        if (r != -ENODATA) {
                pgp_secret_free(s);
                return r == -EACCES ? error_set(e, CAUSE_PASSPHRASE, EACCES,
                                              "the passphrase does not open the exported key")
                                    : error_set(e, CAUSE_HELPER, -r, "the exported key cannot be read: %s",
                                              strerror(-r));
        }
        *ret = s;
        return 0;
}

struct pgp_secret *pgp_secret_free(struct pgp_secret *s)
{
        for (size_t i = 0; s && i < s->n; i++)
                RSA_free(s->keys[i].rsa);
        OPENSSL_clear_free(s, sizeof(*s));
        return NULL;
}

size_t pgp_secret_count(const struct pgp_secret *s)
{
        return s->n;
}

int pgp_secret_find(const struct pgp_secret *s, const uint8_t key_id[8])
{
        for (size_t i = 0; i < s->n; i++)
                if (memcmp(s->keys[i].id, key_id, 8) == 0)
                        return (int)i;
        return -1;
}

void pgp_secret_id(const struct pgp_secret *s, int i, char ret[17])
{
        hex_encode(s->keys[i].id, 8, ret);
        for (char *p = ret; *p; p++)
                if (*p >= 'a')
                        *p = (char)(*p - 'a' + 'A');
}

size_t pgp_secret_size(const struct pgp_secret *s, int i)
{
        return (size_t)RSA_size(s->keys[i].rsa);
}

int pgp_secret_rsa(const struct pgp_secret *s, int i, const uint8_t *in, size_t n, uint8_t *out,
        uint8_t instead[PGP_SECRET_INSTEAD])
{
        size_t size = pgp_secret_size(s, i);
        uint8_t padded[RSA_BITS_MOST / 8];
        if (n > size)
                return -EBADMSG;
        memset(padded, 0, size - n);
        memcpy(padded + size - n, in, n);
        int len = RSA_private_decrypt((int)size, padded, out, s->keys[i].rsa, RSA_NO_PADDING);
        if (len < 0 || (size_t)len != size ||
                !HMAC(EVP_sha256(), s->keys[i].instead, sizeof(s->keys[i].instead), padded, size, instead,
                        NULL)) {
                ERR_clear_error();
                return -EBADMSG;
        }
        return 0;
}
