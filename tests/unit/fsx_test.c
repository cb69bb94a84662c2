/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "fsx.h"
#include "macro.h"
#include "str.h"

/* Each test has a folder of its own, and leaves the umask as it was. */
struct place {
        char path[64];
        int fd;
        mode_t umask;
};

static int setup(void **state)
{
        struct place *p = calloc(1, sizeof(*p));
        if (!p)
                return -1;
        strcpy(p->path, "/tmp/czard-fsx-XXXXXX");
        p->umask = umask(022);
        if (!mkdtemp(p->path))
                return -1;
        p->fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *state = p;
        return p->fd < 0 ? -1 : 0;
}

static void empty_folder(int fd)
{
        DIR *d = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!d)
                return;
        for (struct dirent *e; (e = readdir(d));) {
                if (streq(e->d_name, ".") || streq(e->d_name, ".."))
                        continue;
                if (unlinkat(fd, e->d_name, 0) == 0)
                        continue;
                _cleanup_close_ int sub =
                        openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                empty_folder(sub);
                unlinkat(fd, e->d_name, AT_REMOVEDIR);
        }
        closedir(d);
}

static int teardown(void **state)
{
        struct place *p = *state;
        umask(p->umask);
        empty_folder(p->fd);
        close(p->fd);
        int r = rmdir(p->path);
        free(p);
        return r;
}

static unsigned count(int dir_fd)
{
        unsigned n = 0;
        DIR *d = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        assert_non_null(d);
        for (struct dirent *e; (e = readdir(d));)
                n += !streq(e->d_name, ".") && !streq(e->d_name, "..");
        closedir(d);
        return n;
}

