/* SPDX-License-Identifier: Apache-2.0 */
/* Days that are split, with a czard-filter that the test plays: what it made is published when it is as it
 * said and the process is gone, else nothing is, and nothing is left. */
#include "split.h"

#include "staging_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "digest.h"
#include "scripted_helper.h"

#define YEAR "ux/events-by-course/edx/2024/"

struct days {
        struct fixture *f;
        uv_loop_t loop;
        struct splits *splits;
        struct split_outcome o;
};

/* What staging_free_bytes() says; 0: the truth, which changes with all that others write to that disk. */
static uint64_t free_bytes;

int __real_staging_free_bytes(const struct staging *s, uint64_t *ret, struct error *e);
int __wrap_staging_free_bytes(const struct staging *s, uint64_t *ret, struct error *e);
int __wrap_staging_free_bytes(const struct staging *s, uint64_t *ret, struct error *e)
{
        if (free_bytes == 0)
                return __real_staging_free_bytes(s, ret, e);
        *ret = free_bytes;
        return 0;
}

static int setup_days(void **state)
{
        free_bytes = 0;
        struct days *d = calloc(1, sizeof(*d));
        void *f = NULL;
        assert_int_equal(setup(&f), 0);
        d->f = f;
        assert_int_equal(uv_loop_init(&d->loop), 0);
        assert_int_equal(splits_new(&d->loop, d->f->s, &d->splits), 0);
        *state = d;
        return 0;
}

static int teardown_days(void **state)
{
        struct days *d = *state;
        void *f = d->f;
        splits_free(d->splits);
        uv_run(&d->loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&d->loop), 0);
        script_reset();
        free(d);
        return teardown(&f);
}

