/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fault_readdir.h"
#include "staging_fixture.h"

/* kill -9 between link and rename, and between making a folder and naming it, leaves hidden names. */
static void leftovers_are_swept(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        publish(f, "ux/events/edx/2024/f", "x", NULL);
        publish(f, "ux/events/edx/2024/.replaced/g", "x", NULL);
        char hidden[STAGING_HIDDEN_SIZE];
        assert_int_equal(staging_hidden_name(hidden), 0);
        _cleanup_close_ int dir = openat(at(f), "ux/events/edx/2024", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_close_ int fd = make(f, "never published");
        assert_int_equal(staging_link(fd, dir, hidden, &e), 0);
        _cleanup_close_ int fd2 = make(f, "never published");
        assert_int_equal(staging_hidden_name(hidden), 0);
        assert_int_equal(staging_link(fd2, at(f), hidden, &e), 0);
        assert_int_equal(mkdirat(at(f), "ux/.events.czard-tmp-0000000000000000", 0700), 0);
        assert_int_equal(mkdirat(at(f), "ux/.czard-tmp-77", 0700), 0);
        assert_int_equal(mkdirat(at(f), "ux/.czard-tmp-77/deep", 0700), 0);
        /* what is not ours stays */
        assert_int_equal(mkdirat(at(f), "ux/.hidden", 0700), 0);
        assert_int_equal(mkdirat(at(f), "ux/czard-tmp-1", 0700), 0);
        assert_int_equal(symlinkat("/", at(f), "ux/link"), 0);
        assert_int_equal(symlinkat("/", at(f), "ux/.czard-tmp-link"), 0);
        assert_int_equal(mkdirat(at(f), "lost+found", 0700), 0);
        assert_int_equal(mkdirat(at(f), "lost+found/.czard-tmp-1", 0700), 0);

        assert_int_equal(staging_sweep(f->s, keep_none, NULL, &e), 0);
        assert_int_equal(count_entries(f, "ux/events/edx/2024"), 2);
        assert_content(f, "ux/events/edx/2024/f", "x");
        assert_content(f, "ux/events/edx/2024/.replaced/g", "x");
        assert_int_equal(count_entries(f, "."), 2);
        assert_int_equal(count_entries(f, "ux"), 4);
        assert_true(is_there(f, "ux/.hidden"));
        assert_true(is_there(f, "ux/czard-tmp-1"));
        assert_true(is_there(f, "ux/link"));
        assert_true(is_there(f, "lost+found/.czard-tmp-1"));
}

/* What was not looked at is not swept, and that is told; a later sweep finds it. */
static void a_folder_that_cannot_be_read_is_an_error(void **state)
{
        struct fixture *f = *state;
        publish(f, "ux/events/edx/2024/f", "x", NULL);
        for (int n = 1;; n++) {
                struct error e = {};
                assert_int_equal(mkdirat(at(f), "ux/events/.czard-tmp-1", 0700), 0);
                fail_readdir = n;
                int r = staging_sweep(f->s, keep_none, NULL, &e);
                bool reached = fail_readdir == 0;
                fail_readdir = 0;
                if (!reached) {
                        assert_int_equal(r, 0);
                        assert_true(n > 10);
                        break;
                }
                /* a removal looks twice */
                if (is_there(f, "ux/events/.czard-tmp-1"))
                        assert_true(r < 0);
                if (r < 0)
                        assert_true(e.cause != CAUSE_NONE && *e.text);
                assert_int_equal(staging_sweep(f->s, keep_none, NULL, &e), 0);
                assert_false(is_there(f, "ux/events/.czard-tmp-1"));
        }
        assert_content(f, "ux/events/edx/2024/f", "x");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(leftovers_are_swept),
                T(a_folder_that_cannot_be_read_is_an_error),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
