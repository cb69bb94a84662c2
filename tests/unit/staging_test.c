/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "fault.h"
#include "staging_fixture.h"

static void a_file_appears_with_its_attributes(void **state)
{
        struct fixture *f = *state;
        _cleanup_close_ int fd = make(f, "hello");
        struct stat st;
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(st.st_nlink, 0);
        assert_int_equal(count_entries(f, "."), 0);
        assert_int_equal(staging_publish(f->s, fd, "ux/events/edx/2024/f.log.gz", &plain, NULL, NULL), 0);
        assert_content(f, "ux/events/edx/2024/f.log.gz", "hello");
        st = stat_of(f, "ux/events/edx/2024/f.log.gz");
        assert_int_equal(st.st_mode & 07777, 0440);
        assert_int_equal(st.st_mtime, 1720314123);
        assert_int_equal(st.st_nlink, 1);
        assert_int_equal(stat_of(f, "ux").st_mode & 07777, 0750);
        assert_int_equal(stat_of(f, "ux/events/edx/2024").st_mode & 07777, 0750);
        assert_int_equal(count_entries(f, "ux/events/edx/2024"), 1);
        /* the same descriptor twice is a bug of ours */
        assert_int_equal(staging_publish(f->s, fd, "again", &plain, NULL, NULL), -EINVAL);

        uint64_t size;
        int64_t mtime;
        bool is_dir;
        assert_int_equal(staging_stat(f->s, "ux/events/edx/2024/f.log.gz", &size, &mtime, &is_dir), 0);
        assert_int_equal(size, 5);
        assert_int_equal(mtime, 1720314123);
        assert_false(is_dir);
        assert_int_equal(staging_stat(f->s, "ux", &size, &mtime, &is_dir), 0);
        assert_true(is_dir);
        assert_int_equal(staging_stat(f->s, "ux/none", &size, &mtime, &is_dir), -ENOENT);
}

static void a_time_that_is_left(void **state)
{
        struct fixture *f = *state;
        struct staging_attr attr = {.gid = (gid_t)-1, .mtime = -1};
        assert_int_equal(publish_as(f, "f", "x", &attr, NULL, NULL), 0);
        assert_true(stat_of(f, "f").st_mtime > 1720314123);
}

static void groups_are_set_on_what_is_new(void **state)
{
        struct fixture *f = *state;
        if (geteuid() != 0)
                skip();
        assert_int_equal(mkdirat(at(f), "old", 0700), 0);
        assert_int_equal(fchmodat(at(f), "old", 02711, 0), 0);
        struct staging_attr attr = {.gid = 54321, .mtime = -1};
        assert_int_equal(publish_as(f, "old/new/f", "x", &attr, NULL, NULL), 0);
        assert_int_equal(stat_of(f, "old").st_gid, getegid());
        assert_int_equal(stat_of(f, "old").st_mode & 07777, 02711);
        assert_int_equal(stat_of(f, "old/new").st_gid, 54321);
        assert_int_equal(stat_of(f, "old/new").st_mode & 07777, 0750);
        assert_int_equal(stat_of(f, "old/new/f").st_gid, 54321);
        assert_int_equal(stat_of(f, "old/new/f").st_mode & 07777, 0440);
}

static void what_is_retired_is_kept_or_goes(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        publish(f, "d/f.gz", "one", NULL);
        assert_int_equal(staging_retire(f->s, "d/f.gz", ".replaced/f-e1", &e), 0);
        assert_false(is_there(f, "d/f.gz"));
        assert_content(f, "d/.replaced/f-e1", "one");
        /* once more, after a crash: it is kept already */
        assert_int_equal(staging_retire(f->s, "d/f.gz", ".replaced/f-e1", &e), 0);
        assert_content(f, "d/.replaced/f-e1", "one");
        assert_int_equal(staging_retire(f->s, "none/f", ".replaced/f-e1", &e), 0);
        publish(f, "d/g", "two", NULL);
        assert_int_equal(staging_retire(f->s, "d/g", NULL, &e), 0);
        assert_false(is_there(f, "d/g"));
        publish(f, "d/g", "two", NULL);
        assert_int_equal(staging_retire(f->s, "d/g", "../f", &e), -EINVAL);
        assert_content(f, "d/g", "two");
}

