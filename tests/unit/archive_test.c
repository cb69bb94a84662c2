/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive.h"
#include "zip_maker.h"
#include "zip_second.h"

static const struct archive_limits no_limits;
static char data[5000];

static struct error e;
static bool libzip_takes; /* what was read last; then it has the same members */

/* From a copy of exactly that size, so that a sanitizer sees each byte that is read beyond it. The entries
 * are sorted and have extents. */
static int read_at(
        const struct zip_maker *z, uint64_t start, const struct archive_limits *l, struct zip_list *d)
{
        uint8_t *tail = malloc(z->n - start + 1);
        assert_non_null(tail);
        memcpy(tail + 1, z->p + start, z->n - start);
        e = (struct error){};
        int r = zip_list(tail + 1, start, z->n, 0, l, d, &e);
        free(tail);
        libzip_takes = r == 0 && start == 0 && zip_second(z->p, z->n, d);
        if (r == 0)
                r = zip_list_extents(d, &e);
        if (r < 0)
                zip_list_done(d);
        assert_int_equal(r < 0, e.cause != CAUSE_NONE);
        return r;
}

static void sample(struct zip_maker *z, bool zip64, const char *comment)
{
        zip_add(z, &(struct zip_member){.name = "f/", .data = "", .mode = 040755, .zip64 = zip64});
        zip_add(z, &(struct zip_member){
                           .name = "f/a.gpg", .data = data, .len = 5000, .deflate = true, .zip64 = zip64});
        zip_add(z, &(struct zip_member){
                           .name = "f/b.gpg", .data = data, .len = 300, .descriptor = true, .mode = 0100644});
        zip_end(z, zip64, comment);
}

static void fields_and_extents(void **state)
{
        (void)state;
        static const struct {
                bool zip64;
                const char *comment;
        } cases[] = {{false, ""}, {true, ""}, {false, "PK\5\6 is how an end record begins"}, {true, "hello"}};
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct zip_maker z = {};
                struct zip_list d = {};
                sample(&z, cases[i].zip64, cases[i].comment);
                assert_int_equal(read_at(&z, 0, &no_limits, &d), 0);
                assert_true(libzip_takes);
                assert_int_equal(d.n, 3);
                assert_string_equal(d.entries[0].name, "f/");
                assert_int_equal(d.entries[0].mode, 040755);
                assert_string_equal(d.entries[1].name, "f/a.gpg");
                assert_int_equal(d.entries[1].size, 5000);
                assert_true(d.entries[1].packed < 200);
                assert_int_equal(d.entries[1].method, ZIP_METHOD_DEFLATE);
                assert_int_equal(d.entries[2].size, 300);
                assert_int_equal(d.entries[2].flags, ZIP_FLAG_DESCRIPTOR);
                assert_int_equal(d.entries[0].place.offset, 0);
                assert_int_equal(d.offset, z.directory_at);
                for (size_t k = 0; k < 3; k++)
                        assert_int_equal(d.entries[k].place.offset + d.entries[k].place.extent,
                                k < 2 ? d.entries[k + 1].place.offset : z.directory_at);
                zip_list_done(&d);
                zip_free(&z);
        }
}

static void an_empty_archive(void **state)
{
        (void)state;
        struct zip_maker z = {};
        struct zip_list d = {};
        zip_end(&z, false, "");
        assert_int_equal(read_at(&z, 0, &no_limits, &d), 0);
        assert_int_equal(d.n, 0);
        zip_list_done(&d);
        zip_free(&z);
}

/* From any start the answer is the directory, or a start that is earlier and in the end enough. */
static void any_window(void **state)
{
        (void)state;
        for (int zip64 = 0; zip64 < 2; zip64++) {
                struct zip_maker z = {};
                sample(&z, zip64, "c");
                for (uint64_t first = 0; first <= z.n; first++) {
                        struct zip_list d = {};
                        uint64_t start = first;
                        for (unsigned asked = 0;; asked++) {
                                assert_int_equal(read_at(&z, start, &no_limits, &d), 0);
                                if (!d.need_start)
                                        break;
                                assert_true(d.need_start < start);
                                assert_true(asked < 1); /* one second read at most */
                                start = d.need_start;
                        }
                        assert_int_equal(d.n, 3);
                        zip_list_done(&d);
                }
                zip_free(&z);
        }
}

