/* SPDX-License-Identifier: Apache-2.0 */
/* Directories that are larger than the window they are read in: the same comes out as when they are read as a
 * whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <endian.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive.h"
#include "zip_list.h"
#include "zip_maker.h"

#define SECOND_END "it has more than one end record"

static const struct archive_limits no_limits;
static struct error e;
static struct zip_maker z;

/* n members, alike but for name, size and mode; what else they have is like's. */
static void add_members(unsigned n, const struct zip_member *like)
{
        for (unsigned i = 0; i < n; i++) {
                char name[64];
                struct zip_member m = *like;
                snprintf(name, sizeof(name), "folder/member-%06u.sql.gpg", i);
                m.name = name;
                m.data = "0123456789";
                m.len = i % 10;
                m.mode = 0100600 + i % 64;
                zip_add(&z, &m);
        }
}

static int read_at(uint64_t start, size_t memory, const struct archive_limits *l, struct zip_list *ret)
{
        e = (struct error){};
        int r = zip_list(z.p + start, start, z.n, memory, l, ret, &e);
        assert_int_equal(r < 0, e.cause != CAUSE_NONE);
        return r;
}

static void assert_same(const struct zip_list *x, const struct zip_list *y)
{
        assert_int_equal(x->n, y->n);
        assert_int_equal(x->offset, y->offset);
        for (size_t i = 0; i < x->n; i++) {
                struct archive_entry a = x->entries[i], b = y->entries[i];
                assert_string_equal(a.name, b.name);
                a.name = b.name = NULL;
                assert_memory_equal(&a, &b, sizeof(a));
        }
}

/* As a whole and in pieces of that size: one verdict, the same entries. Returns it; e is of the pieces. */
static int read_both(size_t piece)
{
        _cleanup_zip_list_ struct zip_list whole = {}, pieces = {};
        int a = read_at(z.directory_at, z.n, &no_limits, &whole),
            b = read_at(z.directory_at, piece, &no_limits, &pieces);
        /* a whole one that begins elsewhere begins before */
        assert_int_equal(a < 0 || whole.need_start, b < 0);
        if (b == 0)
                assert_same(&whole, &pieces);
        return b;
}

static void the_same_entries(void **state)
{
        (void)state;
        static char long_extra[60000] = "\x99\x99", comment[65535];
        long_extra[2] = (char)((sizeof(long_extra) - 4) & 0xff);
        long_extra[3] = (char)((sizeof(long_extra) - 4) >> 8);
        memset(comment, 'c', sizeof(comment));
        const struct {
                unsigned n;
                struct zip_member like;
                bool zip64;
                const char *comment;
        } cases[] = {
                {4000, {}, false, ""},
                {4000, {.zip64 = true}, true, "a comment"},
                {4000, {.descriptor = true}, true, "PK\5\6 is how an end record begins"},
                {1, {}, false, ""},
                {1500,
                        {.record_extra = "\x55\x54\1\0x",
                                .record_extra_len = 5,
                                .comment = "of it",
                                .comment_len = 5},
                        false, ""},
                {30, {.record_extra = long_extra, .record_extra_len = sizeof(long_extra)}, false, ""},
                {30, {.zip64 = true, .comment = comment, .comment_len = sizeof(comment)}, true, ""},
                {5,
                        {.record_extra = long_extra,
                                .record_extra_len = sizeof(long_extra),
                                .comment = comment,
                                .comment_len = sizeof(comment)},
                        true, "c"},
        };
        static const size_t pieces[] = {1, 100, 3000, 70000, 0};
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                add_members(cases[i].n, &cases[i].like);
                zip_end(&z, cases[i].zip64, cases[i].comment);
                for (size_t k = 0; k < ELEMENTSOF(pieces); k++) {
                        assert_int_equal(read_both(pieces[k]), 0);
                }
                zip_free(&z);
        }
}

/* As large as a record can be: name, extra field and comment. */
static void the_largest_records(void **state)
{
        (void)state;
        static char name[65536], extra[65535] = "\x99\x99\xfb\xff", comment[65535];
        memset(name, 'n', 65535);
        memset(comment, 'P', sizeof(comment));
        for (size_t i = 0; i < 5; i++)
                zip_add(&z, &(struct zip_member){.name = name,
                                    .data = "",
                                    .record_extra = extra,
                                    .record_extra_len = sizeof(extra),
                                    .comment = comment,
                                    .comment_len = sizeof(comment)});
        zip_end(&z, true, "");
        assert_int_equal(read_both(1), 0);
        assert_int_equal(read_both(0), 0);
        zip_free(&z);
}

