/* SPDX-License-Identifier: Apache-2.0 */
/* The facts, and how a ledger of version 1, which had them as text, gives them to the tables of today. The
 * one in fixtures/ was made by the last czard that wrote version 1, not by hand. */
#include "ledger_facts.h"

#include <fcntl.h>
#include <unistd.h>

#include "fsx.h"
#include "ledger_fixture.h"
#include "limits.h"

static void copy_fixture(struct fixture *f)
{
        _cleanup_free_ char *data = NULL, *to = path_in(f, "ledger.db");
        size_t n = 0;
        f->l = ledger_free(f->l);
        static const char *const names[] = {"ledger.db", "ledger.db-wal", "ledger.db-shm"};
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_free_ char *path = path_in(f, names[i]);
                (void)unlink(path);
        }
        assert_int_equal(read_file_at(AT_FDCWD, FIXTURES "/ledger-v1.db", 1 << 20, &data, &n), 0);
        _cleanup_close_ int fd = open(to, O_WRONLY | O_CREAT | O_EXCL, 0640);
        assert_int_equal(write_all(fd, data, n), 0);
}

static void exec_v1(struct fixture *f, const char *sql)
{
        _cleanup_free_ char *path = path_in(f, "ledger.db");
        sqlite3 *db = NULL;
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
}

static int64_t id_of(struct fixture *f, const char *date)
{
        struct ledger_object o;
        char key[64];
        snprintf(key, sizeof(key), "universityx-%s.zip", date);
        assert_int_equal(ledger_find(f->l, "course-data", key, &o, NULL), 0);
        return o.id;
}

static void assert_no_text_left(struct fixture *f)
{
        sqlite3_stmt *s = NULL;
        assert_int_equal(sqlite3_prepare_v2(f->l->sql.db,
                                 "SELECT count(*) FROM meta WHERE name LIKE '%:%' OR name IN ('keys', "
                                 "'leftovers')",
                                 -1, &s, NULL),
                SQLITE_OK);
        assert_int_equal(sqlite3_step(s), SQLITE_ROW);
        assert_int_equal(sqlite3_column_int(s, 0), 0);
        sqlite3_finalize(s);
}

