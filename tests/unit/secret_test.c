/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fsx.h"
#include "secret.h"
#include "str.h"

/* An unnamed file that holds n bytes. */
static int file_of(const void *p, size_t n)
{
        int fd = memfd_create("input", MFD_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, p, n), 0);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        return fd;
}

/* The "VmFlags:" line of the mapping that p is in. */
static void vm_flags(const void *p, char *ret, size_t size)
{
        _cleanup_fclose_ FILE *f = fopen("/proc/self/smaps", "re");
        assert_non_null(f);
        char line[512];
        int inside = 0;
        while (fgets(line, sizeof(line), f)) {
                uintptr_t from, to;
                if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
                        inside = from <= (uintptr_t)p && (uintptr_t)p < to;
                if (inside && str_after(line, "VmFlags:")) {
                        snprintf(ret, size, "%s", line);
                        return;
                }
        }
        fail_msg("no mapping");
}

static void memory_is_kept_from_dumps_and_children(void **state)
{
        (void)state;
        _cleanup_secret_ struct secret s = {};
        char flags[512];
        assert_int_equal(secret_alloc(10000, &s), 0);
        assert_int_equal(s.len, 0);
        assert_true(s.size > 10000);
        for (size_t i = 0; i < s.size; i++)
                assert_int_equal(s.p[i], 0);
        vm_flags(s.p, flags, sizeof(flags));
        assert_non_null(strstr(flags, " dd ")); /* MADV_DONTDUMP */
        assert_non_null(strstr(flags, " wf ")); /* MADV_WIPEONFORK */
#ifndef CZARD_SANITIZE                          /* AddressSanitizer makes mlock() do nothing */
        struct rlimit locked;
        assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &locked), 0);
        if (locked.rlim_cur >= 1 << 20)
                assert_non_null(strstr(flags, " lo ")); /* mlock */
#endif
}

static void a_child_sees_zeroes(void **state)
{
        (void)state;
        _cleanup_secret_ struct secret s = {};
        assert_int_equal(secret_alloc(16, &s), 0);
        strcpy(s.p, "passphrase");
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                _exit(s.p[0] == 0 && s.p[9] == 0 ? 0 : 1);
        int status = -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_string_equal(s.p, "passphrase");
}

static void memory_goes_and_comes_again(void **state)
{
        (void)state;
        struct secret s = {};
        secret_done(&s); /* of nothing */
        assert_int_equal(secret_alloc(0, &s), 0);
        secret_done(&s);
        assert_null(s.p);
        assert_int_equal(s.size, 0);
        secret_done(&s);
        assert_int_equal(secret_alloc(SIZE_MAX - 1, &s), -ENOMEM);
        assert_null(s.p);
}

static void lines(void **state)
{
        (void)state;
        static const struct {
                const char *in;
                size_t n;
                int r;
                const char *out;
        } cases[] = {
                {"word\n", 5, 0, "word"},
                {"word", 4, 0, "word"},
                {"word\r\n", 6, 0, "word"},
                {"two words \nrest\n", 16, 0, "two words "},
                {"wo\rrd\n", 6, 0, "wo\rrd"},
                {"", 0, 0, ""},
                {"\n", 1, 0, ""},
                {"\r\n", 2, 0, ""},
                {"12345678901234567890\r\nrest", 26, 0, "12345678901234567890"},
                {"123456789012345678901\n", 22, -EFBIG, NULL},
                {"123456789012345678901234567890", 30, -EFBIG, NULL},
                {"a\0b\n", 4, -EINVAL, NULL},
                {"a\n\0", 3, 0, "a"},
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_close_ int fd = file_of(cases[i].in, cases[i].n);
                _cleanup_secret_ struct secret s = {};
                assert_int_equal(secret_read_line(fd, 20, &s), cases[i].r);
                if (cases[i].r < 0) {
                        assert_null(s.p);
                        continue;
                }
                assert_string_equal(s.p, cases[i].out);
                assert_int_equal(s.len, strlen(cases[i].out));
                for (size_t k = s.len; k < s.size; k++)
                        assert_int_equal(s.p[k], 0); /* the rest of the file is not kept */
        }
        struct secret none = {};
        assert_int_equal(secret_read_line(-1, 20, &none), -EBADF);
        assert_null(none.p);
}

static void whole_files(void **state)
{
        (void)state;
        _cleanup_close_ int fd = file_of("a\0b\n", 4);
        _cleanup_secret_ struct secret s = {}, larger = {};
        assert_int_equal(secret_read_all(fd, 4, &s), 0);
        assert_int_equal(s.len, 4);
        assert_memory_equal(s.p, "a\0b\n", 5);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        assert_int_equal(secret_read_all(fd, 3, &larger), -EFBIG);
        assert_null(larger.p);
        assert_int_equal(secret_read_all(-1, 3, &larger), -EBADF);
}

static void a_descriptor_hands_it_on_sealed(void **state)
{
        (void)state;
        _cleanup_close_ int in = file_of("passphrase\n", 11);
        _cleanup_secret_ struct secret s = {}, back = {};
        assert_int_equal(secret_read_line(in, 100, &s), 0);
        _cleanup_close_ int fd = secret_to_fd(&s);
        assert_true(fd >= 0);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
        assert_int_equal(fcntl(fd, F_GET_SEALS) & seals, seals);
        assert_int_equal(secret_read_all(fd, 100, &back), 0); /* from its beginning */
        assert_string_equal(back.p, "passphrase");
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        assert_int_equal(write_all(fd, "x", 1), -EPERM);
        assert_int_equal(ftruncate(fd, 0), -1);
}

static int hardened(void)
{
        struct rlimit core;
        process_harden();
        if (getrlimit(RLIMIT_CORE, &core) < 0 || core.rlim_cur != 0 || core.rlim_max != 0)
                return 1;
        if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
                return 2;
        /* else a wrong argument; a loop that is made from here on does without a ring */
        if (syscall(SYS_io_uring_setup, 1, NULL) != -1 || errno != EPERM)
                return 4;
#ifndef CZARD_SANITIZE
        if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
                return 3;
#endif
        return 0;
}

static void a_process_is_hardened(void **state)
{
        (void)state;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                _exit(hardened());
        int status = -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(memory_is_kept_from_dumps_and_children),
                cmocka_unit_test(a_child_sees_zeroes),
                cmocka_unit_test(memory_goes_and_comes_again),
                cmocka_unit_test(lines),
                cmocka_unit_test(whole_files),
                cmocka_unit_test(a_descriptor_hands_it_on_sealed),
                cmocka_unit_test(a_process_is_hardened),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
