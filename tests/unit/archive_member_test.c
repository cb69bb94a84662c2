/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "archive.h"
#include "fsx.h"
#include "zip_list.h"
#include "zip_maker.h"

static char data[100000];
static struct zip_list d;
static struct zip_maker z;
static struct error e;

/* A descriptor that gives bytes [start, end) of the archive. */
static int stream_of(uint64_t start, uint64_t end)
{
        int fd = memfd_create("zip", MFD_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, z.p + start, end - start), 0);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        return fd;
}

/* Reads the member in pieces; compares with data. 0 or what was said. */
static int take_member(struct archive_stream *s, const struct archive_entry *entry, size_t piece)
{
        char *buf = malloc(piece);
        assert_non_null(buf);
        e = (struct error){};
        int r = archive_member_begin(s, entry, &e);
        uint64_t got = 0;
        bool differ = false;
        while (r == 0) {
                ssize_t n = archive_member_read(s, buf, piece, &e);
                if (n <= 0) {
                        r = (int)n;
                        break;
                }
                differ |= got + (uint64_t)n > sizeof(data) || memcmp(buf, data + got, (size_t)n) != 0;
                got += (uint64_t)n;
        }
        free(buf);
        if (r == 0) {
                assert_int_equal(got, entry->size);
                assert_false(differ);
                assert_int_equal(archive_member_packed(s), entry->packed);
                assert_int_equal(archive_member_end(s, &e), 0);
        }
        assert_int_equal(r < 0, e.cause != CAUSE_NONE);
        return r;
}

static void read_directory(void)
{
        zip_list_done(&d);
        assert_int_equal(zip_list(z.p, 0, z.n, z.n, &(struct archive_limits){}, &d, &e), 0);
        assert_int_equal(zip_list_extents(&d, &e), 0);
}

static void sample(void)
{
        zip_free(&z);
        zip_add(&z, &(struct zip_member){.name = "stored", .data = data, .len = 90000});
        zip_bytes(&z, "a gap", 5);
        zip_add(&z, &(struct zip_member){.name = "deflated", .data = data, .len = 100000, .deflate = true});
        zip_add(&z,
                &(struct zip_member){
                        .name = "later", .data = data, .len = 50000, .deflate = true, .descriptor = true});
        zip_add(&z, &(struct zip_member){.name = "wide",
                            .data = data,
                            .len = 70,
                            .zip64 = true,
                            .extra = "UT\1\0x",
                            .extra_len = 5});
        zip_add(&z, &(struct zip_member){.name = "empty", .data = ""});
        zip_add(&z, &(struct zip_member){.name = "nothing", .data = "", .deflate = true});
        zip_end(&z, false, "");
        read_directory();
}

static void members_in_order(void **state)
{
        (void)state;
        sample();
        static const size_t pieces[] = {1, 7, 4096, 200000};
        for (size_t k = 0; k < ELEMENTSOF(pieces); k++) {
                struct archive_stream *s = NULL;
                assert_int_equal(archive_stream_new(stream_of(0, z.n), 0, &s), 0);
                for (size_t i = 0; i < d.n; i++)
                        assert_int_equal(take_member(s, &d.entries[i], pieces[k]), 0);
                archive_stream_free(s);
        }
}

static void from_the_middle_and_with_gaps(void **state)
{
        (void)state;
        sample();
        struct archive_stream *s = NULL;
        assert_int_equal(
                archive_stream_new(stream_of(d.entries[1].place.offset, z.n), d.entries[1].place.offset, &s),
                0);
        /* not read to its end; then one is left out */
        assert_int_equal(archive_member_begin(s, &d.entries[1], &e), 0);
        char buf[10];
        assert_int_equal(archive_member_read(s, buf, sizeof(buf), &e), sizeof(buf));
        assert_int_equal(take_member(s, &d.entries[3], 100), 0);
        /* there is no way back */
        assert_true(take_member(s, &d.entries[2], 100) < 0);
        assert_int_equal(e.cause, CAUSE_INTERNAL);
        assert_int_equal(take_member(s, &d.entries[4], 100), 0);
        archive_stream_free(s);
}

/* What is wrong with member 1 is told of it, and member 2 comes out well. */
static char said[512]; /* of the bad one */

static void expect_only(size_t bad, enum cause cause)
{
        struct archive_stream *s = NULL;
        assert_int_equal(archive_stream_new(stream_of(0, z.n), 0, &s), 0);
        for (size_t i = 0; i < d.n; i++) {
                int r = take_member(s, &d.entries[i], 3000);
                if (i != bad || cause == CAUSE_NONE) {
                        assert_int_equal(r, 0);
                        continue;
                }
                assert_true(r < 0);
                assert_int_equal(e.cause, cause);
                struct error again = {};
                assert_int_equal(archive_member_end(s, &again), r); /* it sticks */
                assert_int_equal(again.cause, cause);
                snprintf(said, sizeof(said), "%s", again.text);
        }
        archive_stream_free(s);
}

