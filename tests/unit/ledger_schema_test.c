/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "ledger_fixture.h"

static void a_damaged_ledger_is_told_and_set_aside(void **state)
{
        struct fixture *f = *state;
        list(f, "k", "\"1\"", 1, LISTED_NEW);
        f->l = ledger_free(f->l);
        meddle(f, "PRAGMA wal_checkpoint(TRUNCATE)");
        _cleanup_free_ char *path = path_in(f, "ledger.db");
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
        assert_int_equal(pwrite(fd, "this is no database, not at all", 31, 0), 31);
        struct error e = {};
        assert_int_equal(ledger_open(f->dir, &f->l, &e), -EUCLEAN);
        assert_non_null(strstr(e.text, "ledger.db"));
        assert_int_equal(ledger_set_aside(f->dir, NULL), 0);
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(ledger_open(f->dir, &f->l, &e), 0);
        struct ledger_object o;
        assert_int_equal(ledger_find(f->l, "edx-course-data", "k", &o, NULL), -ENOENT);
        unsigned kept = 0;
        _cleanup_closedir_ DIR *d = opendir(f->dir);
        for (struct dirent *x; (x = readdir(d));)
                kept += strstr(x->d_name, ".damaged-") != NULL;
        assert_uint_in_range(kept, 1, 3);
}

/* Damage inside a page, behind a good header. */
static void a_damaged_page_is_told(void **state)
{
        struct fixture *f = *state;
        for (int i = 0; i < 200; i++) {
                char key[16];
                snprintf(key, sizeof(key), "k%d", i);
                list(f, key, "\"1\"", 1, LISTED_NEW);
        }
        assert_int_equal(ledger_check(f->l, NULL), 0);
        f->l = ledger_free(f->l);
        meddle(f, "PRAGMA wal_checkpoint(TRUNCATE)");
        _cleanup_free_ char *path = path_in(f, "ledger.db");
        _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
        struct stat st;
        assert_int_equal(fstat(fd, &st), 0);
        static const char junk[4096];
        for (off_t at = 8 * 4096; at + 4096 <= st.st_size; at += 4096)
                assert_int_equal(pwrite(fd, junk, sizeof(junk), at), sizeof(junk));
        struct error e = {};
        int r = ledger_open(f->dir, &f->l, &e);
        if (r == 0) {
                uint64_t n, bytes;
                assert_int_equal(ledger_check(f->l, &e), -EUCLEAN);
                r = ledger_count(f->l, &(struct ledger_filter){.key_glob = "x"}, &n, &bytes, &e);
        }
        assert_int_equal(r, -EUCLEAN);
}

static void a_newer_ledger_is_refused(void **state)
{
        struct fixture *f = *state;
        f->l = ledger_free(f->l);
        meddle(f, "PRAGMA user_version = 1000");
        struct error e = {};
        assert_int_equal(ledger_open(f->dir, &f->l, &e), -EPROTONOSUPPORT);
        assert_non_null(strstr(e.text, "version 1000"));
        assert_int_equal(ledger_open_readonly(f->dir, &f->l, &e), -EPROTONOSUPPORT);
}

static void tables_of_another_program_are_refused(void **state)
{
        struct fixture *f = *state;
        f->l = ledger_free(f->l);
        meddle(f, "PRAGMA user_version = 0");
        assert_int_equal(ledger_open(f->dir, &f->l, NULL), -EUCLEAN);
}