static void a_ledger_of_version_1(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        copy_fixture(f);
        assert_int_equal(ledger_open_readonly(f->dir, &f->l, &e), -EPROTONOSUPPORT);
        if (ledger_open(f->dir, &f->l, &e) < 0)
                fail_msg("%s", e.text);
        assert_int_equal(ledger_check(f->l, &e), 0);
        assert_no_text_left(f);

        _cleanup_(strv_done) struct strv courses = {};
        struct ledger_object o;
        char etag[ETAG_SIZE], text[512], pin[11];
        assert_int_equal(ledger_get(f->l, id_of(f, "2024-06-23"), &o, &e), 0);
        assert_int_equal(ledger_courses(f->l, o.id, etag, &courses, &e), 0);
        assert_string_equal(etag, o.etag);
        assert_int_equal(courses.n, 1);
        assert_string_equal(courses.v[0], "UniversityX-A.1x-2024_T1");
        assert_int_equal(ledger_courses(f->l, id_of(f, "2024-06-30"), etag, &courses, &e), 0);
        assert_string_equal(etag, "");

        bool left_out;
        assert_int_equal(ledger_left_out(f->l, id_of(f, "2024-06-30"), &left_out, &e), 0);
        assert_true(left_out);
        assert_int_equal(ledger_left_out(f->l, id_of(f, "2024-06-23"), &left_out, &e), 0);
        assert_true(left_out);
        assert_int_equal(ledger_left_out(f->l, id_of(f, "2024-07-07"), &left_out, &e), 0);
        assert_false(left_out);

        struct ledger_shortage shortage;
        assert_int_equal(ledger_get(f->l, id_of(f, "2024-07-14"), &o, &e), 0);
        assert_int_equal(ledger_shortage(f->l, o.id, &shortage, &e), 0);
        assert_string_equal(shortage.etag, o.etag);
        assert_int_equal(shortage.bytes, 94615162);
        assert_int_equal(shortage.pid, 15214);

        struct ledger_growth g;
        assert_int_equal(ledger_growth(f->l, "universityx", CATEGORY_DATABASE, &g, &e), 0);
        assert_int_equal(g.expansion, 39);
        assert_int_equal(g.new_share, 101);
        assert_int_equal(ledger_pin(f->l, "universityx", CATEGORY_DATABASE, pin, &e), 0);
        assert_string_equal(pin, "2024-06-30");
        uint64_t usec;
        assert_int_equal(ledger_took(f->l, "database", &usec, &e), 0);
        assert_int_equal(usec, 28123);
        assert_int_equal(ledger_took(f->l, "poll", &usec, &e), 0);
        assert_int_equal(usec, 257560);
        assert_int_equal(ledger_took(f->l, "events", &usec, &e), 0);
        assert_int_equal(usec, 0);

        struct ledger_leftover left = {};
        assert_int_equal(ledger_leftover_next(f->l, "", &left, &e), 1);
        assert_string_equal(left.path, "universityx/old/2024-06-23");
        assert_string_equal(left.keep_as, "");
        assert_int_equal(ledger_leftover_next(f->l, left.path, &left, &e), 0);

        struct ledger_key keys[2];
        size_t n;
        assert_int_equal(ledger_keys(f->l, keys, 2, &n, &e), 0);
        assert_int_equal(n, 1);
        assert_string_equal(keys[0].fingerprint, "35E8BA67FA9C0062AB6D0D2A102F35952833C728");
        assert_int_equal(keys[0].created, 1795950723);
        assert_int_equal(keys[0].expires, 0);
        assert_string_equal(keys[0].user_id, "universityx data czar <czar@universityx.example>");

        struct audit_tail tail;
        assert_int_equal(ledger_audit_tail(f->l, &tail, &e), 0);
        assert_int_equal(tail.seq, 0);
        /* what is a small text still is one */
        assert_int_equal(ledger_meta_get(f->l, "staging-id", text, sizeof(text), &e), 0);
        assert_string_equal(text, "01587788ac5d8945c65746652b5c3afd");
        assert_int_equal(ledger_meta_get(f->l, "paused", text, sizeof(text), &e), 0);
        assert_string_equal(text, "maintenance");
        _cleanup_free_ char *before = path_in(f, "ledger.db.v1");
        assert_int_equal(access(before, R_OK), 0);
}

/* Texts that the fixture has not: several keys and courses, what JSON escapes, an ETag with a blank. */
static void odd_texts_of_version_1(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        copy_fixture(f);
        exec_v1(f,
                "UPDATE meta SET value = 'F1 1 2 A \"B\" \\n C' || char(10) || 'F2 3 4 ' || char(10) "
                "WHERE name = 'keys';"
                "UPDATE meta SET value = '\"a\\b\"' || char(10) || 'C\\n1' || char(10) || 'C\"2' || char(10) "
                "WHERE name = 'courses:3';"
                "INSERT INTO meta VALUES ('courses:99', 'x' || char(10) || 'y' || char(10)), "
                "('left-out:99', '1'), ('no-room:99', '1 2 x'), ('expansion:gonex:database', '5');"
                "UPDATE meta SET value = '7 8 a b  c' WHERE name = 'no-room:4';"
                "UPDATE meta SET value = 'p/1' || char(10) || 'p/2' || char(10) WHERE name = 'leftovers'");
        if (ledger_open(f->dir, &f->l, &e) < 0)
                fail_msg("%s", e.text);
        assert_no_text_left(f);
        struct ledger_key keys[3];
        size_t n;
        assert_int_equal(ledger_keys(f->l, keys, 3, &n, &e), 0);
        assert_int_equal(n, 2);
        assert_string_equal(keys[0].user_id, "A \"B\" \\n C");
        assert_string_equal(keys[1].fingerprint, "F2");
        assert_int_equal(keys[1].created, 3);
        assert_int_equal(keys[1].expires, 4);
        assert_string_equal(keys[1].user_id, "");
        _cleanup_(strv_done) struct strv courses = {};
        char etag[ETAG_SIZE];
        assert_int_equal(ledger_courses(f->l, 3, etag, &courses, &e), 0);
        assert_string_equal(etag, "\"a\\b\"");
        assert_int_equal(courses.n, 2);
        assert_true(strv_has(&courses, "C\\n1"));
        assert_true(strv_has(&courses, "C\"2"));
        struct ledger_shortage shortage;
        assert_int_equal(ledger_shortage(f->l, 4, &shortage, &e), 0);
        assert_string_equal(shortage.etag, "a b  c");
        assert_int_equal(shortage.bytes, 7);
        assert_int_equal(shortage.pid, 8);
        struct ledger_leftover left = {};
        assert_int_equal(ledger_leftover_next(f->l, "p/1", &left, &e), 1);
        assert_string_equal(left.path, "p/2");
}

