/* SPDX-License-Identifier: Apache-2.0 */
/* ETags and checksums. One pass over the bytes makes all of them, and is remembered in memory by the object's
 * path and identity, so that a file of 10 GB is read once.
 *
 * ETag (https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html): the MD5 digest of an object that
 * was uploaded at once and is plaintext or under SSE-S3; no MD5 digest after a multipart upload or under
 * SSE-KMS. That of a multipart upload is md5(md5(part 1) ... md5(part N))-N, as uploaders and checkers agree.
 *
 * Checksums, of the full object or composite (the checksum of the parts' checksums, "-N" behind it):
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html */
#include <inttypes.h>
#include <pthread.h>

#include <openssl/evp.h>

#include "store.h"

#define CHUNK (1024 * 1024)

/* One running digest; CRCs are reflected ones with all bits set before and after. */
struct digest {
        EVP_MD_CTX *md;
        uint64_t polynomial, crc, mask;
        unsigned bytes;
        uint64_t table[256];
};

static void digest_start(struct digest *d)
{
        if (d->md)
                EVP_DigestInit_ex(d->md, NULL, NULL);
        d->crc = d->mask;
}

static void digest_open(struct digest *d, const EVP_MD *md, unsigned bytes, uint64_t polynomial)
{
        *d = (struct digest){
                .polynomial = polynomial, .bytes = bytes, .mask = bytes == 8 ? UINT64_MAX : UINT32_MAX};
        if (md) {
                d->md = EVP_MD_CTX_new();
                EVP_DigestInit_ex(d->md, md, NULL);
        }
        for (unsigned i = 0; i < 256; i++) {
                uint64_t c = i;
                for (int k = 0; k < 8; k++)
                        c = c & 1 ? (c >> 1) ^ polynomial : c >> 1;
                d->table[i] = c;
        }
        digest_start(d);
}

static void digest_add(struct digest *d, const void *p, size_t n)
{
        if (d->md) {
                EVP_DigestUpdate(d->md, p, n);
                return;
        }
        const uint8_t *b = p;
        uint64_t c = d->crc;
        for (size_t i = 0; i < n; i++)
                c = d->table[(c ^ b[i]) & 255] ^ (c >> 8);
        d->crc = c;
}

static void digest_end(struct digest *d, uint8_t ret[EVP_MAX_MD_SIZE])
{
        if (d->md)
                EVP_DigestFinal_ex(d->md, ret, NULL);
        else
                for (unsigned i = 0; i < d->bytes; i++)
                        ret[i] = (uint8_t)((d->crc ^ d->mask) >> (8 * (d->bytes - 1 - i)));
        digest_start(d);
}

static void digest_open_kind(struct digest *d, enum checksum_kind kind)
{
        switch (kind) {
        case CHECKSUM_CRC32:
                return digest_open(d, NULL, 4, UINT64_C(0xedb88320));
        case CHECKSUM_CRC32C:
                return digest_open(d, NULL, 4, UINT64_C(0x82f63b78));
        case CHECKSUM_CRC64NVME:
                return digest_open(d, NULL, 8, UINT64_C(0x9a6c9329ac4bc9b5));
        case CHECKSUM_SHA1:
                return digest_open(d, EVP_sha1(), 20, 0);
        case CHECKSUM_SHA256:
        case CHECKSUM_MAX:
                return digest_open(d, EVP_sha256(), 32, 0);
        }
}

/* A digest of the whole, or of the digests of the parts. */
struct sum {
        bool wanted, composite;
        struct digest of_part, of_parts;
        uint8_t value[EVP_MAX_MD_SIZE];
};

static void sum_part_ends(struct sum *s)
{
        uint8_t part[EVP_MAX_MD_SIZE];
        if (!s->wanted || !s->composite)
                return;
        digest_end(&s->of_part, part);
        digest_add(&s->of_parts, part, s->of_part.bytes);
}

static void sum_end(struct sum *s)
{
        if (s->wanted)
                digest_end(s->composite ? &s->of_parts : &s->of_part, s->value);
        EVP_MD_CTX_free(s->of_part.md);
        EVP_MD_CTX_free(s->of_parts.md);
}

enum { SUM_MD5 = CHECKSUM_MAX, SUMS };

static int read_through(struct object *o, struct sum sums[SUMS])
{
        _cleanup_free_ char *buf = text_alloc(CHUNK);
        uint64_t part = o->meta.part_size ? o->meta.part_size : UINT64_MAX;
        for (uint64_t at = 0; at < o->size;) {
                uint64_t left = part - at % part;
                ssize_t n = content_read(o->content, at, buf, MIN(CHUNK, left));
                if (n <= 0)
                        return n < 0 ? (int)n : -EIO;
                for (size_t i = 0; i < SUMS; i++)
                        if (sums[i].wanted)
                                digest_add(&sums[i].of_part, buf, (size_t)n);
                at += (uint64_t)n;
                if (at % part == 0 || at == o->size)
                        for (size_t i = 0; i < SUMS; i++)
                                sum_part_ends(&sums[i]);
        }
        return 0;
}

static bool is_composite(const struct object *o, enum checksum_kind kind)
{
        if (!o->parts || kind == CHECKSUM_CRC64NVME)
                return false;
        if (o->meta.checksum_type)
                return text_eq(o->meta.checksum_type, "COMPOSITE");
        return kind == CHECKSUM_SHA1 || kind == CHECKSUM_SHA256;
}

