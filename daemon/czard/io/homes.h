/* SPDX-License-Identifier: Apache-2.0 */
/* The folders of one worker of czard-decrypt. They outlive it, and its pool, until its process is reaped. */
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "error.h"

struct homes {
        char own[PATH_MAX];      /* "" none */
        char template[PATH_MAX]; /* that the first worker makes; "" none, or it is the pool's */
};

/* Which ones: below run_dir, told apart by the number of the pool and of the worker. */
struct homes_spec {
        const char *run_dir;
        unsigned number, serial;
        bool is_reference, template;
};
/* h is all zero. After an error homes_free() removes what was made. 0 or -errno. */
int homes_make(struct homes *h, const struct homes_spec *spec, struct error *e);
/* Removes them, and frees h. */
void homes_free(struct homes *h);

/* Removes a folder with all below it. What cannot be removed is told: it may hold a copy of the key. */
void homes_remove(const char *path);
/* Removes what czarctl processes that live no more left in the runtime folder: ctl-PID-... */
void homes_sweep_czarctl(const char *runtime_dir);
