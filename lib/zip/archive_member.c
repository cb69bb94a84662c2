/* SPDX-License-Identifier: Apache-2.0 */
/* Members of a zip from a pipe: forward only, nothing kept but one buffer. The directory has been checked
 * before, so where a member begins and ends is known; its local header must say the same as its entry, and
 * its data must have the CRC-32 and size of the entry. The first error of a member sticks to it, and only to
 * it: the next one begins at an offset, not where the last one left off. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "archive.h"

enum { SIG_LOCAL_HEADER = 0x04034b50 };

struct archive_stream {
        int fd;
        uint64_t position; /* in the archive, of buf[pos] */
        size_t pos, len;
        archive_read_fn *read_fn; /* NULL: read(2) */
        void *arg;

        /* the member at hand */
        struct error failed;
        uint16_t method;
        uint32_t want_crc, crc;
        uint64_t want_size, out;
        uint64_t packed, left; /* packed bytes: all, and those still to come */
        bool inflating, ended;
        z_stream z;

        uint8_t buf[64 * KIB];
};

int archive_stream_new(int fd, uint64_t position, struct archive_stream **ret)
{
        struct archive_stream *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->fd = fd;
        s->position = position;
        s->ended = true;
        *ret = s;
        return 0;
}

static void entry_done(struct archive_stream *s)
{
        if (s->inflating)
                inflateEnd(&s->z);
        s->inflating = false;
        s->ended = true;
        s->failed = (struct error){};
}

struct archive_stream *archive_stream_free(struct archive_stream *s)
{
        if (!s)
                return NULL;
        entry_done(s);
        close_fd(s->fd);
        free(s);
        return NULL;
}

void archive_stream_read_with(struct archive_stream *s, archive_read_fn *read_fn, void *arg)
{
        s->read_fn = read_fn;
        s->arg = arg;
}

/* Remembers the first error of the member and tells it. */
static int fail(struct archive_stream *s, enum cause cause, int err, const char *text, struct error *e)
{
        if (!s->failed.cause)
                error_set(&s->failed, cause, err, "%s", text);
        if (e)
                *e = s->failed;
        return -s->failed.err;
}

static int bad(struct archive_stream *s, const char *text, struct error *e)
{
        return fail(s, CAUSE_BAD_ZIP, EBADMSG, text, e);
}

/* Sees to it that the buffer is not empty. */
static int fill(struct archive_stream *s, struct error *e)
{
        while (s->pos == s->len) {
                ssize_t n = s->read_fn ? s->read_fn(s->arg, s->fd, s->buf, sizeof(s->buf))
                                       : read(s->fd, s->buf, sizeof(s->buf));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return fail(s, CAUSE_HELPER, errno, "the archive's bytes cannot be read", e);
                if (n == 0)
                        return fail(
                                s, CAUSE_TRUNCATED, EIO, "the archive's bytes ended within the member", e);
                s->pos = 0;
                s->len = (size_t)n;
        }
        return 0;
}

static void consume(struct archive_stream *s, size_t n)
{
        s->pos += n;
        s->position += n;
}

/* Exactly n bytes, into p or (NULL) nowhere. */
static int take(struct archive_stream *s, uint8_t *p, uint64_t n, struct error *e)
{
        while (n) {
                int r = fill(s, e);
                if (r < 0)
                        return r;
                size_t k = (size_t)MIN(n, (uint64_t)(s->len - s->pos));
                if (p) {
                        memcpy(p, s->buf + s->pos, k);
                        p += k;
                }
                consume(s, k);
                n -= k;
        }
        return 0;
}

static bool same_name(const uint8_t *raw, size_t n, const char *name)
{
        for (size_t i = 0; i < n; i++)
                if ((raw[i] ? (char)raw[i] : '\001') != name[i])
                        return false;
        return true;
}

/* Sizes and CRC-32; with a descriptor behind the data the header has none of them. */
static int compare_sizes(struct archive_stream *s, const uint8_t *h, const uint8_t *extra, size_t extra_len,
        const struct archive_entry *entry, struct error *e)
{
        uint64_t packed = get32(h + 18), size = get32(h + 22);
        if (get16(h + 6) & ZIP_FLAG_DESCRIPTOR)
                return 0;
        if (zip64_apply(extra, extra_len, &size, &packed, NULL) < 0)
                return bad(s, "the extra field of the local header is damaged", e);
        if (size != entry->size || packed != entry->packed || get32(h + 14) != entry->crc)
                return bad(s, "the local header has other sizes or another CRC than the directory", e);
        return 0;
}

