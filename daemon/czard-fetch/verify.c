/* SPDX-License-Identifier: Apache-2.0 */
/* Up to three running guesses at the size of the parts (more than one only where it is not known): each makes
 * an ETag, and the composite form of the checksums. Beside them the checksums of the whole. All are fed with
 * every byte once. "Cannot be told" is an answer of its own, never a mismatch: KMS and SSE-C ETags are no
 * digests, and parts may be of different sizes. */
#include "verify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "httpval.h"
#include "limits.h"
#include "macro.h"
#include "str.h"
#include "terms.h"

#define GUESSES_MAX 3

const char *const verify_checksum_header[VERIFY_CHECKSUMS] = {"x-amz-checksum-crc32", "x-amz-checksum-crc32c",
        "x-amz-checksum-sha1", "x-amz-checksum-sha256", "x-amz-checksum-crc64nvme"};
static const enum digest_kind checksum_kind[VERIFY_CHECKSUMS] = {
        DIGEST_CRC32, DIGEST_CRC32C, DIGEST_SHA1, DIGEST_SHA256, DIGEST_CRC64NVME};

/* The digest of all (part_size 0), or the digest of the digests of parts. */
struct guess {
        enum digest_kind kind;
        uint64_t part_size, left; /* left: bytes to the end of the part */
        struct digest *part, *all;
};

/* One that the uploader stored: of the whole (guess[0] with part_size 0), or composite, by each guess at the
 * size of the parts. */
struct checksum {
        struct guess guess[GUESSES_MAX];
        size_t n_guesses; /* 0: none stored, or it cannot be computed */
        bool composite;
        uint8_t want[DIGEST_MAX];
};

struct verify {
        uint64_t size;
        struct httpval_etag etag;
        bool etag_is_digest;
        bool part_size_known;
        struct guess guess[GUESSES_MAX];
        size_t n_guesses;
        struct checksum checksum[VERIFY_CHECKSUMS];
};

size_t verify_part_sizes(uint64_t size, unsigned parts, uint64_t *ret, size_t max)
{
        /* aws-cli and boto3 (8), boto3 doubling for large files, s3cmd (15), rclone and others (5), ... */
        static const unsigned mib[] = {8, 16, 5, 64, 32, 15, 10, 100, 50, 128, 256, 512, 1024, 25, 20, 6, 7};
        size_t n = 0;
        if (parts == 1 && max > 0)
                ret[n++] = MAX(size, (uint64_t)1);
        for (size_t i = 0; i < ELEMENTSOF(mib) && parts > 1 && n < max; i++) {
                uint64_t p = mib[i] * MIB;
                if (size / p + (size % p != 0) == parts)
                        ret[n++] = p;
        }
        return n;
}

static void guess_done(struct guess *g)
{
        g->part = digest_free(g->part);
        g->all = digest_free(g->all);
}

static int guess_init(struct guess *g, enum digest_kind kind, uint64_t part_size)
{
        *g = (struct guess){.kind = kind, .part_size = part_size, .left = part_size};
        int r = digest_new(kind, &g->part);
        return r == 0 && part_size > 0 ? digest_new(kind, &g->all) : r;
}

static void guess_end_part(struct guess *g)
{
        uint8_t sum[DIGEST_MAX];
        digest_final(g->part, sum);
        digest_update(g->all, sum, digest_size(g->kind));
        g->left = g->part_size;
}

static void guess_update(struct guess *g, const uint8_t *p, size_t n)
{
        while (n > 0) {
                size_t k = g->part_size > 0 && g->left < n ? (size_t)g->left : n;
                digest_update(g->part, p, k);
                p += k;
                n -= k;
                g->left -= g->part_size > 0 ? k : 0;
                if (g->part_size > 0 && g->left == 0)
                        guess_end_part(g);
        }
}

static bool guess_is_right(struct guess *g, const uint8_t *want)
{
        uint8_t sum[DIGEST_MAX];
        if (g->part_size > 0 && g->left < g->part_size)
                guess_end_part(g);
        digest_final(g->part_size > 0 ? g->all : g->part, sum);
        return memcmp(sum, want, digest_size(g->kind)) == 0;
}