static void members_in_another_order_than_the_directory(void **state)
{
        (void)state;
        struct zip_maker z = {};
        struct zip_list d = {};
        zip_add(&z, &(struct zip_member){.name = "1", .data = data, .len = 10});
        size_t record = z.directory_n;
        zip_add(&z, &(struct zip_member){.name = "2", .data = data, .len = 20});
        uint8_t second[128];
        size_t n = z.directory_n - record;
        memcpy(second, z.directory + record, n);
        memmove(z.directory + n, z.directory, record);
        memcpy(z.directory, second, n);
        zip_end(&z, false, "");
        assert_int_equal(read_at(&z, 0, &no_limits, &d), 0);
        assert_string_equal(d.entries[0].name, "1");
        assert_string_equal(d.entries[1].name, "2");
        zip_list_done(&d);
        zip_free(&z);
}

/* Every byte of directory and end records altered in turn: refused, or one of the fields that we hand on or
 * ignore. Nothing else may happen (the sanitizers watch). */
static void every_byte_altered(void **state)
{
        (void)state;
        unsigned refused = 0, total = 0;
        for (int zip64 = 0; zip64 < 2; zip64++) {
                struct zip_maker z = {};
                sample(&z, zip64, "");
                for (size_t at = z.directory_at; at < z.n; at++)
                        for (unsigned bit = 0; bit < 8; bit++) {
                                struct zip_list d = {};
                                z.p[at] ^= 1 << bit;
                                total++;
                                if (read_at(&z, 0, &no_limits, &d) < 0)
                                        refused++;
                                else
                                        assert_int_equal(d.n, 3);
                                zip_list_done(&d);
                                z.p[at] ^= 1 << bit;
                        }
                for (size_t n = 0; n < z.n; n++) {
                        struct zip_maker cut = {.p = z.p, .n = n};
                        struct zip_list d = {};
                        assert_int_equal(read_at(&cut, 0, &no_limits, &d), -EBADMSG);
                }
                zip_free(&z);
        }
        assert_true(refused > total / 3);
}

static void refused_with(struct zip_maker *z, size_t at, const void *bytes, size_t n, enum cause cause)
{
        struct zip_list d = {};
        uint8_t saved[32];
        memcpy(saved, z->p + at, n);
        memcpy(z->p + at, bytes, n);
        int r = read_at(z, 0, &no_limits, &d);
        if (r == 0)
                print_error("at %zu: accepted\n", at);
        assert_true(r < 0);
        assert_int_equal(e.cause, cause);
        memcpy(z->p + at, saved, n);
}

static void lies(void **state)
{
        (void)state;
        struct zip_maker z = {};
        sample(&z, false, "");
        size_t first = z.directory_at, second = first + ZIP_RECORD + 2, end = z.eocd_at;
        refused_with(&z, second + 42, "\0\0\0\0", 4, CAUSE_BAD_ZIP);         /* two members at one place */
        refused_with(&z, second + 42, "\xff\xff\xff\x7f", 4, CAUSE_BAD_ZIP); /* behind everything */
        refused_with(&z, second + 42, "\xff\xff\xff\xff", 4, CAUSE_BAD_ZIP); /* zip64 without a field */
        refused_with(&z, second + 20, "\xff\xff\x00\x00", 4, CAUSE_BAD_ZIP); /* reaches into the next */
        refused_with(&z, second + 34, "\1\0", 2, CAUSE_BAD_ZIP);             /* on another disk */
        refused_with(&z, second + 28, "\xff\xff", 2, CAUSE_BAD_ZIP);         /* a name longer than the rest */
        refused_with(&z, end + 8, "\4\0\4\0", 4, CAUSE_BAD_ZIP);             /* more members than there are */
        refused_with(&z, end + 8, "\2\0\2\0", 4, CAUSE_BAD_ZIP);             /* fewer */
        refused_with(&z, end + 4, "\1\0\1\0", 4, CAUSE_BAD_ZIP);             /* several disks */
        refused_with(&z, end + 12, "\0\0\0\0", 4, CAUSE_BAD_ZIP);            /* no directory */
        refused_with(&z, end + 16, "\0\0\0\0", 4, CAUSE_BAD_ZIP);            /* somewhere else */
        zip_free(&z);
        sample(&z, true, "");
        size_t locator = z.eocd_at - 20, record = locator - 56;
        refused_with(&z, locator + 8, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, CAUSE_BAD_ZIP);
        refused_with(&z, locator + 16, "\2", 1, CAUSE_BAD_ZIP);
        refused_with(&z, record + 32, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, CAUSE_BAD_ZIP);
        refused_with(&z, record + 40, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, CAUSE_BAD_ZIP);
        refused_with(&z, record + 48, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, CAUSE_BAD_ZIP);
        refused_with(&z, z.eocd_at + 8, "\1\0\1\0", 4, CAUSE_BAD_ZIP); /* the two end records disagree */
        zip_free(&z);
}

