/* SPDX-License-Identifier: Apache-2.0 */
/* czard-filter over its channel: what it answers, what it makes, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "fsx.h"
#include "proto.h"
#include "str.h"

struct filter {
        char path[32];
        int dir_fd, sock;
        pid_t pid;
        struct strbuf files; /* "NAME SIZE\n" as SPLIT_FILES told them */
        struct message done;
};

static int setup(void **state)
{
        struct filter *f = calloc(1, sizeof(*f));
        int pair[2];
        strcpy(f->path, "/tmp/filter-test.XXXXXX");
        assert_non_null(mkdtemp(f->path));
        f->dir_fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(proto_pair(pair), 0);
        f->sock = pair[0];
        f->pid = fork();
        if (f->pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (dup2(pair[1], 3) == 3)
                        execl(CZARD_FILTER, "czard-filter", "--channel", "3", (char *)NULL);
                _exit(127);
        }
        close(pair[1]);
        strbuf_add(&f->files, "");
        *state = f;
        return 0;
}

/* Closes the channel. The exit status. */
static int end(struct filter *f)
{
        int status = -1;
        f->sock = close_fd(f->sock);
        if (f->pid > 0)
                assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
        f->pid = 0;
        return status;
}

static int teardown(void **state)
{
        struct filter *f = *state;
        end(f);
        _cleanup_free_ char *remove = str_printf("rm -r %s", f->path);
        assert_int_equal(system(remove), 0);
        close(f->dir_fd);
        message_done(&f->done);
        strbuf_done(&f->files);
        free(f);
        return 0;
}

static void ask(struct filter *f, const char *text, uint8_t rule, uint8_t gzip)
{
        _cleanup_close_ int fd = memfd_create("events", MFD_CLOEXEC);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
        struct message m = {.type = PROTO_SPLIT,
                .id = 77,
                .split = {.rule = rule, .gzip = gzip},
                .fds = {fd, f->dir_fd},
                .n_fds = 2};
        assert_int_equal(proto_send(f->sock, &m), 0);
}

/* 0, or what proto_recv() says instead of the end of the job. */
static int answer(struct filter *f)
{
        for (;;) {
                struct message m;
                struct error e = {};
                int r = proto_recv(f->sock, &m, &e);
                if (r < 0)
                        return r;
                assert_int_equal(m.id, 77);
                if (m.type == PROTO_SPLIT_DONE) {
                        f->done = m;
                        return 0;
                }
                if (m.type == PROTO_SPLIT_FILES)
                        for (size_t i = 0; i < m.split_files.n; i++)
                                strbuf_printf(&f->files, "%s %llu\n", m.split_files.files[i].name,
                                        (unsigned long long)m.split_files.files[i].size);
                else
                        assert_int_equal(m.type, PROTO_PROGRESS);
                message_done(&m);
        }
}

/* What is in the folder, in the form of f->files. */
static char *listing(struct filter *f, unsigned *ret_n)
{
        struct dirent **v;
        struct strbuf b = {};
        int n = scandir(f->path, &v, NULL, alphasort);
        assert_true(n >= 2);
        strbuf_add(&b, "");
        for (int i = 0; i < n; i++) {
                struct stat st;
                assert_int_equal(fstatat(f->dir_fd, v[i]->d_name, &st, AT_SYMLINK_NOFOLLOW), 0);
                if (v[i]->d_name[0] != '.') {
                        assert_true(S_ISREG(st.st_mode) && st.st_nlink == 1 && (st.st_mode & 077) == 0);
                        strbuf_printf(&b, "%s %llu\n", v[i]->d_name, (unsigned long long)st.st_size);
                }
                free(v[i]);
        }
        *ret_n = (unsigned)n - 2;
        free(v);
        return b.s;
}

#define IN(course) "{\"context\":{\"course_id\":\"" course "\"}}\n"

