/* SPDX-License-Identifier: Apache-2.0 */
/* What the keep_ keys of the configuration let go, and days by course that are not wanted any more. Decides
 * only; steward.c removes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "ledger.h"
#include "staging.h"

enum keep_kind { KEEP_EVENTS, KEEP_SNAPSHOT, KEEP_REPLACED, KEEP_BY_COURSE };

struct keep_item {
        enum keep_kind kind;
        int64_t object_id;             /* 0 for replaced versions: they are not in the ledger */
        char path[STAGED_MEMBER_SIZE]; /* relative to the staging root */
        int64_t bytes;                 /* by name: equal files that share storage are counted each */
};
struct keep_list {
        struct keep_item *items;
        size_t n;
        /* Snapshots that keep_snapshots would let go, but that hold the last copy of a course. */
        size_t spared;
};

/* All that may go at `now` (seconds). staging NULL: replaced versions are not looked for. 0 or -errno. */
int keep_plan(struct ledger *l, const struct staging *s, const struct config *config, int64_t now,
        struct keep_list *ret, struct error *e);
void keep_list_done(struct keep_list *list);
#define _cleanup_keep_list_ _cleanup_(keep_list_done)