/* Bytes behind the end record, as far as readers look for it: zeros or others. */
static void padding(void **state)
{
        (void)state;
        static const uint8_t zeros[ZIP_COMMENT_MAX + 1];
        static const struct {
                const char *comment;
                size_t zeros;
                bool taken;
        } cases[] = {{"", 1, true}, {"", 512, true}, {"a comment", 100, true}, {"", ZIP_COMMENT_MAX, true},
                {"", ZIP_COMMENT_MAX + 1, false}, {"c", ZIP_COMMENT_MAX, false}};
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                for (int zip64 = 0; zip64 < 2; zip64++) {
                        struct zip_maker z = {};
                        struct zip_list d = {};
                        sample(&z, zip64, cases[i].comment);
                        zip_bytes(&z, zeros, cases[i].zeros);
                        assert_int_equal(read_at(&z, 0, &no_limits, &d), cases[i].taken ? 0 : -EBADMSG);
                        assert_int_equal(d.n, cases[i].taken ? 3 : 0);
                        zip_list_done(&d);
                        z.p[z.n - 1] = 'x';
                        assert_int_equal(read_at(&z, 0, &no_limits, &d), cases[i].taken ? 0 : -EBADMSG);
                        zip_list_done(&d);
                        zip_free(&z);
                }
}

