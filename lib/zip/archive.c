/* SPDX-License-Identifier: Apache-2.0 */
/* The directory of a zip: read by libzip over a source that knows only a part of the archive, walked by
 * archive_walk.c, and good only where the two agree.
 *
 *   a tail that fits    [ zeros | tail ]                          libzip finds the directory as we do
 *   a longer one        [ records | end record | zeros ]          libzip reads a piece of it after the other
 *
 * libzip keeps all entries of what it has opened: so a long directory is cut into pieces, each of which gets
 * an end record of its own. The archive's true end comes last, when the directory is gone, and is our own
 * walk's to judge (zip_check_end()). */
#include "archive.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "archive_libzip.h"
#include "archive_walk.h"

enum {
        PIECE_MEMBERS = 1024, /* libzip takes some 400 bytes for each */
        END_MAX = 128 * 1024, /* bytes behind the directory, for which there is room as for a record */
};

struct reader {
        const struct archive_tail *tail;
        const struct archive_limits *limits;
        uint64_t count; /* entries that were handed over */
        size_t memory;
        bool whole; /* the tail fits into memory */
        char *name; /* of the entry at hand */

        uint64_t at; /* in the archive, of buf[0] */
        uint8_t *buf;
        size_t next, len, size; /* buf[next] comes next; bytes in buf, and room */
};

