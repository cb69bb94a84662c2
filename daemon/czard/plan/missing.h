/* SPDX-License-Identifier: Apache-2.0 */
/* Is what the ledger calls published still there, as it was published? */
#pragma once

#include <uv.h>

#include "ledger.h"
#include "pauses.h"
#include "queue.h"
#include "record.h"
#include "splitting.h"
#include "staging.h"

struct missing;

/* All borrowed for ever. */
struct missing_spec {
        uv_loop_t *loop;
        struct ledger *ledger;
        struct staging *staging;
        struct recorder *record;
        struct queue *queue;         /* asked which objects are in work */
        struct splitting *splitting; /* and which days */
        struct pauses *pauses;
};
/* NULL: out of memory. */
struct missing *missing_new(const struct missing_spec *spec);
struct missing *missing_free(struct missing *m);
/* Looks at every staged file, a little in each turn of the loop: by size and time, not by content (czarctl
 * verify does that). What is gone or altered becomes MISSING. Does nothing while a look is under way or the
 * volume is not ours. */
void missing_look(struct missing *m);
bool missing_running(const struct missing *m);
/* A look came to its end since it was last asked. */
bool missing_take_ended(struct missing *m);
