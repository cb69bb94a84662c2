/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for secrets. A struct secret owns one mapping of its own, so that no neighbour on the heap shares a
 * page with it; it is wiped before it goes. A child after fork() sees zeroes in it (MADV_WIPEONFORK): a
 * secret is handed on by secret_to_fd(), never by inheritance. */
#include "secret.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fsx.h"

int secret_alloc(size_t size, struct secret *ret)
{
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        if (size > SIZE_MAX / 2)
                return -ENOMEM;
        size_t mapped = (size / page + 1) * page;
        char *p = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
                return -ENOMEM;
        /* RLIMIT_MEMLOCK may be small; swap is the lesser evil than not running */
        (void)mlock(p, mapped);
        (void)madvise(p, mapped, MADV_DONTDUMP);
        (void)madvise(p, mapped, MADV_WIPEONFORK);
        *ret = (struct secret){.p = p, .size = mapped};
        return 0;
}

void secret_done(struct secret *s)
{
        if (s->p) {
                explicit_bzero(s->p, s->size);
                munmap(s->p, s->size);
        }
        *s = (struct secret){};
}

static void hand_over(struct secret *from, struct secret *ret)
{
        *ret = *from;
        *from = (struct secret){};
}

int secret_read_line(int fd, size_t max, struct secret *ret)
{
        _cleanup_secret_ struct secret s = {};
        if (max > SIZE_MAX / 4)
                return -EINVAL;
        int r = secret_alloc(max + 2, &s); /* with CR LF */
        if (r < 0)
                return r;
        ssize_t n = read_full(fd, s.p, max + 2);
        if (n < 0)
                return (int)n;
        char *end = memchr(s.p, '\n', (size_t)n);
        s.len = end ? (size_t)(end - s.p) : (size_t)n;
        if (s.len > 0 && s.p[s.len - 1] == '\r')
                s.len--;
        if (s.len > max)
                return -EFBIG;
        if (memchr(s.p, 0, s.len))
                return -EINVAL; /* whoever takes it for a C string would use half of it */
        explicit_bzero(s.p + s.len, s.size - s.len);
        hand_over(&s, ret);
        return 0;
}

const char *secret_oddity(const struct secret *s)
{
        static const char mark[] = "\xef\xbb\xbf";
        if (s->len >= strlen(mark) && memcmp(s->p, mark, strlen(mark)) == 0)
                return "it begins with a byte-order mark, as some editors write it: save its file without "
                       "one";
        if (s->len > 0 && (s->p[0] == ' ' || s->p[0] == '\t'))
                return "it begins with a blank, which counts";
        if (s->len > 0 && (s->p[s->len - 1] == ' ' || s->p[s->len - 1] == '\t'))
                return "it ends in a blank, which counts";
        return NULL;
}

const char *secret_line_error(int err)
{
        switch (err) {
        case EINVAL:
                return "its first line has a NUL byte: save it as plain text, not as UTF-16";
        case EFBIG:
                return "its first line is too long for a passphrase";
        default:
                return strerror(err);
        }
}

int secret_load_line(const char *path, size_t max, bool trusted, struct secret *ret, struct error *e)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_set(e, CAUSE_PASSPHRASE, errno, "cannot read the passphrase from %s: %s", path,
                        strerror(errno));
        if (!S_ISREG(st.st_mode))
                return error_set(
                        e, CAUSE_PASSPHRASE, EINVAL, "the passphrase in %s: not a regular file", path);
        int r = trusted ? 0 : check_owner_mode(fd, path, 077, e);
        if (r < 0)
                return r;
        r = secret_read_line(fd, max, ret);
        return r < 0 ? error_set(e, CAUSE_PASSPHRASE, -r, "cannot read the passphrase from %s: %s", path,
                               secret_line_error(-r))
                     : 0;
}

int secret_read_all(int fd, size_t max, struct secret *ret)
{
        _cleanup_secret_ struct secret s = {};
        if (max > SIZE_MAX / 4)
                return -EINVAL;
        int r = secret_alloc(max + 1, &s);
        if (r < 0)
                return r;
        ssize_t n = read_full(fd, s.p, max + 1);
        if (n < 0)
                return (int)n;
        if ((size_t)n > max)
                return -EFBIG;
        s.len = (size_t)n;
        hand_over(&s, ret);
        return 0;
}

int secret_to_fd(const struct secret *s)
{
        _cleanup_close_ int fd = memfd_create("secret", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -errno;
        int r = write_all(fd, s->p, s->len);
        if (r < 0)
                return r;
        if (lseek(fd, 0, SEEK_SET) < 0 ||
                fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
                return -errno;
        return take_fd(&fd);
}

void secret_lock_stack(void)
{
        _cleanup_fclose_ FILE *maps = fopen("/proc/self/maps", "re");
        char line[512];
        void *start, *end;
        while (maps && fgets(line, sizeof(line), maps))
                if (strstr(line, "[stack]") && sscanf(line, "%p-%p", &start, &end) == 2) {
                        size_t size = (size_t)((char *)end - (char *)start);
                        (void)mlock(start, size);
                        (void)madvise(start, size, MADV_DONTDUMP);
                }
}

/* libuv 1.45 and newer makes an io_uring in uv_loop_init(), takes any error for "there is none", and aborts
 * when a filter that comes later refuses to let it use the ring. The architecture is not looked at: since 5.1
 * a call has one number on all of them, and the sandbox and the units refuse it once more. */
static void forbid_io_uring(void)
{
        struct sock_filter steps[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        const struct sock_fprog filter = {.len = ELEMENTSOF(steps), .filter = steps};
        (void)prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0);
}

void process_harden(void)
{
        const struct rlimit none = {};
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        forbid_io_uring();
#ifndef CZARD_SANITIZE
        /* LeakSanitizer traces its own process at exit, which the kernel refuses when it is not dumpable */
        (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}