/* Without the group among ours: an error that says what to do, and nothing visible. */
static void a_group_we_are_not_in(void **state)
{
        struct fixture *f = *state;
        if (geteuid() != 0)
                skip();
        assert_int_equal(chown(f->dir, 65534, 65534), 0);
        pid_t pid = fork();
        if (pid == 0) {
                struct staging *s = NULL;
                struct error e = {};
                struct staging_attr attr = {.gid = 54321, .mtime = -1};
                if (setgroups(0, NULL) < 0 || setresgid(65534, 65534, 65534) < 0 ||
                        setresuid(65534, 65534, 65534) < 0 || staging_open(f->dir, 0440, 0750, &s, &e) < 0)
                        _exit(1);
                int fd = staging_create(s, &e);
                if (staging_publish(s, fd, "f", &attr, NULL, &e) != -EPERM ||
                        !strstr(e.text, "SupplementaryGroups="))
                        _exit(2);
                if (staging_publish(s, fd, "f", &plain, NULL, &e) != 0)
                        _exit(3);
                staging_free(s);
                close_fd(fd);
                _exit(0);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        assert_int_equal(count_entries(f, "."), 1);
}

static void replacing(void **state)
{
        struct fixture *f = *state;
        publish(f, "d/f", "one", NULL);
        publish(f, "d/f", "two", NULL);
        assert_content(f, "d/f", "two");
        assert_int_equal(count_entries(f, "d"), 1);
        publish(f, "d/f", "three", ".replaced/2024-07-07-e2");
        assert_content(f, "d/f", "three");
        assert_content(f, "d/.replaced/2024-07-07-e2", "two");
        assert_int_equal(stat_of(f, "d/.replaced").st_mode & 07777, 0750);
        assert_int_equal(stat_of(f, "d/.replaced/2024-07-07-e2").st_mode & 07777, 0440);
        /* the same version kept a second time */
        publish(f, "d/f", "two", NULL);
        publish(f, "d/f", "four", ".replaced/2024-07-07-e2");
        assert_content(f, "d/f", "four");
        assert_content(f, "d/.replaced/2024-07-07-e2", "two");
        assert_int_equal(count_entries(f, "d/.replaced"), 1);
        assert_int_equal(count_entries(f, "d"), 2);
        /* nothing to keep */
        publish(f, "d/g", "first", ".replaced/g");
        assert_false(is_there(f, "d/.replaced/g"));
}

/* A crash after the old one was kept and before the new one has its name: done once more, all is right. */
static void a_crash_between_keeping_and_replacing(void **state)
{
        struct fixture *f = *state;
        publish(f, "d/f", "old", NULL);
        assert_int_equal(mkdirat(at(f), "d/.replaced", 0750), 0);
        assert_int_equal(linkat(at(f), "d/f", at(f), "d/.replaced/e1", 0), 0);
        publish(f, "d/f", "new", ".replaced/e1");
        assert_content(f, "d/f", "new");
        assert_content(f, "d/.replaced/e1", "old");
        assert_int_equal(stat_of(f, "d/.replaced/e1").st_nlink, 1);
        /* ... and after the new one has its name, but before anybody noted that: what was kept stays */
        publish(f, "d/f", "new", ".replaced/e1");
        assert_content(f, "d/f", "new");
        assert_content(f, "d/.replaced/e1", "old");
}

static void paths_that_are_refused(void **state)
{
        struct fixture *f = *state;
        char name256[257], name255[256];
        memset(name256, 'x', 256);
        name256[256] = 0;
        memset(name255, 'x', 255);
        name255[255] = 0;
        const char *const bad[] = {"", "/", "/etc/f", "..", ".", "../f", "a/../f", "a/./f", "a//f", "a/",
                "a/..", "a\nb", "a\x7f", "a\tb", name256};
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                struct error e = {};
                if (publish_as(f, bad[i], "x", &plain, NULL, &e) != -EINVAL)
                        fail_msg("%s was not refused", bad[i]);
                assert_int_equal(publish_as(f, "ok", "x", &plain, bad[i], &e), -EINVAL);
                assert_int_equal(staging_open_file(f->s, bad[i]), -EINVAL);
                assert_int_equal(staging_remove(f->s, bad[i], &e), -EINVAL);
        }
        assert_int_equal(count_entries(f, "."), 0);
        const char *const good[] = {"a", "a/b", "...", "..a", ".a", "a..", "a b/\xc3\xbc", name255};
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                (void)unlinkat(at(f), "a", 0);
                assert_int_equal(staging_check_path(good[i], NULL), 0);
        }
        /* a name of full length can be replaced: the hidden one is not made from it */
        publish(f, name255, "x", NULL);
        publish(f, name255, "y", NULL);
        assert_content(f, name255, "y");
}

