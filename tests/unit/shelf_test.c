/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "shelf.h"
#include "str.h"

#define RECORDS 20000
#define LARGE (200 * 1024) /* more than the buffer takes */

struct place {
        char path[64];
        int fd;
        struct shelf *shelf;
        uint64_t at[RECORDS];
};

static int setup(void **state)
{
        struct place *p = calloc(1, sizeof(*p));
        if (!p)
                return -1;
        strcpy(p->path, "/tmp/czard-shelf-XXXXXX");
        if (!mkdtemp(p->path))
                return -1;
        p->fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *state = p;
        return shelf_new(p->fd, &p->shelf, NULL);
}

static int teardown(void **state)
{
        struct place *p = *state;
        int r = rmdir(p->path); /* nothing was left in it */
        shelf_free(p->shelf);
        close_fd(p->fd);
        free(p);
        return r;
}

/* Record i: its length follows from its number, as does each byte. */
static size_t fill(unsigned i, char version, char *ret)
{
        size_t n = 1 + i * 7 % 300;
        memset(ret, version + (char)(i % 16), n);
        return n;
}

static void add_all(struct place *p)
{
        char record[300];
        for (unsigned i = 0; i < RECORDS; i++) {
                size_t n = fill(i, 'a', record);
                assert_int_equal(shelf_add(p->shelf, record, n, &p->at[i], NULL), 0);
        }
}

static bool is_there(const struct place *p, unsigned i, char version)
{
        char want[300], got[300];
        size_t n = fill(i, version, want);
        return shelf_get(p->shelf, p->at[i], got, n, NULL) == 0 && memcmp(want, got, n) == 0;
}

static void records_are_read_back(void **state)
{
        struct place *p = *state;
        char record[300];
        assert_int_equal(p->at[0], 0);
        add_all(p);
        for (unsigned i = RECORDS; i-- > 0;)
                assert_true(is_there(p, i, 'a'));
        for (unsigned i = 0; i < RECORDS; i += 3)
                assert_int_equal(shelf_put(p->shelf, p->at[i], record, fill(i, 'A', record), NULL), 0);
        add_all(p); /* goes on behind */
        for (unsigned i = 0; i < RECORDS; i++)
                assert_true(is_there(p, i, 'a'));
        assert_true(p->at[0] > 0);
}

static void what_was_written_over_stays_so(void **state)
{
        struct place *p = *state;
        char record[300];
        add_all(p);
        for (unsigned i = 0; i < RECORDS; i += 3)
                assert_int_equal(shelf_put(p->shelf, p->at[i], record, fill(i, 'A', record), NULL), 0);
        for (unsigned i = 0; i < RECORDS; i++)
                assert_true(is_there(p, i, i % 3 ? 'a' : 'A'));
}

static void a_large_record_keeps_its_place(void **state)
{
        struct place *p = *state;
        uint64_t at[3];
        char one = 'x', got = 0;
        _cleanup_free_ char *large = malloc(LARGE), *back = malloc(LARGE);
        memset(large, 'y', LARGE);
        assert_int_equal(shelf_add(p->shelf, &one, 1, &at[0], NULL), 0);
        assert_int_equal(shelf_add(p->shelf, large, LARGE, &at[1], NULL), 0);
        assert_int_equal(shelf_add(p->shelf, &one, 1, &at[2], NULL), 0);
        assert_true(at[0] == 0 && at[1] == 1 && at[2] == 1 + LARGE);
        assert_int_equal(shelf_get(p->shelf, at[1], back, LARGE, NULL), 0);
        assert_memory_equal(large, back, LARGE);
        assert_int_equal(shelf_get(p->shelf, at[2], &got, 1, NULL), 0);
        assert_int_equal(got, 'x');
}

static void *read_all(void *arg)
{
        const struct place *p = arg;
        unsigned good = 0;
        for (unsigned i = 0; i < RECORDS; i++)
                good += is_there(p, i, 'a');
        return good == RECORDS ? NULL : arg;
}