static void damage_stays_within(void **state)
{
        (void)state;
        sample();
        static const struct {
                size_t member, at;
                uint8_t bits;
        } places[] = {
                {0, 0, 1},
                {0, 6, 1},
                {0, 8, 8},
                {0, 14, 1},
                {0, 18, 1},
                {0, 22, 1},
                {0, 26, 1},
                {0, 29, 255},
                {0, 30, 1},
                {0, 50, 1},
                {0, 80000, 1},
                {1, 14, 1},
                {1, 30, 1},
                {1, 38, 7},
                {1, 300, 16},
                {2, 200, 8},
                {3, 36, 1},
                {3, 20, 1},
                {3, 38, 1},
                {3, 46, 1},
        };
        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                uint8_t *p = z.p + d.entries[places[i].member].place.offset + places[i].at;
                *p ^= places[i].bits;
                expect_only(places[i].member, CAUSE_BAD_ZIP);
                *p ^= places[i].bits;
        }
        expect_only(0, CAUSE_NONE);
}

static void entries_that_do_not_fit(void **state)
{
        (void)state;
        sample();
        struct archive_entry good = d.entries[1];
        d.entries[1].crc ^= 1;
        expect_only(1, CAUSE_BAD_ZIP);
        d.entries[1] = good;
        d.entries[1].place.extent = 60; /* less than its data */
        expect_only(1, CAUSE_BAD_ZIP);
        d.entries[1] = good;
        /* with a descriptor the local header has no sizes: only the data can tell */
        good = d.entries[2];
        d.entries[2].size--;
        expect_only(2, CAUSE_BAD_ZIP);
        d.entries[2] = good;
        d.entries[2].size++;
        expect_only(2, CAUSE_BAD_ZIP);
        d.entries[2] = good;
        d.entries[2].packed--;
        expect_only(2, CAUSE_BAD_ZIP);
        d.entries[2] = good;
        d.entries[2].packed++;
        expect_only(2, CAUSE_BAD_ZIP);
        d.entries[2] = good;
        d.entries[2].crc++;
        expect_only(2, CAUSE_BAD_ZIP);
        d.entries[2] = good;
        expect_only(2, CAUSE_NONE);
}

static void encrypted_or_unknown(void **state)
{
        (void)state;
        sample();
        zip_free(&z);
        zip_add(&z, &(struct zip_member){
                            .name = "locked", .data = data, .len = 900, .flags = ZIP_FLAG_ENCRYPTED});
        zip_add(&z, &(struct zip_member){.name = "open", .data = data, .len = 900});
        zip_end(&z, false, "");
        read_directory();
        expect_only(0, CAUSE_ZIP_FORM);
        assert_non_null(strstr(said, "zip password"));
        static const struct {
                uint8_t method;
                const char *name;
        } methods[] = {{12, "bzip2"}, {14, "LZMA"}, {9, "Deflate64"}, {99, "AES"}, {77, "method 77"}};
        z.p[6] = z.p[z.directory_at + 8] = 0;
        for (size_t i = 0; i < ELEMENTSOF(methods); i++) {
                z.p[8] = z.p[z.directory_at + 10] = methods[i].method;
                read_directory();
                expect_only(0, CAUSE_ZIP_FORM);
                assert_non_null(strstr(said, methods[i].name));
        }
}

static void a_stream_cut_anywhere(void **state)
{
        (void)state;
        sample();
        uint64_t end = d.entries[1].place.offset + d.entries[1].place.extent;
        for (uint64_t cut = d.entries[1].place.offset; cut < end - 20; cut += 37) {
                struct archive_stream *s = NULL;
                assert_int_equal(archive_stream_new(stream_of(0, cut), 0, &s), 0);
                assert_int_equal(take_member(s, &d.entries[0], 3000), 0);
                for (size_t i = 1; i < 3; i++) {
                        if (i == 1 && cut >= end - d.entries[1].place.extent + 38 + d.entries[1].packed)
                                continue;
                        assert_true(take_member(s, &d.entries[i], 3000) < 0);
                        assert_int_equal(e.cause, CAUSE_TRUNCATED);
                }
                archive_stream_free(s);
        }
}

static int clean(void **state)
{
        (void)state;
        zip_free(&z);
        zip_list_done(&d);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(members_in_order),
                cmocka_unit_test(from_the_middle_and_with_gaps),
                cmocka_unit_test(damage_stays_within),
                cmocka_unit_test(entries_that_do_not_fit),
                cmocka_unit_test(encrypted_or_unknown),
                cmocka_unit_test(a_stream_cut_anywhere),
        };
        /* compressible, but not to nothing */
        for (size_t i = 0, x = 1; i < sizeof(data); i++, x = x * 1103515245 + 12345)
                data[i] = (char)('a' + (x >> 16) % 9);
        return cmocka_run_group_tests(tests, NULL, clean);
}
