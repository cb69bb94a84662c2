/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "digest.h"
#include "fault.h"
#include "snapshot_fixture.h"
#include "snapshot_internal.h"

/* The snapshot of the tests: two members whose content is the version. */
static int publish_version(struct fixture *f, const char *tag, const char *text, const char *keep_as)
{
        static const char *const names[] = {"b.sql", "ora/a.sql"};
        uint8_t sha256[SHA256_SIZE];
        struct error e = {};
        struct snapshot_dir *d = NULL;
        (void)digest_once(DIGEST_SHA256, text, strlen(text), sha256);
        struct sum sums[2] = {{names[0], sha256, NULL}, {names[1], sha256, NULL}};
        int r = snapshot_begin(f->s, PATH, tag, &plain, &d, &e);
        for (size_t i = 0; r == 0 && i < 2; i++)
                r = try_add(f, d, names[i], text);
        if (r == 0)
                r = publish_all(d, sums, 2, keep_as, &e);
        snapshot_free(d);
        return r;
}

static void assert_version(struct fixture *f, const char *path, const char *text)
{
        char file[200];
        snprintf(file, sizeof(file), "%s/b.sql", path);
        assert_content(f, file, text);
        snprintf(file, sizeof(file), "%s/ora/a.sql", path);
        assert_content(f, file, text);
        snprintf(file, sizeof(file), "%s/SHA256SUMS", path);
        assert_true(is_there(f, file));
        assert_int_equal(count_entries(f, path), 4);
}

/* The version at path: 1, 2, or 0 when it is not there. Not whole is a failure. */
static int version_at(struct fixture *f, const char *path)
{
        if (!is_there(f, path))
                return 0;
        char file[200];
        snprintf(file, sizeof(file), "%s/b.sql", path);
        _cleanup_free_ char *text = content(f, file);
        assert_version(f, path, text);
        return streq(text, "one") ? 1 : streq(text, "two") ? 2 : -1;
}