static void threads_read_at_a_time(void **state)
{
        struct place *p = *state;
        pthread_t thread[4];
        void *bad;
        add_all(p);
        for (size_t i = 0; i < ELEMENTSOF(thread); i++)
                assert_int_equal(pthread_create(&thread[i], NULL, read_all, p), 0);
        for (size_t i = 0; i < ELEMENTSOF(thread); i++) {
                assert_int_equal(pthread_join(thread[i], &bad), 0);
                assert_null(bad);
        }
}

/* Nobody else can open it, and it has no name. */
static void it_is_ours_alone(void **state)
{
        struct place *p = *state;
        char link[64], shown[128];
        struct stat st;
        /* the newest descriptor is the shelf's */
        int fd = dup(p->fd) - 1;
        close_fd(fd + 1);
        assert_int_equal(fstat(fd, &st), 0);
        assert_true(S_ISREG(st.st_mode) && st.st_nlink == 0 && (st.st_mode & 07777) == 0600);
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, shown, sizeof(shown) - 1);
        assert_true(n > 0);
        shown[n] = 0;
        assert_non_null(strstr(shown, "(deleted)"));
}

/* A file that may not grow behaves as a full disk does. */
static void in_child(struct place *p, int *ret)
{
        struct error e = {};
        char record[300] = {}, got[300];
        uint64_t at, first;
        int r = 0;
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){100000, 100000});
        *ret = 1;
        if (shelf_add(p->shelf, "first", 5, &first, &e) < 0)
                return;
        for (unsigned i = 0; r == 0 && i < RECORDS; i++)
                r = shelf_add(p->shelf, record, sizeof(record), &at, &e);
        if (r != -EFBIG || e.cause != CAUSE_IO || !strstr(e.text, "writing"))
                return;
        *ret = 2;
        if (shelf_add(p->shelf, record, sizeof(record), &at, &e) != -EFBIG)
                return;
        *ret = 3; /* what is there can still be read */
        if (shelf_get(p->shelf, first, got, 5, &e) < 0 || memcmp(got, "first", 5) != 0 ||
                shelf_get(p->shelf, 5 + 300, got, 300, &e) < 0)
                return;
        *ret = 0;
}

static void a_full_disk_is_told(void **state)
{
        int status;
        pid_t pid = fork();
        if (pid == 0) {
                in_child(*state, &status);
                _exit(status);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
}

/* O_TMPFILE fails as it does on file systems that do not have it. */
static int forbid_unnamed(void)
{
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
                BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_TMPFILE & ~O_DIRECTORY, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        const struct sock_fprog program = {.len = ELEMENTSOF(code), .filter = code};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0 ? -errno : 0;
}

static void without_unnamed_files_it_loses_its_name(void **state)
{
        struct place *p = *state;
        int status;
        pid_t pid = fork();
        if (pid == 0) {
                struct shelf *s = NULL;
                uint64_t at;
                char got = 0;
                if (forbid_unnamed() < 0 || openat(p->fd, ".", O_TMPFILE | O_RDWR, 0600) >= 0)
                        _exit(2);
                (void)mknodat(p->fd, ".shelf", S_IFREG | 0600, 0); /* of one that was killed */
                _exit(shelf_new(p->fd, &s, NULL) == 0 && shelf_add(s, "x", 1, &at, NULL) == 0 &&
                                        shelf_get(s, at, &got, 1, NULL) == 0 && got == 'x'
                                ? 0
                                : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        assert_int_equal(faccessat(p->fd, ".shelf", F_OK, 0), -1);
}

static void a_folder_that_takes_no_file_is_told(void **state)
{
        (void)state;
        struct error e = {};
        struct shelf *s = NULL;
        _cleanup_close_ int fd = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(shelf_new(fd, &s, &e) < 0);
        assert_non_null(strstr(e.text, "making"));
        assert_null(s);
        assert_null(shelf_free(NULL));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(records_are_read_back),
                T(what_was_written_over_stays_so),
                T(a_large_record_keeps_its_place),
                T(threads_read_at_a_time),
                T(it_is_ours_alone),
                T(a_full_disk_is_told),
                T(without_unnamed_files_it_loses_its_name),
                cmocka_unit_test(a_folder_that_takes_no_file_is_told),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
