/* SPDX-License-Identifier: Apache-2.0 */
#include "zip_maker.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static void add(uint8_t **p, size_t *n, size_t *size, const void *from, size_t len)
{
        if (*n + len > *size) {
                *size = (*n + len) * 2 + 64;
                *p = realloc(*p, *size);
                assert(*p);
        }
        if (len)
                memcpy(*p + *n, from, len);
        *n += len;
}

void zip_bytes(struct zip_maker *z, const void *p, size_t n)
{
        add(&z->p, &z->n, &z->size, p, n);
}

struct field {
        unsigned bytes;
        uint64_t value;
};

/* Little-endian fields, up to one of 0 bytes. */
static size_t encode(uint8_t *p, const struct field *f)
{
        size_t n = 0;
        for (; f->bytes; f++)
                for (unsigned i = 0; i < f->bytes; i++)
                        p[n++] = (uint8_t)(f->value >> (8 * i));
        return n;
}

static size_t deflate_raw(const void *p, size_t n, uint8_t *ret, size_t size)
{
        z_stream s = {};
        assert(deflateInit2(&s, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
        s.next_in = (Bytef *)(uintptr_t)p;
        s.avail_in = (uInt)n;
        s.next_out = ret;
        s.avail_out = (uInt)size;
        int r = deflate(&s, Z_FINISH);
        assert(r == Z_STREAM_END);
        (void)r;
        size_t len = size - s.avail_out;
        deflateEnd(&s);
        return len;
}

static size_t zip64_field(uint8_t *p, uint64_t size, uint64_t packed, const uint64_t *offset)
{
        return encode(p, (const struct field[]){{2, 1}, {2, offset ? 24 : 16}, {8, size}, {8, packed},
                                 {offset ? 8 : 0, offset ? *offset : 0}, {}});
}

size_t zip_add(struct zip_maker *z, const struct zip_member *m)
{
        size_t at = z->n, name_len = m->name_len ? m->name_len : strlen(m->name),
               bound = compressBound(m->len) + 64;
        uint64_t offset = at;
        uint8_t *packed = malloc(bound), h[128], extra[32], central_extra[32];
        assert(packed);
        size_t packed_len = m->deflate ? deflate_raw(m->data, m->len, packed, bound) : m->len;
        uint32_t crc = (uint32_t)crc32(crc32(0, NULL, 0), m->data, (uInt)m->len);
        uint16_t flags = m->flags | (m->descriptor ? 8 : 0), method = m->deflate ? 8 : 0;
        size_t extra_len = m->zip64 ? zip64_field(extra, m->len, packed_len, NULL) : 0;
        size_t central_len = m->zip64 ? zip64_field(central_extra, m->len, packed_len, &offset) : 0;
        uint64_t big = UINT32_MAX;
        bool later = m->descriptor;
        zip_bytes(z, h,
                encode(h, (const struct field[]){{4, 0x04034b50}, {2, 20}, {2, flags}, {2, method}, {4, 0},
                                  {4, later ? 0 : crc},
                                  {4, later          ? 0
                                          : m->zip64 ? big
                                                     : packed_len},
                                  {4, later          ? 0
                                          : m->zip64 ? big
                                                     : m->len},
                                  {2, name_len}, {2, extra_len + m->extra_len}, {}}));
        zip_bytes(z, m->name, name_len);
        zip_bytes(z, extra, extra_len);
        zip_bytes(z, m->extra, m->extra_len);
        zip_bytes(z, m->deflate ? (const void *)packed : m->data, packed_len);
        if (later)
                zip_bytes(z, h,
                        encode(h, (const struct field[]){
                                          {4, 0x08074b50}, {4, crc}, {4, packed_len}, {4, m->len}, {}}));
        add(&z->directory, &z->directory_n, &z->directory_size, h,
                encode(h, (const struct field[]){{4, 0x02014b50}, {2, 3 << 8 | 20}, {2, 20}, {2, flags},
                                  {2, method}, {4, 0}, {4, crc}, {4, m->zip64 ? big : packed_len},
                                  {4, m->zip64 ? big : m->len}, {2, name_len},
                                  {2, central_len + m->record_extra_len}, {2, m->comment_len}, {2, 0}, {2, 0},
                                  {4, (uint64_t)m->mode << 16}, {4, m->zip64 ? big : offset}, {}}));
        add(&z->directory, &z->directory_n, &z->directory_size, m->name, name_len);
        add(&z->directory, &z->directory_n, &z->directory_size, central_extra, central_len);
        add(&z->directory, &z->directory_n, &z->directory_size, m->record_extra, m->record_extra_len);
        add(&z->directory, &z->directory_n, &z->directory_size, m->comment, m->comment_len);
        z->count++;
        free(packed);
        return at;
}

void zip_end(struct zip_maker *z, bool zip64, const char *comment)
{
        uint8_t h[128];
        uint64_t at = z->n, end, n = z->count, size = z->directory_n;
        z->directory_at = z->n;
        zip_bytes(z, z->directory, z->directory_n);
        end = z->n;
        if (zip64) {
                zip_bytes(z, h,
                        encode(h, (const struct field[]){{4, 0x06064b50}, {8, 44}, {2, 45}, {2, 45}, {4, 0},
                                          {4, 0}, {8, n}, {8, n}, {8, size}, {8, at}, {}}));
                zip_bytes(z, h,
                        encode(h, (const struct field[]){{4, 0x07064b50}, {4, 0}, {8, end}, {4, 1}, {}}));
        }
        z->eocd_at = z->n;
        zip_bytes(z, h,
                encode(h, (const struct field[]){{4, 0x06054b50}, {2, 0}, {2, 0}, {2, zip64 ? 0xffff : n},
                                  {2, zip64 ? 0xffff : n}, {4, zip64 ? 0xffffffff : size},
                                  {4, zip64 ? 0xffffffff : at}, {2, strlen(comment)}, {}}));
        zip_bytes(z, comment, strlen(comment));
}

void zip_free(struct zip_maker *z)
{
        free(z->p);
        free(z->directory);
        *z = (struct zip_maker){};
}
