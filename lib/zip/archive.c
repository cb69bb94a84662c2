/* SPDX-License-Identifier: Apache-2.0 */
/* The directory of a zip, from the bytes of the archive's end. This walk is the only reader of it; libzip,
 * which takes some 400 bytes of memory for each member, is the second opinion in the tests.
 *
 *   a tail that fits    its end record tells where the directory begins; records are walked from there
 *   a longer one        begins with the directory: records are walked until there is none, in a window
 *
 * In both cases the end of the archive must then say that this is the directory (zip_check_end()). */
#include "archive.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "limits.h"

/* --- the records (APPNOTE.TXT 4.3) ---
 *
 * Every number is checked against what surrounds it before it is used; whatever two readers could understand
 * differently is refused. */

enum {
        EOCD64 = 56,
        SIG_EOCD = 0x06054b50,
        SIG_EOCD64 = 0x06064b50,
        SIG_EOCD64_LOCATOR = 0x07064b50,
        SIG_RECORD = 0x02014b50,
        EXTRA_ZIP64 = 0x0001,
        MADE_BY_UNIX = 3,
};

/* Where the directory lies. Or need_start, as in archive_directory(). */
struct zip_place {
        uint64_t offset, size, count, need_start;
        uint64_t behind; /* bytes behind the end record and its comment, which are nothing of the archive's */
};

static int bad(struct error *e, const char *text)
{
        return error_set(e, CAUSE_BAD_ZIP, EBADMSG, "%s", text);
}

/* The next 8 bytes of the zip64 field, when *value is the placeholder. */
static int widen(const uint8_t **p, const uint8_t *end, uint64_t *value)
{
        if (!value || *value != UINT32_MAX)
                return 0;
        if (end - *p < 8)
                return -EBADMSG;
        *value = get64(*p);
        *p += 8;
        return 0;
}

int zip64_apply(const uint8_t *extra, size_t n, uint64_t *size, uint64_t *packed, uint64_t *offset)
{
        const uint8_t *end = extra + n, *field = NULL, *field_end = NULL;
        while (end - extra >= 4) {
                uint16_t id = get16(extra), len = get16(extra + 2);
                extra += 4;
                if (len > end - extra || (id == EXTRA_ZIP64 && field))
                        return -EBADMSG;
                if (id == EXTRA_ZIP64) {
                        field = extra;
                        field_end = extra + len;
                }
                extra += len;
        }
        /* up to 3 bytes of padding may follow (Android's zipalign writes them) */
        if (!field)
                return *size == UINT32_MAX || *packed == UINT32_MAX || (offset && *offset == UINT32_MAX)
                               ? -EBADMSG
                               : 0;
        int r = widen(&field, field_end, size);
        if (r == 0)
                r = widen(&field, field_end, packed);
        if (r == 0)
                r = widen(&field, field_end, offset);
        return r;
}

/* Offset in tail of the end record: the last one whose comment reaches exactly to the end, else the last one
 * whose comment ends before it, as unzip and libzip take it: a store that rounds sizes up leaves zeros behind
 * it, and others a newline or a signature. That it is the only one is checked later. -1: none. */
static ssize_t find_eocd(const uint8_t *tail, size_t n)
{
        ssize_t padded = -1;
        for (size_t back = ZIP_END; back <= n && back <= ZIP_END + ZIP_COMMENT_MAX; back++) {
                const uint8_t *p = tail + n - back;
                size_t behind = back - ZIP_END, comment = get16(p + 20);
                if (get32(p) != SIG_EOCD)
                        continue;
                if (comment == behind)
                        return (ssize_t)(n - back);
                if (padded < 0 && comment < behind)
                        padded = (ssize_t)(n - back);
        }
        return padded;
}

/* Where to read from, so that the end records and, unless it is a long one, the directory are there. Not 0.
 */
static uint64_t enough(uint64_t size)
{
        return MAX(size - MIN(size, (uint64_t)ARCHIVE_MEMORY), UINT64_C(1));
}

/* A field of the end record is either what the zip64 record says or its placeholder. */
static bool agrees(uint64_t narrow, uint64_t placeholder, uint64_t wide)
{
        return narrow == wide || narrow == placeholder;
}

