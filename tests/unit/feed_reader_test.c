/* SPDX-License-Identifier: Apache-2.0 */
/* Following a feed: from a line on, across what becomes of the file, each line once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "feed_reader.h"
#include "fsx.h"
#include "macro.h"
#include "str.h"

struct place {
        char root[64];
        struct feed_reader *r;
        uint64_t last;
        size_t n;
};

static int setup(void **state)
{
        struct place *p = calloc(1, sizeof(*p));
        strcpy(p->root, "/tmp/feed-reader-XXXXXX");
        assert_non_null(mkdtemp(p->root));
        *state = p;
        return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

static int teardown(void **state)
{
        struct place *p = *state;
        feed_reader_free(p->r);
        nftw(p->root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        free(p);
        return 0;
}

static void make_folder(const struct place *p)
{
        _cleanup_free_ char *path = str_printf("%s/ux", p->root);
        assert_int_equal(mkdir(path, 0750), 0);
}

/* Lines first to last behind what the file has. tail: no line yet. */
static void add(const struct place *p, const char *name, uint64_t first, uint64_t last, const char *tail)
{
        _cleanup_free_ char *path = str_printf("%s/ux/%s", p->root, name);
        _cleanup_strbuf_ struct strbuf b = {};
        for (uint64_t i = first; i <= last; i++)
                strbuf_printf(&b, "{\"seq\":%llu,\"path\":\"%.*s\"}\n", (unsigned long long)i, (int)(i % 7),
                        "xxxxxxx");
        strbuf_add(&b, tail);
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0640);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, b.s, b.len), 0);
}

static void rename_to(const struct place *p, const char *from, const char *to)
{
        _cleanup_free_ char *one = str_printf("%s/ux/%s", p->root, from),
                            *two = str_printf("%s/ux/%s", p->root, to);
        assert_int_equal(rename(one, two), 0);
}

static int on_line(const char *line, size_t len, uint64_t seq, void *arg)
{
        struct place *p = arg;
        assert_true(len > 8 && line[0] == '{' && line[len - 1] == '}');
        assert_int_equal(seq, p->last + 1);
        p->last = seq;
        return ++p->n == 100 ? 7 : 0;
}

static void open_reader(struct place *p, uint64_t since)
{
        assert_int_equal(feed_reader_new(p->root, "ux", since, &p->r, NULL), 0);
        p->last = since;
}

/* What is told when there is a notice, until there is none. */
static void follow(struct place *p)
{
        struct pollfd fd = {.events = POLLIN};
        struct error e = {};
        do {
                fd.fd = feed_reader_watch(p->r, &e);
                if (fd.fd < 0)
                        fail_msg("%s", e.text);
                int r = feed_reader_each(p->r, on_line, p, NULL);
                assert_true(r == 0 || r == -ENOENT);
        } while (poll(&fd, 1, 50) == 1);
}

static void from_a_line_on(void **state)
{
        struct place *p = *state;
        make_folder(p);
        add(p, "CHANGES.jsonl", 1, 60000, "{\"seq\":60001");
        static const uint64_t since[] = {59999, 60000, 60001, 59950};
        for (size_t i = 0; i < ELEMENTSOF(since); i++) {
                open_reader(p, since[i]);
                assert_int_equal(feed_reader_each(p->r, on_line, p, NULL), since[i] > 60000 ? -ESTALE : 0);
                assert_int_equal(p->last, since[i] > 60000 ? since[i] : 60000);
                p->r = feed_reader_free(p->r);
        }
        open_reader(p, 30000);
        p->n = 0;
        assert_int_equal(feed_reader_each(p->r, on_line, p, NULL), 7); /* ended by its caller, and goes on */
        assert_int_equal(p->last, 30100);
        assert_int_equal(feed_reader_each(p->r, on_line, p, NULL), 0);
        assert_int_equal(p->last, 60000);
}

static void before_there_is_any(void **state)
{
        struct place *p = *state;
        open_reader(p, 0);
        assert_int_equal(feed_reader_each(p->r, on_line, p, NULL), -ENOENT);
        follow(p);
        make_folder(p);
        follow(p);
        assert_int_equal(p->last, 0);
        add(p, ".CHANGES.jsonl.new", 1, 5, "");
        rename_to(p, ".CHANGES.jsonl.new", "CHANGES.jsonl");
        follow(p);
        assert_int_equal(p->last, 5);
}

