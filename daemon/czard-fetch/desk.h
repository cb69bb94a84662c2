/* SPDX-License-Identifier: Apache-2.0 */
/* Where czard's requests are taken in: checked, queued, run, answered. */
#pragma once

#include <uv.h>

#include "access.h"
#include "s3.h"

struct desk;

/* The connection is over: e->err EPIPE when czard closed it, else what was wrong. Once, from the loop. */
typedef void desk_closed_fn(void *arg, const struct error *e);

struct desk_config {
        const struct access *access;
        struct s3 *s3;
        const char *warning; /* for HELLO; borrowed */
        const char *source;  /* for HELLO: where credentials and proxy come from; borrowed */
        desk_closed_fn *closed;
        void *arg;
};

/* Takes fd (a connected SOCK_SEQPACKET) and says HELLO. 0 or -errno. */
int desk_new(uv_loop_t *loop, int fd, const struct desk_config *config, struct desk **ret);
/* Ends all that runs. Returns NULL. */
struct desk *desk_free(struct desk *d);