static void in_child_replace(struct fixture *f)
{
        int fd = staging_create(f->s, NULL);
        if (fd < 0 || write_all(fd, "new", 3) < 0)
                _exit(1);
        FAULT_EXIT(staging_publish(f->s, fd, "d/f", &plain, ".replaced/e1", NULL) < 0);
}

static void reset_replace(struct fixture *f)
{
        assert_int_equal(staging_remove(f->s, "d", NULL), 0);
        publish(f, "d/f", "old", NULL);
}

/* Killed before, or refused at, each call that changes the disk: the name stands for the old or the new whole
 * file, and doing it once more after a sweep gives the same as if nothing had happened. */
static void every_crash_and_every_failure(void **state)
{
        struct fixture *f = *state;
        static const int errors[] = {0, ENOSPC, EIO, EROFS};
        unsigned rows = 0;
        for (size_t i = 0; i < ELEMENTSOF(errors); i++)
                for (unsigned n = 1;; n++) {
                        reset_replace(f);
                        int r = FAULT_FORK(n, errors[i], in_child_replace(f));
                        _cleanup_free_ char *now = NULL;
                        assert_int_equal(read_file_at(at(f), "d/f", 100, &now, NULL), 0);
                        assert_true(streq(now, "old") || streq(now, "new"));
                        assert_int_equal(staging_sweep(f->s, keep_none, NULL, NULL), 0);
                        if (!streq(now, "new"))
                                publish(f, "d/f", "new", ".replaced/e1");
                        assert_content(f, "d/f", "new");
                        assert_content(f, "d/.replaced/e1", "old");
                        assert_int_equal(count_entries(f, "d"), 2);
                        assert_int_equal(count_entries(f, "d/.replaced"), 1);
                        rows++;
                        if (r == FAULT_NOT_REACHED)
                                break;
                }
        assert_true(rows > 20);
}

/* What another user, let in by a mode or an ACL, could put in the way. */
static void what_others_plant_is_never_used(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        char outside[] = "/tmp/czard-outside-XXXXXX", target[64];
        assert_non_null(mkdtemp(outside));
        snprintf(target, sizeof(target), "%s/secret", outside);
        _cleanup_close_ int fd = open(target, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        assert_int_equal(fchmod(fd, 0604), 0);
        assert_int_equal(mkdirat(at(f), "d", 0770), 0);

        /* links: to a file, to a folder, in the way and at the end */
        assert_int_equal(symlinkat(target, at(f), "d/f"), 0);
        assert_int_equal(publish_as(f, "d/f", "x", &plain, NULL, &e), -EEXIST);
        assert_int_equal(publish_as(f, "d/f", "x", &plain, ".replaced/f", &e), -EEXIST);
        assert_int_equal(staging_open_file(f->s, "d/f"), -ELOOP);
        uint64_t size;
        int64_t mtime;
        bool is_dir;
        assert_int_equal(staging_stat(f->s, "d/f", &size, &mtime, &is_dir), -ELOOP);
        assert_int_equal(symlinkat(outside, at(f), "d/folder"), 0);
        assert_int_equal(publish_as(f, "d/folder/f", "x", &plain, NULL, &e), -ENOTDIR);
        assert_non_null(strstr(e.text, "is no folder"));
        assert_true(staging_open_file(f->s, "d/folder/secret") < 0);
        assert_true(staging_remove(f->s, "d/folder/secret", &e) < 0);
        assert_int_equal(symlinkat(outside, at(f), "d/.replaced"), 0);
        publish(f, "d/h", "old", NULL);
        assert_true(publish_as(f, "d/h", "new", &plain, ".replaced/x", &e) < 0);
        assert_content(f, "d/h", "old");

        /* a fifo, a folder, a file in the place of a folder */
        assert_int_equal(mkfifoat(at(f), "d/fifo", 0666), 0);
        assert_int_equal(publish_as(f, "d/fifo", "x", &plain, NULL, &e), -EEXIST);
        assert_int_equal(staging_open_file(f->s, "d/fifo"), -EINVAL);
        assert_true(publish_as(f, "d/fifo/f", "x", &plain, NULL, &e) < 0);
        assert_int_equal(mkdirat(at(f), "d/dir", 0777), 0);
        assert_int_equal(publish_as(f, "d/dir", "x", &plain, NULL, &e), -EEXIST);
        assert_int_equal(staging_open_file(f->s, "d/dir"), -EISDIR);
        assert_int_equal(publish_as(f, "d/h/f", "x", &plain, NULL, &e), -ENOTDIR);

        /* removing a link removes the link */
        assert_int_equal(staging_remove(f->s, "d/f", &e), 0);
        assert_int_equal(staging_remove(f->s, "d/folder", &e), 0);

        struct stat st;
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0604);
        assert_int_equal(st.st_size, 0);
        assert_int_equal(st.st_nlink, 1);
        assert_int_equal(unlink(target), 0);
        assert_int_equal(rmdir(outside), 0); /* and nothing came there */
}

