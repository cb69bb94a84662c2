/* SPDX-License-Identifier: Apache-2.0 */
/* Exported secret keys and OpenPGP packets. The packets lie within the input and use all of it up; of the
 * keys, all that are there are wanted, and the sums of those without a passphrase are made right, so that the
 * numbers behind them are reached. A key that is taken decrypts what its own public part encrypts. */
#define OPENSSL_API_COMPAT 0x10100000L
#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "macro.h"
#include "openpgp.h"
#include "pgp_fast.h"
#include "str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MOST 8192
#define KEYS_MOST 16

/* Where the public part ends: RFC 4880, 5.5.2. 0: no RSA key. */
static size_t public_part(const struct packet *p)
{
        struct cursor c = {.p = p->body, .left = p->len};
        uint64_t v, algorithm;
        const uint8_t *mpi;
        size_t n;
        if (cursor_number(&c, 1, &v) < 0 || v != 4 || !cursor_take(&c, 4) ||
                cursor_number(&c, 1, &algorithm) < 0 || cursor_mpi(&c, &mpi, &n) < 0 ||
                cursor_mpi(&c, &mpi, &n) < 0)
                return 0;
        return p->len - c.left;
}

static char *id_of(const struct packet *p, size_t n)
{
        uint8_t sum[20], head[3] = {0x99, (uint8_t)(n >> 8), (uint8_t)n};
        EVP_MD_CTX *md = EVP_MD_CTX_new();
        assert(md && EVP_DigestInit_ex(md, EVP_sha1(), NULL) && EVP_DigestUpdate(md, head, 3) &&
                EVP_DigestUpdate(md, p->body, n) && EVP_DigestFinal_ex(md, sum, NULL));
        EVP_MD_CTX_free(md);
        char *hex = malloc(17);
        assert(hex);
        hex_encode(sum + 12, 8, hex);
        return hex;
}

/* Of an unprotected key in one piece: the sum at its end, made right. */
static void fix_sum(uint8_t *from, const uint8_t *body, size_t len, size_t public)
{
        unsigned sum = 0;
        size_t at = (size_t)(body - from);
        if (len < public + 3 || body[public] != 0)
                return;
        for (size_t i = public + 1; i < len - 2; i++)
                sum += body[i];
        from[at + len - 2] = (uint8_t)(sum >> 8);
        from[at + len - 1] = (uint8_t)sum;
}

static void use(const struct pgp_secret *s)
{
        uint8_t in[2048] = {}, out[2048], instead[PGP_SECRET_INSTEAD];
        char id[17];
        for (size_t i = 0; i < pgp_secret_count(s); i++) {
                size_t n = pgp_secret_size(s, (int)i);
                assert(n >= 128 && n <= sizeof(out));
                in[n - 1] = 1; /* 1 to any power is 1 */
                pgp_secret_id(s, (int)i, id);
                assert(strlen(id) == 16);
                assert(pgp_secret_rsa(s, (int)i, in, n, out, instead) == 0 && memcmp(in, out, n) == 0);
                in[n - 1] = 0;
        }
}

static void as_message(const struct pgp_secret *s, const uint8_t *p, size_t n)
{
        struct fast_session session;
        struct fast_plaintext plain = {};
        char recipients[4][17];
        size_t n_recipients;
        if (fast_open_session(s, p, n, &session, recipients, 4, &n_recipients) == 0 &&
                fast_decrypt(&session, p, n, &plain) == 0)
                fast_plaintext_done(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *wanted[KEYS_MOST];
        size_t n_wanted = 0, consumed = 0;
        if (size > INPUT_MOST || pgp_secret_init() < 0)
                return 0;
        uint8_t *copy = malloc(size + 1);
        assert(copy);
        memcpy(copy, data, size);
        struct cursor c = {.p = copy, .left = size};
        int r;
        for (;;) {
                struct packet p;
                size_t before = c.left;
                r = packet_next(&c, &p);
                if (r < 0)
                        break;
                assert(before > c.left && p.len <= before - c.left);
                consumed += before - c.left;
                if (!p.joined)
                        assert(p.body >= copy && p.body + p.len <= copy + size);
                size_t public = public_part(&p);
                if (public && n_wanted < KEYS_MOST) {
                        wanted[n_wanted++] = id_of(&p, public);
                        if (!p.joined)
                                fix_sum(copy, p.body, p.len, public);
                }
                packet_done(&p);
        }
        assert(r == -ENODATA ? consumed == size && c.left == 0 : r == -EBADMSG || r == -ENOTSUP);
        struct secret passphrase = {.p = (char[]){"x"}, .len = 1};
        struct pgp_secret *s = NULL;
        struct error e = {};
        r = pgp_secret_read(copy, size, &passphrase, wanted, n_wanted, &s, &e);
        assert((r == 0) == (s != NULL));
        if (s) {
                assert(pgp_secret_count(s) <= n_wanted);
                use(s);
                as_message(s, data, size);
                pgp_secret_free(s);
        }
        for (size_t i = 0; i < n_wanted; i++)
                free(wanted[i]);
        free(copy);
        return 0;
}