static void migration_copies_first_and_is_whole(void **state)
{
        struct fixture *f = *state;
        list(f, "k", "\"1\"", 1, LISTED_NEW);
        struct ledger_step steps[LEDGER_VERSION + 2] = {};
        steps[LEDGER_VERSION] = (struct ledger_step){"ALTER TABLE object ADD COLUMN extra TEXT"};
        steps[LEDGER_VERSION + 1] = (struct ledger_step){"CREATE TABLE t (x); CREATE TABLE broken (x"};
        char name[32];
        snprintf(name, sizeof(name), "ledger.db.v%d", LEDGER_VERSION);
        _cleanup_free_ char *copy = path_in(f, name);

        struct error e = {};
        assert_true(ledger_migrate(f->l, steps, LEDGER_VERSION + 2, &e) < 0);
        assert_int_equal(access(copy, R_OK), 0);
        /* as it was: the first step was undone too */
        assert_int_equal(reopen(f, &e), 0);
        assert_int_equal(state_of(f, "k"), OBJECT_NEW);
        assert_int_equal(unlink(copy), 0);

        assert_int_equal(ledger_migrate(f->l, steps, LEDGER_VERSION + 1, &e), 0);
        f->l = ledger_free(f->l);
        assert_int_equal(ledger_open(f->dir, &f->l, &e), -EPROTONOSUPPORT);
        /* the copy is the ledger of before, and an older czard can go on with it */
        struct stat st;
        assert_int_equal(stat(copy, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        _cleanup_free_ char *db = path_in(f, "ledger.db");
        assert_int_equal(rename(copy, db), 0);
        assert_int_equal(ledger_open(f->dir, &f->l, &e), 0);
        assert_int_equal(state_of(f, "k"), OBJECT_NEW);
}

static void backup_stands_alone(void **state)
{
        struct fixture *f = *state;
        list(f, "k", "\"1\"", 1, LISTED_NEW);
        char other[] = "/tmp/czard-ledger-XXXXXX";
        assert_non_null(mkdtemp(other));
        _cleanup_free_ char *file = str_printf("%s/ledger.db", other);
        assert_int_equal(ledger_backup(f->l, file, NULL), 0);
        assert_int_equal(ledger_backup(f->l, file, NULL), 0); /* replaces */
        list(f, "later", "\"1\"", 1, LISTED_NEW);
        struct ledger *l;
        struct ledger_object o;
        assert_int_equal(ledger_open_readonly(other, &l, NULL), 0);
        assert_int_equal(ledger_find(l, "edx-course-data", "k", &o, NULL), 0);
        assert_int_equal(ledger_find(l, "edx-course-data", "later", &o, NULL), -ENOENT);
        ledger_free(l);
        assert_true(ledger_backup(f->l, "/nonexistent/x", NULL) < 0);
        remove_dir(other);
}

static mode_t mode_of(struct fixture *f, const char *name)
{
        _cleanup_free_ char *path = path_in(f, name);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        return st.st_mode & 07777;
}

static int read_as_group(const char *dir, gid_t gid)
{
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                struct ledger *l = NULL;
                struct ledger_object o;
                struct error e = {};
                if (setgroups(1, &gid) < 0 || setresgid(65534, 65534, 65534) < 0 ||
                        setresuid(65534, 65534, 65534) < 0)
                        _exit(90);
                if (ledger_open_readonly(dir, &l, &e) < 0) {
                        fprintf(stderr, "reader: %s\n", e.text);
                        _exit(91);
                }
                if (ledger_find(l, "edx-course-data", "k", &o, &e) < 0) {
                        fprintf(stderr, "reader: %s\n", e.text);
                        _exit(92);
                }
                /* and cannot write */
                int r = ledger_meta_set(l, "x", "y", &e);
                ledger_free(l);
                _exit(r < 0 ? o.state : 93);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

/* A reader that can write neither the files nor the folder, while the writer runs and after it closed. */
static void a_reader_of_the_group(void **state)
{
        struct fixture *f = *state;
        gid_t gid = 54321;
        if (geteuid() != 0)
                skip();
        assert_int_equal(chown(f->dir, 0, gid), 0);
        assert_int_equal(chmod(f->dir, 02750), 0);
        static const char *const names[] = {"ledger.db", "ledger.db-wal", "ledger.db-shm"};
        f->l = ledger_free(f->l);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_free_ char *path = path_in(f, names[i]);
                (void)unlink(path);
        }
        assert_int_equal(ledger_open(f->dir, &f->l, NULL), 0);
        struct ledger_object o = list(f, "k", "\"1\"", 1, LISTED_NEW);
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert_int_equal(mode_of(f, names[i]), 0640);
        assert_int_equal(read_as_group(f->dir, gid), OBJECT_NEW);
        assert_int_equal(ledger_enter(f->l, &o, OBJECT_FETCHING, NULL), 0);
        assert_int_equal(read_as_group(f->dir, gid), OBJECT_FETCHING);
        f->l = ledger_free(f->l);
        assert_int_equal(read_as_group(f->dir, gid), OBJECT_FETCHING);
        /* opened and closed once more: the WAL is empty now */
        assert_int_equal(ledger_open(f->dir, &f->l, NULL), 0);
        f->l = ledger_free(f->l);
        assert_int_equal(read_as_group(f->dir, gid), OBJECT_FETCHING);
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert_int_equal(mode_of(f, names[i]), 0640);
        /* a copy without WAL files */
        for (size_t i = 1; i < ELEMENTSOF(names); i++) {
                _cleanup_free_ char *path = path_in(f, names[i]);
                assert_int_equal(unlink(path), 0);
        }
        assert_int_equal(read_as_group(f->dir, gid), OBJECT_FETCHING);
        assert_int_equal(ledger_open(f->dir, &f->l, NULL), 0);
        assert_int_equal(ledger_enter(f->l, &o, OBJECT_DECRYPTING, NULL), 0);
        assert_int_equal(read_as_group(f->dir, gid), OBJECT_DECRYPTING);
}

/* After kill -9 of the writer the WAL still holds what was committed. */
static void a_reader_after_a_crash(void **state)
{
        struct fixture *f = *state;
        gid_t gid = 54321;
        if (geteuid() != 0)
                skip();
        list(f, "k", "\"1\"", 1, LISTED_NEW);
        f->l = ledger_free(f->l);
        assert_int_equal(chown(f->dir, 0, gid), 0);
        assert_int_equal(chmod(f->dir, 0750), 0);
        static const char *const names[] = {"ledger.db", "ledger.db-wal", "ledger.db-shm"};
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_free_ char *path = path_in(f, names[i]);
                assert_int_equal(chown(path, 0, gid), 0);
        }
        pid_t pid = fork();
        if (pid == 0) {
                struct ledger *l;
                struct ledger_object o;
                if (ledger_open(f->dir, &l, NULL) < 0 ||
                        ledger_find(l, "edx-course-data", "k", &o, NULL) < 0 ||
                        ledger_enter(l, &o, OBJECT_FETCHING, NULL) < 0 || ledger_begin(l, NULL) < 0 ||
                        ledger_enter(l, &o, OBJECT_DECRYPTING, NULL) < 0)
                        _exit(1);
                _exit(0);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(read_as_group(f->dir, gid), OBJECT_FETCHING);
        assert_int_equal(ledger_open(f->dir, &f->l, NULL), 0);
        assert_int_equal(state_of(f, "k"), OBJECT_FETCHING);
}

/* A reader that has the writer's rights may neither remove the WAL files nor fold them in. */
static void a_reader_leaves_the_files_alone(void **state)
{
        struct fixture *f = *state;
        list(f, "k", "\"1\"", 1, LISTED_NEW);
        f->l = ledger_free(f->l);
        struct ledger *l;
        assert_int_equal(ledger_open_readonly(f->dir, &l, NULL), 0);
        ledger_free(l);
        assert_int_equal(mode_of(f, "ledger.db-wal"), 0640);
        assert_int_equal(mode_of(f, "ledger.db-shm"), 0640);
        char none[] = "/tmp/czard-ledger-XXXXXX";
        assert_non_null(mkdtemp(none));
        assert_int_equal(ledger_open_readonly(none, &l, NULL), -ENOENT);
        assert_int_equal(rmdir(none), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(a_damaged_ledger_is_told_and_set_aside),
                T(a_damaged_page_is_told),
                T(a_newer_ledger_is_refused),
                T(tables_of_another_program_are_refused),
                T(migration_copies_first_and_is_whole),
                T(backup_stands_alone),
                T(a_reader_of_the_group),
                T(a_reader_after_a_crash),
                T(a_reader_leaves_the_files_alone),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
