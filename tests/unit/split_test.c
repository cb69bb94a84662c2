/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "cleanup.h"
#include "fsx.h"
#include "limits.h"
#include "split.h"
#include "split_courses.h"

struct fixture {
        char path[32];
        int dir_fd;
        struct strbuf told; /* by on_file: "NAME SIZE\n" */
        uint64_t read;
};

static int on_file(void *arg, const char *name, uint64_t size, struct error *e)
{
        (void)e;
        struct fixture *f = arg;
        struct stat st;
        assert_int_equal(fstatat(f->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_true(S_ISREG(st.st_mode) && st.st_nlink == 1 && (uint64_t)st.st_size == size);
        strbuf_printf(&f->told, "%s\n", name);
        return 0;
}

static void on_read(void *arg, uint64_t bytes)
{
        ((struct fixture *)arg)->read += bytes;
}

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        strcpy(f->path, "/tmp/split-test.XXXXXX");
        assert_non_null(mkdtemp(f->path));
        f->dir_fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(f->dir_fd >= 0);
        *state = f;
        return 0;
}

static void empty(struct fixture *f)
{
        _cleanup_closedir_ DIR *d = opendir(f->path);
        for (struct dirent *entry; (entry = readdir(d));)
                if (entry->d_name[0] != '.')
                        assert_int_equal(unlinkat(f->dir_fd, entry->d_name, 0), 0);
        strbuf_done(&f->told);
        f->read = 0;
}

static int tear_down(void **state)
{
        struct fixture *f = *state;
        empty(f);
        close(f->dir_fd);
        assert_int_equal(rmdir(f->path), 0);
        free(f);
        return 0;
}

static int split(struct fixture *f, const char *text, size_t n, struct split_options o,
        struct split_totals *ret, struct error *e)
{
        _cleanup_close_ int fd = memfd_create("events", MFD_CLOEXEC);
        assert_int_equal(write_all(fd, text, n), 0);
        o.rule = o.rule ? o.rule : EVENT_RULE_EDX;
        o.on_file = on_file;
        o.on_read = on_read;
        o.arg = f;
        strbuf_add(&f->told, "");
        return split_events(fd, f->dir_fd, &o, ret, e);
}

static struct split_totals split_text(struct fixture *f, const char *text, struct split_options o)
{
        struct split_totals t;
        struct error e = {};
        if (split(f, text, strlen(text), o, &t, &e) < 0)
                fail_msg("%s", e.text);
        return t;
}

/* What a file of gzip says. */
static char *unpacked(struct fixture *f, const char *name)
{
        char path[300];
        snprintf(path, sizeof(path), "%s/%s", f->path, name);
        gzFile z = gzopen(path, "rb");
        assert_non_null(z);
        struct strbuf b = {};
        char buf[4096];
        int n;
        strbuf_add(&b, "");
        while ((n = gzread(z, buf, sizeof(buf))) > 0)
                strbuf_add_n(&b, buf, (size_t)n);
        assert_int_equal(n, 0);
        assert_int_equal(gzclose(z), Z_OK);
        return b.s;
}

static void assert_unpacked(struct fixture *f, const char *name, const char *want)
{
        _cleanup_free_ char *got = unpacked(f, name);
        assert_string_equal(got, want);
}

static char *text_of(struct fixture *f, const char *name)
{
        char *p;
        size_t n;
        assert_int_equal(read_file_at(f->dir_fd, name, 1 << 20, &p, &n), 0);
        return p;
}

#define IN(course) "{\"context\":{\"course_id\":\"" course "\"}}"

static void test_day(void **state)
{
        struct fixture *f = *state;
        static const char text[] = IN("course-v1:M+6+1T") "\n  " IN("B/x/y") " \n\nx\n{}\n" IN("bad") "\n" IN(
                "course-v1:M+6+1T\\n");
        struct split_totals t = split_text(f, text, (struct split_options){});
        assert_string_equal(f->told.s, "B_x_y.log.gz\nMANIFEST.jsonl\nM_6_1T.log.gz\nSHA256SUMS\n");
        assert_unpacked(f, "M_6_1T.log.gz", IN("course-v1:M+6+1T") "\n" IN("course-v1:M+6+1T\\n") "\n");
        assert_unpacked(f, "B_x_y.log.gz", IN("B/x/y") "\n");
        assert_int_equal(t.lines_in, 7);
        assert_int_equal(t.lines_of_courses, 3);
        assert_int_equal(t.no_course, 1);
        assert_int_equal(t.invalid, 1);
        assert_int_equal(t.unparsed, 2);
        assert_int_equal(t.courses, 2);
        assert_int_equal(t.courses_left_out, 0);
        assert_int_equal(f->read, strlen(text));
}

/* The two lists, against what coreutils say of the files. */
static void test_lists(void **state)
{
        struct fixture *f = *state;
        split_text(f, IN("course-v1:M+6+1T") "\n" IN("B/x/y") "\n" IN("B/x/y") "\n{}\n",
                (struct split_options){});
        _cleanup_free_ char *check =
                str_printf("cd %s && sha256sum --quiet -c SHA256SUMS && [ $(wc -l < SHA256SUMS) = 2 ] && "
                           "sort -c -k 2 SHA256SUMS && gunzip -t *.gz",
                        f->path);
        assert_int_equal(system(check), 0);
        _cleanup_free_ char *manifest = text_of(f, "MANIFEST.jsonl");
        uint8_t a[SHA256_SIZE], b[SHA256_SIZE], source[SHA256_SIZE];
        char hex[3][SHA256_HEX];
        static const char two[] = IN("B/x/y") "\n" IN("B/x/y") "\n", one[] = IN("course-v1:M+6+1T") "\n";
        static const char all[] = IN("course-v1:M+6+1T") "\n" IN("B/x/y") "\n" IN("B/x/y") "\n{}\n";
        digest_once(DIGEST_SHA256, two, strlen(two), a);
        digest_once(DIGEST_SHA256, one, strlen(one), b);
        digest_once(DIGEST_SHA256, all, strlen(all), source);
        hex_encode(a, SHA256_SIZE, hex[0]);
        hex_encode(b, SHA256_SIZE, hex[1]);
        hex_encode(source, SHA256_SIZE, hex[2]);
        _cleanup_free_ char *want =
                str_printf("{\"course\":\"B/x/"
                           "y\",\"file\":\"B_x_y.log.gz\",\"lines\":2,\"bytes\":%zu,\"sha256\":\"%s\"}\n"
                           "{\"course\":\"course-v1:M+6+1T\",\"file\":\"M_6_1T.log.gz\",\"lines\":1,"
                           "\"bytes\":%zu,\"sha256\":\"%s\"}\n"
                           "{\"lines_in\":4,\"no_course\":1,\"invalid\":0,\"unparsed\":0,\"source_sha256\":"
                           "\"%s\",\"rule\":\"edx\"}\n",
                        strlen(two), hex[0], strlen(one), hex[1], hex[2]);
        assert_string_equal(manifest, want);
}

static void test_no_courses(void **state)
{
        struct fixture *f = *state;
        struct split_totals t = split_text(f, "", (struct split_options){.rule = EVENT_RULE_EDX_URL});
        assert_string_equal(f->told.s, "MANIFEST.jsonl\nSHA256SUMS\n");
        assert_int_equal(t.lines_in, 0);
        _cleanup_free_ char *sums = text_of(f, "SHA256SUMS"), *manifest = text_of(f, "MANIFEST.jsonl");
        assert_string_equal(sums, "");
        assert_string_equal(manifest,
                "{\"lines_in\":0,\"no_course\":0,\"invalid\":0,\"unparsed\":0,\"source_sha256\":"
                "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\",\"rule\":\"edx+url\"}"
                "\n");
}

/* The file of a course that shares its name. */
static void assert_hash(const char *file, const char *name, const char *key)
{
        uint8_t hash[SHA256_SIZE];
        char hex[17];
        digest_once(DIGEST_SHA256, key, strlen(key), hash);
        hex_encode(hash, 8, hex);
        _cleanup_free_ char *want = str_printf("%s~%s.log.gz", name, hex);
        assert_string_equal(file, want);
}

static void test_one_name(void **state)
{
        struct fixture *f = *state;
        split_text(f, IN("A/b/c") "\n" IN("course-v1:A+b+c") "\n" IN("A/b_c/") "\n" IN("A/b/c") "\n",
                (struct split_options){});
        /* A_b_c, twice; A_b_c_ */
        char first[300], second[300], third[300];
        assert_int_equal(sscanf(f->told.s, "%299s %299s %299s", first, second, third), 3);
        assert_string_equal(first, "A_b_c_.log.gz");
        _cleanup_free_ char *text = unpacked(f, second);
        bool old = streq(text, IN("A/b/c") "\n" IN("A/b/c") "\n");
        assert_hash(old ? second : third, "A_b_c", "A/b/c");
        assert_hash(old ? third : second, "A_b_c", "course-v1:A+b+c");
        assert_unpacked(f, old ? third : second, IN("course-v1:A+b+c") "\n");
}

/* n lines, of which line i is of course i % courses; each is as long as its number tells. */
static char *many(unsigned n, unsigned courses)
{
        struct strbuf b = {};
        for (unsigned i = 0; i < n; i++)
                strbuf_printf(&b, "{\"context\":{\"course_id\":\"A/%u/x\"},\"n\":%u,\"pad\":\"%0*u\"}\n",
                        i % courses, i, (int)(i * 37 % 500), i);
        return b.s;
}

static void assert_many(struct fixture *f, unsigned n, unsigned courses, const char *text)
{
        struct strbuf *want = calloc(courses, sizeof(*want));
        const char *p = text;
        for (unsigned i = 0; i < n; i++) {
                const char *end = strchr(p, '\n') + 1;
                strbuf_add_n(&want[i % courses], p, (size_t)(end - p));
                p = end;
        }
        for (unsigned i = 0; i < courses; i++) {
                char name[64];
                snprintf(name, sizeof(name), "A_%u_x.log.gz", i);
                assert_unpacked(f, name, want[i].s);
                strbuf_done(&want[i]);
        }
        free(want);
}

/* Little memory: most is written again and again, and nothing else comes out. */
static void test_little_memory(void **state)
{
        struct fixture *f = *state;
        static const struct {
                unsigned lines, courses;
                size_t memory;
        } cases[] = {{3000, 7, 64 * KIB}, {3000, 100, 64 * KIB}, {3000, 1, 64 * KIB}, {2000, 1500, 64 * KIB},
                {5000, 3, 0}};
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *text = many(cases[i].lines, cases[i].courses);
                split_text(f, text, (struct split_options){.memory = cases[i].memory});
                assert_many(f, cases[i].lines, cases[i].courses, text);
                empty(f);
        }
}

