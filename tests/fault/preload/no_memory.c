/* SPDX-License-Identifier: Apache-2.0 */
/* A preload in which a call for memory fails: one of the program itself (not of its libraries), told by the
 * address to which it returns. It counts the calls of each address. By the environment:
 *
 *   NO_MEMORY_PROGRAM  name of the program that is meant
 *   NO_MEMORY_LOG      a file of SITES pairs of 64-bit numbers, zeros: address (as an offset in the program,
 *                      0: free) and calls
 *   NO_MEMORY_SITE     the address that is meant, in hexadecimal digits
 *   NO_MEMORY_NTH      which of its calls fails, from 1 */
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SITES 4096
#define EXPORT __attribute__((visibility("default")))

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

struct site {
        _Atomic uint64_t address, calls;
};

static struct site *sites;
static uintptr_t base, end;
static uint64_t meant, nth;

static int on_object(struct dl_phdr_info *info, size_t size, void *arg)
{
        (void)size;
        (void)arg;
        base = info->dlpi_addr;
        for (unsigned i = 0; i < info->dlpi_phnum; i++)
                if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X)
                        end = base + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
        return 1; /* the first is the program */
}

__attribute__((constructor)) static void begin(void)
{
        const char *program = getenv("NO_MEMORY_PROGRAM"), *log = getenv("NO_MEMORY_LOG");
        if (!program || !log || strcmp(program, program_invocation_short_name) != 0)
                return;
        const char *site = getenv("NO_MEMORY_SITE"), *n = getenv("NO_MEMORY_NTH");
        meant = site ? strtoull(site, NULL, 16) : 0;
        nth = n ? strtoull(n, NULL, 10) : 0;
        int fd = open(log, O_RDWR | O_CLOEXEC);
        void *p = mmap(NULL, SITES * sizeof(*sites), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (p == MAP_FAILED)
                abort();
        dl_iterate_phdr(on_object, NULL);
        sites = p;
}

static bool fails(const void *caller)
{
        uintptr_t at = (uintptr_t)caller;
        if (!sites || at < base || at >= end)
                return false;
        uint64_t address = at - base;
        for (unsigned i = 0; i < SITES; i++) {
                struct site *s = &sites[(address + i) % SITES];
                uint64_t none = 0;
                if (s->address != address && !atomic_compare_exchange_strong(&s->address, &none, address) &&
                        none != address)
                        continue;
                if (atomic_fetch_add(&s->calls, 1) + 1 != nth || address != meant)
                        return false;
                errno = ENOMEM;
                return true;
        }
        return false;
}

#define FAILS fails(__builtin_return_address(0))

EXPORT void *malloc(size_t n)
{
        return FAILS ? NULL : __libc_malloc(n);
}

EXPORT void *calloc(size_t n, size_t size)
{
        return FAILS ? NULL : __libc_calloc(n, size);
}

EXPORT void *realloc(void *p, size_t n)
{
        return FAILS ? NULL : __libc_realloc(p, n);
}

EXPORT void *reallocarray(void *p, size_t n, size_t size)
{
        size_t all;
        if (FAILS || __builtin_mul_overflow(n, size, &all))
                return NULL;
        return __libc_realloc(p, all);
}

EXPORT char *strdup(const char *s)
{
        size_t n = strlen(s) + 1;
        char *p = FAILS ? NULL : __libc_malloc(n);
        return p ? memcpy(p, s, n) : NULL;
}

EXPORT char *strndup(const char *s, size_t most)
{
        size_t n = strnlen(s, most);
        char *p = FAILS ? NULL : __libc_malloc(n + 1);
        if (p) {
                memcpy(p, s, n);
                p[n] = 0;
        }
        return p;
}

EXPORT int vasprintf(char **ret, const char *format, va_list args)
{
        char *p = NULL;
        size_t n;
        if (FAILS)
                return -1;
        FILE *f = open_memstream(&p, &n);
        int r = f ? vfprintf(f, format, args) : -1;
        if (f)
                fclose(f);
        *ret = p;
        return r;
}