/* The zip64 end record that the locator names. Its start goes into *ret_at. */
static int read_eocd64(const uint8_t *tail, uint64_t start, uint64_t locator_at, const uint8_t *eocd,
        uint64_t *ret_at, struct zip_place *ret, struct error *e)
{
        const uint8_t *locator = tail + (locator_at - start);
        uint64_t at = get64(locator + 8);
        if (get32(locator + 4) != 0 || get32(locator + 16) > 1)
                return bad(e, "the archive is split over several disks");
        if (at > locator_at || locator_at - at < EOCD64)
                return bad(e, "the zip64 locator points outside");
        if (at < start) {
                ret->need_start = MIN(MAX(at, UINT64_C(1)), enough(locator_at));
                return 0;
        }
        const uint8_t *p = tail + (at - start);
        if (get32(p) != SIG_EOCD64 || get64(p + 4) != locator_at - at - 12)
                return bad(e, "the zip64 end record is damaged");
        uint64_t count = get64(p + 32), size = get64(p + 40), offset = get64(p + 48);
        if (get32(p + 16) != 0 || get32(p + 20) != 0 || get64(p + 24) != count)
                return bad(e, "the archive is split over several disks");
        if (!agrees(get16(eocd + 8), UINT16_MAX, count) || !agrees(get16(eocd + 10), UINT16_MAX, count) ||
                !agrees(get32(eocd + 12), UINT32_MAX, size) || !agrees(get32(eocd + 16), UINT32_MAX, offset))
                return bad(e, "the two end records disagree");
        *ret_at = at;
        ret->count = count;
        ret->size = size;
        ret->offset = offset;
        return 0;
}

static int read_eocd(const uint8_t *p, struct zip_place *ret, struct error *e)
{
        uint16_t disk = get16(p + 4), directory_disk = get16(p + 6);
        if ((disk && disk != UINT16_MAX) || (directory_disk && directory_disk != UINT16_MAX) ||
                get16(p + 8) != get16(p + 10))
                return bad(e, "the archive is split over several disks");
        ret->count = get16(p + 10);
        ret->size = get32(p + 12);
        ret->offset = get32(p + 16);
        return 0;
}

/* May a directory be so large? 0 or -EFBIG with CAUSE_LIMIT. */
static int zip_check_size(uint64_t size, struct error *e)
{
        if (size <= LIMIT_ZIP_DIRECTORY)
                return 0;
        return error_set(e, CAUSE_LIMIT, EFBIG, "its directory is larger than %" PRIu64 " bytes",
                (uint64_t)LIMIT_ZIP_DIRECTORY);
}

/* Can the directory be where the end record, which begins at end, says? */
static int check_place(const struct zip_place *place, uint64_t end, struct error *e)
{
        if (place->size > end || place->offset != end - place->size)
                return bad(e, "the directory is not where the end record says");
        if (place->offset == 0 && place->size > 0)
                return bad(e, "the directory leaves no room for members");
        int r = zip_check_size(place->size, e);
        if (r == 0 && place->count > place->size / ZIP_RECORD)
                return bad(e, "the directory is smaller than its number of members needs");
        return r;
}

/* What the end records say. *ret_found: offset of the last one in tail. With need_start nothing is known. */
static int read_end(const uint8_t *tail, uint64_t start, uint64_t size, struct zip_place *ret,
        size_t *ret_found, struct error *e)
{
        struct zip_place place = {};
        if (size < ZIP_END)
                return bad(e, "it is too short to be a zip");
        ssize_t found = find_eocd(tail, (size_t)(size - start));
        uint64_t least = size - MIN(size, (uint64_t)ZIP_END + ZIP_COMMENT_MAX + ZIP_LOCATOR);
        if (found < 0 && start > least) {
                ret->need_start = enough(size);
                return 0;
        }
        if (found < 0)
                return bad(e, "it has no end record: not a zip, or cut off");
        uint64_t at = start + (uint64_t)found, end = at;
        if (at >= ZIP_LOCATOR && at - ZIP_LOCATOR < start) {
                ret->need_start = enough(size);
                return 0;
        }
        const uint8_t *eocd = tail + found;
        place.behind = size - at - ZIP_END - get16(eocd + 20);
        int r = read_eocd(eocd, &place, e);
        if (r == 0 && at >= ZIP_LOCATOR && get32(eocd - ZIP_LOCATOR) == SIG_EOCD64_LOCATOR)
                r = read_eocd64(tail, start, at - ZIP_LOCATOR, eocd, &end, &place, e);
        else if (r == 0 && get32(eocd + 4) != 0)
                r = bad(e, "the archive is split over several disks");
        if (r == 0 && place.need_start == 0)
                r = check_place(&place, end, e);
        if (r < 0)
                return r;
        *ret = place;
        *ret_found = (size_t)found;
        return 0;
}