static void folders_and_files_of_others_are_refused(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        if (geteuid() != 0)
                skip();
        assert_int_equal(mkdirat(at(f), "theirs", 0777), 0);
        assert_int_equal(fchownat(at(f), "theirs", 65534, 65534, 0), 0);
        assert_int_equal(publish_as(f, "theirs/f", "x", &plain, NULL, &e), -EPERM);
        assert_non_null(strstr(e.text, "uid 65534"));
        assert_int_equal(publish_as(f, "theirs/new/f", "x", &plain, NULL, &e), -EPERM);
        assert_int_equal(count_entries(f, "theirs"), 0);
        assert_int_equal(stat_of(f, "theirs").st_uid, 65534);
        publish(f, "d/f", "old", NULL);
        assert_int_equal(fchownat(at(f), "d/f", 65534, 65534, 0), 0);
        assert_int_equal(publish_as(f, "d/f", "new", &plain, NULL, &e), -EPERM);
        assert_content(f, "d/f", "old");
}

/* Another user who may write in a folder puts links, fifos and folders in the way for as long as told. */
static void plant(int dir, const char *outside)
{
        int _unused_ ignored; /* what he cannot do now he does in the next round */
        for (unsigned i = 0;; i++) {
                (void)unlinkat(dir, "f", i & 1 ? AT_REMOVEDIR : 0);
                (void)unlinkat(dir, "f", i & 1 ? 0 : AT_REMOVEDIR);
                switch (i % 5) {
                case 0:
                        ignored = symlinkat(outside, dir, "f");
                        break;
                case 1:
                        (void)mkfifoat(dir, "f", 0666);
                        break;
                case 2:
                        (void)mkdirat(dir, "f", 0777);
                        break;
                case 3:
                        ignored = symlinkat(outside, dir, "sub");
                        break;
                default:
                        (void)unlinkat(dir, "sub", 0);
                        (void)renameat(dir, "sub", dir, "sub2");
                }
        }
}

