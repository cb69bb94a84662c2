/* SPDX-License-Identifier: Apache-2.0 */
/* The fast engine on one message with a session key that is known, whole in memory and as it passes by: the
 * same is said, the same comes out. Input: size of the pieces, framing, damage; then what is encrypted, so
 * that the packets within are reached. With damage in the last bytes of the input they are the message as it
 * is. */
#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "macro.h"
#include "pgp_fast.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PREFIX = 18, MDC = 22, HEAD_MOST = 6, SETTINGS = 3, INPUT_MOST = 64 * 1024 };
enum { RAW = 1, OLD = 2, BAD_SUM = 4, NO_MDC = 8, TRAILING = 16, VERSION_2 = 32, LONGER = 64, SHORTER = 128 };

struct out {
        uint8_t *p;
        size_t len;
        bool too_much;
};

static int on_write(void *arg, const void *p, size_t n, struct error *e)
{
        struct out *out = arg;
        if (n > FAST_PLAINTEXT_MAX - out->len) {
                out->too_much = true;
                return error_set(e, CAUSE_LIMIT, EFBIG, "enough");
        }
        out->p = realloc(out->p, out->len + n + 1);
        assert(out->p);
        if (n)
                memcpy(out->p + out->len, p, n);
        out->len += n;
        return 0;
}

/* OpenPGP's CFB over a random prefix, the packets, and their SHA-1 (RFC 4880, 5.13). */
static size_t encrypt(const struct fast_session *s, const uint8_t *in, size_t n, unsigned how, uint8_t *ret)
{
        uint8_t *plain = calloc(1, PREFIX + n + MDC);
        static const uint8_t iv[16];
        int len;
        assert(plain);
        memset(plain, 0x5a, PREFIX);
        memcpy(plain + PREFIX, in, n);
        plain[PREFIX + n] = 0xd3;
        plain[PREFIX + n + 1] = 0x14;
        assert(EVP_Digest(plain, PREFIX + n + 2, plain + PREFIX + n + 2, NULL, EVP_sha1(), NULL));
        if (how & BAD_SUM)
                plain[PREFIX + n + MDC - 1] ^= 1;
        size_t all = PREFIX + n + (how & NO_MDC ? 0 : MDC);
        EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
        assert(ctx && EVP_EncryptInit_ex(ctx, EVP_aes_128_cfb128(), NULL, s->key + 1, iv) &&
                EVP_EncryptUpdate(ctx, ret + 1, &len, plain, (int)all) && (size_t)len == all);
        EVP_CIPHER_CTX_free(ctx);
        ret[0] = how & VERSION_2 ? 2 : 1;
        free(plain);
        return all + 1;
}

static size_t put_head(uint8_t *ret, size_t body, unsigned how)
{
        size_t n = how & LONGER ? body + 1 : how & SHORTER ? body - 1 : body;
        const uint8_t old[] = {0x80 | 18 << 2 | 2, 0, 0, 0, 0}, now[] = {0xc0 | 18, 255, 0, 0, 0, 0};
        bool is_old = how & OLD; /* tag 18 has no old form: another packet */
        size_t head = is_old ? sizeof(old) : sizeof(now);
        memcpy(ret, is_old ? old : now, head);
        for (size_t i = 0; i < 4; i++)
                ret[head - 1 - i] = (uint8_t)(n >> 8 * i);
        return head;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct fast_session session = {
                .key = {7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, .len = 17};
        if (size < SETTINGS || size > INPUT_MOST)
                return 0;
        size_t piece = (size_t)data[0] * 8 + data[1] % 8 + 1;
        unsigned how = data[2];
        const uint8_t *in = data + SETTINGS;
        size_t n = size - SETTINGS;
        uint8_t *m = malloc(HEAD_MOST + 1 + PREFIX + n + MDC + 1);
        assert(m);
        if (how & RAW) {
                memcpy(m, in, n);
        } else {
                uint8_t *body = malloc(1 + PREFIX + n + MDC);
                assert(body);
                size_t body_len = encrypt(&session, in, n, how, body), head = put_head(m, body_len, how);
                memcpy(m + head, body, body_len);
                n = head + body_len;
                free(body);
                if (how & TRAILING)
                        m[n++] = 0;
        }
        struct fast_plaintext whole = {};
        int r = fast_decrypt(&session, m, n, &whole);
        struct out out = {};
        struct error e = {};
        struct pgp_stream *s = NULL;
        assert(pgp_stream_new(&session, on_write, &out, &s) == 0);
        int q = 0;
        for (size_t i = 0; q == 0 && i < n; i += piece)
                q = pgp_stream_feed(s, m + i, MIN(piece, n - i), &e);
        if (q == 0)
                q = pgp_stream_end(s, &e);
        pgp_stream_free(s);
        assert(r == 0 || r == -EBADMSG || r == -ENOTSUP);
        if (!out.too_much) {
                assert(q == 0 || q == -EBADMSG || q == -ENOTSUP);
                assert((q == 0) == (r == 0));
                assert(r != -EBADMSG || q == -EBADMSG);
        }
        assert(r != 0 ||
                (!(how & RAW) && !(how & (BAD_SUM | NO_MDC | VERSION_2 | LONGER | SHORTER | TRAILING))));
        assert(r != 0 || (out.len == whole.len && (out.len == 0 || memcmp(out.p, whole.p, out.len) == 0)));
        fast_plaintext_done(&whole);
        free(out.p);
        free(m);
        return 0;
}