/* What may stand there, and what makes two readers see two archives. */
static void behind(void **state)
{
        (void)state;
        static const struct {
                const char *bytes;
                size_t n;
                bool taken;
        } cases[] = {{"\n", 1, true}, {"\r\n", 2, true},
                {"-----BEGIN PGP SIGNATURE-----\n\niHUE\n-----END PGP SIGNATURE-----\n", 65, true},
                {"PK\5\6", 4, true}, {"PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 22, false},
                {"PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\n", 23, false},
                {"PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff", 22, false}};
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                for (int zip64 = 0; zip64 < 2; zip64++) {
                        struct zip_maker z = {};
                        struct zip_list d = {};
                        sample(&z, zip64, "comment");
                        zip_bytes(&z, cases[i].bytes, cases[i].n);
                        assert_int_equal(read_at(&z, 0, &no_limits, &d), cases[i].taken ? 0 : -EBADMSG);
                        assert_int_equal(d.n, cases[i].taken ? 3 : 0);
                        zip_list_done(&d);
                        zip_free(&z);
                }
}

/* A member that is an archive itself, stored as it is, has an end record of its own. */
static void an_archive_in_the_archive(void **state)
{
        (void)state;
        struct zip_maker inner = {}, z = {};
        struct zip_list d = {};
        sample(&inner, false, "");
        zip_add(&z, &(struct zip_member){.name = "inner.zip", .data = inner.p, .len = inner.n});
        zip_end(&z, false, "");
        assert_int_equal(read_at(&z, 0, &no_limits, &d), 0);
        assert_true(libzip_takes);
        assert_int_equal(d.n, 1);
        zip_list_done(&d);
        zip_free(&z);
        zip_free(&inner);
}

/* A directory with nothing before it: no member has a place. From no window may what lies before it be read.
 */
static void a_directory_alone(void **state)
{
        (void)state;
        for (int zip64 = 0; zip64 < 2; zip64++) {
                struct zip_maker z = {};
                sample(&z, zip64, "");
                struct zip_maker alone = {.p = z.p + z.directory_at, .n = z.n - z.directory_at};
                uint64_t moved = z.directory_at, eocd = z.eocd_at - moved;
                if (zip64) {
                        memset(alone.p + eocd - 20 - 56 + 48, 0, 8); /* where the directory is */
                        uint64_t record = eocd - 20 - 56;
                        memcpy(alone.p + eocd - 20 + 8, &record, 8);
                } else {
                        memset(alone.p + eocd + 16, 0, 4);
                }
                for (uint64_t first = 0; first <= alone.n; first++) {
                        struct zip_list d = {};
                        uint64_t start = first;
                        while (read_at(&alone, start, &no_limits, &d) == 0) {
                                assert_true(d.need_start > 0 && d.need_start < start);
                                start = d.need_start;
                        }
                        assert_int_equal(e.cause, CAUSE_BAD_ZIP);
                }
                zip_free(&z);
        }
}

static void limits_are_kept(void **state)
{
        (void)state;
        struct zip_maker z = {};
        struct zip_list d = {};
        sample(&z, false, "");
        assert_true(read_at(&z, 0, &(struct archive_limits){.max_members = 2}, &d) < 0);
        assert_int_equal(e.cause, CAUSE_LIMIT);
        assert_int_equal(read_at(&z, 0, &(struct archive_limits){.max_members = 3}, &d), 0);
        zip_list_done(&d);
        zip_free(&z);
        static char name[LIMIT_MEMBER_PATH + 2];
        memset(name, 'n', LIMIT_MEMBER_PATH + 1);
        zip_add(&z, &(struct zip_member){.name = name, .data = ""});
        zip_end(&z, false, "");
        /* the directory can be read, and the member is refused when it is its turn */
        assert_int_equal(read_at(&z, 0, &no_limits, &d), 0);
        assert_int_equal(strlen(d.entries[0].name), LIMIT_MEMBER_PATH + 1);
        int fds[2];
        struct archive_stream *s = NULL;
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        assert_int_equal(archive_stream_new(fds[0], 0, &s), 0);
        assert_int_equal(archive_member_begin(s, &d.entries[0], &e), -ENAMETOOLONG);
        assert_int_equal(e.cause, CAUSE_LIMIT);
        archive_stream_free(s);
        close_fd(fds[1]);
        zip_list_done(&d);
        zip_free(&z);
}

/* Names are not judged here, but must arrive so that an allow-list can judge them. */
static void odd_names(void **state)
{
        (void)state;
        struct zip_maker z = {};
        struct zip_list d = {};
        zip_add(&z, &(struct zip_member){.name = "good\0../evil", .name_len = 12, .data = ""});
        zip_add(&z, &(struct zip_member){.name = "../up", .data = ""});
        zip_add(&z, &(struct zip_member){.name = "caf\xe9", .data = ""});
        zip_end(&z, false, "");
        if (read_at(&z, 0, &no_limits, &d) < 0)
                print_error("%s\n", e.text);
        assert_int_equal(d.n, 3);
        assert_string_equal(d.entries[0].name, "good\001../evil");
        assert_string_equal(d.entries[1].name, "../up");
        assert_string_equal(d.entries[2].name, "caf\xe9");
        zip_list_done(&d);
        zip_free(&z);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(fields_and_extents),
                cmocka_unit_test(an_empty_archive),
                cmocka_unit_test(any_window),
                cmocka_unit_test(members_in_another_order_than_the_directory),
                cmocka_unit_test(every_byte_altered),
                cmocka_unit_test(lies),
                cmocka_unit_test(padding),
                cmocka_unit_test(behind),
                cmocka_unit_test(an_archive_in_the_archive),
                cmocka_unit_test(a_directory_alone),
                cmocka_unit_test(limits_are_kept),
                cmocka_unit_test(odd_names),
        };
        memset(data, 'x', sizeof(data));
        return cmocka_run_group_tests(tests, NULL, NULL);
}