static void facts_are_set_and_taken_back(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        struct ledger_object o = list(f, "k", "\"1 2\"", 1, LISTED_NEW);
        struct ledger_shortage shortage = {.etag = "\"1 2\"", .bytes = 5, .pid = 6}, got;
        assert_int_equal(ledger_set_shortage(f->l, o.id, &shortage, &e), 0);
        assert_int_equal(ledger_set_left_out(f->l, o.id, true, &e), 0);
        assert_int_equal(ledger_shortage(f->l, o.id, &got, &e), 0);
        assert_string_equal(got.etag, "\"1 2\"");
        assert_int_equal(ledger_set_shortage(f->l, o.id, NULL, &e), 0);
        assert_int_equal(ledger_shortage(f->l, o.id, &got, &e), 0);
        assert_string_equal(got.etag, "");
        bool left_out;
        assert_int_equal(ledger_left_out(f->l, o.id, &left_out, &e), 0);
        assert_true(left_out);

        struct ledger_growth g = {.expansion = 300, .new_share = 20}, g2;
        char pin[11];
        assert_int_equal(ledger_set_pin(f->l, "ux", CATEGORY_DATABASE, "2024-07-07", &e), 0);
        assert_int_equal(ledger_set_growth(f->l, "ux", CATEGORY_DATABASE, &g, &e), 0);
        assert_int_equal(ledger_pin(f->l, "ux", CATEGORY_DATABASE, pin, &e), 0);
        assert_string_equal(pin, "2024-07-07");
        assert_int_equal(ledger_growth(f->l, "ux", CATEGORY_DATABASE, &g2, &e), 0);
        assert_int_equal(g2.new_share, 20);
        assert_int_equal(ledger_pin(f->l, "ux", CATEGORY_EMAIL_OPT_IN, pin, &e), 0);
        assert_string_equal(pin, "");

        struct audit_tail tail = {.seq = 7}, tail2;
        memset(tail.head, 'a', sizeof(tail.head) - 1);
        assert_int_equal(ledger_set_audit_tail(f->l, &tail, &e), 0);
        tail.seq = 8;
        assert_int_equal(ledger_set_audit_tail(f->l, &tail, &e), 0);
        assert_int_equal(reopen(f, &e), 0);
        assert_int_equal(ledger_audit_tail(f->l, &tail2, &e), 0);
        assert_int_equal(tail2.seq, 8);
        assert_string_equal(tail2.head, tail.head);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_ledger_of_version_1, setup, teardown),
                cmocka_unit_test_setup_teardown(odd_texts_of_version_1, setup, teardown),
                cmocka_unit_test_setup_teardown(facts_are_set_and_taken_back, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