static int compare_header(struct archive_stream *s, const struct archive_entry *entry, struct error *e)
{
        const uint16_t hiding = ZIP_FLAG_ENCRYPTED | ZIP_FLAG_STRONG | ZIP_FLAG_MASKED;
        uint8_t h[ZIP_LOCAL_HEADER], name[LIMIT_MEMBER_PATH];
        if (strlen(entry->name) > sizeof(name))
                return fail(s, CAUSE_LIMIT, ENAMETOOLONG, "the name is too long", e);
        int r = take(s, h, sizeof(h), e);
        if (r < 0)
                return r;
        size_t name_len = get16(h + 26), extra_len = get16(h + 28);
        if (get32(h) != SIG_LOCAL_HEADER)
                return bad(s, "there is no local header where the directory says", e);
        if (name_len != strlen(entry->name))
                return bad(s, "the local header has another name than the directory", e);
        if (entry->place.extent < sizeof(h) + name_len + extra_len ||
                entry->place.extent - sizeof(h) - name_len - extra_len < entry->packed)
                return bad(s, "the member reaches into the next one", e);
        _cleanup_free_ uint8_t *extra = malloc(extra_len + 1);
        if (!extra)
                return fail(s, CAUSE_HELPER, ENOMEM, "out of memory", e);
        r = take(s, name, name_len, e);
        if (r == 0)
                r = take(s, extra, extra_len, e);
        if (r < 0)
                return r;
        if (!same_name(name, name_len, entry->name))
                return bad(s, "the local header has another name than the directory", e);
        if (get16(h + 8) != entry->method || ((get16(h + 6) ^ entry->flags) & hiding))
                return bad(s, "the local header has another method than the directory", e);
        if (entry->flags & hiding)
                return fail(s, CAUSE_ZIP_FORM, EOPNOTSUPP,
                        "the member has a zip password, which is not how edX encrypts, and nobody gave us",
                        e);
        return compare_sizes(s, h, extra, extra_len, entry, e);
}

/* The methods of APPNOTE.TXT 4.4.5 that programs of today write. */
static int unknown_method(struct archive_stream *s, uint16_t method, struct error *e)
{
        static const struct {
                uint16_t method;
                const char *name;
        } names[] = {{1, "Shrink"}, {6, "Implode"}, {9, "Deflate64"}, {12, "bzip2"}, {14, "LZMA"},
                {20, "Zstandard"}, {93, "Zstandard"}, {95, "xz"}, {98, "PPMd"}, {99, "AES"}};
        const char *name = "an unknown method";
        char text[128];
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (names[i].method == method)
                        name = names[i].name;
        snprintf(text, sizeof(text),
                "the member is packed with %s (method %u); czard reads deflate and stored", name, method);
        return fail(s, CAUSE_ZIP_FORM, EOPNOTSUPP, text, e);
}

static int start_data(struct archive_stream *s, const struct archive_entry *entry, struct error *e)
{
        if (entry->method == ZIP_METHOD_STORED && entry->packed != entry->size)
                return bad(s, "the member is stored, but its two sizes differ", e);
        if (entry->method != ZIP_METHOD_STORED && entry->method != ZIP_METHOD_DEFLATE)
                return unknown_method(s, entry->method, e);
        if (entry->method == ZIP_METHOD_DEFLATE) {
                s->z = (z_stream){};
                if (inflateInit2(&s->z, -MAX_WBITS) != Z_OK)
                        return fail(s, CAUSE_HELPER, ENOMEM, "out of memory", e);
                s->inflating = true;
        }
        s->method = entry->method;
        s->want_crc = entry->crc;
        s->crc = (uint32_t)crc32(0, NULL, 0);
        s->want_size = entry->size;
        s->packed = s->left = entry->packed;
        s->out = 0;
        s->ended = false;
        return 0;
}