/* What is made between the look at what to watch and the look at the file is not slept over. */
static void folder_that_comes_before_its_file(void **state)
{
        struct place *p = *state;
        struct error e = {};
        open_reader(p, 0);
        struct pollfd fd = {.fd = feed_reader_watch(p->r, &e), .events = POLLIN};
        assert_true(fd.fd >= 0);
        make_folder(p);
        assert_int_equal(feed_reader_each(p->r, on_line, p, &e), -ENOENT);
        assert_int_equal(poll(&fd, 1, 0), 1);
}

static void made_again(void **state)
{
        struct place *p = *state;
        make_folder(p);
        add(p, "CHANGES.jsonl", 1, 10, "");
        open_reader(p, 0);
        follow(p);
        assert_int_equal(p->last, 10);
        add(p, "new", 1, 12, "");
        rename_to(p, "new", "CHANGES.jsonl");
        add(p, "CHANGES.jsonl", 13, 14, "");
        follow(p);
        assert_int_equal(p->last, 14);
        rename_to(p, "CHANGES.jsonl", "away");
        follow(p);
        add(p, "CHANGES.jsonl", 1, 15, "");
        follow(p);
        assert_int_equal(p->last, 15);
}

static void lines(const struct place *p, const char *text)
{
        _cleanup_free_ char *path = str_printf("%s/ux/CHANGES.jsonl", p->root);
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

#define LINE(n, time) "{\"seq\":" #n ",\"time\":\"" time "\",\"path\":\"x\"}\n"
#define T1 "2024-07-01T00:00:01Z"
#define T2 "2024-07-01T00:00:02Z"

/* What is not the next line is never passed over, and always said by its number, also when asked again; what
 * is wrong before the last line that is known concerns nobody. */
static void damaged(void **state)
{
        struct place *p = *state;
        static const struct {
                const char *text;
                uint64_t since, last;
                const char *said; /* NULL: nothing is wrong */
        } cases[] = {
                {LINE(1, T1) "{\"seq\":2,\"path\":\"x}\n" LINE(3, T1), 0, 1, "line 2 is damaged"},
                {LINE(1, T1) "\n" LINE(2, T1), 0, 1, "line 2 is damaged"},
                {LINE(1, T1) "{\"seq\":2,\"path\":\"x\"} \n", 0, 1, "line 2 is damaged"},
                {LINE(1, T1) LINE(3, T1), 0, 1, "line 2 should come, and line 3 does"},
                {LINE(1, T1) LINE(2, T1) LINE(2, T1), 0, 2, "line 3 should come, and line 2 does"},
                {LINE(1, T1) LINE(2, T1) LINE(2, T1), 2, 2, "line 3 should come, and line 2 does"},
                {LINE(3, T1), 0, 0, "line 1 should come, and line 3 does"},
                {LINE(3, T1), 1, 1, "line 2 should come, and line 3 does"},
                {LINE(1, T1) "{\"seq\":2,\"path\":\"x}\n" LINE(3, T1), 2, 3, NULL},
                {LINE(1, T1) "{\"seq\":2,\"path\":\"x}\n" LINE(4, T1), 2, 2,
                        "line 3 should come, and line 4"},
        };
        make_folder(p);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                lines(p, cases[i].text);
                open_reader(p, cases[i].since);
                for (int again = 0; again < 2; again++) {
                        struct error e = {};
                        assert_int_equal(
                                feed_reader_each(p->r, on_line, p, &e), cases[i].said ? -EBADMSG : 0);
                        assert_int_equal(p->last, cases[i].last);
                        if (cases[i].said && !strstr(e.text, cases[i].said))
                                fail_msg("case %zu: %s", i, e.text);
                }
                p->r = feed_reader_free(p->r);
        }
        /* zeros without an end */
        _cleanup_free_ char *zeros = calloc(1, 1 << 20), *path = str_printf("%s/ux/CHANGES.jsonl", p->root);
        lines(p, LINE(1, T1));
        _cleanup_close_ int fd = open(path, O_WRONLY | O_APPEND);
        assert_int_equal(write_all(fd, zeros, 1 << 20), 0);
        open_reader(p, 0);
        assert_int_equal(feed_reader_each(p->r, on_line, p, NULL), -EBADMSG);
        assert_int_equal(p->last, 1);
}