static int reader_init(struct reader *rd, struct error *e)
{
        uint64_t n = rd->tail->size - rd->tail->start;
        rd->at = rd->tail->start;
        rd->memory = rd->tail->memory ? rd->tail->memory : ARCHIVE_MEMORY;
        rd->whole = n <= rd->memory;
        rd->size = rd->whole ? (size_t)n : ZIP_TAIL + rd->memory + ZIP_RECORD_MAX;
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

/* Forgets what was looked at, but for what the end must be checked with. */
static void drop(struct reader *rd)
{
        size_t gone = rd->next > ZIP_TAIL ? rd->next - ZIP_TAIL : 0;
        memmove(rd->buf, rd->buf + gone, rd->len - gone);
        rd->at += gone;
        rd->next -= gone;
        rd->len -= gone;
}

/* Records behind each other. */
struct piece {
        const uint8_t *p;
        size_t n;
        uint64_t count;
};

/* How many records come next in buf: up to count, and as soon as they have n bytes no more. */
static int measure(struct reader *rd, size_t n, uint64_t count, struct piece *ret, struct error *e)
{
        struct archive_entry entry;
        struct piece piece = {.p = rd->buf + rd->next};
        size_t left = rd->len - rd->next, len = 0;
        while (piece.count < count && piece.n < n && zip_is_record(piece.p + piece.n, left - piece.n)) {
                int r = zip_read_record(piece.p + piece.n, left - piece.n, &entry, rd->name, &len, e);
                if (r < 0)
                        return r;
                piece.n += len;
                piece.count++;
        }
        *ret = piece;
        return 0;
}

static int check_count(const struct reader *rd, uint64_t count, struct error *e)
{
        uint64_t max = rd->limits->max_members;
        if (max == 0 || count <= max)
                return 0;
        return error_set(e, CAUSE_LIMIT, EFBIG, "%" PRIu64 " members are more than max_members (%" PRIu64 ")",
                count, max);
}

static int take_entries(struct reader *rd, zip_t *z, const struct piece *piece, struct error *e)
{
        struct archive_entry entry;
        size_t at = 0, len = 0;
        int r = libzip_compare_count(z, piece->count, rd->count, e);
        if (r < 0)
                return r;
        for (uint64_t i = 0; i < piece->count; i++) {
                r = zip_read_record(piece->p + at, piece->n - at, &entry, rd->name, &len, e);
                if (r == 0)
                        r = libzip_compare(z, i, rd->count, &entry, e);
                if (r == 0)
                        r = rd->tail->take(rd->tail->take_arg, &entry, e);
                if (r < 0)
                        return r;
                at += len;
                rd->count++;
        }
        rd->next += at;
        return 0;
}

static int take_piece(struct reader *rd, struct window *w, const struct piece *piece, struct error *e)
{
        zip_t *z = NULL;
        int r = libzip_open(w, &z, e);
        if (r == 0)
                r = take_entries(rd, z, piece, e);
        libzip_close(w, z);
        return r;
}

/* The records of a directory that is in the buffer as a whole. */
static int measure_whole(struct reader *rd, const struct zip_place *place, struct piece *ret, struct error *e)
{
        rd->next = (size_t)(place->offset - rd->tail->start);
        rd->len = rd->next + (size_t)place->size;
        int r = measure(rd, (size_t)place->size, place->count, ret, e);
        if (r == 0 && ret->count < place->count)
                r = error_set(e, CAUSE_BAD_ZIP, EBADMSG, "a record of the directory is damaged");
        if (r == 0 && ret->n < place->size)
                r = error_set(e, CAUSE_BAD_ZIP, EBADMSG, "the directory holds more than it says");
        return r;
}

static int read_whole(struct reader *rd, struct archive_directory *ret, struct error *e)
{
        const struct archive_tail *t = rd->tail;
        struct zip_place place = {};
        struct piece piece = {};
        struct window w = {};
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
        window_add(&w, 0, NULL, t->start);
        window_add(&w, 1, rd->buf, t->size - t->start);
        r = measure_whole(rd, &place, &piece, e);
        if (r == 0)
                r = take_piece(rd, &w, &piece, e);
        if (r == 0)
                *ret = (struct archive_directory){.count = place.count, .offset = place.offset};
        return r;
}

/* The next records, of which libzip is shown an archive of their own. None: what comes next is not one. */
static int read_piece(struct reader *rd, struct piece *ret, struct error *e)
{
        uint8_t end[ZIP_LOCATOR + ZIP_END];
        struct window w = {};
        drop(rd);
        int r = fill(rd, e);
        if (r == 0)
                r = measure(rd, rd->memory, PIECE_MEMBERS, ret, e);
        if (r == 0)
                r = check_count(rd, rd->count + ret->count, e);
        if (r == 0)
                r = zip_check_size(rd->at + rd->next + ret->n - rd->tail->start, e);
        if (r < 0 || ret->count == 0)
                return r;
        zip_make_end(end, ret->n, (size_t)ret->count);
        window_add(&w, 0, ret->p, ret->n);
        window_add(&w, 1, end, sizeof(end));
        window_add(&w, 2, NULL, ZIP_COMMENT_MAX);
        return take_piece(rd, &w, ret, e);
}

static int read_pieces(struct reader *rd, struct archive_directory *ret, struct error *e)
{
        const struct archive_tail *t = rd->tail;
        struct piece piece = {};
        int r;
        do
                r = read_piece(rd, &piece, e);
        while (r == 0 && piece.count > 0);
        if (r < 0)
                return r;
        uint64_t end = rd->at + rd->next;
        if (t->size - end > END_MAX && zip_is_end64(rd->buf + rd->next, rd->len - rd->next))
                return error_set(e, CAUSE_LIMIT, EFBIG, "its end records have more than %d bytes", END_MAX);
        if (t->size - end > END_MAX)
                return error_set(e, CAUSE_BAD_ZIP, EBADMSG, "a record of the directory is damaged");
        assert(rd->at + rd->len == t->size);
        const struct zip_place walked = {.offset = t->start, .size = end - t->start, .count = rd->count};
        r = zip_check_end(rd->buf, rd->at, t->size, &walked, e);
        if (r == 0)
                *ret = (struct archive_directory){.count = walked.count, .offset = walked.offset};
        return r;
}

int archive_directory(const struct archive_tail *tail, const struct archive_limits *limits,
        struct archive_directory *ret, struct error *e)
{
        struct reader rd = {.tail = tail, .limits = limits};
        if (tail->start > tail->size)
                return error_set(e, CAUSE_BAD_ZIP, EBADMSG, "it ends before its directory begins");
        int r = zip_check_size(
                tail->size - tail->start - MIN(tail->size - tail->start, (uint64_t)END_MAX), e);
        if (r == 0)
                r = reader_init(&rd, e);
        if (r == 0)
                r = rd.whole ? read_whole(&rd, ret, e) : read_pieces(&rd, ret, e);
        reader_done(&rd);
        return r;
}