int archive_member_begin(struct archive_stream *s, const struct archive_entry *entry, struct error *e)
{
        entry_done(s);
        s->packed = s->left = 0;
        if (entry->place.offset < s->position)
                return fail(s, CAUSE_INTERNAL, ESPIPE, "the member lies before what was read already", e);
        int r = take(s, NULL, entry->place.offset - s->position, e);
        if (r == 0)
                r = compare_header(s, entry, e);
        if (r == 0)
                r = start_data(s, entry, e);
        return r;
}

/* The data is complete: is it what the directory promised? */
static int check_end(struct archive_stream *s, struct error *e)
{
        s->ended = true;
        if (s->left)
                return bad(s, "the compressed data ends before its size", e);
        if (s->out != s->want_size)
                return bad(s, "the member has another size than the directory says", e);
        if (s->crc != s->want_crc)
                return bad(s, "CRC-32 mismatch", e);
        return 0;
}

static ssize_t read_stored(struct archive_stream *s, void *p, size_t n, struct error *e)
{
        if (s->left == 0)
                return check_end(s, e);
        int r = fill(s, e);
        if (r < 0)
                return r;
        n = (size_t)MIN((uint64_t)MIN(n, s->len - s->pos), s->left);
        memcpy(p, s->buf + s->pos, n);
        consume(s, n);
        s->left -= n;
        return (ssize_t)n;
}

/* One round of zlib over what is buffered. 1 when the stream has ended, 0 or -errno. */
static int inflate_some(struct archive_stream *s, struct error *e)
{
        int r = s->left ? fill(s, e) : 0;
        if (r < 0)
                return r;
        uInt in = (uInt)MIN((uint64_t)(s->len - s->pos), s->left), room = s->z.avail_out;
        s->z.next_in = s->buf + s->pos;
        s->z.avail_in = in;
        int z = inflate(&s->z, Z_NO_FLUSH);
        in -= s->z.avail_in;
        consume(s, in);
        s->left -= in;
        switch (z) {
        case Z_STREAM_END:
                return 1;
        case Z_OK:
                return 0;
        case Z_BUF_ERROR: /* no progress: it wants more, and there is none */
                return in || s->left || s->z.avail_out != room ? 0
                                                               : bad(s, "the compressed data is cut off", e);
        case Z_MEM_ERROR:
                return fail(s, CAUSE_HELPER, ENOMEM, "out of memory", e);
        default:
                return bad(s, "the compressed data is damaged", e);
        }
}

static ssize_t read_deflated(struct archive_stream *s, void *p, size_t n, struct error *e)
{
        if (!s->inflating)
                return check_end(s, e);
        uInt room = (uInt)MIN(n, (size_t)(1 * GIB));
        s->z.next_out = p;
        s->z.avail_out = room;
        while (s->inflating && s->z.avail_out == room) {
                int r = inflate_some(s, e);
                if (r < 0)
                        return r;
                if (r > 0) {
                        inflateEnd(&s->z);
                        s->inflating = false;
                }
        }
        return s->z.avail_out == room ? check_end(s, e) : (ssize_t)(room - s->z.avail_out);
}

ssize_t archive_member_read(void *stream, void *p, size_t n, struct error *e)
{
        struct archive_stream *s = stream;
        if (s->failed.cause)
                return fail(s, CAUSE_BAD_ZIP, EBADMSG, "", e);
        if (s->ended || n == 0)
                return 0;
        ssize_t k = s->method == ZIP_METHOD_STORED ? read_stored(s, p, n, e) : read_deflated(s, p, n, e);
        if (k <= 0)
                return k;
        s->out += (uint64_t)k;
        s->crc = (uint32_t)crc32(s->crc, p, (uInt)k);
        if (s->out > s->want_size)
                return bad(s, "the member is larger than the directory says", e);
        return k;
}

int archive_member_end(struct archive_stream *s, struct error *e)
{
        uint8_t buf[16 * KIB];
        ssize_t n;
        do
                n = archive_member_read(s, buf, sizeof(buf), e);
        while (n > 0);
        return (int)n;
}

void archive_member_skip(struct archive_stream *s, const struct archive_entry *entry)
{
        uint64_t end = entry->place.offset + entry->place.extent;
        entry_done(s);
        s->packed = s->left = 0;
        if (end > s->position)
                (void)take(s, NULL, end - s->position, NULL);
}

uint64_t archive_member_packed(const struct archive_stream *s)
{
        return s->packed - s->left;
}