static void folders_of_an_earlier_attempt_get_the_mode_of_now(void **state)
{
        struct fixture *f = *state;
        struct snapshot_dir *d = begin(f, "\"e1\"");
        add(f, d, "ora/a.sql", "one");
        snapshot_free(d);
        f->s->dir_mode = 0700;
        assert_int_equal(publish_version(f, "\"e1\"", "one", NULL), 0);
        struct stat st;
        assert_int_equal(fstatat(at(f), PATH "/ora", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
}

static void it_appears_whole(void **state)
{
        struct fixture *f = *state;
        uint8_t sha256[SHA256_SIZE];
        struct error e = {};
        struct snapshot_dir *d = begin(f, "\"e1\"");
        add(f, d, "b.sql", "one");
        add(f, d, "ora/a.sql", "one");
        assert_false(is_there(f, PATH));
        assert_int_equal(stat_of(f, PARTIAL).st_mode & 07777, 0700);
        assert_true(snapshot_has(d, "b.sql", 3));
        assert_false(snapshot_has(d, "b.sql", 4));
        assert_false(snapshot_has(d, "c.sql", 3));
        assert_false(snapshot_has(d, "ora", 3));
        assert_false(snapshot_has(d, "../.2024-07-07.partial/b.sql", 3));
        assert_int_equal(snapshot_sync(d, &e), 0);
        assert_int_equal(digest_once(DIGEST_SHA256, "one", 3, sha256), 0);
        struct sum sums[] = {{"ora/a.sql", sha256, NULL}, {"b.sql", sha256, NULL}};
        assert_int_equal(publish_all(d, sums, 2, NULL, &e), 0);
        snapshot_free(d);
        assert_version(f, PATH, "one");
        assert_int_equal(count_entries(f, FOLDER), 1);
        static const char *const paths[] = {
                PATH, PATH "/ora", PATH "/b.sql", PATH "/ora/a.sql", PATH "/SHA256SUMS"};
        for (size_t i = 0; i < ELEMENTSOF(paths); i++)
                assert_int_equal(stat_of(f, paths[i]).st_mode & 07777, i < 2 ? 0750 : 0440);
        assert_int_equal(stat_of(f, PATH).st_mtime, plain.mtime);
        assert_int_equal(stat_of(f, PATH "/b.sql").st_mtime, plain.mtime);
        assert_int_equal(stat_of(f, PATH "/SHA256SUMS").st_mtime, plain.mtime);
}

static void an_earlier_run_is_taken_up(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        struct snapshot_dir *d = begin(f, "\"e1\"");
        add(f, d, "b.sql", "one");
        add(f, d, "ora/a.sql", "one");
        snapshot_free(d);
        d = begin(f, "\"e1\"");
        assert_true(snapshot_has(d, "b.sql", 3));
        assert_true(snapshot_has(d, "ora/a.sql", 3));
        add(f, d, "b.sql", "other"); /* replaced */
        assert_true(snapshot_has(d, "b.sql", 5));
        snapshot_free(d);
        /* another tag: nothing of it */
        d = begin(f, "\"e2\"");
        assert_false(snapshot_has(d, "b.sql", 5));
        assert_int_equal(count_entries(f, PARTIAL), 0);
        snapshot_free(d);
        /* without a record it cannot be trusted */
        d = begin(f, "\"e2\"");
        add(f, d, "b.sql", "one");
        snapshot_free(d);
        assert_int_equal(unlinkat(at(f), RECORD, 0), 0);
        d = begin(f, "\"e2\"");
        assert_false(snapshot_has(d, "b.sql", 3));
        snapshot_free(d);
        /* nor with one that is not ours */
        static const char *const bad[] = {
                "", "\"e2\"", "\"e2\"\n", "\"e2\"\n0\n", "\"e2\"\nx\n\n", "\"e2\"\n0\n../x\n"};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                d = begin(f, "\"e2\"");
                add(f, d, "b.sql", "one");
                snapshot_free(d);
                assert_int_equal(replace_file_at(at(f), RECORD, bad[i], strlen(bad[i]), 0600), 0);
                d = begin(f, "\"e2\"");
                assert_false(snapshot_has(d, "b.sql", 3));
                snapshot_free(d);
        }
        assert_int_equal(snapshot_begin(f->s, PATH, "line\nbreak", &plain, &d, &e), -EINVAL);
        assert_int_equal(snapshot_begin(f->s, "../x", "t", &plain, &d, &e), -EINVAL);
}

static void names_that_are_refused(void **state)
{
        struct fixture *f = *state;
        struct snapshot_dir *d = begin(f, "t");
        static const char *const bad[] = {"", "/x", "../x", "a/../../x", "a//b", ".", "a\nb"};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(try_add(f, d, bad[i], "x"), -EINVAL);
        assert_int_equal(symlinkat("/tmp", at(f), PARTIAL "/out"), 0);
        assert_int_equal(try_add(f, d, "out/x", "x"), -ENOTDIR);
        assert_int_equal(try_add(f, d, "out", "x"), -EEXIST);
        snapshot_free(d);
}

static void replacing(void **state)
{
        struct fixture *f = *state;
        assert_int_equal(publish_version(f, "\"e1\"", "one", NULL), 0);
        assert_int_equal(publish_version(f, "\"e2\"", "two", KEEP), 0);
        assert_version(f, PATH, "two");
        assert_version(f, FOLDER "/" KEEP, "one");
        assert_int_equal(count_entries(f, FOLDER), 2);
        assert_int_equal(stat_of(f, FOLDER "/.replaced").st_mode & 07777, 0750);
        /* the same version kept a second time */
        assert_int_equal(publish_version(f, "\"e1\"", "one", NULL), 0);
        assert_version(f, PATH, "one");
        assert_int_equal(count_entries(f, FOLDER), 2);
        assert_int_equal(publish_version(f, "\"e2\"", "two", KEEP), 0);
        assert_version(f, FOLDER "/" KEEP, "one");
        assert_int_equal(count_entries(f, FOLDER "/.replaced"), 1);
}

static bool keep_all(const char *path, const char *tag, void *arg)
{
        assert_string_equal(path, PATH);
        if (arg)
                snprintf(arg, 32, "%s", tag);
        return true;
}

static void sweeping(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        struct snapshot_dir *d = begin(f, "\"e1\"");
        add(f, d, "b.sql", "one");
        snapshot_free(d);
        char tag[32] = "";
        assert_int_equal(staging_sweep(f->s, keep_all, tag, &e), 0);
        assert_string_equal(tag, "\"e1\"");
        assert_true(is_there(f, PARTIAL "/b.sql"));
        assert_int_equal(staging_sweep(f->s, keep_none, NULL, &e), 0);
        assert_int_equal(count_entries(f, FOLDER), 0);
        /* a record alone, a folder alone */
        d = begin(f, "\"e1\"");
        snapshot_free(d);
        assert_int_equal(unlinkat(at(f), PARTIAL, AT_REMOVEDIR), 0);
        assert_int_equal(mkdirat(at(f), FOLDER "/.2024-07-14.partial", 0700), 0);
        assert_int_equal(staging_sweep(f->s, keep_none, NULL, &e), 0);
        assert_int_equal(count_entries(f, FOLDER), 0);
        /* published ones stay */
        assert_int_equal(publish_version(f, "\"e1\"", "one", NULL), 0);
        assert_int_equal(staging_sweep(f->s, keep_none, NULL, &e), 0);
        assert_version(f, PATH, "one");
}

static void published_but_not_recorded(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        assert_int_equal(publish_version(f, "\"e1\"", "one", NULL), 0);
        uint8_t sha256[SHA256_SIZE] = {};
        for (int sweep = 0; sweep < 2; sweep++) {
                struct snapshot_dir *d = begin(f, "\"e2\"");
                add(f, d, "m", "x");
                struct sum sum = {"m", sha256, NULL};
                assert_int_equal(publish_all(d, &sum, 1, NULL, &e), 0);
                if (sweep)
                        d->spent = false; /* the process dies here */
                else
                        snapshot_keep_record(d);
                snapshot_free(d);
                if (sweep)
                        assert_int_equal(staging_sweep(f->s, keep_all, NULL, &e), 0);
                assert_int_equal(snapshot_begin(f->s, PATH, "\"e2\"", &plain, &d, &e), -EALREADY);
                assert_true(is_there(f, PATH "/m"));
                assert_int_equal(count_entries(f, FOLDER), 1);
                d = begin(f, "\"e2\""); /* said once */
                snapshot_free(d);
        }
        /* for another tag it says nothing */
        struct snapshot_dir *d = begin(f, "\"e2\"");
        add(f, d, "m", "x");
        struct sum sum = {"m", sha256, NULL};
        assert_int_equal(publish_all(d, &sum, 1, NULL, &e), 0);
        d->spent = false;
        snapshot_free(d);
        d = begin(f, "\"e3\"");
        assert_false(snapshot_has(d, "m", 1));
        snapshot_free(d);
}

static void in_child_replace(struct fixture *f)
{
        FAULT_EXIT(publish_version(f, "\"e2\"", "two", KEEP) < 0);
}

/* As a caller does after a restart: sweep, begin; when it is published already only the ledger is behind. */
static void restart(struct fixture *f)
{
        struct error e = {};
        assert_int_equal(staging_sweep(f->s, keep_all, NULL, &e), 0);
        int r = publish_version(f, "\"e2\"", "two", KEEP);
        assert_true(r == 0 || r == -EALREADY);
}

/* Killed before, or refused at, each call that changes the disk while a snapshot replaces another. */
static void every_crash_and_every_failure(void **state)
{
        struct fixture *f = *state;
        static const int errors[] = {0, ENOSPC, EIO};
        unsigned rows = 0, already = 0;
        for (size_t i = 0; i < ELEMENTSOF(errors); i++)
                for (unsigned n = 1;; n++) {
                        assert_int_equal(staging_remove(f->s, "ux", NULL), 0);
                        assert_int_equal(publish_version(f, "\"e1\"", "one", NULL), 0);
                        int r = FAULT_FORK(n, errors[i], in_child_replace(f));
                        /* at every moment one whole version stands there */
                        int version = version_at(f, PATH);
                        assert_uint_in_range(version, 1, 2);
                        if (version == 1)
                                restart(f);
                        else {
                                struct snapshot_dir *d = NULL;
                                struct error e = {};
                                assert_int_equal(staging_sweep(f->s, keep_all, NULL, &e), 0);
                                int again = snapshot_begin(f->s, PATH, "\"e2\"", &plain, &d, &e);
                                assert_true(again == 0 || again == -EALREADY);
                                already += again == -EALREADY;
                                snapshot_free(d);
                                assert_int_equal(staging_sweep(f->s, keep_none, NULL, &e), 0);
                        }
                        assert_int_equal(version_at(f, PATH), 2);
                        assert_int_equal(version_at(f, FOLDER "/" KEEP), 1);
                        assert_int_equal(count_entries(f, FOLDER), 2);
                        assert_int_equal(count_entries(f, FOLDER "/.replaced"), 1);
                        rows++;
                        if (r == FAULT_NOT_REACHED)
                                break;
                }
        assert_true(rows > 60);
        assert_true(already > 0);
}

/* With the hash of what was published there. */
static int add_link(
        struct snapshot_dir *d, const char *name, const char *staged, uint64_t size, struct error *e)
{
        uint8_t sha256[SHA256_SIZE];
        (void)digest_once(DIGEST_SHA256, "one", 3, sha256);
        return snapshot_add_link(d, name, staged, sha256, size, NULL, e);
}

/* Its ledger row, its size and its time are as they were. */
static void an_altered_file_is_not_shared(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        struct stat st;
        assert_int_equal(publish_version(f, "\"e1\"", "one", NULL), 0);
        st = stat_of(f, PATH "/b.sql");
        _cleanup_close_ int dir = openat(at(f), PATH, O_RDONLY | O_DIRECTORY);
        assert_int_equal(unlinkat(dir, "b.sql", 0), 0);
        _cleanup_close_ int fd = openat(dir, "b.sql", O_WRONLY | O_CREAT, 0600);
        assert_int_equal(write_all(fd, "two", 3), 0);
        assert_int_equal(fchmod(fd, st.st_mode & 07777), 0);
        struct snapshot_dir *d = NULL;
        assert_int_equal(snapshot_begin(f->s, FOLDER "/2024-07-14", "t", &plain, &d, &e), 0);
        assert_int_equal(add_link(d, "b.sql", PATH "/b.sql", 3, &e), -ESTALE);
        assert_non_null(strstr(e.text, "altered"));
        assert_false(snapshot_has(d, "b.sql", 3));
        snapshot_free(d);
}

static void members_are_shared(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        assert_int_equal(publish_version(f, "\"e1\"", "one", NULL), 0);
        struct snapshot_dir *d = NULL;
        assert_int_equal(snapshot_begin(f->s, FOLDER "/2024-07-14", "t", &plain, &d, &e), 0);
        assert_int_equal(add_link(d, "b.sql", PATH "/b.sql", 3, &e), 0);
        assert_int_equal(add_link(d, "b.sql", PATH "/b.sql", 3, &e), 0); /* a second time */
        assert_int_equal(add_link(d, "ora/c.sql", PATH "/ora/a.sql", 3, &e), 0);
        assert_true(snapshot_has(d, "ora/c.sql", 3));
        assert_int_equal(stat_of(f, PATH "/b.sql").st_nlink, 2);
        assert_int_equal(add_link(d, "x", PATH "/none", 3, &e), -ENOENT);
        assert_int_equal(add_link(d, "x", PATH "/b.sql", 4, &e), -ESTALE);
        assert_int_equal(add_link(d, "x", PATH "/ora", 3, &e), -ESTALE);
        assert_int_equal(fchmodat(at(f), PATH "/b.sql", 0400, 0), 0);
        assert_int_equal(add_link(d, "x", PATH "/b.sql", 3, &e), -ESTALE);
        assert_int_equal(symlinkat("b.sql", at(f), PATH "/link"), 0);
        assert_int_equal(add_link(d, "x", PATH "/link", 3, &e), -ESTALE);
        assert_int_equal(add_link(d, "x", "../x", 3, &e), -EINVAL);
        if (geteuid() == 0) {
                assert_int_equal(fchownat(at(f), PATH "/ora/a.sql", 0, 54321, 0), 0);
                assert_int_equal(add_link(d, "x", PATH "/ora/a.sql", 3, &e), -ESTALE);
        }
        assert_int_equal(count_entries(f, FOLDER "/.2024-07-14.partial"), 2);
        snapshot_free(d);
}

/* EMLINK comes through, so that the caller keeps its own copy. ext4 has it at 65,000 links. */
static void when_links_run_out(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        assert_int_equal(publish_version(f, "\"e1\"", "one", NULL), 0);
        struct snapshot_dir *d = NULL;
        assert_int_equal(snapshot_begin(f->s, FOLDER "/2024-07-14", "t", &plain, &d, &e), 0);
        fault_left = 1;
        fault_errno = EMLINK;
        int r = add_link(d, "b.sql", PATH "/b.sql", 3, &e);
        fault_left = 0;
        assert_int_equal(r, -EMLINK);
        assert_false(snapshot_has(d, "b.sql", 3));
        add(f, d, "b.sql", "one");
        assert_true(snapshot_has(d, "b.sql", 3));
        snapshot_free(d);
}

static void the_group_of_a_snapshot(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        if (geteuid() != 0)
                skip();
        struct staging_attr attr = {.gid = 54321, .mtime = 1720314123};
        struct snapshot_dir *d = NULL;
        uint8_t sha256[SHA256_SIZE] = {};
        assert_int_equal(snapshot_begin(f->s, PATH, "t", &plain, &d, &e), 0);
        add(f, d, "ora/m", "x");
        assert_true(snapshot_has(d, "ora/m", 1));
        snapshot_free(d);
        /* the group was changed meanwhile: the member is not as it must be */
        assert_int_equal(snapshot_begin(f->s, PATH, "t", &attr, &d, &e), 0);
        assert_false(snapshot_has(d, "ora/m", 1));
        add(f, d, "ora/m", "x");
        add(f, d, "new/m", "x");
        struct sum sums[] = {{"ora/m", sha256, NULL}, {"new/m", sha256, NULL}};
        assert_int_equal(publish_all(d, sums, 2, NULL, &e), 0);
        snapshot_free(d);
        static const char *const paths[] = {PATH, PATH "/new", PATH "/ora/m", PATH "/SHA256SUMS"};
        for (size_t i = 0; i < ELEMENTSOF(paths); i++)
                assert_int_equal(stat_of(f, paths[i]).st_gid, 54321);
}

static void what_others_plant_is_never_used(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        struct snapshot_dir *d = NULL;
        uint8_t sha256[SHA256_SIZE] = {};
        assert_int_equal(mkdirat(at(f), "ux", 0770), 0);
        assert_int_equal(mkdirat(at(f), FOLDER, 0770), 0);
        /* links in the place of the partial folder and of the record: removed, never followed */
        assert_int_equal(symlinkat("/etc", at(f), PARTIAL), 0);
        assert_int_equal(symlinkat("/etc/passwd", at(f), RECORD), 0);
        d = begin(f, "t");
        assert_true(S_ISDIR(stat_of(f, PARTIAL).st_mode));
        assert_true(S_ISREG(stat_of(f, RECORD).st_mode));
        add(f, d, "m", "x");
        struct sum sum = {"m", sha256, NULL};
        /* a link, a file in the place of the snapshot */
        assert_int_equal(symlinkat("/etc", at(f), PATH), 0);
        assert_int_equal(publish_all(d, &sum, 1, NULL, &e), -ENOTDIR);
        assert_true(S_ISLNK(stat_of(f, PATH).st_mode));
        assert_int_equal(unlinkat(at(f), PATH, 0), 0);
        if (geteuid() == 0) {
                assert_int_equal(mkdirat(at(f), PATH, 0777), 0);
                assert_int_equal(fchownat(at(f), PATH, 65534, 65534, 0), 0);
                assert_int_equal(publish_all(d, &sum, 1, NULL, &e), -EPERM);
                assert_int_equal(unlinkat(at(f), PATH, AT_REMOVEDIR), 0);
        }
        snapshot_free(d);
        assert_true(is_there(f, PARTIAL "/m"));
        /* a link in the place of the partial folder, beside a good record */
        assert_int_equal(staging_remove(f->s, PARTIAL, NULL), 0);
        assert_int_equal(symlinkat("/etc", at(f), PARTIAL), 0);
        d = begin(f, "t");
        assert_int_equal(count_entries(f, PARTIAL), 0);
        snapshot_free(d);
        if (geteuid() == 0) {
                assert_int_equal(fchownat(at(f), PARTIAL, 65534, 65534, 0), 0);
                assert_int_equal(snapshot_begin(f->s, PATH, "t", &plain, &d, &e), -EPERM);
        }
}

static void latest(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        char to[64] = "x";
        assert_int_equal(staging_read_latest(f->s, FOLDER, to, sizeof(to)), 0);
        assert_string_equal(to, "");
        assert_int_equal(staging_latest(f->s, FOLDER, "2024-07-07", &e), -ENOENT);
        assert_int_equal(publish_version(f, "t", "one", NULL), 0);
        assert_int_equal(staging_latest(f->s, FOLDER, "2024-07-07", &e), 0);
        assert_content(f, FOLDER "/latest/b.sql", "one");
        assert_int_equal(staging_latest(f->s, FOLDER, "2024-07-14", &e), 0);
        assert_int_equal(staging_latest(f->s, FOLDER, "2024-07-14", &e), 0);
        assert_int_equal(staging_read_latest(f->s, FOLDER, to, sizeof(to)), 0);
        assert_string_equal(to, "2024-07-14");
        assert_int_equal(staging_read_latest(f->s, FOLDER, to, 10), 0);
        assert_string_equal(to, "");
        assert_int_equal(count_entries(f, FOLDER), 2);
        assert_int_equal(staging_latest(f->s, FOLDER, "a/b", &e), -EINVAL);
        assert_int_equal(staging_latest(f->s, FOLDER, "..", &e), -EINVAL);
        assert_int_equal(staging_latest(f->s, "..", "x", &e), -EINVAL);
        assert_int_equal(staging_latest(f->s, FOLDER, NULL, &e), 0);
        assert_int_equal(staging_latest(f->s, FOLDER, NULL, &e), 0);
        assert_int_equal(count_entries(f, FOLDER), 1);
        /* one that others made */
        assert_int_equal(symlinkat("/etc", at(f), FOLDER "/latest"), 0);
        assert_int_equal(staging_read_latest(f->s, FOLDER, to, sizeof(to)), 0);
        assert_string_equal(to, "");
        assert_int_equal(staging_latest(f->s, FOLDER, "2024-07-07", &e), 0);
        assert_int_equal(unlinkat(at(f), FOLDER "/latest", 0), 0);
        assert_int_equal(mkdirat(at(f), FOLDER "/latest", 0700), 0);
        assert_int_equal(staging_latest(f->s, FOLDER, "2024-07-07", &e), -EEXIST);
        assert_int_equal(staging_read_latest(f->s, FOLDER, to, sizeof(to)), 0);
        assert_string_equal(to, "");
}

static void names_of_snapshots(void **state)
{
        (void)state;
        char name[32];
        assert_true(snapshot_name_of(".2024-07-07.partial", name, sizeof(name)));
        assert_string_equal(name, "2024-07-07");
        assert_true(snapshot_name_of(".2024-07-07.partial.tag", name, sizeof(name)));
        assert_string_equal(name, "2024-07-07");
        static const char *const not [] = {"2024-07-07.partial", ".partial", ".partial.tag", ".x.partial.",
                ".x.tag", ".0123456789012345678901234567890123456789.partial"};
        for (size_t i = 0; i < ELEMENTSOF(not ); i++)
                assert_false(snapshot_name_of(not [i], name, sizeof(name)));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(it_appears_whole),
                T(folders_of_an_earlier_attempt_get_the_mode_of_now),
                T(an_earlier_run_is_taken_up),
                T(names_that_are_refused),
                T(replacing),
                T(sweeping),
                T(published_but_not_recorded),
                T(every_crash_and_every_failure),
                T(an_altered_file_is_not_shared),
                T(members_are_shared),
                T(when_links_run_out),
                T(the_group_of_a_snapshot),
                T(what_others_plant_is_never_used),
                T(latest),
                cmocka_unit_test(names_of_snapshots),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