/* Where the directory begins, or need_start. */
static int zip_find_directory(
        const uint8_t *tail, uint64_t start, uint64_t size, struct zip_place *ret, struct error *e)
{
        struct zip_place place = {};
        size_t found = 0;
        int r = read_end(tail, start, size, &place, &found, e);
        if (r < 0)
                return r;
        if (place.need_start == 0 && place.offset < start)
                place.need_start = place.offset;
        *ret = place;
        return 0;
}

/* Could another reader (libzip's _zip_read_cdir() does) take what begins at offset i of the tail for an end
 * record? */
static bool looks_like_end(const uint8_t *tail, uint64_t start, size_t n, size_t i)
{
        const uint8_t *p = tail + i;
        if (get32(p) != SIG_EOCD)
                return false;
        if (i >= ZIP_LOCATOR && get32(p - ZIP_LOCATOR) == SIG_EOCD64_LOCATOR)
                return true;
        return get32(p + 4) == 0 && get16(p + 8) == get16(p + 10) && get16(p + 20) <= n - i - ZIP_END &&
               (uint64_t)get32(p + 12) + get32(p + 16) <= start + i;
}

/* Does the end of the archive say that the directory is the one that was walked? tail has the last ZIP_TAIL
 * bytes at least, or all from the directory on. An archive with a second end record, which another reader
 * could take instead, is refused. Fills walked->behind. */
static int zip_check_end(
        const uint8_t *tail, uint64_t start, uint64_t size, struct zip_place *walked, struct error *e)
{
        struct zip_place place = {};
        size_t found = 0, n = (size_t)(size - start);
        int r = read_end(tail, start, size, &place, &found, e);
        if (r < 0)
                return r;
        if (place.need_start)
                return bad(e, "it has no end record: not a zip, or cut off");
        if (place.offset != walked->offset)
                return bad(e, "the directory is not where the end record says");
        if (place.size != walked->size)
                return bad(e, place.size > walked->size ? "a record of the directory is damaged"
                                                        : "the directory holds more than it says");
        if (place.count != walked->count)
                return error_set(e, CAUSE_BAD_ZIP, EBADMSG,
                        "its directory has %" PRIu64 " members, and its end record says %" PRIu64,
                        walked->count, place.count);
        size_t first = n > ZIP_TAIL ? n - ZIP_TAIL + ZIP_LOCATOR : 0;
        if (walked->offset > start) /* members may hold archives of their own */
                first = MAX(first, (size_t)(walked->offset - start));
        /* Behind it all some readers (Info-ZIP) take the last signature, whatever follows. */
        for (size_t i = first; i + ZIP_END <= n; i++)
                if (i >= n - place.behind ? get32(tail + i) == SIG_EOCD
                                          : i != found && looks_like_end(tail, start, n, i))
                        return bad(e, "it has more than one end record");
        walked->behind = place.behind;
        return 0;
}

static bool zip_is_record(const uint8_t *p, size_t left)
{
        return left >= 4 && get32(p) == SIG_RECORD;
}

static bool zip_is_end64(const uint8_t *p, size_t left)
{
        return left >= 4 && get32(p) == SIG_EOCD64;
}

/* The record at p, of *ret_len bytes, without an extent. Its name goes into name, which has room for
 * UINT16_MAX + 1 bytes. */
