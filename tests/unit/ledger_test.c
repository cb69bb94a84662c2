/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "ledger_fixture.h"

static unsigned waits; /* for the disk */

/* Stands before libc's, also for SQLite. */
int fdatasync(int fd)
{
        waits++;
        return fsync(fd);
}

static void names_and_numbers_of_states_stay(void **state)
{
        (void)state;
        /* the numbers stand in ledgers out there */
        static const char *const want[] = {"NEW", "FETCHING", "DECRYPTING", "PUBLISHED", "RETRY", "REJECTED",
                "IGNORED", "GONE", "MISSING", "FORGOTTEN", "PRUNED"};
        assert_int_equal(OBJECT_STATE_MAX, ELEMENTSOF(want));
        for (unsigned i = 0; i < ELEMENTSOF(want); i++) {
                assert_string_equal(object_state_name((enum object_state)i), want[i]);
                assert_int_equal(object_state_from_name(want[i]), i);
        }
        assert_int_equal(object_state_from_name("new"), OBJECT_STATE_MAX);
}

static void edges(void **state)
{
        (void)state;
        static const struct {
                enum object_state from, to;
                bool may;
        } rows[] = {
                {OBJECT_NEW, OBJECT_FETCHING, true},
                {OBJECT_FETCHING, OBJECT_DECRYPTING, true},
                {OBJECT_DECRYPTING, OBJECT_PUBLISHED, true},
                {OBJECT_FETCHING, OBJECT_PUBLISHED, false},
                {OBJECT_RETRY, OBJECT_FETCHING, true},
                {OBJECT_RETRY, OBJECT_PUBLISHED, false},
                {OBJECT_REJECTED, OBJECT_FETCHING, false},
                {OBJECT_PUBLISHED, OBJECT_MISSING, true},
                {OBJECT_PUBLISHED, OBJECT_FETCHING, false},
                {OBJECT_PUBLISHED, OBJECT_REJECTED, false},
                {OBJECT_PUBLISHED, OBJECT_IGNORED, true},
                {OBJECT_MISSING, OBJECT_FETCHING, false},
                {OBJECT_MISSING, OBJECT_PUBLISHED, true},
                {OBJECT_MISSING, OBJECT_GONE, false},
                {OBJECT_FORGOTTEN, OBJECT_GONE, false},
                {OBJECT_PRUNED, OBJECT_FETCHING, false},
                {OBJECT_GONE, OBJECT_PUBLISHED, true},
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                assert_int_equal(object_may_enter(rows[i].from, rows[i].to), rows[i].may);
        for (enum object_state s = 0; s < OBJECT_STATE_MAX; s++) {
                assert_true(object_may_enter(s, OBJECT_NEW));
                assert_true(object_may_enter(s, OBJECT_FORGOTTEN));
                assert_false(object_may_enter(s, OBJECT_STATE_MAX));
        }
}

static void checks_in_words(void **state)
{
        (void)state;
        char text[200];
        assert_string_equal(checks_format(0, text, sizeof(text)), "");
        assert_string_equal(
                checks_format(CHECK_TLS | CHECK_INTEGRITY | CHECK_NO_CHECKSUM | CHECK_NO_SIGNATURE, text,
                        sizeof(text)),
                "tls integrity (not: checksum signature)");
        assert_string_equal(checks_format(CHECK_NO_ETAG, text, sizeof(text)), "(not: etag)");
        assert_string_equal(checks_format(CHECK_TLS | CHECK_SIZE, text, 6), "tls s");
}

static void facts(void **state)
{
        struct fixture *f = *state;
        char value[65];
        assert_int_equal(ledger_meta_get(f->l, "staging-id", value, sizeof(value), NULL), 0);
        assert_string_equal(value, "");
        assert_int_equal(ledger_meta_set(f->l, "staging-id", "abc", NULL), 0);
        assert_int_equal(ledger_meta_set(f->l, "staging-id", "abcd", NULL), 0);
        assert_int_equal(reopen(f, NULL), 0);
        assert_int_equal(ledger_meta_get(f->l, "staging-id", value, sizeof(value), NULL), 0);
        assert_string_equal(value, "abcd");
        assert_int_equal(ledger_meta_get(f->l, "staging-id", value, 4, NULL), -EUCLEAN);
        assert_int_equal(ledger_meta_set(f->l, "staging-id", "", NULL), 0);
        assert_int_equal(ledger_meta_get(f->l, "staging-id", value, sizeof(value), NULL), 0);
        assert_string_equal(value, "");
        meddle(f, "INSERT INTO meta VALUES ('staging-id', 'x')"); /* the row is gone, not empty */
}

static void transactions_nest_and_roll_back(void **state)
{
        struct fixture *f = *state;
        char value[8];
        assert_int_equal(ledger_begin(f->l, NULL), 0);
        assert_int_equal(ledger_begin(f->l, NULL), 0);
        assert_int_equal(ledger_meta_set(f->l, "x", "1", NULL), 0);
        assert_int_equal(ledger_commit(f->l, NULL), 0);
        ledger_rollback(f->l);
        assert_int_equal(ledger_meta_get(f->l, "x", value, sizeof(value), NULL), 0);
        assert_string_equal(value, "");
        /* whoever began it learns that it was undone within */
        struct error e = {};
        assert_int_equal(ledger_commit(f->l, &e), -EIO);
        assert_int_equal(e.cause, CAUSE_IO);

        assert_int_equal(ledger_begin(f->l, NULL), 0);
        assert_int_equal(ledger_meta_set(f->l, "x", "2", NULL), 0);
        assert_int_equal(ledger_commit(f->l, NULL), 0);
        assert_int_equal(ledger_begin(f->l, NULL), 0);
        assert_int_equal(ledger_meta_set(f->l, "x", "3", NULL), 0);
        assert_int_equal(reopen(f, NULL), 0); /* closed in the middle: nothing of it */
        assert_int_equal(ledger_meta_get(f->l, "x", value, sizeof(value), NULL), 0);
        assert_string_equal(value, "2");
}

static unsigned waits_of(struct fixture *f, int (*begin)(struct ledger *, struct error *), const char *value)
{
        unsigned before = waits;
        assert_int_equal(begin(f->l, NULL), 0);
        assert_int_equal(ledger_meta_set(f->l, "x", value, NULL), 0);
        assert_int_equal(ledger_commit(f->l, NULL), 0);
        return waits - before;
}

static void what_passes_does_not_wait_for_the_disk(void **state)
{
        struct fixture *f = *state;
        char value[8];
        assert_true(waits_of(f, ledger_begin, "1") > 0); /* the first one begins the log */
        assert_int_equal(waits_of(f, ledger_begin_passing, "2"), 0);
        assert_int_equal(waits_of(f, ledger_begin, "3"), 1);
        /* outside of any, and after one that was undone, as ever */
        assert_int_equal(waits_of(f, ledger_begin_passing, "4"), 0);
        waits = 0;
        assert_int_equal(ledger_meta_set(f->l, "y", "5", NULL), 0);
        assert_int_equal(waits, 1);
        assert_int_equal(ledger_begin_passing(f->l, NULL), 0);
        ledger_rollback(f->l);
        waits = 0;
        assert_int_equal(ledger_meta_set(f->l, "y", "6", NULL), 0);
        assert_int_equal(waits, 1);
        /* a crash of ours takes nothing back */
        assert_int_equal(waits_of(f, ledger_begin_passing, "7"), 0);
        assert_int_equal(reopen(f, NULL), 0);
        assert_int_equal(ledger_meta_get(f->l, "x", value, sizeof(value), NULL), 0);
        assert_string_equal(value, "7");
}

static void hostile_rows_are_refused(void **state)
{
        struct fixture *f = *state;
        static const char *const sql[] = {
                "UPDATE object SET state = 11",
                "UPDATE object SET state = -1",
                "UPDATE object SET category = 4",
                "UPDATE object SET size = -1",
                "UPDATE object SET plain_size = -2",
                "UPDATE object SET sha256 = x'00'",
                "UPDATE object SET sha256 = zeroblob(33)",
                "UPDATE object SET is_zip = 2",
                "UPDATE object SET checks = 4294967296",
                "UPDATE object SET attempts = -1",
                "UPDATE object SET org = printf('%.*c', 64, 'x')",
                "UPDATE object SET date = '2024-07-071'",
                "UPDATE object SET path = 'a' || char(0) || 'b'",
                "UPDATE object SET detail = printf('%.*c', 512, 'x')",
                "UPDATE object SET cause = printf('%.*c', 100, 'x')",
        };
        struct ledger_object o = list(f, "k", "\"1\"", 1, LISTED_NEW), back;
        for (size_t i = 0; i < ELEMENTSOF(sql); i++) {
                meddle(f, sql[i]);
                struct error e = {};
                int r = ledger_get(f->l, o.id, &back, &e);
                if (r != -EUCLEAN)
                        fail_msg("%s: %d %s", sql[i], r, e.text);
                assert_int_equal(ledger_save(f->l, &o, NULL), 0);
                assert_int_equal(ledger_get(f->l, o.id, &back, NULL), 0);
        }
        /* a cause that a newer czard knows is no damage */
        meddle(f, "UPDATE object SET cause = 'from-the-future'");
        assert_int_equal(ledger_get(f->l, o.id, &back, NULL), 0);
        assert_int_equal(back.cause, CAUSE_INTERNAL);
}

/* A write that fails takes the whole transaction with it, and says so. */
static void a_failed_write_undoes_all(void **state)
{
        struct fixture *f = *state;
        struct ledger_object o = list(f, "k", "\"1\"", 1, LISTED_NEW);
        _cleanup_free_ char *wal = path_in(f, "ledger.db-wal");
        struct stat st;
        assert_int_equal(stat(wal, &st), 0);
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit old, small;
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
        small = old;
        small.rlim_cur = (rlim_t)st.st_size;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        int r = ledger_begin(f->l, NULL);
        if (r == 0)
                r = ledger_enter(f->l, &o, OBJECT_FETCHING, NULL);
        if (r == 0)
                r = ledger_meta_set(f->l, "x", "1", NULL);
        struct error e = {};
        int commit = ledger_commit(f->l, &e);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(r, 0);
        assert_true(commit < 0);
        assert_non_null(strstr(e.text, "ledger.db"));
        assert_int_equal(state_of(f, "k"), OBJECT_NEW);
        assert_int_equal(ledger_begin(f->l, NULL), 0);
        assert_int_equal(ledger_meta_set(f->l, "x", "1", NULL), 0);
        assert_int_equal(ledger_commit(f->l, NULL), 0);
        assert_int_equal(reopen(f, NULL), 0);
        assert_int_equal(state_of(f, "k"), OBJECT_NEW);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_and_numbers_of_states_stay),
                cmocka_unit_test(edges),
                cmocka_unit_test(checks_in_words),
                T(facts),
                T(transactions_nest_and_roll_back),
                T(what_passes_does_not_wait_for_the_disk),
                T(hostile_rows_are_refused),
                T(a_failed_write_undoes_all),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
