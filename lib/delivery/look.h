/* SPDX-License-Identifier: Apache-2.0 */
/* A delivery as it stands: what is staged of what it lists, and what is due. */
#pragma once

#include "due.h"

/* Why archives of the delivery of that name wait. It stays the same while days are split. */
#define LOOK_WAITS                                                                                           \
        "an archive is made once, and waits: days within its dates are staged, and not by course yet "       \
        "(czarctl "                                                                                          \
        "status says when they cannot be split); czarctl deliver run --again %s does not wait for them"

struct look_query {
        const struct config_delivery *delivery;
        const char *root; /* of staging */
        const struct staging *staging;
        const struct records *records;
        bool again; /* also what recipients that came later did not get */
        int64_t now;
};

struct delivery_look {
        char *recipients; /* as records have them */
        struct delivery_staged staged;
        struct due due;
};

/* Opens staging as one of its readers. 0, or -errno: it is not there, or not czard's, as when its volume is
 * not mounted. */
int look_open(const char *root, struct staging **ret, struct error *e);
/* Nothing is written. When the delivery is over nothing is read of what is staged. 0 or -errno: nothing may
 * be decided. */
int delivery_look(const struct look_query *q, struct delivery_look *ret, struct error *e);
void look_done(struct delivery_look *l);