static void races_with_another_user(void **state)
{
        struct fixture *f = *state;
        if (geteuid() != 0)
                skip();
        char outside[] = "/tmp/czard-outside-XXXXXX";
        assert_non_null(mkdtemp(outside));
        assert_int_equal(chmod(outside, 0777), 0);
        assert_int_equal(mkdirat(at(f), "d", 0700), 0);
        assert_int_equal(fchmodat(at(f), "d", 0777, 0), 0);
        _cleanup_close_ int dir = openat(at(f), "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        pid_t pid = fork();
        if (pid == 0) {
                if (setgroups(0, NULL) < 0 || setresgid(65534, 65534, 65534) < 0 ||
                        setresuid(65534, 65534, 65534) < 0)
                        _exit(1);
                plant(dir, outside);
        }
        unsigned published = 0;
        for (int i = 0; i < 1000; i++) {
                struct error e = {};
                published += publish_as(f, "d/f", "x", &plain, i & 2 ? ".replaced/f" : NULL, &e) == 0;
                published += publish_as(f, "d/sub/f", "x", &plain, NULL, &e) == 0;
                if (i & 1)
                        (void)staging_remove(f->s, "d/sub/f", &e);
        }
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_true(published > 0);
        struct stat st;
        assert_int_equal(stat(outside, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0777);
        assert_int_equal(st.st_gid, getegid());
        assert_int_equal(rmdir(outside), 0); /* nothing came there */
}

static void removing(void **state)
{
        struct fixture *f = *state;
        publish(f, "a/b/c/f", "x", NULL);
        publish(f, "a/g", "x", NULL);
        assert_int_equal(staging_remove(f->s, "a/b/c/none", NULL), 0);
        assert_int_equal(staging_remove(f->s, "none/at/all", NULL), 0);
        assert_int_equal(staging_remove(f->s, "a/b/c/f", NULL), 0);
        assert_false(is_there(f, "a/b"));
        assert_true(is_there(f, "a/g"));
        publish(f, "s/database/2024/ora/m", "x", NULL);
        publish(f, "s/database/2024/n", "x", NULL);
        publish(f, "s/database/2025/n", "x", NULL);
        assert_int_equal(staging_remove(f->s, "s/database/2024", NULL), 0);
        assert_false(is_there(f, "s/database/2024"));
        assert_int_equal(count_entries(f, "s/database"), 1);
        assert_int_equal(staging_remove(f->s, "s", NULL), 0);
        assert_int_equal(staging_remove(f->s, "a/g", NULL), 0);
        assert_int_equal(count_entries(f, "."), 0);
        assert_int_equal(faccessat(AT_FDCWD, f->dir, F_OK, 0), 0);
}

static void opening(void **state)
{
        struct fixture *f = *state;
        struct staging *s = NULL;
        struct error e = {};
        assert_int_equal(staging_open("/tmp/czard-no-such-folder", 0440, 0750, &s, &e), -ENOENT);
        assert_int_equal(staging_open(f->dir, 0444, 0750, &s, &e), -EINVAL);
        assert_int_equal(staging_open(f->dir, 0440, 0755, &s, &e), -EINVAL);
        assert_int_equal(staging_open(f->dir, 0440, 02750, &s, &e), -EINVAL);
        assert_int_equal(staging_open(f->dir, 0440, 0550, &s, &e), -EINVAL);
        assert_int_equal(staging_open(f->dir, 0040, 0750, &s, &e), -EINVAL);
        assert_int_equal(chmod(f->dir, 0755), 0);
        assert_int_equal(staging_open(f->dir, 0440, 0750, &s, &e), -EPERM);
        assert_non_null(strstr(e.text, "chmod"));
        assert_int_equal(chmod(f->dir, 0750), 0);
        /* a file system that has no nameless files, and one that is read-only */
        assert_true(staging_open("/proc/self", 0440, 0750, &s, &e) < 0);
        assert_null(s);
        uint64_t bytes = 0;
        assert_int_equal(staging_free_bytes(f->s, &bytes, &e), 0);
        assert_true(bytes > 0);
        assert_int_equal(staging_open_readonly(f->dir, &s, &e), 0);
        publish(f, "f", "x", NULL);
        _cleanup_close_ int fd = staging_open_file(s, "f");
        assert_true(fd >= 0);
        s = staging_free(s);
        if (geteuid() != 0)
                return;
        /* somebody else's: to be read by who may, and for nothing more */
        assert_int_equal(chown(f->dir, 1, (gid_t)-1), 0);
        assert_int_equal(staging_open_readonly(f->dir, &s, &e), -EPERM);
        assert_int_equal(staging_open_reader(f->dir, &s, &e), 0);
        s = staging_free(s);
        assert_int_equal(chown(f->dir, 0, (gid_t)-1), 0);
}

/* Two files of one new folder are published by two threads. */
static void *makes_folders(void *arg)
{
        struct fixture *f = arg;
        uintptr_t failed = 0;
        for (unsigned i = 0; i < 200; i++) {
                char path[32];
                snprintf(path, sizeof(path), "d%u/e/f", i);
                int fd = staging_open_dir(f->s, at(f), path, true, (gid_t)-1, NULL);
                failed += fd < 0;
                close_fd(fd);
        }
        return (void *)failed;
}

static void threads_that_make_one_folder(void **state)
{
        pthread_t thread[4];
        for (size_t i = 0; i < ELEMENTSOF(thread); i++)
                assert_int_equal(pthread_create(&thread[i], NULL, makes_folders, *state), 0);
        for (size_t i = 0; i < ELEMENTSOF(thread); i++) {
                void *failed;
                assert_int_equal(pthread_join(thread[i], &failed), 0);
                assert_null(failed);
        }
}

/* A file is removed, and with it the folders that are empty then, while others come into them. */
static void *publishes_and_removes(void *arg)
{
        struct fixture *f = arg;
        static atomic_uint names;
        unsigned name = names++;
        uintptr_t failed = 0;
        for (unsigned i = 0; i < 500; i++) {
                char path[32];
                struct error e = {};
                snprintf(path, sizeof(path), "a/b/c/f%u", name);
                failed += publish_as(f, path, "x", &plain, NULL, &e) < 0;
                failed += e.cause != CAUSE_NONE; /* who publishes goes by that as well */
                failed += staging_remove(f->s, path, &e) < 0;
        }
        return (void *)failed;
}

static void folders_that_are_tidied_away_meanwhile(void **state)
{
        struct fixture *f = *state;
        pthread_t thread[4];
        for (size_t i = 0; i < ELEMENTSOF(thread); i++)
                assert_int_equal(pthread_create(&thread[i], NULL, publishes_and_removes, f), 0);
        for (size_t i = 0; i < ELEMENTSOF(thread); i++) {
                void *failed;
                assert_int_equal(pthread_join(thread[i], &failed), 0);
                assert_null(failed);
        }
        publish(f, "a/b/c/f", "x", NULL);
        assert_int_equal(staging_remove(f->s, "a/b/c/f", NULL), 0);
        assert_int_equal(count_entries(f, "."), 0);
}

/* Whoever may read a folder can lock it: he keeps nothing from being published. */
static void a_folder_that_a_reader_has_locked(void **state)
{
        struct fixture *f = *state;
        publish(f, "a/b/f", "x", NULL);
        _cleanup_close_ int fd = openat(staging_root_fd(f->s), "a/b", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(flock(fd, LOCK_EX), 0);
        alarm(60);
        publish(f, "a/b/g", "y", NULL);
        alarm(0);
        assert_content(f, "a/b/g", "y");
}

static void a_folder_that_cannot_be_written(void **state)
{
        struct fixture *f = *state;
        if (geteuid() != 0)
                skip();
        assert_int_equal(chmod(f->dir, 0750), 0);
        assert_int_equal(chown(f->dir, 0, 65534), 0);
        pid_t pid = fork();
        if (pid == 0) {
                struct staging *s = NULL;
                struct error e = {};
                if (setgroups(0, NULL) < 0 || setresgid(65534, 65534, 65534) < 0 ||
                        setresuid(65534, 65534, 65534) < 0)
                        _exit(1);
                int r = staging_open(f->dir, 0440, 0750, &s, &e);
                _exit(r == -EACCES && strstr(e.text, "ReadWritePaths=/tmp/czard-staging") ? 0 : 2);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(WEXITSTATUS(status), 0);
}

/* What a worker is to write: the descriptor that stays here cannot write, names it all the same, and tells
 * whether it is as the worker says. */
static void a_file_that_is_handed_over(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        assert_int_equal(staging_try_leases(f->s, &e), 0);
        int writable = -1;
        _cleanup_close_ int fd = staging_create_handed(f->s, &writable, &e);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, "x", 1), -1);
        assert_int_equal(write_all(writable, "12345", 5), 0);
        assert_int_equal(staging_check_written(f->s, fd, 5, &e), -EPROTO); /* it is still open */
        assert_non_null(strstr(e.text, "written to"));
        int other = dup(writable);
        close_fd(writable);
        assert_int_equal(staging_check_written(f->s, fd, 5, &e), -EPROTO);
        char *map = mmap(NULL, 5, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0);
        assert_true(map != MAP_FAILED);
        close_fd(other);
        assert_int_equal(staging_check_written(f->s, fd, 5, &e), -EPROTO);
        assert_int_equal(munmap(map, 5), 0);
        assert_int_equal(staging_check_written(f->s, fd, 4, &e), -EPROTO);
        assert_non_null(strstr(e.text, "4 bytes, but the file has 5"));
        assert_int_equal(e.cause, CAUSE_HELPER);
        assert_int_equal(staging_check_written(f->s, fd, 5, &e), 0);
        assert_int_equal(fcntl(fd, F_GETLEASE), F_UNLCK); /* it was given back */
        assert_int_equal(staging_publish(f->s, fd, "d/f", &plain, NULL, &e), 0);
        assert_content(f, "d/f", "12345");
        assert_int_equal(stat_of(f, "d/f").st_mode & 07777, 0440);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(a_file_appears_with_its_attributes),
                T(what_is_retired_is_kept_or_goes),
                T(a_time_that_is_left),
                T(a_folder_that_a_reader_has_locked),
                T(a_file_that_is_handed_over),
                T(groups_are_set_on_what_is_new),
                T(a_group_we_are_not_in),
                T(replacing),
                T(a_crash_between_keeping_and_replacing),
                T(paths_that_are_refused),
                T(every_crash_and_every_failure),
                T(what_others_plant_is_never_used),
                T(folders_and_files_of_others_are_refused),
                T(races_with_another_user),
                T(removing),
                T(opening),
                T(threads_that_make_one_folder),
                T(folders_that_are_tidied_away_meanwhile),
                T(a_folder_that_cannot_be_written),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
