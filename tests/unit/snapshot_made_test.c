/* SPDX-License-Identifier: Apache-2.0 */
/* A folder that another process filled: what it named is shown, and nothing else ever is. */
#include "snapshot_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

static void make_file(struct snapshot_dir *d, const char *name, const char *text)
{
        _cleanup_close_ int fd = openat(snapshot_fd(d), name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

static const struct snapshot_made three[] = {{"MANIFEST.jsonl", 3}, {"a.log.gz", 1}, {"b~0.log.gz", 2}};

static struct snapshot_dir *begin_three(struct fixture *f)
{
        struct snapshot_dir *d = begin(f, "tag");
        make_file(d, "b~0.log.gz", "22");
        make_file(d, "a.log.gz", "1");
        make_file(d, "MANIFEST.jsonl", "333");
        return d;
}

static void as_announced(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        struct stat st;
        struct snapshot_dir *d = begin_three(f);
        assert_int_equal(snapshot_publish_made(d, three, 3, &e), 0);
        snapshot_free(d);
        assert_content(f, PATH "/a.log.gz", "1");
        assert_content(f, PATH "/b~0.log.gz", "22");
        assert_int_equal(count_entries(f, PATH), 3);
        assert_int_equal(fstatat(staging_root_fd(f->s), PATH "/a.log.gz", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0440);
        assert_false(is_there(f, PARTIAL));
        assert_false(is_there(f, RECORD));
        /* another one takes its place as a whole */
        d = begin(f, "other");
        make_file(d, "c.log.gz", "x");
        assert_int_equal(snapshot_publish_made(d, &(struct snapshot_made){"c.log.gz", 1}, 1, &e), 0);
        snapshot_free(d);
        assert_content(f, PATH "/c.log.gz", "x");
        assert_int_equal(count_entries(f, PATH), 1);
        assert_false(is_there(f, PARTIAL));
}

static void an_empty_one(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        struct snapshot_dir *d = begin(f, "tag");
        assert_int_equal(snapshot_publish_made(d, NULL, 0, &e), 0);
        snapshot_free(d);
        assert_true(is_there(f, PATH));
}

static void assert_refused(struct fixture *f, struct snapshot_dir *d, const struct snapshot_made *v, size_t n)
{
        struct error e = {};
        assert_int_equal(snapshot_publish_made(d, v, n, &e), -EBADMSG);
        assert_int_equal(e.cause, CAUSE_HELPER);
        snapshot_free(d);
        assert_false(is_there(f, PATH));
        assert_int_equal(snapshot_discard(f->s, PATH, &e), 0);
}

static void not_as_announced(void **state)
{
        struct fixture *f = *state;
        const struct snapshot_made larger[] = {{"MANIFEST.jsonl", 3}, {"a.log.gz", 2}, {"b~0.log.gz", 2}};
        const struct snapshot_made more[] = {
                {"MANIFEST.jsonl", 3}, {"a.log.gz", 1}, {"b~0.log.gz", 2}, {"c.log.gz", 1}};
        const struct snapshot_made unsorted[] = {{"a.log.gz", 1}, {"MANIFEST.jsonl", 3}, {"b~0.log.gz", 2}};
        const struct snapshot_made twice[] = {{"a.log.gz", 1}, {"a.log.gz", 1}};
        assert_refused(f, begin_three(f), larger, 3);
        assert_refused(f, begin_three(f), three, 2);
        assert_refused(f, begin_three(f), more, 4);
        assert_refused(f, begin_three(f), unsorted, 3);
        assert_refused(f, begin_three(f), twice, 2);
}

static void what_is_no_file_of_its_own(void **state)
{
        struct fixture *f = *state;
        struct snapshot_dir *d = begin_three(f);
        assert_int_equal(unlinkat(snapshot_fd(d), "a.log.gz", 0), 0);
        assert_int_equal(symlinkat("b~0.log.gz", snapshot_fd(d), "a.log.gz"), 0);
        assert_refused(f, d, three, 3);
        d = begin_three(f);
        assert_int_equal(unlinkat(snapshot_fd(d), "a.log.gz", 0), 0);
        assert_int_equal(mkdirat(snapshot_fd(d), "a.log.gz", 0700), 0);
        assert_refused(f, d, three, 3);
        d = begin_three(f);
        assert_int_equal(unlinkat(snapshot_fd(d), "a.log.gz", 0), 0);
        assert_int_equal(mkfifoat(snapshot_fd(d), "a.log.gz", 0600), 0);
        assert_refused(f, d, three, 3);
        /* two names of one file: one of them may be elsewhere */
        d = begin_three(f);
        assert_int_equal(unlinkat(snapshot_fd(d), "a.log.gz", 0), 0);
        assert_int_equal(linkat(snapshot_fd(d), "b~0.log.gz", snapshot_fd(d), "a.log.gz", 0), 0);
        const struct snapshot_made linked[] = {{"MANIFEST.jsonl", 3}, {"a.log.gz", 2}, {"b~0.log.gz", 2}};
        assert_refused(f, d, linked, 3);
}

static void names_that_lead_elsewhere(void **state)
{
        struct fixture *f = *state;
        static const char *const names[] = {"../a", "a/b", ".a", "", "..", "/etc/passwd"};
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert_refused(f, begin(f, "tag"), &(struct snapshot_made){names[i], 1}, 1);
}

/* What an earlier attempt left goes, of whatever tag, and the folder that is begun goes when it is abandoned.
 */
static void begun_empty(void **state)
{
        struct fixture *f = *state;
        struct error e = {};
        snapshot_free(begin_three(f));
        struct snapshot_dir *d = NULL;
        assert_int_equal(snapshot_begin_empty(f->s, PATH, "tag", &plain, &d, &e), 0);
        assert_int_equal(count_entries(f, PARTIAL), 0);
        assert_int_equal(snapshot_abandon(d, &e), 0);
        snapshot_free(d);
        assert_false(is_there(f, PARTIAL));
        assert_false(is_there(f, RECORD));
        assert_false(is_there(f, PATH));
}

#define HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define LIST HASH "  a.log.gz\n"

/* A day of one course, with its list. Where the old folder is kept, into ret. */
static void publish_day(struct fixture *f, char ret[256])
{
        static const struct snapshot_made files[] = {{"SHA256SUMS", strlen(LIST)}, {"a.log.gz", 1}};
        struct error e = {};
        struct snapshot_dir *d = begin(f, "tag");
        make_file(d, "a.log.gz", "1");
        make_file(d, "SHA256SUMS", LIST);
        assert_int_equal(snapshot_publish_made(d, files, ELEMENTSOF(files), &e), 0);
        snprintf(ret, 256, "%s", snapshot_kept_as(d));
        snapshot_free(d);
        assert_int_equal(count_entries(f, PATH), 2);
        assert_false(is_there(f, PARTIAL));
}

/* What somebody put beside the day's own files is not removed with them. */
static void what_was_added_is_kept(void **state)
{
        struct fixture *f = *state;
        char kept[256];
        publish_day(f, kept);
        assert_string_equal(kept, "");
        publish_day(f, kept);
        assert_string_equal(kept, "");
        assert_false(is_there(f, FOLDER "/.replaced"));
        int fd = openat(at(f), PATH "/notes", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(write_all(fd, "mine", 4), 0);
        close(fd);
        publish_day(f, kept);
        assert_int_equal(strncmp(kept, ".replaced/2024-07-07-", 21), 0);
        _cleanup_free_ char *path = str_printf(FOLDER "/%s/notes", kept);
        assert_content(f, path, "mine");
        publish_day(f, kept);
        assert_string_equal(kept, "");
        assert_content(f, path, "mine");
}

static void publish_snapshot(struct fixture *f, const char *text, bool unknown, char ret[256])
{
        uint8_t hash[SHA256_SIZE];
        struct error e = {};
        struct snapshot_dir *d = begin(f, "tag");
        add(f, d, "x", text);
        assert_int_equal(digest_once(DIGEST_SHA256, text, strlen(text), hash), 0);
        struct sums sums = {.v = &(struct sum){.name = "x", .sha256 = hash, .size = strlen(text)}, .n = 1};
        const struct snapshot_list list = {
                .each = each_sum, .has = has_sum, .arg = &sums, .unknown = unknown};
        assert_int_equal(snapshot_publish(d, &list, NULL, &e), 0);
        snprintf(ret, 256, "%s", snapshot_kept_as(d));
        snapshot_free(d);
        assert_content(f, PATH "/x", text);
}

/* Another's folder that was moved there. */
static void what_nobody_staged_is_kept(void **state)
{
        struct fixture *f = *state;
        char kept[256];
        publish_snapshot(f, "one", true, kept);
        assert_string_equal(kept, "");
        publish_snapshot(f, "one", true, kept); /* it would be the same */
        assert_string_equal(kept, "");
        publish_snapshot(f, "two", false, kept); /* the caller knows that one, and does not keep it */
        assert_string_equal(kept, "");
        assert_false(is_there(f, FOLDER "/.replaced"));
        publish_snapshot(f, "three", true, kept);
        _cleanup_free_ char *path = str_printf(FOLDER "/%s/x", kept);
        assert_content(f, path, "two");
}

struct days {
        struct staging *s;
        const char *path;
        int r;
        struct error e;
};

static void *begin_and_abandon(void *arg)
{
        struct days *d = arg;
        for (unsigned i = 0; d->r == 0 && i < 300; i++) {
                struct snapshot_dir *dir = NULL;
                d->r = snapshot_begin_empty(d->s, d->path, "tag", &plain, &dir, &d->e);
                if (d->r == 0)
                        d->r = snapshot_abandon(dir, &d->e);
                snapshot_free(dir);
        }
        return NULL;
}

/* Two days of one year, by two threads: neither takes away the year's folder from the other. */
static void several_at_once(void **state)
{
        struct fixture *f = *state;
        struct days days[] = {{f->s, "x/2024/2024-01-01", 0, {}}, {f->s, "x/2024/2024-01-02", 0, {}}};
        pthread_t other;
        assert_int_equal(pthread_create(&other, NULL, begin_and_abandon, &days[1]), 0);
        begin_and_abandon(&days[0]);
        assert_int_equal(pthread_join(other, NULL), 0);
        for (size_t i = 0; i < ELEMENTSOF(days); i++)
                if (days[i].r < 0)
                        fail_msg("%s", days[i].e.text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(as_announced, setup, teardown),
                cmocka_unit_test_setup_teardown(an_empty_one, setup, teardown),
                cmocka_unit_test_setup_teardown(not_as_announced, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_no_file_of_its_own, setup, teardown),
                cmocka_unit_test_setup_teardown(names_that_lead_elsewhere, setup, teardown),
                cmocka_unit_test_setup_teardown(begun_empty, setup, teardown),
                cmocka_unit_test_setup_teardown(what_was_added_is_kept, setup, teardown),
                cmocka_unit_test_setup_teardown(what_nobody_staged_is_kept, setup, teardown),
                cmocka_unit_test_setup_teardown(several_at_once, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
