/* SPDX-License-Identifier: Apache-2.0 */
/* The walk over a zip's directory, for archive.c. */
#pragma once

#include "archive.h"

enum {
        ZIP_LOCAL_HEADER = 30,
        ZIP_RECORD = 46,
        ZIP_FLAG_ENCRYPTED = 1 << 0,
        ZIP_FLAG_DESCRIPTOR = 1 << 3,
        ZIP_FLAG_STRONG = 1 << 6,
        ZIP_FLAG_MASKED = 1 << 13,
        ZIP_METHOD_STORED = 0,
        ZIP_METHOD_DEFLATE = 8,
};

static inline uint16_t get16(const uint8_t *p)
{
        return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t get32(const uint8_t *p)
{
        return get16(p) | (uint32_t)get16(p + 2) << 16;
}
static inline uint64_t get64(const uint8_t *p)
{
        return get32(p) | (uint64_t)get32(p + 4) << 32;
}

/* The sizes (and, in the directory, the offset) that a header has no room for and keeps in its zip64 extra
 * field. Which: those that are 0xffffffff. offset may be NULL. 0 or -EBADMSG. */
int zip64_apply(const uint8_t *extra, size_t n, uint64_t *size, uint64_t *packed, uint64_t *offset);

/* Where the directory lies. Or need_start, as in archive_directory(). */
struct zip_place {
        uint64_t offset, size, count, need_start;
};
int zip_find_directory(
        const uint8_t *tail, uint64_t start, uint64_t size, struct zip_place *ret, struct error *e);

/* place->count entries in the order of the directory, without extents; names go into names, which has room
 * for place->size bytes. 0 or -errno with a cause. */
int zip_read_records(const uint8_t *p, const struct zip_place *place, struct archive_entry *entries,
        char *names, struct error *e);