static void small_sample(bool zip64)
{
        add_members(12, &(struct zip_member){.zip64 = zip64});
        zip_end(&z, zip64, zip64 ? "end" : "");
}

/* An archive that ends there, and a stream that does. */
static void cut_at(size_t n, size_t all, size_t piece)
{
        struct zip_list l = {};
        z.n = n;
        assert_int_equal(read_at(z.directory_at, piece, &no_limits, &l), -EBADMSG);
        assert_int_equal(e.cause, CAUSE_BAD_ZIP);
        z.n = all;
        e = (struct error){};
        int r = zip_list_cut(
                z.p + z.directory_at, n - z.directory_at, z.directory_at, all, piece, &no_limits, &l, &e);
        assert_int_equal(r, -EIO);
        assert_int_equal(e.cause, CAUSE_TRUNCATED);
}

static void cut_anywhere(void **state)
{
        (void)state;
        for (int zip64 = 0; zip64 < 2; zip64++) {
                small_sample(zip64);
                for (size_t n = z.directory_at + 2; n < z.n; n++) {
                        cut_at(n, z.n, 1);
                        if (n > z.directory_at + 200)
                                cut_at(n, z.n, 200);
                }
                zip_free(&z);
        }
}

static void every_byte_altered(void **state)
{
        (void)state;
        unsigned refused = 0, total = 0;
        for (int zip64 = 0; zip64 < 2; zip64++) {
                small_sample(zip64);
                for (size_t at = z.directory_at; at < z.n; at++)
                        for (unsigned bit = 0; bit < 8; bit++) {
                                z.p[at] ^= 1 << bit;
                                refused += read_both(200) < 0;
                                total++;
                                z.p[at] ^= 1 << bit;
                        }
                zip_free(&z);
        }
        assert_true(refused > total / 8);
}

/* One record that is damaged, wherever it is. */
static void a_bad_record_in_each_piece(void **state)
{
        (void)state;
        add_members(4000, &(struct zip_member){.zip64 = true});
        zip_end(&z, true, "");
        size_t record = (z.eocd_at - 76 - z.directory_at) / 4000;
        for (size_t i = 0; i < 4000; i += 250) {
                uint8_t *p = z.p + z.directory_at + i * record;
                static const struct {
                        size_t at;
                        uint8_t bits;
                } places[] = {
                        {0, 1},  /* signature */
                        {28, 1}, /* length of its name */
                        {30, 1}, /* of its extra field */
                        {33, 1}, /* of its comment */
                        {35, 1}, /* its disk */
                };
                for (size_t k = 0; k < ELEMENTSOF(places); k++) {
                        p[places[k].at] ^= places[k].bits;
                        assert_int_equal(read_both(0), -EBADMSG);
                        if (k == 0)
                                assert_string_equal(e.text, "a record of the directory is damaged");
                        p[places[k].at] ^= places[k].bits;
                }
        }
        assert_int_equal(read_both(0), 0);
        zip_free(&z);
}

/* Bytes are put in place of others, and taken back. */
static void refused_with(size_t at, const void *bytes, size_t n, const char *text)
{
        uint8_t saved[32];
        memcpy(saved, z.p + at, n);
        memcpy(z.p + at, bytes, n);
        assert_int_equal(read_both(200), -EBADMSG);
        assert_int_equal(e.cause, CAUSE_BAD_ZIP);
        assert_string_equal(e.text, text);
        memcpy(z.p + at, saved, n);
}

static void ends_that_lie(void **state)
{
        (void)state;
        static const char elsewhere[] = "the directory is not where the end record says";
        small_sample(false);
        size_t end = z.eocd_at;
        refused_with(end + 8, "\x0b\0\x0b\0", 4, "its directory has 12 members, and its end record says 11");
        refused_with(end + 8, "\x0d\0\x0d\0", 4, "its directory has 12 members, and its end record says 13");
        refused_with(end + 8, "\x0b\0", 2, "the archive is split over several disks");
        refused_with(end + 4, "\xff\xff", 2, "the archive is split over several disks");
        refused_with(end + 12, "\1", 1, elsewhere);
        refused_with(end + 16, "\1", 1, elsewhere);
        refused_with(end + 2, "x", 1, "it has no end record: not a zip, or cut off");
        zip_free(&z);
        small_sample(true);
        size_t locator = z.eocd_at - 20, record = locator - 56;
        refused_with(record + 24, "\x0b\0\0\0\0\0\0\0\x0b", 9,
                "its directory has 12 members, and its end record says 11");
        refused_with(record + 40, "\1", 1, elsewhere);
        /* the locator points into the records */
        uint8_t at[8] = {(uint8_t)z.directory_at, (uint8_t)(z.directory_at >> 8)};
        refused_with(locator + 8, at, 8, "the zip64 end record is damaged");
        zip_free(&z);
}