/* With another feed of that name nobody goes on as if it were the one that he knows. */
static void begun_anew(void **state)
{
        struct place *p = *state;
        struct error e = {};
        make_folder(p);
        lines(p, LINE(1, T1) LINE(2, T1) LINE(3, T1));
        open_reader(p, 4);
        assert_int_equal(feed_reader_each(p->r, on_line, p, &e), -ESTALE);
        assert_non_null(strstr(e.text, "ends with line 3, before line 4"));
        p->r = feed_reader_free(p->r);
        open_reader(p, 2);
        feed_reader_expect(p->r, T2);
        for (int i = 0; i < 2; i++)
                assert_int_equal(feed_reader_each(p->r, on_line, p, &e), -EBADMSG);
        assert_non_null(strstr(e.text, "begun anew"));
        p->r = feed_reader_free(p->r);
        open_reader(p, 2);
        feed_reader_expect(p->r, T1);
        assert_int_equal(feed_reader_each(p->r, on_line, p, &e), 0);
        assert_int_equal(p->last, 3);
        /* while it is read: cut, then begun anew and longer; in the same file, or in another one */
        for (int i = 0; i < 2; i++) {
                lines(p, LINE(1, T1));
                assert_int_equal(feed_reader_each(p->r, on_line, p, &e), -ESTALE);
                lines(p, LINE(1, T2) LINE(2, T2) LINE(3, T2) LINE(4, T2));
                assert_int_equal(feed_reader_each(p->r, on_line, p, &e), -EBADMSG);
                assert_int_equal(p->last, 3);
                rename_to(p, "CHANGES.jsonl", "away");
                assert_int_equal(feed_reader_each(p->r, on_line, p, &e), -ENOENT);
        }
        /* and made again as it was, and longer */
        lines(p, LINE(1, T1) LINE(2, T1) LINE(3, T1) LINE(4, T2));
        assert_int_equal(feed_reader_each(p->r, on_line, p, &e), 0);
        assert_int_equal(p->last, 4);
}

/* The folder of another group: its access list lets us pass, and read the file. */
static void where_the_folder_is_not_read(void **state)
{
        struct place *p = *state;
        if (geteuid() == 0 && (setegid(65534) < 0 || chown(p->root, 65534, 65534) < 0 || seteuid(65534) < 0))
                skip();
        make_folder(p);
        add(p, "CHANGES.jsonl", 1, 3, "");
        _cleanup_free_ char *folder = str_printf("%s/ux", p->root);
        assert_int_equal(chmod(folder, 0300), 0);
        open_reader(p, 0);
        follow(p);
        assert_int_equal(p->last, 3);
        add(p, "CHANGES.jsonl", 4, 4, "");
        follow(p);
        assert_int_equal(p->last, 4);
        add(p, "new", 1, 5, "");
        rename_to(p, "new", "CHANGES.jsonl");
        follow(p);
        assert_int_equal(p->last, 5);
        add(p, "CHANGES.jsonl", 6, 6, "");
        follow(p);
        assert_int_equal(p->last, 6);
        /* lost: nothing of it can be watched, and it is found when somebody looks */
        rename_to(p, "CHANGES.jsonl", "away");
        assert_int_equal(feed_reader_watch(p->r, NULL), -EACCES);
        assert_int_equal(feed_reader_each(p->r, on_line, p, NULL), -ENOENT);
        add(p, "new", 1, 7, "");
        rename_to(p, "new", "CHANGES.jsonl");
        follow(p);
        assert_int_equal(p->last, 7);
        assert_int_equal(chmod(folder, 0700), 0);
        (void)!seteuid(getuid());
        (void)!setegid(getgid());
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(from_a_line_on, setup, teardown),
                cmocka_unit_test_setup_teardown(before_there_is_any, setup, teardown),
                cmocka_unit_test_setup_teardown(folder_that_comes_before_its_file, setup, teardown),
                cmocka_unit_test_setup_teardown(made_again, setup, teardown),
                cmocka_unit_test_setup_teardown(damaged, setup, teardown),
                cmocka_unit_test_setup_teardown(begun_anew, setup, teardown),
                cmocka_unit_test_setup_teardown(where_the_folder_is_not_read, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