/* Courses 0 to 9 have 10 lines less each, and those of equal numbers came in their order. */
static void test_too_many_courses(void **state)
{
        struct fixture *f = *state;
        for (size_t counted = 3; counted < 40; counted += 9) {
                struct strbuf b = {};
                for (unsigned round = 0; round < 12; round++)
                        for (unsigned c = 30; c-- > 0;)
                                if (round < 12 - c / 3)
                                        strbuf_printf(&b, "{\"context\":{\"course_id\":\"A/%u/x\"}}\n", c);
                struct split_totals t =
                        split_text(f, b.s, (struct split_options){.courses_max = 8, .counted_max = counted});
                /* lines: 0 to 2 have 12, 3 to 5 have 11, 6 to 8 have 10, of which 8 and 7 came first */
                assert_string_equal(f->told.s,
                        "A_0_x.log.gz\nA_1_x.log.gz\nA_2_x.log.gz\nA_3_x.log.gz\nA_4_x.log.gz\n"
                        "A_5_x.log.gz\nA_7_x.log.gz\nA_8_x.log.gz\nMANIFEST.jsonl\nSHA256SUMS\n");
                assert_int_equal(t.courses, 8);
                assert_int_equal(t.courses_left_out, 22);
                assert_int_equal(t.lines_of_courses, 3 * 12 + 3 * 11 + 2 * 10);
                assert_int_equal(t.invalid, t.lines_in - t.lines_of_courses);
                assert_int_equal(t.lines_in, 3 * (12 + 11 + 10 + 9 + 8 + 7 + 6 + 5 + 4 + 3));
                strbuf_done(&b);
                empty(f);
        }
}

