/* SPDX-License-Identifier: Apache-2.0 */
/* The pools of czard-decrypt workers, one for each GnuPG home. */
#pragma once

#include "pool.h"

struct pools;

struct pools_spec {
        uv_loop_t *loop;
        const char *run_dir;             /* borrowed for ever */
        const struct secret *passphrase; /* of homes without one of their own; borrowed for ever */
        pool_ready_fn *ready;            /* of each pool */
        void *arg;
};
/* NULL: out of memory. */
struct pools *pools_new(const struct pools_spec *spec);
/* Kills the workers. Returns NULL. */
struct pools *pools_free(struct pools *p);

/* The pool of that package's home; made when there is none yet. */
int pools_open(struct pools *p, const struct config *config, const struct config_package *package,
        struct pool **ret, struct error *e);
void pools_reconfigure(struct pools *p, const struct config *config);
/* One whose home no package has any more, to be freed by the caller; NULL: there is none. */
struct pool *pools_take_unused(struct pools *p, const struct config *config);
size_t pools_count(const struct pools *p);

/* How many workers a pool has. */
unsigned pools_workers(const struct config *config);