static void put(int dir_fd, const char *name, const char *text)
{
        _cleanup_close_ int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

static void content_is(int dir_fd, const char *name, const char *want)
{
        _cleanup_free_ char *s = NULL;
        size_t n = 0;
        assert_int_equal(read_file_at(dir_fd, name, 1 << 20, &s, &n), 0);
        assert_int_equal(n, strlen(want));
        assert_string_equal(s, want);
}

static mode_t mode_of(int dir_fd, const char *name)
{
        struct stat st;
        assert_int_equal(fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
        return st.st_mode & 07777;
}

/* in/{file,link,up,sub/deep} and a file beside it. The folder in. */
static int make_maze(int dir_fd)
{
        assert_int_equal(mkdirat(dir_fd, "in", 0755), 0);
        assert_int_equal(mkdirat(dir_fd, "in/sub", 0755), 0);
        put(dir_fd, "outside", "o");
        put(dir_fd, "in/file", "f");
        put(dir_fd, "in/sub/deep", "d");
        assert_int_equal(symlinkat("file", dir_fd, "in/link"), 0);
        assert_int_equal(symlinkat("..", dir_fd, "in/up"), 0);
        return open_beneath(dir_fd, "in", O_RDONLY | O_DIRECTORY, 0);
}

static int opens(int dir_fd, const char *path, int flags)
{
        int fd = open_beneath(dir_fd, path, flags, 0640);
        if (fd < 0)
                return fd;
        int cloexec = fcntl(fd, F_GETFD) & FD_CLOEXEC;
        close(fd);
        return cloexec ? 0 : -EBADFD;
}

static const struct {
        const char *path;
        int flags;
        int r, r_without_openat2;
} opens_table[] = {
        {"file", O_RDONLY, 0, 0},
        {"sub/deep", O_RDONLY, 0, 0},
        {"sub//deep", O_RDONLY, 0, 0},
        {"sub/", O_RDONLY, 0, 0},
        {".", O_RDONLY, 0, 0},
        {"./sub/./deep", O_RDONLY, 0, 0},
        {"made", O_WRONLY | O_CREAT | O_EXCL, 0, 0},
        {"sub/made", O_WRONLY | O_CREAT | O_EXCL, 0, 0},
        {"file", O_WRONLY | O_CREAT | O_EXCL, -EEXIST, -EEXIST},
        {"sub", O_RDWR | O_TMPFILE, 0, 0},
        {"link", O_RDONLY, -ELOOP, -ELOOP},
        {"link", O_WRONLY | O_CREAT, -ELOOP, -ELOOP},
        {"link", O_PATH, -ELOOP, -ELOOP},
        {"link", O_PATH | O_NOFOLLOW, 0, 0},
        {"up/outside", O_RDONLY, -ELOOP, -ENOTDIR},
        {"up", O_RDONLY, -ELOOP, -ELOOP},
        {"up/", O_RDONLY, -ELOOP, -ENOTDIR},
        {"file/", O_RDONLY, -ENOTDIR, -ENOTDIR},
        {"file/x", O_RDONLY, -ENOTDIR, -ENOTDIR},
        {"../outside", O_RDONLY, -EXDEV, -EXDEV},
        {"sub/../../outside", O_RDONLY, -EXDEV, -EXDEV},
        {"/etc/passwd", O_RDONLY, -EXDEV, -EXDEV},
        {"none", O_RDONLY, -ENOENT, -ENOENT},
        {"none/x", O_RDONLY, -ENOENT, -ENOENT},
        {"", O_RDONLY, -ENOENT, -ENOENT},
};

static void opens_stay_beneath(void **state)
{
        struct place *p = *state;
        _cleanup_close_ int in = make_maze(p->fd);
        for (size_t i = 0; i < ELEMENTSOF(opens_table); i++) {
                int r = opens(in, opens_table[i].path, opens_table[i].flags);
                if (r != opens_table[i].r && r != opens_table[i].r_without_openat2)
                        fail_msg("%s: %d", opens_table[i].path, r);
        }
        assert_int_equal(mode_of(in, "made"), 0640);
        _cleanup_close_ int file = open_beneath(in, "file", O_RDONLY, 0777 /* of no use without O_CREAT */);
        assert_true(file >= 0);
        char magic[32];
        _cleanup_close_ int proc = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        snprintf(magic, sizeof(magic), "%d", file);
        assert_int_equal(opens(proc, magic, O_RDONLY), -ELOOP);
}

/* From here on openat2(2) is not there, as under valgrind and in old containers. */
static int forbid_openat2(void)
{
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        const struct sock_fprog program = {.len = ELEMENTSOF(code), .filter = code};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0 ? -errno : 0;
}

static void opens_stay_beneath_without_openat2(void **state)
{
        struct place *p = *state;
        _cleanup_close_ int in = make_maze(p->fd);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                if (forbid_openat2() < 0)
                        _exit(255);
                for (size_t i = 0; i < ELEMENTSOF(opens_table); i++)
                        if (opens(in, opens_table[i].path, opens_table[i].flags) !=
                                opens_table[i].r_without_openat2)
                                _exit((int)i + 1); /* which line failed */
                _exit(0);
        }
        int status = -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 255)
                skip(); /* no filters here */
        assert_int_equal(status, 0);
}

static void whole_reads_know_their_limit(void **state)
{
        struct place *p = *state;
        _cleanup_free_ char *s = NULL;
        size_t n = 4711;
        put(p->fd, "f", "0123456789");
        assert_int_equal(read_file_at(p->fd, "f", 9, &s, &n), -EFBIG);
        assert_null(s);
        assert_int_equal(n, 4711);
        assert_int_equal(read_file_at(p->fd, "f", 10, &s, &n), 0);
        assert_int_equal(n, 10);
        assert_string_equal(s, "0123456789");
        assert_int_equal(read_file_at(p->fd, "none", 10, &s, &n), -ENOENT);
        put(p->fd, "empty", "");
        content_is(p->fd, "empty", "");
}

