/* SPDX-License-Identifier: Apache-2.0 */
/* A delivery as it stands: what is staged of what it lists, and what is due. */
#pragma once

#include "due.h"

struct look_query {
        const struct config_delivery *delivery;
        const char *root; /* of staging */
        const struct staging *staging;
        const struct records *records;
        bool again; /* also what recipients that came later did not get */
        int64_t now;
};

struct look {
        char *recipients; /* as records have them */
        struct staged staged;
        struct due due;
};

/* Nothing is written. When the delivery is over nothing is read of what is staged. 0 or -errno: nothing may
 * be decided. */
int look(const struct look_query *q, struct look *ret, struct error *e);
void look_done(struct look *l);
/* Was it revoked, or is its last day over? */
bool look_is_over(const struct look_query *q);
