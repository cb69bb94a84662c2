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
#include <stdlib.h>
#include <string.h>

#include "archive_walk.h"

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