/* A pipe says nothing of its size and gives its bytes in pieces. */
static void a_pipe_is_read_to_its_end(void **state)
{
        (void)state;
        enum { SIZE = 300000 };
        int fds[2];
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        _cleanup_free_ char *sent = malloc(SIZE), *got = NULL;
        assert_non_null(sent);
        for (size_t i = 0; i < SIZE; i++)
                sent[i] = (char)(i * 7 + i / 1000);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                close(fds[0]);
                int r = write_all(fds[1], sent, SIZE);
                free(sent);
                _exit(r == 0 ? 0 : 1);
        }
        close(fds[1]);
        size_t n = 0;
        int r = read_file_fd(fds[0], SIZE, &got, &n), status = -1;
        close(fds[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(r, 0);
        assert_int_equal(n, SIZE);
        assert_memory_equal(got, sent, SIZE);
}

static void an_endless_file_is_refused(void **state)
{
        (void)state;
        _cleanup_free_ char *s = NULL;
        _cleanup_close_ int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        assert_int_equal(read_file_fd(fd, 100000, &s, NULL), -EFBIG);
        assert_int_equal(read_file_at(AT_FDCWD, "/dev/zero", 100000, &s, NULL), -EOPNOTSUPP);
        assert_int_equal(read_file_at(AT_FDCWD, "/dev", 100000, &s, NULL), -EISDIR);
        assert_null(s);
}

static void short_reads_and_errors(void **state)
{
        struct place *p = *state;
        char buf[8];
        put(p->fd, "f", "abc");
        _cleanup_close_ int fd = openat(p->fd, "f", O_RDONLY | O_CLOEXEC);
        assert_int_equal(read_full(fd, buf, sizeof(buf)), 3);
        assert_int_equal(read_full(fd, buf, sizeof(buf)), 0);
        assert_int_equal(read_full(p->fd, buf, sizeof(buf)), -EISDIR);
        assert_int_equal(write_all(fd, "x", 1), -EBADF);
}

static void a_file_is_replaced_whole(void **state)
{
        struct place *p = *state;
        umask(077);
        assert_int_equal(replace_file_at(p->fd, "f", "one", 3, 0644), 0);
        content_is(p->fd, "f", "one");
        assert_int_equal(mode_of(p->fd, "f"), 0644);
        _cleanup_close_ int old = openat(p->fd, "f", O_RDONLY | O_CLOEXEC);
        assert_int_equal(replace_file_at(p->fd, "f", "second", 6, 0440), 0);
        content_is(p->fd, "f", "second");
        assert_int_equal(mode_of(p->fd, "f"), 0440);
        char buf[8] = {};
        assert_int_equal(read_full(old, buf, 7), 3); /* who reads the old one goes on reading it */
        assert_string_equal(buf, "one");
        assert_int_equal(replace_file_at(p->fd, "f", NULL, 0, 0600), 0);
        content_is(p->fd, "f", "");
        assert_int_equal(count(p->fd), 1);
}

static void a_link_is_replaced_not_followed(void **state)
{
        struct place *p = *state;
        put(p->fd, "target", "t");
        assert_int_equal(symlinkat("target", p->fd, "f"), 0);
        assert_int_equal(replace_file_at(p->fd, "f", "new", 3, 0600), 0);
        content_is(p->fd, "target", "t");
        content_is(p->fd, "f", "new");
        struct stat st;
        assert_int_equal(fstatat(p->fd, "f", &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_true(S_ISREG(st.st_mode));
}

static void a_path_may_lead_to_the_file(void **state)
{
        struct place *p = *state;
        assert_int_equal(mkdirat(p->fd, "d", 0755), 0);
        assert_int_equal(replace_file_at(p->fd, "d/f", "x", 1, 0600), 0);
        content_is(p->fd, "d/f", "x");
        _cleanup_free_ char *path = str_printf("%s/d/f", p->path);
        assert_int_equal(replace_file_at(AT_FDCWD, path, "y", 1, 0600), 0);
        content_is(p->fd, "d/f", "y");
        assert_int_equal(replace_file_at(p->fd, "none/f", "x", 1, 0600), -ENOENT);
        assert_int_equal(replace_file_at(p->fd, "d/", "x", 1, 0600), -EINVAL);
        assert_int_equal(replace_file_at(p->fd, "", "x", 1, 0600), -EINVAL);
}

static void a_failed_replacement_leaves_the_old_and_no_more(void **state)
{
        struct place *p = *state;
        assert_int_equal(mkdirat(p->fd, "folder", 0755), 0);
        assert_int_equal(replace_file_at(p->fd, "folder", "x", 1, 0600), -EISDIR);
        assert_int_equal(count(p->fd), 1);

        static char big[65536];
        put(p->fd, "f", "old");
        struct rlimit before, small;
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
        small = (struct rlimit){.rlim_cur = 4096, .rlim_max = before.rlim_max};
        void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        int r = replace_file_at(p->fd, "f", big, sizeof(big), 0600);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        signal(SIGXFSZ, handler);
        assert_int_equal(r, -EFBIG);
        content_is(p->fd, "f", "old");
        assert_int_equal(count(p->fd), 2);
}

static void a_safe_file_passes(void **state)
{
        struct place *p = *state;
        put(p->fd, "f", "");
        _cleanup_close_ int fd = openat(p->fd, "f", O_RDONLY | O_CLOEXEC);
        struct error e = {};
        assert_int_equal(fchmod(fd, 0640), 0);
        assert_int_equal(check_owner_mode(fd, "/etc/f", 007, &e), 0);
        assert_int_equal(e.cause, CAUSE_NONE);
        assert_int_equal(check_owner_mode(fd, "/etc/f", 007, NULL), 0);
}

/* Half a path is another path. */
static void no_command_names_half_a_path(void **state)
{
        struct place *p = *state;
        put(p->fd, "f", "");
        _cleanup_close_ int fd = openat(p->fd, "f", O_RDONLY | O_CLOEXEC);
        char path[700];
        memset(path, 'a', sizeof(path));
        path[0] = '/';
        assert_int_equal(fchmod(fd, 0644), 0);
        for (size_t n = 100; n < sizeof(path); n += 7) {
                struct error e = {};
                char want[800];
                path[n] = 0;
                assert_int_equal(check_owner_mode(fd, path, 077, &e), -EPERM);
                snprintf(want, sizeof(want), "chmod 0600 %s", path);
                const char *command = strstr(e.text, "chmod 0600 ");
                assert_non_null(command);
                assert_true(streq(command, want) || streq(command, "chmod 0600 PATH"));
                path[n] = 'a';
        }
}

static void an_unsafe_mode_is_named_with_its_cure(void **state)
{
        struct place *p = *state;
        put(p->fd, "f", "");
        _cleanup_close_ int fd = openat(p->fd, "f", O_RDONLY | O_CLOEXEC);
        struct error e = {};
        assert_int_equal(fchmod(fd, 0644), 0);
        assert_int_equal(check_owner_mode(fd, "/etc/f\n", 077, &e), -EPERM);
        assert_int_equal(e.cause, CAUSE_UNSAFE_MODE);
        assert_non_null(strstr(e.text, "0644"));
        assert_non_null(strstr(e.text, "chmod 0600 $'/etc/f\\012'"));
        assert_int_equal(check_owner_mode(fd, "/srv/o'brien", 077, &e), -EPERM);
        assert_non_null(strstr(e.text, "chmod 0600 '/srv/o'\\''brien'"));
        char owner[32];
        snprintf(owner, sizeof(owner), "uid %u", geteuid());
        assert_non_null(strstr(e.text, owner));
        assert_int_equal(check_owner_mode(fd, "/etc/f", 002, &e), 0);
}

static void a_foreign_owner_is_named_with_its_cure(void **state)
{
        struct place *p = *state;
        if (geteuid() != 0)
                skip();
        put(p->fd, "f", "");
        _cleanup_close_ int fd = openat(p->fd, "f", O_RDONLY | O_CLOEXEC);
        struct error e = {};
        assert_int_equal(fchown(fd, 12345, (gid_t)-1), 0);
        assert_int_equal(check_owner_mode(fd, "/etc/f", 077, &e), -EPERM);
        assert_int_equal(e.cause, CAUSE_UNSAFE_MODE);
        assert_non_null(strstr(e.text, "12345"));
        assert_non_null(strstr(e.text, "0600"));
        assert_null(strstr(e.text, "chown"));
        assert_non_null(strstr(e.text, "runuser -u \"$(id -nu 12345)\" -- "));
}

/* To give a service's folders to whoever looks, or to root, would break the service. */
static void an_owner_is_changed_only_within_our_own_folder(void **state)
{
        struct place *p = *state;
        if (geteuid() != 0)
                skip();
        char path[64];
        snprintf(path, sizeof(path), "/proc/self/fd/%d/f", p->fd);
        put(p->fd, "f", "");
        assert_int_equal(fchmodat(p->fd, ".", 0755, 0), 0);
        assert_int_equal(fchownat(p->fd, "f", 12345, (gid_t)-1, 0), 0);
        assert_int_equal(fchownat(p->fd, ".", 54321, (gid_t)-1, 0), 0);
        _cleanup_close_ int file = openat(p->fd, "f", O_RDONLY | O_CLOEXEC);
        struct error mine = {}, other = {}, folder = {};
        assert_int_equal(seteuid(54321), 0);
        int a = check_owner_mode(file, path, 077, &mine);
        assert_int_equal(seteuid(0), 0);
        assert_int_equal(seteuid(12346), 0);
        int b = check_owner_mode(file, path, 077, &other);
        int c = check_owner_mode(p->fd, "/srv/czard", 077, &folder);
        assert_int_equal(seteuid(0), 0);
        assert_int_equal(fchownat(p->fd, ".", 0, (gid_t)-1, 0), 0);
        assert_int_equal(a, -EPERM);
        assert_non_null(strstr(mine.text, "chown 54321 /"));
        assert_int_equal(b, -EPERM);
        assert_null(strstr(other.text, "chown"));
        assert_int_equal(c, -EPERM);
        assert_null(strstr(folder.text, "chown"));
}

static void flags_go_on_and_off(void **state)
{
        (void)state;
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        assert_int_equal(fd_nonblock(fds[0], 1), 0);
        assert_true(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
        assert_int_equal(fd_nonblock(fds[0], 0), 0);
        assert_false(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
        assert_int_equal(fd_cloexec(fds[0], 1), 0);
        assert_int_equal(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
        assert_int_equal(fd_cloexec(fds[0], 0), 0);
        assert_int_equal(fcntl(fds[0], F_GETFD), 0);
        close(fds[0]);
        close(fds[1]);
        assert_int_equal(fd_nonblock(-1, 1), -EBADF);
        assert_int_equal(fd_cloexec(-1, 1), -EBADF);
}

static void descriptors_are_closed_from_a_number_upwards(void **state)
{
        (void)state;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                if (dup2(2, 100) != 100 || dup2(2, 101) != 101 || dup2(2, 200) != 200)
                        _exit(2);
                close_from(101);
                _exit(fcntl(100, F_GETFD) >= 0 && fcntl(101, F_GETFD) < 0 && fcntl(200, F_GETFD) < 0 ? 0 : 1);
        }
        int status = -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

static bool is_same_file(int fd, const struct stat *st)
{
        struct stat own;
        return fstat(fd, &own) == 0 && own.st_dev == st->st_dev && own.st_ino == st->st_ino;
}

/* Also where they stand in each other's place. */
static void descriptors_of_a_child(void **state)
{
        (void)state;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                int pipe_fds[2];
                struct stat in, out, error, null;
                close(0);
                close(1);
                close_from(3);
                if (stat("/dev/null", &null) < 0 || pipe(pipe_fds) < 0 || fstat(0, &in) < 0 ||
                        fstat(2, &error) < 0 || dup2(2, 50) != 50)
                        _exit(2);
                int other = memfd_create("other", MFD_CLOEXEC);
                if (other != 3 || fstat(other, &out) < 0 || fd_arrange((int[]){3, -1, 2, 0}, 4) < 0)
                        _exit(3);
                struct stat own;
                bool is_null = fstat(1, &own) == 0 && own.st_rdev == null.st_rdev;
                _exit(is_same_file(0, &out) && is_null && is_same_file(2, &error) && is_same_file(3, &in) &&
                                        fcntl(0, F_GETFD) == 0 && fcntl(3, F_GETFD) == 0 &&
                                        fcntl(4, F_GETFD) < 0 && fcntl(50, F_GETFD) < 0
                                ? 0
                                : 1);
        }
        int status = -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(fd_arrange((int[]){4711}, 1), -EBADF);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* --- trees --- */

static void make_file(int dir, const char *name)
{
        _cleanup_close_ int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
}

static void expect_names(struct place *p, const char *path, size_t n)
{
        struct strv names = {};
        assert_int_equal(list_dir_at(p->fd, path, &names), 0);
        assert_int_equal(names.n, n);
        strv_done(&names);
}

static void a_tree_is_removed_and_links_out_of_it_are_not_followed(void **state)
{
        struct place *p = *state;
        assert_int_equal(mkdirat(p->fd, "kept", 0700), 0);
        assert_int_equal(mkdirat(p->fd, "tree", 0700), 0);
        assert_int_equal(mkdirat(p->fd, "tree/a", 0700), 0);
        assert_int_equal(mkdirat(p->fd, "tree/a/b", 0700), 0);
        assert_int_equal(mkdirat(p->fd, "tree/lifted-0", 0700), 0);
        make_file(p->fd, "kept/file");
        make_file(p->fd, "tree/a/b/file");
        make_file(p->fd, "tree/a/file");
        assert_int_equal(symlinkat("../kept", p->fd, "tree/link"), 0);
        assert_int_equal(symlinkat("../../../kept", p->fd, "tree/a/b/link"), 0);
        assert_int_equal(symlinkat("kept", p->fd, "link"), 0);
        assert_int_equal(remove_tree_at(p->fd, "tree"), 0);
        assert_int_equal(remove_tree_at(p->fd, "tree"), 0); /* it is not there */
        assert_int_equal(remove_tree_at(p->fd, "link"), 0); /* the link, not what it leads to */
        expect_names(p, "kept", 1);
        expect_names(p, ".", 1);
}

static void a_tree_of_any_depth_is_removed(void **state)
{
        struct place *p = *state;
        _cleanup_close_ int at = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (unsigned i = 0; i < 3000; i++) { /* deeper than a path, or the limit of descriptors */
                assert_int_equal(mkdirat(at, i ? "d" : "tree", 0700), 0);
                int below = openat(at, i ? "d" : "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                assert_true(below >= 0);
                close_fd(at);
                at = below;
                make_file(at, "f");
        }
        assert_int_equal(remove_tree_at(p->fd, "tree"), 0);
        expect_names(p, ".", 0);
}

/* As somebody whom modes bind. */
static void a_tree_without_rights_is_removed(void **state)
{
        struct place *p = *state;
        assert_int_equal(mkdirat(p->fd, "tree", 0700), 0);
        assert_int_equal(mkdirat(p->fd, "tree/a", 0700), 0);
        assert_int_equal(mkdirat(p->fd, "tree/a/b", 0700), 0);
        make_file(p->fd, "tree/a/b/file");
        static const char *const folders[] = {"tree/a/b", "tree/a", "tree"};
        for (size_t i = 0; i < ELEMENTSOF(folders); i++) {
                if (geteuid() == 0)
                        assert_int_equal(fchownat(p->fd, folders[i], 65534, 65534, 0), 0);
                assert_int_equal(fchmodat(p->fd, folders[i], i == 1 ? 0500 : 0, 0), 0);
        }
        if (geteuid() == 0)
                assert_int_equal(fchown(p->fd, 65534, 65534), 0);
        pid_t pid = fork();
        if (pid == 0) {
                if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
                        _exit(255);
                _exit(-remove_tree_at(p->fd, "tree"));
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        expect_names(p, ".", 0);
}

static void what_cannot_be_removed_is_told(void **state)
{
        struct place *p = *state;
        if (geteuid() != 0)
                skip(); /* whose folder is another's: only root can make one */
        assert_int_equal(mkdirat(p->fd, "tree", 0700), 0);
        assert_int_equal(mkdirat(p->fd, "tree/a", 0700), 0);
        assert_int_equal(fchown(p->fd, 65534, 65534), 0);
        assert_int_equal(fchownat(p->fd, "tree", 65534, 65534, 0), 0);
        make_file(p->fd, "tree/a/file");
        pid_t pid = fork();
        if (pid == 0) {
                if (setgid(65534) < 0 || setuid(65534) < 0)
                        _exit(255);
                _exit(-remove_tree_at(p->fd, "tree"));
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), EPERM);
        expect_names(p, "tree/a", 1);
}

static void what_was_left_is_found_by_its_process(void **state)
{
        (void)state;
        char name[64];
        pid_t pid = fork();
        if (pid == 0)
                _exit(0);
        snprintf(name, sizeof(name), "ctl-%ld-s3", (long)pid);
        assert_null(after_dead_pid(name, "ctl-")); /* it has ended, and is not gone */
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_string_equal(after_dead_pid(name, "ctl-"), "-s3");
        assert_null(after_dead_pid(name, "other-"));
        snprintf(name, sizeof(name), "ctl-%ld", (long)getpid());
        assert_null(after_dead_pid(name, "ctl-"));
        assert_null(after_dead_pid("ctl-", "ctl-"));
        assert_null(after_dead_pid("ctl-0", "ctl-"));
        assert_null(after_dead_pid("ctl-x", "ctl-"));
}

static void replacements_that_were_left_go(void **state)
{
        static const char *const names[] = {
                ".f.czard-tmp-0123456789abcdef", ".g.czard-tmp-0123456789abcdef", "f"};
        struct place *p = *state;
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                close(openat(p->fd, names[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        remove_replacements_at(p->fd, "f");
        assert_int_equal(faccessat(p->fd, names[0], F_OK, 0), -1);
        assert_int_equal(faccessat(p->fd, names[1], F_OK, 0), 0);
        assert_int_equal(faccessat(p->fd, names[2], F_OK, 0), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(opens_stay_beneath),
                TEST(opens_stay_beneath_without_openat2),
                TEST(whole_reads_know_their_limit),
                cmocka_unit_test(a_pipe_is_read_to_its_end),
                cmocka_unit_test(an_endless_file_is_refused),
                TEST(short_reads_and_errors),
                TEST(a_file_is_replaced_whole),
                TEST(a_link_is_replaced_not_followed),
                TEST(a_path_may_lead_to_the_file),
                TEST(a_failed_replacement_leaves_the_old_and_no_more),
                TEST(a_safe_file_passes),
                TEST(no_command_names_half_a_path),
                TEST(an_unsafe_mode_is_named_with_its_cure),
                TEST(a_foreign_owner_is_named_with_its_cure),
                TEST(a_tree_is_removed_and_links_out_of_it_are_not_followed),
                TEST(a_tree_of_any_depth_is_removed),
                TEST(a_tree_without_rights_is_removed),
                TEST(what_cannot_be_removed_is_told),
                TEST(an_owner_is_changed_only_within_our_own_folder),
                cmocka_unit_test(flags_go_on_and_off),
                cmocka_unit_test(descriptors_are_closed_from_a_number_upwards),
                cmocka_unit_test(descriptors_of_a_child),
                cmocka_unit_test(what_was_left_is_found_by_its_process),
                TEST(replacements_that_were_left_go),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
