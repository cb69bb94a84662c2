/* SPDX-License-Identifier: Apache-2.0 */
/* Zip archives in two parts, neither of which needs the whole archive: the directory at the end (zip64 too),
 * and the members; both forward only, from a stream of their bytes, in memory that does not grow with them.
 */
#pragma once

#include "cleanup.h"
#include "error.h"
#include "sink.h"
#include "terms.h"

struct archive_limits {
        uint64_t max_members; /* 0: without limit */
};

/* An entry of the directory, with extent 0: what comes next in the archive is not known yet. entry and its
 * name are borrowed for the call. 0, or -errno with a cause in e, which ends the reading. */
typedef int archive_entry_fn(void *arg, const struct archive_entry *entry, struct error *e);

/* The end of an archive of size bytes: [start, size) come from read. What is no longer than `memory` is read
 * as a whole. Of what is longer, the directory begins at start, and so many bytes of it are looked at at a
 * time. */
struct archive_tail {
        uint64_t start, size;
        size_t memory; /* 0: ARCHIVE_MEMORY; tests have less */
        source_fn *read;
        void *read_arg;
        archive_entry_fn *take;
        void *take_arg;
};

struct archive_directory {
        uint64_t count;
        uint64_t offset; /* of the directory, where the last member ends */
        uint64_t behind; /* bytes behind its end record, which are nothing of its own */
        /* Not 0: the directory begins before the bytes that were given; nothing else is filled. It is here,
         * or where it is will be told by the last ARCHIVE_MEMORY bytes, which begin here. */
        uint64_t need_start;
};

/* Hands over the entries in the order of the directory; they count only when all of it went well. What is
 * wrong with one member (name, encryption, method) is told when that member is read, and whether members
 * overlap the caller finds. 0, or -errno with CAUSE_BAD_ZIP, CAUSE_LIMIT, CAUSE_TRUNCATED when read ends
 * early, CAUSE_HELPER, or what read and take put into e. */
int archive_directory(const struct archive_tail *tail, const struct archive_limits *limits,
        struct archive_directory *ret, struct error *e);

/* The bytes of an archive from some position on, read forward from a descriptor. */
struct archive_stream;

/* Takes fd over, whose next byte is archive byte position. 0 or -ENOMEM. */
int archive_stream_new(int fd, uint64_t position, struct archive_stream **ret);
struct archive_stream *archive_stream_free(struct archive_stream *s);
DEFINE_CLEANUP(struct archive_stream, archive_stream, archive_stream_free)
/* Reads the pipe with this instead of read(2), whose result it has. */
typedef ssize_t archive_read_fn(void *arg, int fd, void *p, size_t n);
void archive_stream_read_with(struct archive_stream *s, archive_read_fn *read_fn, void *arg);

/* Skips to the entry and compares its local header with it. Whatever this or a read returns, the next entry
 * can be begun: damage does not spread. 0, or -errno: CAUSE_BAD_ZIP, CAUSE_TRUNCATED when the stream ends,
 * CAUSE_IO. */
int archive_member_begin(struct archive_stream *s, const struct archive_entry *entry, struct error *e);
/* A source_fn over the stream: the member's bytes, inflated. At the end CRC-32 and size have been checked. */
ssize_t archive_member_read(void *stream, void *p, size_t n, struct error *e);
/* Reads what is left of the member, for its CRC-32. 0 or -errno: what the member's first error was. */
int archive_member_end(struct archive_stream *s, struct error *e);
/* Reads on to the end of the member's extent, whatever is there; a stream that ends before is no fault here.
 */
void archive_member_skip(struct archive_stream *s, const struct archive_entry *entry);
/* Packed bytes of the member that were read so far. */
uint64_t archive_member_packed(const struct archive_stream *s);

/* --- records, for archive_member.c and the tests --- */

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
