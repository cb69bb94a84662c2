/* SPDX-License-Identifier: Apache-2.0 */
/* Up to three running guesses at the ETag (more than one only where the part size is not known) and up to
 * four checksums, fed with every byte once. "Cannot be told" is an answer of its own, never a mismatch:
 * KMS and SSE-C ETags are no digests, composite checksums and CRC-64/NVME are not computed. */
#include "verify.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "digest.h"
#include "httpval.h"
#include "limits.h"
#include "macro.h"
#include "str.h"

#define GUESSES_MAX 3
#define MD5_SIZE 16

const char *const verify_checksum_header[VERIFY_CHECKSUMS] = {
        "x-amz-checksum-crc32", "x-amz-checksum-crc32c", "x-amz-checksum-sha1", "x-amz-checksum-sha256"};
static const enum digest_kind checksum_kind[VERIFY_CHECKSUMS] = {
        DIGEST_CRC32, DIGEST_CRC32C, DIGEST_SHA1, DIGEST_SHA256};

/* One way to make an ETag: MD5 of all (part_size 0), or MD5 of the MD5s of parts. */
struct guess {
        uint64_t part_size, left; /* left: bytes to the end of the part */
        struct digest *part, *all;
};

struct checksum {
        struct digest *digest; /* NULL: none stored */
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

static int guess_init(struct guess *g, uint64_t part_size)
{
        *g = (struct guess){.part_size = part_size, .left = part_size};
        int r = digest_new(DIGEST_MD5, &g->part);
        return r == 0 && part_size > 0 ? digest_new(DIGEST_MD5, &g->all) : r;
}

static void guess_end_part(struct guess *g)
{
        uint8_t md5[DIGEST_MAX];
        digest_final(g->part, md5);
        digest_update(g->all, md5, MD5_SIZE);
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

static bool guess_is_right(struct guess *g, const uint8_t want[MD5_SIZE])
{
        uint8_t md5[DIGEST_MAX];
        if (g->part_size > 0 && g->left < g->part_size)
                guess_end_part(g);
        digest_final(g->part_size > 0 ? g->all : g->part, md5);
        return memcmp(md5, want, MD5_SIZE) == 0;
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
                int r = guess_init(&v->guess[v->n_guesses++], sizes[i]);
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

static int begin_checksum(struct checksum *c, enum digest_kind kind, const char *value)
{
        uint8_t want[DIGEST_MAX];
        c->digest = digest_free(c->digest);
        /* A value "BASE64-N" is the checksum of checksums of parts: it fails here, and is left out. */
        if (str_empty(value) || httpval_base64(value, want, digest_size(kind)) < 0)
                return 0;
        memcpy(c->want, want, sizeof(want));
        return digest_new(kind, &c->digest);
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
                r = guess_init(&v->guess[i], part_size);
        }
        for (size_t i = 0; i < VERIFY_CHECKSUMS && r == 0; i++)
                r = begin_checksum(&v->checksum[i], checksum_kind[i], whole ? h->checksum[i] : NULL);
        return r;
}

void verify_update(struct verify *v, const void *p, size_t n)
{
        for (size_t i = 0; i < v->n_guesses && v->etag_is_digest; i++)
                guess_update(&v->guess[i], p, n);
        for (size_t i = 0; i < VERIFY_CHECKSUMS; i++)
                if (v->checksum[i].digest)
                        digest_update(v->checksum[i].digest, p, n);
}

static int finish_etag(struct verify *v, uint32_t *checks, struct error *e)
{
        for (size_t i = 0; i < v->n_guesses && v->etag_is_digest; i++)
                if (guess_is_right(&v->guess[i], v->etag.md5)) {
                        *checks |= CHECK_ETAG;
                        return 0;
                }
        /* Only a guess was wrong, not the body. */
        if (!v->etag_is_digest || !v->part_size_known) {
                *checks |= CHECK_NO_ETAG;
                return 0;
        }
        return error_set(e, CAUSE_ETAG, EBADMSG, "the MD5 of what came is not the ETag");
}

static int finish_checksums(struct verify *v, uint32_t *checks, struct error *e)
{
        bool any = false;
        for (size_t i = 0; i < VERIFY_CHECKSUMS; i++) {
                uint8_t got[DIGEST_MAX];
                struct checksum *c = &v->checksum[i];
                if (!c->digest)
                        continue;
                digest_final(c->digest, got);
                if (memcmp(got, c->want, digest_size(checksum_kind[i])) != 0)
                        return error_set(
                                e, CAUSE_CHECKSUM, EBADMSG, "%s does not fit", verify_checksum_header[i]);
                any = true;
        }
        *checks |= any ? CHECK_CHECKSUM : CHECK_NO_CHECKSUM;
        return 0;
}

int verify_finish(struct verify *v, uint32_t *ret_checks, struct error *e)
{
        uint32_t checks = 0;
        int r = finish_etag(v, &checks, e);
        if (r == 0)
                r = finish_checksums(v, &checks, e);
        if (r == 0)
                *ret_checks |= checks;
        return r;
}

struct verify *verify_free(struct verify *v)
{
        if (!v)
                return NULL;
        for (size_t i = 0; i < v->n_guesses; i++)
                guess_done(&v->guess[i]);
        for (size_t i = 0; i < VERIFY_CHECKSUMS; i++)
                v->checksum[i].digest = digest_free(v->checksum[i].digest);
        free(v);
        return NULL;
}
