/* SPDX-License-Identifier: Apache-2.0 */
/* What plan.c and plan_keep.c share. */
#pragma once

#include "ctl.h"

/* Snapshots beyond keep_snapshots of which only their directory tells whether they hold the last copy of a
 * course. */
struct plan_undecided {
        size_t n;
        uint64_t bytes;
};

/* Takes out of due what czard would not fetch after all: snapshots beyond keep_snapshots, unless one is the
 * last copy of a course, and of one date in two spellings the older. 0 or -errno. */
int plan_drop(
        struct ctl *c, struct ledger_object *due, size_t *n, struct plan_undecided *ret, struct error *e);
