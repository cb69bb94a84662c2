/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <grp.h>
#include <sys/wait.h>

#include "staging_fixture.h"

enum { OWN = 50001, EVENTS, DATABASE, STRANGERS, READER = 50099 };

static const struct staging_top top = {
        .gid = OWN, .through = {DATABASE, EVENTS, OWN, DATABASE}, .n_through = 4};

static bool has_lists(struct fixture *f)
{
        const struct staging_top probe = {.gid = (gid_t)-1, .through = {STRANGERS}, .n_through = 1};
        assert_int_equal(staging_make_top(f->s, "probe", &probe, NULL), 0);
        _cleanup_close_ int fd = openat(at(f), "probe", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return staging_lets_through(fd, STRANGERS);
}

/* As a user of only that group: can it be listed (r), can what is in it be reached (x)? */
static void expect_access(struct fixture *f, gid_t gid, bool list, bool reach)
{
        pid_t pid = fork();
        if (pid == 0) {
                char dir[128], below[128];
                snprintf(dir, sizeof(dir), "%s/org", f->dir);
                snprintf(below, sizeof(below), "%s/org/there", f->dir);
                if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
                        setresuid(READER, READER, READER) < 0)
                        _exit(99);
                bool r = access(dir, R_OK) == 0, x = access(below, F_OK) == 0;
                _exit(r << 1 | x);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), list << 1 | reach);
}

static void every_category_gets_through(void **state)
{
        struct fixture *f = *state;
        if (geteuid() != 0 || !has_lists(f))
                skip();
        struct error e = {};
        if (staging_make_top(f->s, "org/database/2024-07-07", &top, &e) < 0)
                fail_msg("%s", e.text);
        assert_int_equal(mkdirat(at(f), "org/there", 0700), 0);
        assert_int_equal(stat_of(f, "org").st_gid, OWN);
        assert_int_equal(stat_of(f, "org").st_mode & 07777, 0750);
        assert_int_equal(chmod(f->dir, 0755), 0); /* the root is another matter */
        expect_access(f, OWN, true, true);
        expect_access(f, EVENTS, false, true);
        expect_access(f, DATABASE, false, true);
        expect_access(f, STRANGERS, false, false);
        _cleanup_close_ int fd = openat(at(f), "org", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        static const struct {
                gid_t gid;
                bool through;
        } told[] = {{OWN, true}, {EVENTS, true}, {DATABASE, true}, {STRANGERS, false}};
        for (size_t i = 0; i < ELEMENTSOF(told); i++)
                assert_int_equal(staging_lets_through(fd, told[i].gid), told[i].through);
}

static void what_is_there_is_left_alone(void **state)
{
        struct fixture *f = *state;
        assert_int_equal(mkdirat(at(f), "org", 0700), 0);
        assert_int_equal(staging_make_top(f->s, "org/events", &top, NULL), 0);
        assert_int_equal(stat_of(f, "org").st_gid, getegid());
        assert_int_equal(stat_of(f, "org").st_mode & 07777, 0700);
        _cleanup_close_ int fd = openat(at(f), "org", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_false(staging_lets_through(fd, EVENTS));
        assert_false(staging_lets_through(fd, getegid()));
        assert_int_equal(fchmod(fd, 0710), 0);
        assert_true(staging_lets_through(fd, getegid()));
        assert_false(staging_lets_through(fd, EVENTS));
}

static void without_groups_it_is_a_folder_like_others(void **state)
{
        struct fixture *f = *state;
        static const struct staging_top none = {.gid = (gid_t)-1};
        assert_int_equal(staging_make_top(f->s, "org/events", &none, NULL), 0);
        assert_int_equal(staging_make_top(f->s, "org/events", &none, NULL), 0);
        assert_int_equal(stat_of(f, "org").st_mode & 07777, 0750);
        assert_int_equal(staging_make_top(f->s, "../org", &none, NULL), -EINVAL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(every_category_gets_through),
                T(what_is_there_is_left_alone),
                T(without_groups_it_is_a_folder_like_others),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