static char *checksum_text(const struct object *o, const struct sum *s)
{
        _cleanup_free_ char *value = to_base64(s->value, s->of_part.bytes);
        return s->composite ? text_printf("%s-%" PRIu64, value, o->parts) : take_ptr(&value);
}

static int compute(struct object *o)
{
        _cleanup_free_ struct sum *sums = text_alloc(SUMS * sizeof(*sums));
        for (size_t i = 0; i < CHECKSUM_MAX; i++) {
                sums[i].wanted = text_eq(o->meta.checksums[i], "auto");
                sums[i].composite = is_composite(o, (enum checksum_kind)i);
                digest_open_kind(&sums[i].of_part, (enum checksum_kind)i);
                digest_open_kind(&sums[i].of_parts, (enum checksum_kind)i);
        }
        sums[SUM_MD5].wanted = !o->meta.etag;
        sums[SUM_MD5].composite = o->parts > 0;
        digest_open(&sums[SUM_MD5].of_part, EVP_md5(), 16, 0);
        digest_open(&sums[SUM_MD5].of_parts, EVP_md5(), 16, 0);
        bool any = false;
        for (size_t i = 0; i < SUMS; i++)
                any |= sums[i].wanted;
        int r = any ? read_through(o, sums) : 0;
        for (size_t i = 0; i < SUMS; i++)
                sum_end(&sums[i]);
        if (r < 0)
                return r;
        for (size_t i = 0; i < CHECKSUM_MAX; i++)
                if (sums[i].wanted)
                        o->checksums[i] = checksum_text(o, &sums[i]);
        char hex[2 * 16 + 1];
        to_hex(sums[SUM_MD5].value, 16, hex);
        if (sums[SUM_MD5].wanted)
                o->etag = o->parts ? text_printf("%s-%" PRIu64, hex, o->parts) : text_dup(hex);
        return 0;
}

struct remembered {
        struct remembered *next;
        bool busy; /* some thread reads the file; the others wait for what it finds */
        char *path, *identity, *etag, *checksums[CHECKSUM_MAX];
};

#define BUCKETS 4096
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t no_longer_busy = PTHREAD_COND_INITIALIZER;
static struct remembered *table[BUCKETS];

static struct remembered **slot(const char *path)
{
        uint64_t h = UINT64_C(0xcbf29ce484222325);
        for (; *path; path++)
                h = (h ^ (unsigned char)*path) * UINT64_C(0x100000001b3);
        return &table[h % BUCKETS];
}

static char *copy_or_null(const char *s)
{
        return s ? text_dup(s) : NULL;
}

static void keep(struct remembered *m, const struct object *o)
{
        free(m->identity);
        free(m->etag);
        m->identity = text_dup(o->identity);
        m->etag = copy_or_null(o->etag);
        for (size_t i = 0; i < CHECKSUM_MAX; i++) {
                free(m->checksums[i]);
                m->checksums[i] = copy_or_null(o->checksums[i]);
        }
}

static struct remembered *entry_get(const char *path)
{
        struct remembered **first = slot(path), *m = *first;
        while (m && !text_eq(m->path, path))
                m = m->next;
        if (!m) {
                m = text_alloc(sizeof(*m));
                m->path = text_dup(path);
                m->next = *first;
                *first = m;
        }
        return m;
}

/* With the lock held; without it while the bytes are read. */
static int look_up_or_compute(struct object *o, const char *path)
{
        struct remembered *m = entry_get(path);
        while (m->busy)
                pthread_cond_wait(&no_longer_busy, &lock);
        if (text_eq(m->identity, o->identity)) {
                o->etag = copy_or_null(m->etag);
                for (size_t i = 0; i < CHECKSUM_MAX; i++)
                        o->checksums[i] = copy_or_null(m->checksums[i]);
                return 0;
        }
        m->busy = true;
        pthread_mutex_unlock(&lock);
        int r = compute(o);
        pthread_mutex_lock(&lock);
        m->busy = false;
        if (r == 0 && o->settled)
                keep(m, o);
        pthread_cond_broadcast(&no_longer_busy);
        return r;
}

/* Not a digest of the bytes, but stable, as the ETag of an object under SSE-KMS is. */
static char *kms_etag(const struct object *o)
{
        uint8_t d[EVP_MAX_MD_SIZE];
        char hex[33];
        _cleanup_free_ char *s = text_printf("kms:%s", o->etag);
        EVP_Digest(s, strlen(s), d, NULL, EVP_sha256(), NULL);
        to_hex(d, 16, hex);
        return o->parts ? text_printf("%s-%" PRIu64, hex, o->parts) : text_dup(hex);
}

int digests_fill(const struct store *s, struct object *o)
{
        pthread_mutex_lock(&lock);
        int r = look_up_or_compute(o, o->path ? o->path : o->meta_path);
        pthread_mutex_unlock(&lock);
        if (r < 0)
                return r;
        if (o->meta.etag) {
                free(o->etag);
                o->etag = text_dup(o->meta.etag);
        }
        if (s->kms && !o->meta.sse)
                o->meta.sse = text_dup("aws:kms");
        if (text_eq(o->meta.sse, "aws:kms") && !o->meta.etag) {
                char *etag = kms_etag(o);
                free(o->etag);
                o->etag = etag;
        }
        o->checksum_type = "FULL_OBJECT";
        for (size_t i = 0; i < CHECKSUM_MAX; i++) {
                if (!o->meta.checksums[i])
                        continue;
                if (!o->checksums[i])
                        o->checksums[i] = text_dup(o->meta.checksums[i]);
                if (strchr(o->checksums[i], '-'))
                        o->checksum_type = "COMPOSITE";
        }
        return 0;
}
