/* SPDX-License-Identifier: Apache-2.0 */
#include "pools.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>

#include "fsx.h"
#include "macro.h"
#include "str.h"

#define WORKERS_MOST 16

struct pools {
        struct pools_spec spec;
        struct pool **v;
        size_t n;
        unsigned made; /* numbers them: homes of one that went are not another's */
};

/* Of cpu.max: "$MAX $PERIOD", $MAX may be "max" (kernel, Documentation/admin-guide/cgroup-v2.rst). */
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

/* CPUs by affinity and by the quota of our control group, rounded up; at least 1. */
static unsigned cpus_allowed(void)
{
        cpu_set_t set;
        int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
        return MIN((unsigned)MAX(n, 1), quota());
}

unsigned pools_workers(const struct config *config)
{
        return config->workers == CONFIG_AUTO ? MIN(cpus_allowed(), WORKERS_MOST) : config->workers;
}

int pools_open(struct pools *p, const struct config *config, const struct config_package *package,
        struct pool **ret, struct error *e)
{
        for (size_t i = 0; i < p->n; i++)
                if (streq(pool_homedir(p->v[i]), package->homedir)) {
                        *ret = p->v[i];
                        return 0;
                }
        if (ARRAY_ROOM(p->v, p->n) < 0)
                return error_set(e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        const struct pool_spec spec = {.run_dir = p->spec.run_dir,
                .number = p->made++,
                .homedir = package->homedir,
                .config = config,
                .passphrase = p->spec.passphrase,
                .passphrase_file = package->own_passphrase ? package->passphrase_file : NULL,
                .workers = pools_workers(config)};
        int r = pool_new(p->spec.loop, &spec, p->spec.ready, p->spec.arg, ret, e);
        if (r >= 0)
                p->v[p->n++] = *ret;
        return r;
}

void pools_reconfigure(struct pools *p, const struct config *config)
{
        for (size_t i = 0; i < p->n; i++)
                pool_reconfigure(p->v[i], config, pools_workers(config));
}

static bool is_used(const struct pool *pool, const struct config *config)
{
        for (size_t i = 0; i < config->n_packages; i++)
                if (streq(pool_homedir(pool), config->packages[i].homedir))
                        return true;
        return false;
}

struct pool *pools_take_unused(struct pools *p, const struct config *config)
{
        for (size_t i = 0; i < p->n; i++)
                if (!is_used(p->v[i], config)) {
                        struct pool *unused = p->v[i];
                        p->v[i] = p->v[--p->n];
                        return unused;
                }
        return NULL;
}

size_t pools_count(const struct pools *p)
{
        return p->n;
}

struct pools *pools_new(const struct pools_spec *spec)
{
        struct pools *p = calloc(1, sizeof(*p));
        if (p)
                p->spec = *spec;
        return p;
}

struct pools *pools_free(struct pools *p)
{
        if (!p)
                return NULL;
        for (size_t i = 0; i < p->n; i++)
                pool_free(p->v[i]);
        free(p->v);
        free(p);
        return NULL;
}