/* The end record is where it should be and says what it should, but something stands before it. */
static void garbage_before_the_end(void **state)
{
        (void)state;
        add_members(12, &(struct zip_member){});
        size_t n = z.directory_n;
        z.directory_n += 4;
        z.directory = realloc(z.directory, z.directory_n);
        assert_non_null(z.directory);
        memcpy(z.directory + n, "what", 4);
        z.directory_size = z.directory_n;
        zip_end(&z, false, "");
        assert_int_equal(read_both(200), -EBADMSG);
        z.p[z.eocd_at + 12] -= 4; /* the directory without them */
        assert_int_equal(read_both(200), -EBADMSG);
        assert_string_equal(e.text, "the directory is not where the end record says");
        zip_free(&z);
        /* more of it than an end can have */
        struct zip_list l = {};
        static char much[300000];
        add_members(12, &(struct zip_member){});
        uint64_t start = z.n;
        zip_bytes(&z, z.directory, z.directory_n);
        zip_bytes(&z, much, sizeof(much));
        assert_int_equal(read_at(start, 200, &no_limits, &l), -EBADMSG);
        assert_int_equal(e.cause, CAUSE_BAD_ZIP);
        assert_int_equal(read_at(start + 1, 200, &no_limits, &l), -EBADMSG); /* no record to begin with */
        assert_int_equal(e.cause, CAUSE_BAD_ZIP);
        zip_free(&z);
}

/* Members whose records have comments of 22 bytes: nothing but zeros, or bytes for the one `which`. */
static void commented(unsigned members, unsigned which, const char bytes[22])
{
        static const char zeros[22];
        zip_free(&z);
        for (unsigned i = 0; i < members; i++)
                zip_add(&z, &(struct zip_member){.name = "name",
                                    .data = "",
                                    .comment = i == which ? bytes : zeros,
                                    .comment_len = 22});
        zip_end(&z, false, "");
}