static void a_day(void **state)
{
        struct filter *f = *state;
        ask(f, IN("A/b/c") IN("A/b/c") IN("D/e/f") "{}\nx\n" IN("x"), EVENT_RULE_EDX, 0);
        assert_int_equal(answer(f), 0);
        const struct proto_split_done *d = &f->done.split_done;
        assert_int_equal(d->outcome.cause, CAUSE_NONE);
        assert_int_equal(d->lines_in, 6);
        assert_int_equal(d->lines_of_courses, 3);
        assert_int_equal(d->no_course, 1);
        assert_int_equal(d->invalid, 1);
        assert_int_equal(d->unparsed, 1);
        assert_int_equal(d->courses, 2);
        assert_int_equal(d->courses_left_out, 0);
        unsigned n;
        _cleanup_free_ char *there = listing(f, &n), *sums = NULL;
        assert_int_equal(d->files, n);
        assert_int_equal(n, 4);
        assert_string_equal(f->files.s, there);
        size_t len;
        uint8_t hash[SHA256_SIZE];
        assert_int_equal(read_file_at(f->dir_fd, "SHA256SUMS", 1 << 20, &sums, &len), 0);
        assert_int_equal(digest_once(DIGEST_SHA256, sums, len, hash), 0);
        assert_memory_equal(hash, d->sums_sha256, sizeof(hash));
        assert_int_equal(end(f), 0);
}

/* More names than fit into one message. */
static void many_courses(void **state)
{
        struct filter *f = *state;
        struct strbuf b = {};
        for (unsigned i = 0; i < 1500; i++)
                strbuf_printf(&b, "{\"context\":{\"course_id\":\"course-v1:A+%0180u+c\"}}\n", i);
        ask(f, b.s, EVENT_RULE_EDX, 0);
        strbuf_done(&b);
        assert_int_equal(answer(f), 0);
        unsigned n;
        _cleanup_free_ char *there = listing(f, &n);
        assert_int_equal(f->done.split_done.files, 1502);
        assert_int_equal(n, 1502);
        assert_string_equal(f->files.s, there);
}

static void damaged(void **state)
{
        struct filter *f = *state;
        ask(f, "no gzip", EVENT_RULE_EDX, 1);
        assert_int_equal(answer(f), 0);
        assert_int_equal(f->done.split_done.outcome.cause, CAUSE_BAD_GZIP);
        assert_int_equal(end(f), 0);
}

static void one_job_a_process(void **state)
{
        struct filter *f = *state;
        ask(f, "{}", EVENT_RULE_EDX, 0);
        assert_int_equal(answer(f), 0);
        /* it ends by itself, while its channel is open */
        int status = -1;
        assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
        f->pid = 0;
        assert_int_equal(status, 0);
}

static void no_rule_is_no_job(void **state)
{
        struct filter *f = *state;
        ask(f, "{}", EVENT_RULE_NONE, 0);
        assert_int_equal(answer(f), -EPIPE);
        assert_int_equal(WEXITSTATUS(end(f)), 3);
}

static void other_messages(void **state)
{
        struct filter *f = *state;
        struct message m = {.type = PROTO_CANCEL, .id = 77};
        assert_int_equal(proto_send(f->sock, &m), 0);
        assert_int_equal(answer(f), -EPIPE);
        assert_int_equal(WEXITSTATUS(end(f)), 3);
}

static void not_by_hand(void **state)
{
        (void)state;
        assert_int_equal(WEXITSTATUS(system(CZARD_FILTER " 2> /dev/null < /dev/null")), 2);
        assert_int_equal(system(CZARD_FILTER " --version > /dev/null"), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_day, setup, teardown),
                cmocka_unit_test_setup_teardown(many_courses, setup, teardown),
                cmocka_unit_test_setup_teardown(damaged, setup, teardown),
                cmocka_unit_test_setup_teardown(one_job_a_process, setup, teardown),
                cmocka_unit_test_setup_teardown(no_rule_is_no_job, setup, teardown),
                cmocka_unit_test_setup_teardown(other_messages, setup, teardown),
                cmocka_unit_test(not_by_hand),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