static int zip_read_record(const uint8_t *p, size_t left, struct archive_entry *ret, char *name,
        size_t *ret_len, struct error *e)
{
        if (left < ZIP_RECORD || get32(p) != SIG_RECORD)
                return bad(e, "a record of the directory is damaged");
        size_t name_len = get16(p + 28), extra_len = get16(p + 30), comment_len = get16(p + 32);
        size_t len = ZIP_RECORD + name_len + extra_len + comment_len;
        if (len > left)
                return bad(e, "a record of the directory is cut off");
        if (get16(p + 34) != 0)
                return bad(e, "the archive is split over several disks");
        struct archive_entry entry = {
                .name = name,
                .place.offset = get32(p + 42),
                .packed = get32(p + 20),
                .size = get32(p + 24),
                .crc = get32(p + 16),
                .mode = p[5] == MADE_BY_UNIX ? get32(p + 38) >> 16 : 0,
                .method = get16(p + 10),
                .flags = get16(p + 8),
        };
        if (zip64_apply(p + ZIP_RECORD + name_len, extra_len, &entry.size, &entry.packed,
                    &entry.place.offset) < 0)
                return bad(e, "an extra field in the directory is damaged");
        for (size_t i = 0; i < name_len; i++)
                name[i] = p[ZIP_RECORD + i] ? (char)p[ZIP_RECORD + i] : '\001';
        name[name_len] = 0;
        *ret = entry;
        *ret_len = len;
        return 0;
}

/* --- the walk --- */

/* Bytes behind the directory, for which there is room as for a record. */
#define END_MAX ((uint64_t)(128 * KIB))
_Static_assert(END_MAX < ZIP_RECORD_MAX, "what is behind the directory fits where a record would");

struct reader {
        const struct archive_tail *tail;
        const struct archive_limits *limits;
        uint64_t count; /* entries that were handed over */
        bool whole;     /* the tail fits into memory */
        char *name;     /* of the entry at hand */

        uint64_t at; /* in the archive, of buf[0] */
        uint8_t *buf;
        size_t next, len, size; /* buf[next] comes next; bytes in buf, and room */
};

static int reader_init(struct reader *rd, struct error *e)
{
        uint64_t n = rd->tail->size - rd->tail->start;
        size_t memory = rd->tail->memory ? rd->tail->memory : ARCHIVE_MEMORY;
        rd->at = rd->tail->start;
        rd->whole = n <= memory;
        rd->size = rd->whole ? (size_t)n : ZIP_TAIL + memory + ZIP_RECORD_MAX;
        rd->buf = malloc(rd->size ? rd->size : 1);
        rd->name = malloc(UINT16_MAX + 1);
        return rd->buf && rd->name ? 0 : error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
}

static void reader_done(struct reader *rd)
{
        free(rd->buf);
        free(rd->name);
}

/* Fills the buffer, with all that is left if there is room. */
static int fill(struct reader *rd, struct error *e)
{
        const struct archive_tail *t = rd->tail;
        size_t want = (size_t)MIN((uint64_t)rd->size, t->size - rd->at);
        while (rd->len < want) {
                ssize_t k = t->read(t->read_arg, rd->buf + rd->len, want - rd->len, e);
                if (k < 0)
                        return (int)k;
                if (k == 0)
                        return error_set(e, CAUSE_TRUNCATED, EIO, "got %" PRIu64 " of %" PRIu64 " bytes",
                                rd->at + rd->len - t->start, t->size - t->start);
                rd->len += (size_t)k;
        }
        return 0;
}

/* Forgets what was looked at, but for what the end must be checked with, and reads on. */
static int move_on(struct reader *rd, struct error *e)
{
        size_t gone = rd->next > ZIP_TAIL ? rd->next - ZIP_TAIL : 0;
        memmove(rd->buf, rd->buf + gone, rd->len - gone);
        rd->at += gone;
        rd->next -= gone;
        rd->len -= gone;
        return fill(rd, e);
}