static void test_long_line(void **state)
{
        struct fixture *f = *state;
        struct strbuf b = {};
        strbuf_add(&b, "{\"context\":{\"course_id\":\"A/b/c\"},\"x\":\"");
        for (unsigned i = 0; i < 300000; i++)
                strbuf_printf(&b, "%u ", i * 2654435761U);
        strbuf_add(&b, "\"}\n");
        split_text(f, b.s, (struct split_options){});
        assert_unpacked(f, "A_b_c.log.gz", b.s);
        empty(f);
        split_text(f, b.s, (struct split_options){.memory = 64 * KIB});
        assert_unpacked(f, "A_b_c.log.gz", b.s);
        strbuf_done(&b);
}

static void test_failures(void **state)
{
        struct fixture *f = *state;
        struct split_totals t = {.lines_in = 7};
        struct error e = {};
        assert_int_equal(split(f, "no gzip\n", 8, (struct split_options){.gzip = true}, &t, &e), -EBADMSG);
        assert_int_equal(e.cause, CAUSE_BAD_GZIP);
        assert_int_equal(t.lines_in, 7);
        empty(f);
        /* a folder that is not empty is not one of ours */
        assert_true(openat(f->dir_fd, "SHA256SUMS", O_CREAT | O_WRONLY, 0600) >= 0);
        assert_int_equal(split(f, "{}\n", 3, (struct split_options){}, &t, &e), -EEXIST);
        empty(f);
}

