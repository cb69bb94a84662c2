/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fault_readdir.h"
#include "staging_fixture.h"

static void identity(void **state)
{
        struct fixture *f = *state;
        char id[STAGING_ID_SIZE] = "x", again[STAGING_ID_SIZE];
        struct error e = {};
        assert_int_equal(staging_read_id(f->s, id, &e), 0);
        assert_string_equal(id, "");
        assert_int_equal(mkdirat(at(f), "lost+found", 0700), 0);
        assert_int_equal(staging_make_id(f->s, id, &e), 0);
        assert_int_equal(strlen(id), 32);
        assert_int_equal(strspn(id, "0123456789abcdef"), 32);
        assert_int_equal(staging_read_id(f->s, again, &e), 0);
        assert_string_equal(again, id);
        assert_int_equal(staging_make_id(f->s, again, &e), -ENOTEMPTY);
        assert_int_equal(staging_adopt_id(f->s, again, &e), 0);
        assert_string_not_equal(again, id);
        assert_int_equal(staging_read_id(f->s, id, &e), 0);
        assert_string_equal(again, id);
        assert_int_equal(unlinkat(at(f), ".czard-id", 0), 0);
        publish(f, "ux/f", "x", NULL);
        assert_int_equal(staging_make_id(f->s, again, &e), -ENOTEMPTY);

        static const char *const bad[] = {"", "x\n", "0123456789abcdef0123456789abcdef",
                "0123456789abcdef0123456789abcdef0\n", "0123456789abcdef0123456789abcdeg\n"};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                assert_int_equal(replace_file_at(at(f), ".czard-id", bad[i], strlen(bad[i]), 0440), 0);
                assert_int_equal(staging_read_id(f->s, id, &e), -EBADMSG);
        }
        assert_int_equal(unlinkat(at(f), ".czard-id", 0), 0);
        assert_int_equal(symlinkat("/etc/machine-id", at(f), ".czard-id"), 0);
        assert_true(staging_read_id(f->s, id, &e) < 0);
}

/* The volume goes away under a running czard: what is at the path then counts, not what is held open. */
static void a_volume_that_was_unmounted_is_noticed(void **state)
{
        struct fixture *f = *state;
        char id[STAGING_ID_SIZE], now[STAGING_ID_SIZE] = "x", away[80];
        struct error e = {};
        assert_int_equal(staging_make_id(f->s, id, &e), 0);
        snprintf(away, sizeof(away), "%s-away", f->dir);
        assert_int_equal(rename(f->dir, away), 0);
        assert_int_equal(staging_read_id(f->s, now, &e), -ENOENT);
        assert_int_equal(e.cause, CAUSE_STAGING);
        assert_int_equal(mkdir(f->dir, 0750), 0);
        assert_int_equal(staging_read_id(f->s, now, &e), 0);
        assert_string_equal(now, "");
        /* a copy of the volume, with its id, is another volume all the same */
        _cleanup_close_ int dir = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_free_ char *text = str_printf("%s\n", id);
        assert_int_equal(replace_file_at(dir, ".czard-id", text, strlen(text), 0440), 0);
        assert_int_equal(staging_read_id(f->s, now, &e), -ESTALE);
        assert_int_equal(unlinkat(dir, ".czard-id", 0), 0);
        assert_int_equal(rmdir(f->dir), 0);
        assert_int_equal(rename(away, f->dir), 0);
        assert_int_equal(staging_read_id(f->s, now, &e), 0);
        assert_string_equal(now, id);
}

/* Where it does, the id file has this other name too, as a link gives it here. Another file of that name is
 * none. */
static void a_file_system_that_folds_case(void **state)
{
        struct fixture *f = *state;
        char id[STAGING_ID_SIZE];
        struct error e = {};
        assert_false(staging_folds_case(f->s)); /* there is no id yet */
        assert_int_equal(staging_make_id(f->s, id, &e), 0);
        assert_false(staging_folds_case(f->s));
        publish(f, ".CZARD-ID", "x", NULL);
        assert_false(staging_folds_case(f->s));
        assert_int_equal(unlinkat(at(f), ".CZARD-ID", 0), 0);
        assert_int_equal(linkat(at(f), ".czard-id", at(f), ".CZARD-ID", 0), 0);
        assert_true(staging_folds_case(f->s));
}

/* Only what is known to be empty is made ours. */
static void a_folder_that_cannot_be_read_is_not_empty(void **state)
{
        struct fixture *f = *state;
        char id[STAGING_ID_SIZE];
        publish(f, "somebody's", "x", NULL);
        for (int n = 1; n <= 3; n++) {
                struct error e = {};
                fail_readdir = n;
                assert_true(staging_make_id(f->s, id, &e) < 0);
                fail_readdir = 0;
                assert_false(is_there(f, STAGING_ID_FILE));
        }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(identity),
                T(a_folder_that_cannot_be_read_is_not_empty),
                T(a_volume_that_was_unmounted_is_noticed),
                T(a_file_system_that_folds_case),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
