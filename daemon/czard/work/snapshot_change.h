/* SPDX-License-Identifier: Apache-2.0 */
/* One snapshot against the one before: courses and tables that appeared, vanished, shrank by more than half,
 * or are empty. */
#pragma once

#include "members.h"
#include "str.h"

/* What is to be said; {} nothing. */
struct snapshot_change {
        struct strbuf text;
        bool loss; /* something vanished or shrank */
};
void snapshot_change_done(struct snapshot_change *c);

/* The staged database snapshot before o: its id, 0: none. */
int64_t snapshot_before(struct ledger *l, const struct ledger_object *o);
/* Compares the members with those that the ledger has of that object. */
void snapshot_compare(struct snapshot_change *c, struct members *m, int64_t before);
/* Says it (EVENT_SNAPSHOT_CHANGED), if there is anything, of o, which was published. */
void snapshot_say_change(const struct snapshot_change *c, const struct ledger_object *o);
