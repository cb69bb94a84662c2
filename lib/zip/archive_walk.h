/* SPDX-License-Identifier: Apache-2.0 */
/* The records of a zip's directory and end, for archive.c and archive_member.c. */
#pragma once

#include "terms.h"
#include "error.h"

#define ARCHIVE_MEMORY ((size_t)(128 * KIB)) /* of an end, read as a whole */

enum {
        ZIP_LOCAL_HEADER = 30,
        ZIP_RECORD = 46,
        ZIP_RECORD_MAX = ZIP_RECORD + 3 * UINT16_MAX, /* name, extra field, comment */
        ZIP_COMMENT_MAX = UINT16_MAX,
        ZIP_END = 22,
        ZIP_LOCATOR = 20,
        ZIP_TAIL = ZIP_LOCATOR + 1 + ZIP_END + ZIP_COMMENT_MAX, /* where readers look for an end record */
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
        uint64_t behind; /* bytes behind the end record and its comment, which are nothing of the archive's */
};
int zip_find_directory(
        const uint8_t *tail, uint64_t start, uint64_t size, struct zip_place *ret, struct error *e);
/* Does the end of the archive say that the directory is the one that was walked? tail has the last
 * ZIP_TAIL bytes at least, or all from the directory on. An archive with a second end record, which another
 * reader could take instead, is refused. Fills walked->behind. 0 or -errno with a cause. */
int zip_check_end(
        const uint8_t *tail, uint64_t start, uint64_t size, struct zip_place *walked, struct error *e);
/* May a directory be so large? 0 or -EFBIG with CAUSE_LIMIT. */
int zip_check_size(uint64_t size, struct error *e);

/* Does a record begin here? */
bool zip_is_record(const uint8_t *p, size_t left);
/* Or a zip64 end record? */
bool zip_is_end64(const uint8_t *p, size_t left);
/* The record at p, of *ret_len bytes, without an extent. Its name goes into name, which has room for
 * UINT16_MAX + 1 bytes. 0 or -EBADMSG with a cause. */
int zip_read_record(const uint8_t *p, size_t left, struct archive_entry *ret, char *name, size_t *ret_len,
        struct error *e);
