/* SPDX-License-Identifier: Apache-2.0 */
/* Dies before, or makes fail, the n-th call that changes the disk. The test is linked with --wrap for each of
 * these calls (FAULT_WRAPPED in CMakeLists.txt). Include once, in the test itself. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAULT_DIED 99
#define FAULT_NOT_REACHED 98

static unsigned fault_left; /* calls until it happens, 0: never */
static int fault_errno;     /* 0: die */

static bool fault_now(void)
{
        if (fault_left == 0 || --fault_left > 0)
                return false;
        if (fault_errno == 0)
                _exit(FAULT_DIED);
        errno = fault_errno;
        return true;
}

/* Runs body, which ends with _exit(status), in a child with the n-th call failing. Returns status,
 * FAULT_DIED, or FAULT_NOT_REACHED when there were fewer calls and status is 0. */
#define FAULT_FORK(n, err, body)                                                                             \
        ({                                                                                                   \
                pid_t pid_ = fork();                                                                         \
                if (pid_ == 0) {                                                                             \
                        fault_left = n;                                                                      \
                        fault_errno = err;                                                                   \
                        body;                                                                                \
                }                                                                                            \
                fault_wait(pid_);                                                                            \
        })

/* The body's last word: tells whether the fault came. */
#define FAULT_EXIT(status) _exit((status) == 0 && fault_left > 0 ? FAULT_NOT_REACHED : (status))

static int fault_wait(pid_t pid)
{
        int status;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
                return -1;
        return WEXITSTATUS(status);
}

#define FAULT_WRAP(name, args, call)                                                                         \
        int __real_##name args;                                                                              \
        int __wrap_##name args;                                                                              \
        int __wrap_##name args                                                                               \
        {                                                                                                    \
                return fault_now() ? -1 : __real_##name call;                                                \
        }

FAULT_WRAP(renameat, (int a, const char *b, int c, const char *d), (a, b, c, d))
FAULT_WRAP(renameat2, (int a, const char *b, int c, const char *d, unsigned e), (a, b, c, d, e))
FAULT_WRAP(linkat, (int a, const char *b, int c, const char *d, int e), (a, b, c, d, e))
FAULT_WRAP(symlinkat, (const char *a, int b, const char *c), (a, b, c))
FAULT_WRAP(unlinkat, (int a, const char *b, int c), (a, b, c))
FAULT_WRAP(mkdirat, (int a, const char *b, mode_t c), (a, b, c))
FAULT_WRAP(fchmod, (int a, mode_t b), (a, b))
FAULT_WRAP(fsync, (int a), (a))
FAULT_WRAP(syncfs, (int a), (a))