static int guesses_init(struct verify *v, uint64_t part_size)
{
        uint64_t sizes[GUESSES_MAX] = {0};
        size_t n = 1;
        unsigned parts = v->etag.parts;
        if (parts > 0) {
                /* What the server says must fit, else it has answered another question. */
                v->part_size_known = parts == 1 || (part_size > 0 && part_size <= LIMIT_PART_SIZE &&
                                                           (v->size + part_size - 1) / part_size == parts);
                sizes[0] = part_size;
                if (parts == 1 || !v->part_size_known)
                        n = verify_part_sizes(v->size, parts, sizes, GUESSES_MAX);
        } else {
                v->part_size_known = true;
        }
        for (size_t i = 0; i < n; i++) {
                int r = guess_init(&v->guess[v->n_guesses++], DIGEST_MD5, sizes[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

int verify_new(const char *etag, uint64_t size, uint64_t part_size, struct verify **ret)
{
        struct verify *v = calloc(1, sizeof(*v));
        if (!v)
                return -ENOMEM;
        v->size = size;
        if (httpval_etag(etag, &v->etag) < 0)
                v->etag = (struct httpval_etag){};
        int r = v->etag.is_md5 ? guesses_init(v, part_size) : 0;
        if (r < 0) {
                verify_free(v);
                return r;
        }
        *ret = v;
        return 0;
}

static void checksum_done(struct checksum *c)
{
        for (size_t i = 0; i < c->n_guesses; i++)
                guess_done(&c->guess[i]);
        *c = (struct checksum){};
}

/* "BASE64-N": the checksum of the checksums of N parts. 0, or -EINVAL. */
static int parse_composite(const char *value, uint8_t *want, size_t size, unsigned parts)
{
        char text[96];
        const char *dash = strrchr(value, '-');
        uint64_t n = 0;
        if (!dash || (size_t)(dash - value) >= sizeof(text) || parse_u64(dash + 1, LIMIT_PARTS, &n) < 0 ||
                n != parts || parts == 0)
                return -EINVAL;
        snprintf(text, sizeof(text), "%.*s", (int)(dash - value), value);
        return httpval_base64(text, want, size);
}

static int begin_checksum(struct verify *v, size_t i, const char *value, bool whole)
{
        struct checksum *c = &v->checksum[i];
        enum digest_kind kind = checksum_kind[i];
        checksum_done(c);
        if (str_empty(value))
                return 0;
        if (whole && httpval_base64(value, c->want, digest_size(kind)) == 0) {
                c->n_guesses = 1;
                return guess_init(&c->guess[0], kind, 0);
        }
        if (parse_composite(value, c->want, digest_size(kind), v->etag.parts) < 0)
                return 0;
        c->composite = true;
        int r = 0;
        for (size_t k = 0; k < v->n_guesses && r == 0; k++)
                r = guess_init(&c->guess[c->n_guesses++], kind, v->guess[k].part_size);
        return r;
}

int verify_begin(struct verify *v, const struct verify_headers *h)
{
        bool kms = h->encryption && str_after(h->encryption, "aws:kms");
        bool whole = str_empty(h->checksum_type) || streq(h->checksum_type, "FULL_OBJECT");
        v->etag_is_digest = v->etag.is_md5 && !kms && str_empty(h->customer_key);
        int r = 0;
        for (size_t i = 0; i < v->n_guesses && r == 0; i++) {
                uint64_t part_size = v->guess[i].part_size;
                guess_done(&v->guess[i]);
                r = guess_init(&v->guess[i], DIGEST_MD5, part_size);
        }
        for (size_t i = 0; i < VERIFY_CHECKSUMS && r == 0; i++)
                r = begin_checksum(v, i, h->checksum[i], whole);
        return r;
}

void verify_update(struct verify *v, const void *p, size_t n)
{
        for (size_t i = 0; i < v->n_guesses && v->etag_is_digest; i++)
                guess_update(&v->guess[i], p, n);
        for (size_t i = 0; i < VERIFY_CHECKSUMS; i++)
                for (size_t k = 0; k < v->checksum[i].n_guesses; k++)
                        guess_update(&v->checksum[i].guess[k], p, n);
}

/* What the end tells. */
struct found {
        bool whole;     /* a checksum of the whole fits */
        bool composite; /* one of the parts does */
        int etag;       /* the guess whose ETag fits; -1: none */
};

static int checksum_differs(size_t i, struct error *e)
{
        return error_set(e, CAUSE_CHECKSUM, EBADMSG, "%s does not fit", verify_checksum_header[i]);
}

static int finish_whole(struct verify *v, struct found *f, struct error *e)
{
        for (size_t i = 0; i < VERIFY_CHECKSUMS; i++) {
                struct checksum *c = &v->checksum[i];
                if (c->n_guesses == 0 || c->composite)
                        continue;
                if (!guess_is_right(&c->guess[0], c->want))
                        return checksum_differs(i, e);
                f->whole = true;
        }
        return 0;
}

/* Only a guess was wrong, not the body: where the size of the parts is not known, and where a checksum of the
 * whole fits, so that it is the parts that are not of one size. */
static int finish_etag(struct verify *v, struct found *f, struct error *e)
{
        f->etag = -1;
        for (size_t i = 0; i < v->n_guesses && v->etag_is_digest && f->etag < 0; i++)
                if (guess_is_right(&v->guess[i], v->etag.md5))
                        f->etag = (int)i;
        if (f->etag >= 0 || !v->etag_is_digest || !v->part_size_known || (f->whole && v->etag.parts > 1))
                return 0;
        return error_set(e, CAUSE_ETAG, EBADMSG, "the MD5 of what came is not the ETag");
}

/* The guess that made the ETag must make them too; any of them, where the ETag tells nothing. */
static int finish_composite(struct verify *v, struct found *f, struct error *e)
{
        for (size_t i = 0; i < VERIFY_CHECKSUMS; i++) {
                struct checksum *c = &v->checksum[i];
                bool fits = false;
                if (c->n_guesses == 0 || !c->composite)
                        continue;
                for (size_t k = 0; k < c->n_guesses; k++)
                        fits |= guess_is_right(&c->guess[k], c->want) && (f->etag < 0 || f->etag == (int)k);
                if (!fits && (f->etag >= 0 || (v->part_size_known && !f->whole)))
                        return checksum_differs(i, e);
                f->composite |= fits;
        }
        return 0;
}

int verify_finish(struct verify *v, uint32_t *ret_checks, struct error *e)
{
        struct found f = {};
        int r = finish_whole(v, &f, e);
        if (r == 0)
                r = finish_etag(v, &f, e);
        if (r == 0)
                r = finish_composite(v, &f, e);
        if (r == 0)
                *ret_checks |= (f.etag >= 0 ? CHECK_ETAG : CHECK_NO_ETAG) |
                               (f.whole || f.composite ? CHECK_CHECKSUM : CHECK_NO_CHECKSUM);
        return r;
}

struct verify *verify_free(struct verify *v)
{
        if (!v)
                return NULL;
        for (size_t i = 0; i < v->n_guesses; i++)
                guess_done(&v->guess[i]);
        for (size_t i = 0; i < VERIFY_CHECKSUMS; i++)
                checksum_done(&v->checksum[i]);
        free(v);
        return NULL;
}