/* What another reader could take for the end record instead is refused, as far as it would look for one. */
static void two_end_records(void **state)
{
        (void)state;
        static const char none[22] = "PK\5\6", far[22] = "PK\5\6\0\0\0\0\1\0\1\0\xff\xff\xff\x7f";
        static const char uneven[22] = "PK\5\6\0\0\0\0\1\0\2\0", locator[22] = "zzPK\6\7";
        static const struct {
                unsigned members, which;
                const char *bytes;
                bool refused;
        } cases[] = {
                {2, 0, none, true}, {2, 1, none, true}, {2000, 1999, none, true}, {2000, 1100, none, true},
                {2000, 1050, none, false},                        /* 65,578 bytes are 911 records */
                {2000, 0, none, false}, {2000, 1950, far, false}, /* it would have to lie behind itself */
                {2000, 1950, uneven, false},
                {2000, 1950, locator, false}, /* the last of a piece may end like this */
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                for (size_t piece = 1; piece < 2000; piece += 700) {
                        _cleanup_zip_list_ struct zip_list l = {};
                        commented(cases[i].members, cases[i].which, cases[i].bytes);
                        int r = read_at(z.directory_at, MIN(piece, z.n - z.directory_at - 1), &no_limits, &l);
                        assert_int_equal(r < 0, cases[i].refused);
                        assert_string_equal(e.text, cases[i].refused ? SECOND_END : "");
                }
        zip_free(&z);
        /* in the comment of the archive */
        static const char *const comments[] = {"PK\5\6\1\1\1\1 a text that only looks like it", "PK\5\6"};
        for (size_t i = 0; i < ELEMENTSOF(comments); i++) {
                _cleanup_zip_list_ struct zip_list l = {};
                char comment[64] = {};
                snprintf(comment, sizeof(comment), "%s", comments[i]);
                add_members(12, &(struct zip_member){});
                zip_end(&z, false, "");
                z.p[z.n - 2] = sizeof(comment);
                zip_bytes(&z, comment, sizeof(comment));
                assert_int_equal(read_at(z.directory_at, 200, &no_limits, &l), i == 0 ? 0 : -EBADMSG);
                assert_string_equal(e.text, i == 0 ? "" : SECOND_END);
                zip_free(&z);
        }
}

/* A zip64 end record may have more than it must. What is too much for us is said to be that. */
static void a_long_end_record(void **state)
{
        (void)state;
        static const uint8_t zeros[150 * 1024];
        for (size_t n = 0; n <= sizeof(zeros); n += sizeof(zeros) / 3) {
                _cleanup_zip_list_ struct zip_list l = {};
                add_members(12, &(struct zip_member){});
                zip_end(&z, true, "");
                size_t behind = z.directory_at + z.directory_n + 56, left = z.n - behind;
                zip_bytes(&z, zeros, n);
                memmove(z.p + behind + n, z.p + behind, left);
                memset(z.p + behind, 0, n);
                uint64_t size = htole64(56 - 12 + n);
                memcpy(z.p + behind - 56 + 4, &size, sizeof(size));
                int r = read_at(behind - 56, 128 * KIB, &no_limits, &l);
                assert_int_equal(e.cause, n < 120 * KIB ? CAUSE_NONE : CAUSE_LIMIT);
                assert_int_equal(r < 0, n >= 120 * KIB);
                assert_int_equal(l.need_start, r < 0 ? 0 : z.directory_at);
                zip_free(&z);
        }
}

/* Without zip64 the count has 16 bits; some writers put its remainder there. */
static void more_than_the_end_record_can_count(void **state)
{
        (void)state;
        add_members(66000, &(struct zip_member){});
        zip_end(&z, false, "");
        assert_int_equal(read_both(0), -EBADMSG);
        assert_string_equal(e.text, "its directory has 66000 members, and its end record says 464");
        zip_free(&z);
        add_members(66000, &(struct zip_member){});
        zip_end(&z, true, "");
        assert_int_equal(read_both(0), 0);
        zip_free(&z);
}

static void limits_are_kept(void **state)
{
        (void)state;
        add_members(5000, &(struct zip_member){});
        zip_end(&z, false, "");
        for (uint64_t max = 1; max <= 5001; max += 1000) {
                _cleanup_zip_list_ struct zip_list l = {};
                int r = read_at(z.directory_at, 0, &(struct archive_limits){.max_members = max}, &l);
                assert_int_equal(r, max < 5000 ? -EFBIG : 0);
                assert_int_equal(e.cause, max < 5000 ? CAUSE_LIMIT : CAUSE_NONE);
        }
        struct zip_list l = {};
        assert_int_equal(
                read_at(z.directory_at, 0, &(struct archive_limits){.max_members = 4999}, &l), -EFBIG);
        assert_int_equal(read_at(z.directory_at, 0, &(struct archive_limits){.max_members = 5000}, &l), 0);
        zip_list_done(&l);
        zip_free(&z);
}

/* A directory of one record again and again, that nobody need keep. */
struct endless {
        uint8_t record[65536];
        size_t at, n;
        uint64_t entries;
};

static ssize_t endless_read(void *arg, void *p, size_t n, struct error *err)
{
        struct endless *s = arg;
        (void)err;
        n = MIN(n, s->n - s->at);
        memcpy(p, s->record + s->at, n);
        s->at = (s->at + n) % s->n;
        return (ssize_t)n;
}

static size_t peak;

static int endless_take(void *arg, const struct archive_entry *entry, struct error *err)
{
        struct endless *s = arg;
        (void)err;
        assert_int_equal(entry->place.extent, 0);
        if (s->entries++ % 100 == 0) {
                struct mallinfo2 m = mallinfo2();
                peak = MAX(peak, m.uordblks + m.hblkhd);
        }
        return 0;
}

/* The record of a member with such a comment, for ever. */
static struct endless *endless_new(size_t comment_len)
{
        static char comment[65000];
        struct endless *s = calloc(1, sizeof(*s));
        assert_non_null(s);
        zip_add(&z, &(struct zip_member){
                            .name = "name", .data = "", .comment = comment, .comment_len = comment_len});
        s->n = z.directory_n;
        memcpy(s->record, z.directory, s->n);
        zip_free(&z);
        return s;
}

static int read_endless(struct endless *s, uint64_t n)
{
        const struct archive_tail tail = {
                .start = 1000,
                .size = 1000 + n,
                .read = endless_read,
                .read_arg = s,
                .take = endless_take,
                .take_arg = s,
        };
        struct archive_directory d = {};
        peak = 0;
        e = (struct error){};
        return archive_directory(&tail, &no_limits, &d, &e);
}

static void a_directory_that_is_too_large(void **state)
{
        (void)state;
        struct endless *s = endless_new(65000);
        uint64_t most = LIMIT_ZIP_DIRECTORY + 100 * KIB;
        assert_int_equal(read_endless(s, most), -EFBIG); /* as soon as it was seen */
        assert_int_equal(e.cause, CAUSE_LIMIT);
        assert_true(s->entries > 1000 && s->entries * s->n < most);
        s->entries = 0;
        assert_int_equal(read_endless(s, 100 * GIB), -EFBIG); /* at once */
        assert_int_equal(e.cause, CAUSE_LIMIT);
        assert_int_equal(s->entries, 0);
        free(s);
}

/* It has no end, so all of it is read before it is refused. */
static void memory_does_not_grow(void **state)
{
        (void)state;
        struct endless *s = endless_new(20);
        size_t before = mallinfo2().uordblks + mallinfo2().hblkhd, few, many;
        assert_int_equal(read_endless(s, 4000 * s->n), -EBADMSG);
        assert_int_equal(s->entries, 4000);
        few = peak;
        s->entries = 0;
        assert_int_equal(read_endless(s, 400000 * s->n), -EBADMSG);
        assert_int_equal(s->entries, 400000);
        many = peak;
#ifndef CZARD_SANITIZE /* its allocator has no such numbers */
        print_message("%zu KiB for 4,000 members, %zu for 400,000\n", (few - before) / 1024,
                (many - before) / 1024);
        assert_true(few > before && many < before + 2 * MIB && many < few + 64 * KIB);
#endif
        free(s);
        (void)before;
        (void)few;
        (void)many;
}

static ssize_t failing_read(void *arg, void *p, size_t n, struct error *err)
{
        unsigned *left = arg;
        if ((*left)-- == 0)
                return error_set(err, CAUSE_HELPER, ECONNRESET, "it broke");
        n = MIN(n, (size_t)100);
        memset(p, 'x', n);
        return (ssize_t)n;
}

static int failing_take(void *arg, const struct archive_entry *entry, struct error *err)
{
        unsigned *left = arg;
        (void)entry;
        return (*left)-- == 0 ? error_set(err, CAUSE_HELPER, EPIPE, "no more") : 0;
}

static void errors_of_the_caller(void **state)
{
        (void)state;
        struct endless *s = endless_new(20);
        unsigned left = 3;
        struct archive_directory d = {};
        struct archive_tail tail = {
                .start = 1000,
                .size = 1000 + MIB,
                .read = failing_read,
                .read_arg = &left,
                .take = failing_take,
                .take_arg = &left,
        };
        e = (struct error){};
        assert_int_equal(archive_directory(&tail, &no_limits, &d, &e), -ECONNRESET);
        assert_string_equal(e.text, "it broke");
        tail.read = endless_read;
        tail.read_arg = s;
        left = 3000; /* not in the first piece */
        assert_int_equal(archive_directory(&tail, &no_limits, &d, &e), -EPIPE);
        assert_string_equal(e.text, "no more");
        tail.start = tail.size + 1;
        assert_int_equal(archive_directory(&tail, &no_limits, &d, &e), -EBADMSG);
        free(s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_same_entries),
                cmocka_unit_test(the_largest_records),
                cmocka_unit_test(cut_anywhere),
                cmocka_unit_test(every_byte_altered),
                cmocka_unit_test(a_bad_record_in_each_piece),
                cmocka_unit_test(ends_that_lie),
                cmocka_unit_test(garbage_before_the_end),
                cmocka_unit_test(two_end_records),
                cmocka_unit_test(a_long_end_record),
                cmocka_unit_test(more_than_the_end_record_can_count),
                cmocka_unit_test(limits_are_kept),
                cmocka_unit_test(a_directory_that_is_too_large),
                cmocka_unit_test(memory_does_not_grow),
                cmocka_unit_test(errors_of_the_caller),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