static void test_tally(void **state)
{
        (void)state;
        struct tally *t = NULL;
        assert_int_equal(tally_new(2, 1, &t), 0);
        static const char *const keys[] = {"a/b/c", "d/e/f", "g/h/i", "d/e/f", "g/h/i", "j/k/l"};
        struct course_key key;
        unsigned passes = 0;
        while (tally_pass(t)) {
                for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                        assert_int_equal(course_key_parse(keys[i], 5, &key), COURSE_KEY_OK);
                        assert_int_equal(tally_line(t, &key, i), 0);
                }
                assert_true(++passes < 1000);
        }
        assert_int_equal(tally_left_out(t), 2);
        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                assert_int_equal(course_key_parse(keys[i], 5, &key), COURSE_KEY_OK);
                assert_int_equal(tally_stays(t, &key), i >= 1 && i <= 4);
        }
        tally_free(t);
}

/* A file takes whole blocks, an inode and a name. */
static void room(void **state)
{
        struct fixture *f = *state;
        enum { COURSES = 100, EACH = LIMIT_SPLIT_BLOCK + LIMIT_SPLIT_FILE_COST };
        _cleanup_strbuf_ struct strbuf text = {};
        for (unsigned i = 0; i < COURSES; i++)
                strbuf_printf(&text, "{\"context\":{\"course_id\":\"A/b/c%u\"}}\n", i);
        struct split_options enough = {.room = (COURSES + 20) * EACH, .room_files = COURSES + 2}, o;
        struct split_totals t = split_text(f, text.s, enough);
        assert_int_equal(t.courses, COURSES);
        empty(f);
        static const struct {
                uint64_t room, files;
                const char *says;
        } rows[] = {{COURSES * EACH, 0, "above min_free"}, {1, 0, "above min_free"},
                {0, COURSES + 1, "inodes"}, {0, COURSES, "inodes"}, {0, 1, "inodes"}};
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                struct error e = {};
                o = (struct split_options){.room = rows[i].room, .room_files = rows[i].files};
                assert_int_equal(split(f, text.s, text.len, o, &t, &e), -ENOSPC);
                assert_int_equal(e.cause, CAUSE_SPACE);
                assert_non_null(strstr(e.text, rows[i].says));
                empty(f);
        }
        /* of a second pass what the first one took counts no more */
        o = (struct split_options){.room = 60 * EACH, .courses_max = 40};
        t = split_text(f, text.s, o);
        assert_int_equal(t.courses, 40);
        empty(f);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_day, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_lists, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_courses, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_one_name, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_little_memory, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_too_many_courses, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_long_line, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_failures, set_up, tear_down),
                cmocka_unit_test_setup_teardown(room, set_up, tear_down),
                cmocka_unit_test(test_tally),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