static bool exists(struct days *d, const char *path)
{
        return faccessat(at(d->f), path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* A staged file of that day, to be split. */
static struct split_job job_of(struct days *d, const char *date)
{
        struct split_job j = {.rule = EVENT_RULE_EDX, .gid = (gid_t)-1, .top = {.gid = (gid_t)-1}, .most = 4};
        j.o = (struct ledger_object){.id = date[9], .category = CATEGORY_EVENTS, .plain_size = 5};
        snprintf(j.o.org, sizeof(j.o.org), "ux");
        snprintf(j.o.site, sizeof(j.o.site), "edx");
        snprintf(j.o.date, sizeof(j.o.date), "%s", date);
        snprintf(j.o.key, sizeof(j.o.key), "ux-edx-events-%s.log.gpg", date);
        snprintf(j.o.path, sizeof(j.o.path), "ux/events/edx/2024/ux-edx-events-%s.log", date);
        publish(d->f, j.o.path, "{}\nx\n", NULL);
        assert_int_equal(digest_once(DIGEST_SHA256, "{}\nx\n", 5, j.o.sha256), 0);
        return j;
}

/* Lets the loop and its threads work until it is so. */
#define UNTIL(d, condition)                                                                                  \
        do {                                                                                                 \
                for (unsigned i_ = 0; !(condition); i_++) {                                                  \
                        assert_true(i_ < 90000);                                                             \
                        uv_run(&(d)->loop, UV_RUN_NOWAIT);                                                   \
                        usleep(1000);                                                                        \
                }                                                                                            \
        } while (0)

/* The filter of the day that was begun last, with its job. */
static struct scripted *filter_of(struct days *d, const struct split_job *j)
{
        size_t before = n_scripted;
        assert_int_equal(splits_start(d->splits, j), 0);
        assert_true(splits_busy(d->splits, j->o.id));
        UNTIL(d, n_scripted > before);
        struct scripted *s = &scripted[before];
        script_receive(s, PROTO_SPLIT);
        assert_int_equal(s->last.n_fds, 2);
        assert_int_equal(s->last.split.rule, EVENT_RULE_EDX);
        return s;
}

static void make_in(struct scripted *s, const char *name, const char *text)
{
        _cleanup_close_ int fd = openat(s->last.fds[1], name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

static struct message files(struct proto_split_file *v, size_t n)
{
        return (struct message){.type = PROTO_SPLIT_FILES, .split_files = {.files = v, .n = n}};
}

static struct message done(const struct split_job *j)
{
        struct message m = {.type = PROTO_SPLIT_DONE,
                .split_done = {.lines_in = 2, .no_course = 1, .unparsed = 1, .files = 1, .files_size = 4}};
        memcpy(m.split_done.source_sha256, j->o.sha256, SHA256_SIZE);
        return m;
}

static struct proto_split_file sums = {"SHA256SUMS", 4};

/* It makes one file, and says so. */
static void make_and_tell(struct days *d, struct scripted *s, const struct split_job *j)
{
        make_in(s, "SHA256SUMS", "text");
        script_send(&d->loop, s, files(&sums, 1), (uint32_t)j->o.id);
        script_send(&d->loop, s, done(j), (uint32_t)j->o.id);
}

static void assert_nothing_left(struct days *d, const char *date)
{
        char path[128];
        snprintf(path, sizeof(path), YEAR "%s", date);
        assert_false(exists(d, path));
        snprintf(path, sizeof(path), YEAR ".%s.partial", date);
        assert_false(exists(d, path));
        snprintf(path, sizeof(path), YEAR ".%s.partial.tag", date);
        assert_false(exists(d, path));
}

static void a_day(void **state)
{
        struct days *d = *state;
        struct split_job j = job_of(d, "2024-03-01");
        for (unsigned again = 0; again < 2; again++) {
                struct scripted *s = filter_of(d, &j);
                make_and_tell(d, s, &j);
                /* as long as it lives it can write there */
                usleep(20000);
                script_turn(&d->loop);
                assert_false(splits_take(d->splits, &d->o));
                assert_int_equal(exists(d, YEAR "2024-03-01"), again);
                script_reap(&d->loop, s);
                UNTIL(d, splits_take(d->splits, &d->o));
                if (d->o.cause != CAUSE_NONE)
                        fail_msg("%s", d->o.detail);
                assert_false(s->killed);
                assert_int_equal(d->o.replaced, again);
                assert_string_equal(d->o.made.path, YEAR "2024-03-01");
                assert_int_equal(d->o.made.lines_in, 2);
                assert_true(exists(d, YEAR "2024-03-01/SHA256SUMS"));
                assert_false(exists(d, YEAR ".2024-03-01.partial"));
                assert_int_equal(splits_running(d->splits), 0);
        }
}

/* What a filter in other hands may say and do. Each is of the day's own id unless it says otherwise. */
enum lie {
        OTHER_ID,
        OTHER_KIND,
        BAD_NAME,
        HIDDEN_NAME,
        NO_NAMES,
        NOT_MADE,
        NOT_TOLD,
        OTHER_SIZE,
        OTHER_NUMBER,
        TWICE_DONE,
        NO_MESSAGE,
        LINES,
        SOURCE,
        SILENT_DEATH,
        FAILED,
        LIES
};

static void tell(struct days *d, struct scripted *s, const struct split_job *j, enum lie lie)
{
        struct proto_split_file f = sums, more = {"a.log.gz", 0};
        uint32_t id = (uint32_t)j->o.id;
        struct message m = done(j);
        f.name = lie == BAD_NAME ? "../SHA256SUMS" : lie == HIDDEN_NAME ? ".SHA256SUMS" : f.name;
        f.size += lie == OTHER_SIZE;
        m.split_done.files += lie == OTHER_NUMBER;
        m.split_done.invalid += lie == LINES;
        m.split_done.source_sha256[0] ^= lie == SOURCE;
        if (lie == FAILED)
                m.split_done.outcome = (struct outcome){.cause = CAUSE_BAD_GZIP, .detail = "it is cut off"};
        if (lie == NOT_TOLD)
                make_in(s, "more", "");
        if (lie == SILENT_DEATH)
                return;
        script_send(&d->loop, s, files(&f, lie != NO_NAMES), id);
        if (lie == NOT_MADE) {
                m.split_done.files++;
                script_send(&d->loop, s, files(&more, 1), id);
        }
        if (lie == OTHER_KIND)
                script_send(&d->loop, s, (struct message){.type = PROTO_READY}, id);
        script_send(&d->loop, s, m, id + (lie == OTHER_ID));
        if (lie == TWICE_DONE)
                script_send(&d->loop, s, m, id);
        if (lie == NO_MESSAGE) {
                assert_int_equal(write(s->sock, "x", 1), 1);
                script_turn(&d->loop);
        }
}

static void lies(void **state)
{
        struct days *d = *state;
        for (enum lie lie = 0; lie < LIES; lie++) {
                struct split_job j = job_of(d, "2024-03-02");
                struct scripted *s = filter_of(d, &j);
                make_in(s, "SHA256SUMS", "text");
                tell(d, s, &j, lie);
                bool at_once = lie == OTHER_ID || lie == OTHER_KIND || lie == BAD_NAME ||
                               lie == HIDDEN_NAME || lie == TWICE_DONE || lie == NO_NAMES;
                if (s->killed != at_once)
                        fail_msg("lie %u: %s", lie, at_once ? "not killed" : "killed");
                script_reap(&d->loop, s);
                UNTIL(d, splits_take(d->splits, &d->o));
                if (d->o.cause == CAUSE_NONE || !*d->o.detail)
                        fail_msg("lie %u was believed", lie);
                assert_int_equal(d->o.cause, lie == FAILED   ? CAUSE_BAD_GZIP
                                             : lie == SOURCE ? CAUSE_STAGING
                                                             : CAUSE_HELPER);
                assert_nothing_left(d, "2024-03-02");
                script_turn(&d->loop);
                if (n_scripted == SCRIPTED_MAX)
                        script_reset();
        }
}

static struct message progress(uint64_t bytes)
{
        return (struct message){.type = PROTO_PROGRESS, .progress = {.bytes = bytes}};
}

/* Turns of the loop until it is killed, while it says every now and then what `say` gives. In seconds. */
static double until_killed(
        struct days *d, struct scripted *s, const struct split_job *j, uint64_t (*say)(uint64_t))
{
        struct timespec began, now;
        clock_gettime(CLOCK_MONOTONIC, &began);
        for (uint64_t i = 0; !s->killed; i++) {
                if (say && i % 100 == 0)
                        script_send(&d->loop, s, progress(say(i / 100)), (uint32_t)j->o.id);
                uv_run(&d->loop, UV_RUN_NOWAIT);
                usleep(1000);
                assert_true(i < 60000);
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
        script_reap(&d->loop, s);
        UNTIL(d, splits_take(d->splits, &d->o));
        return (double)(now.tv_sec - began.tv_sec) + (double)(now.tv_nsec - began.tv_nsec) / 1e9;
}

static uint64_t the_same(uint64_t i)
{
        (void)i;
        return 0;
}

/* Of a file of 5 bytes; a step is 2. */
static uint64_t ever_more(uint64_t i)
{
        return 100 * i;
}

/* Twice and a half, in 6 seconds. */
static uint64_t again(uint64_t i)
{
        return MIN(i / 5, (uint64_t)12);
}

/* A day of very many courses is read more than once. */
static void reads_again(void **state)
{
        struct days *d = *state;
        struct split_job j = job_of(d, "2024-03-02");
        struct scripted *s = filter_of(d, &j);
        assert_true(until_killed(d, s, &j, again) >= 8.9);
}

/* It says that it is alive, or reads more than there can be. (SILENCE_USEC is 3 seconds here.) */
static void stands_still(void **state)
{
        struct days *d = *state;
        uint64_t (*const say[])(uint64_t) = {NULL, the_same, ever_more};
        for (size_t i = 0; i < ELEMENTSOF(say); i++) {
                struct split_job j = job_of(d, "2024-03-02");
                struct scripted *s = filter_of(d, &j);
                assert_true(until_killed(d, s, &j, say[i]) >= 2.9);
                assert_int_equal(d->o.cause, CAUSE_HELPER);
                assert_non_null(strstr(d->o.detail, "nothing new"));
                assert_nothing_left(d, "2024-03-02");
        }
}

/* It takes more than it was told that it may. */
static void takes_too_much(void **state)
{
        struct days *d = *state;
        struct split_job j = job_of(d, "2024-03-02");
        free_bytes = GIB;
        j.min_free = GIB / 2;
        struct scripted *s = filter_of(d, &j);
        free_bytes = GIB / 2 - 1;
        (void)until_killed(d, s, &j, NULL);
        assert_int_equal(d->o.cause, CAUSE_SPACE);
        assert_nothing_left(d, "2024-03-02");
}

/* Days that run side by side share what is free above min_free, in bytes and in files. */
static void shared_room(void **state)
{
        struct days *d = *state;
        uint64_t bytes = free_bytes = 8 * GIB;
        struct split_job a = job_of(d, "2024-03-04"), b = job_of(d, "2024-03-05"),
                         c = job_of(d, "2024-03-06");
        a.min_free = b.min_free = bytes - MIN(bytes / 2, (uint64_t)4 << 30);
        bytes -= a.min_free;
        c.min_free = a.min_free + bytes / 4;
        a.most = b.most = c.most = 2;
        struct scripted *of_a = filter_of(d, &a), *of_b = filter_of(d, &b);
        assert_in_range(of_a->last.split.room, bytes / 4, bytes * 3 / 4);
        assert_in_range(of_b->last.split.room, 1, bytes * 3 / 4);
        assert_in_range(of_a->last.split.room + of_b->last.split.room, bytes / 2, bytes + bytes / 8);
        /* what is promised is not there for a third */
        assert_int_equal(splits_start(d->splits, &c), 0);
        UNTIL(d, splits_take(d->splits, &d->o));
        assert_int_equal(d->o.cause, CAUSE_SPACE);
        assert_true(d->o.shared);
        script_reap(&d->loop, of_a);
        UNTIL(d, splits_take(d->splits, &d->o));
        script_reap(&d->loop, of_b);
        UNTIL(d, splits_take(d->splits, &d->o));
        c.most = 1;
        assert_in_range(filter_of(d, &c)->last.split.room, bytes / 2, bytes + (1 << 20));
}

/* A file or a link at its place: nothing is begun, and it stays. */
static void in_the_way(void **state)
{
        struct days *d = *state;
        struct split_job j = job_of(d, "2024-03-03");
        assert_int_equal(mkdirat(at(d->f), "ux/events-by-course", 0750), 0);
        assert_int_equal(mkdirat(at(d->f), "ux/events-by-course/edx", 0750), 0);
        assert_int_equal(mkdirat(at(d->f), YEAR, 0750), 0);
        for (unsigned i = 0; i < 2; i++) {
                if (i == 0)
                        assert_int_equal(symlinkat("/etc", at(d->f), YEAR "2024-03-03"), 0);
                else
                        assert_int_equal(mknodat(at(d->f), YEAR "2024-03-03", S_IFREG | 0600, 0), 0);
                assert_int_equal(splits_start(d->splits, &j), 0);
                UNTIL(d, splits_take(d->splits, &d->o));
                assert_int_equal(d->o.cause, CAUSE_UNSAFE_MODE);
                assert_non_null(strstr(d->o.detail, YEAR "2024-03-03"));
                assert_int_equal(n_scripted, 0);
                assert_false(exists(d, YEAR ".2024-03-03.partial"));
                assert_int_equal(unlinkat(at(d->f), YEAR "2024-03-03", 0), 0);
        }
}

/* Nothing is begun: not even the folder. */
static void no_room(void **state)
{
        struct days *d = *state;
        struct split_job j = job_of(d, "2024-03-03");
        uint64_t bytes;
        assert_int_equal(staging_free_bytes(d->f->s, &bytes, NULL), 0);
        j.min_free = bytes - (1 << 20);
        j.courses = 1000; /* a block each */
        j.most = 1;
        assert_int_equal(splits_start(d->splits, &j), 0);
        UNTIL(d, splits_take(d->splits, &d->o));
        assert_int_equal(d->o.cause, CAUSE_SPACE);
        assert_false(d->o.shared);
        assert_int_equal(n_scripted, 0);
        assert_false(exists(d, "ux/events-by-course"));
}

static void no_file(void **state)
{
        struct days *d = *state;
        struct split_job j = job_of(d, "2024-03-03");
        assert_int_equal(unlinkat(at(d->f), j.o.path, 0), 0);
        assert_int_equal(splits_start(d->splits, &j), 0);
        UNTIL(d, splits_take(d->splits, &d->o));
        assert_int_equal(d->o.cause, CAUSE_STAGING);
        assert_int_equal(n_scripted, 0);
        assert_nothing_left(d, "2024-03-03");
}

/* Two days side by side end each for itself. */
static void two_at_once(void **state)
{
        struct days *d = *state;
        struct split_job a = job_of(d, "2024-03-04"), b = job_of(d, "2024-03-05");
        struct scripted *of_a = filter_of(d, &a), *of_b = filter_of(d, &b);
        assert_int_equal(splits_running(d->splits), 2);
        make_and_tell(d, of_b, &b);
        script_reap(&d->loop, of_b);
        UNTIL(d, splits_take(d->splits, &d->o));
        assert_int_equal(d->o.job.o.id, b.o.id);
        assert_int_equal(d->o.cause, CAUSE_NONE);
        assert_false(splits_busy(d->splits, b.o.id));
        assert_true(splits_busy(d->splits, a.o.id));
        script_reap(&d->loop, of_a);
        UNTIL(d, splits_take(d->splits, &d->o));
        assert_int_equal(d->o.job.o.id, a.o.id);
        assert_int_equal(d->o.cause, CAUSE_HELPER);
        assert_nothing_left(d, "2024-03-04");
        assert_true(exists(d, YEAR "2024-03-05"));
}

/* czard stops while a day is at any of its steps; teardown frees the rest. */
static void stopped(void **state)
{
        struct days *d = *state;
        static const char *const dates[] = {"2024-03-06", "2024-03-07", "2024-03-08", "2024-03-09"};
        struct split_job j[ELEMENTSOF(dates)];
        for (size_t i = 0; i < ELEMENTSOF(dates); i++)
                j[i] = job_of(d, dates[i]);
        struct scripted *over = filter_of(d, &j[0]), *publishing = filter_of(d, &j[1]),
                        *running = filter_of(d, &j[2]);
        script_reap(&d->loop, over);
        UNTIL(d, splits_take(d->splits, &d->o));
        make_and_tell(d, publishing, &j[1]);
        script_reap(&d->loop, publishing);                   /* a thread is at it now */
        assert_int_equal(splits_start(d->splits, &j[3]), 0); /* so it is at this */
        d->splits = splits_free(d->splits);
        assert_true(running->killed);
        uv_run(&d->loop, UV_RUN_DEFAULT);
        assert_false(exists(d, YEAR "2024-03-08"));
        assert_false(exists(d, YEAR "2024-03-09"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_day, setup_days, teardown_days),
                cmocka_unit_test_setup_teardown(lies, setup_days, teardown_days),
                cmocka_unit_test_setup_teardown(stands_still, setup_days, teardown_days),
                cmocka_unit_test_setup_teardown(reads_again, setup_days, teardown_days),
                cmocka_unit_test_setup_teardown(takes_too_much, setup_days, teardown_days),
                cmocka_unit_test_setup_teardown(shared_room, setup_days, teardown_days),
                cmocka_unit_test_setup_teardown(in_the_way, setup_days, teardown_days),
                cmocka_unit_test_setup_teardown(no_room, setup_days, teardown_days),
                cmocka_unit_test_setup_teardown(no_file, setup_days, teardown_days),
                cmocka_unit_test_setup_teardown(two_at_once, setup_days, teardown_days),
                cmocka_unit_test_setup_teardown(stopped, setup_days, teardown_days),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