static int check_count(const struct reader *rd, uint64_t count, struct error *e)
{
        uint64_t max = rd->limits->max_members;
        if (max == 0 || count <= max)
                return 0;
        return error_set(e, CAUSE_LIMIT, EFBIG, "%" PRIu64 " members are more than max_members (%" PRIu64 ")",
                count, max);
}

/* Hands over the next entry. 1, 0: what comes next is not one, or -errno. */
static int take_record(struct reader *rd, struct error *e)
{
        const uint8_t *p = rd->buf + rd->next;
        size_t left = rd->len - rd->next, len = 0;
        struct archive_entry entry;
        if (!zip_is_record(p, left))
                return 0;
        int r = zip_read_record(p, left, &entry, rd->name, &len, e);
        if (r == 0)
                r = check_count(rd, rd->count + 1, e);
        if (r == 0)
                r = rd->tail->take(rd->tail->take_arg, &entry, e);
        if (r < 0)
                return r;
        rd->next += len;
        rd->count++;
        return 1;
}

/* All records from buf[next] on, which is archive byte offset. */
static int walk(struct reader *rd, uint64_t offset, struct error *e)
{
        int r;
        do {
                bool more = rd->whole || rd->len - rd->next >= ZIP_RECORD_MAX;
                r = more ? 0 : move_on(rd, e);
                if (r == 0)
                        r = zip_check_size(rd->at + rd->next - offset, e);
                if (r == 0)
                        r = take_record(rd, e);
        } while (r > 0);
        return r;
}

/* The directory that was walked: is it the one that the end of the archive tells of? */
static int check_end(struct reader *rd, uint64_t offset, struct archive_directory *ret, struct error *e)
{
        uint64_t end = rd->at + rd->next, behind = rd->tail->size - end;
        if (!rd->whole && behind > END_MAX)
                return zip_is_end64(rd->buf + rd->next, rd->len - rd->next)
                               ? error_set(e, CAUSE_LIMIT, EFBIG,
                                         "its end records have more than %" PRIu64 " bytes", END_MAX)
                               : error_set(e, CAUSE_BAD_ZIP, EBADMSG, "a record of the directory is damaged");
        assert(rd->at + rd->len == rd->tail->size);
        struct zip_place walked = {.offset = offset, .size = end - offset, .count = rd->count};
        int r = zip_check_end(rd->buf, rd->at, rd->tail->size, &walked, e);
        if (r == 0)
                *ret = (struct archive_directory){
                        .count = walked.count, .offset = walked.offset, .behind = walked.behind};
        return r;
}

static int read_whole(struct reader *rd, struct archive_directory *ret, struct error *e)
{
        const struct archive_tail *t = rd->tail;
        struct zip_place place = {};
        int r = fill(rd, e);
        if (r == 0)
                r = zip_find_directory(rd->buf, t->start, t->size, &place, e);
        if (r == 0)
                r = check_count(rd, place.count, e); /* it is known also where the directory is not here */
        if (r < 0)
                return r;
        if (place.need_start >= t->start && place.need_start)
                return error_set(e, CAUSE_BAD_ZIP, EBADMSG, "it has no end record: not a zip, or cut off");
        if (place.need_start) {
                *ret = (struct archive_directory){.need_start = place.need_start};
                return 0;
        }
        rd->next = (size_t)(place.offset - t->start);
        r = walk(rd, place.offset, e);
        return r < 0 ? r : check_end(rd, place.offset, ret, e);
}

int archive_directory(const struct archive_tail *tail, const struct archive_limits *limits,
        struct archive_directory *ret, struct error *e)
{
        struct reader rd = {.tail = tail, .limits = limits};
        if (tail->start > tail->size)
                return error_set(e, CAUSE_BAD_ZIP, EBADMSG, "it ends before its directory begins");
        int r = zip_check_size(tail->size - tail->start - MIN(tail->size - tail->start, END_MAX), e);
        if (r == 0)
                r = reader_init(&rd, e);
        if (r == 0 && rd.whole)
                r = read_whole(&rd, ret, e);
        else if (r == 0 && (r = walk(&rd, tail->start, e)) == 0)
                r = check_end(&rd, tail->start, ret, e);
        reader_done(&rd);
        return r;
}
