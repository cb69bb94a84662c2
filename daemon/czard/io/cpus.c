/* SPDX-License-Identifier: Apache-2.0 */
/* Source: the kernel's Documentation/admin-guide/cgroup-v2.rst, "cpu.max": "$MAX $PERIOD", $MAX may be "max".
 */
#include "cpus.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>

#include "cleanup.h"
#include "fsx.h"
#include "macro.h"
#include "str.h"

static unsigned quota_of(const char *group)
{
        _cleanup_free_ char *file = str_printf("/sys/fs/cgroup%s/cpu.max", group);
        _cleanup_free_ char *text = NULL;
        unsigned long long most, period;
        if (!file || read_file_at(AT_FDCWD, file, 128, &text, NULL) < 0 ||
                sscanf(text, "%llu %llu", &most, &period) != 2 || period == 0)
                return UINT_MAX;
        return (unsigned)MAX((most + period - 1) / period, 1ULL);
}

static unsigned quota(void)
{
        _cleanup_free_ char *text = NULL;
        if (read_file_at(AT_FDCWD, "/proc/self/cgroup", 64 * KIB, &text, NULL) < 0)
                return UINT_MAX;
        char *group = strstr(text, "0::/");
        if (!group)
                return UINT_MAX;
        group += strlen("0::");
        group[strcspn(group, "\n")] = 0;
        unsigned least = UINT_MAX;
        /* A limit of a slice above counts too. */
        for (char *slash; *group; *slash = 0) {
                least = MIN(least, quota_of(group));
                slash = strrchr(group, '/');
                if (!slash)
                        break;
        }
        return least;
}

unsigned cpus_allowed(void)
{
        cpu_set_t set;
        int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
        return MIN((unsigned)MAX(n, 1), quota());
}
