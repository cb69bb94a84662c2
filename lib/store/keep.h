/* SPDX-License-Identifier: Apache-2.0 */
/* What the keep_ keys of the configuration let go, days by course that are not wanted any more, and which
 * archives are left out as keep_snapshots would let them go at once. Decides only; steward.c removes. */
#pragma once

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

/* keep_snapshots, of what is not staged yet: is an archive beyond it, and is it to be fetched all the same?
 * Weekly archives are no supersets of each other: courses that ended long ago are left out of later ones, and
 * the last copy of a course is never left out. Which courses an archive has only its directory tells, once
 * it is staged its members; either way they are a fact of the ledger then. */
enum beyond {
        BEYOND_NO,        /* no archive, staged already, or one of the newest keep_snapshots: fetch it */
        BEYOND_LAST_COPY, /* it is, but it has a wanted course that no newer staged one has: fetch it */
        BEYOND_UNREAD,    /* it is; what courses it has is not known: read its directory, then ask again */
        BEYOND_WAITS,     /* it is; a newer one is still to come: ask again then */
        BEYOND_YES        /* it is, and newer ones have all that is wanted of it: leave it out */
};

/* What is pruned or forgotten counts as a newer one: it was a snapshot of its week.
 * l: NULL when there is none yet. listed: objects that the ledger does not know yet, or knows as they were
 * before (o may be one of them); NULL for none. 0 or -errno, and *ret then is BEYOND_WAITS. */
int beyond_look(struct ledger *l, const struct config *c, const struct ledger_object *o,
        const struct ledger_object *listed, size_t n_listed, enum beyond *ret, struct error *e);

/* o is staged, and its members are in the ledger: what was kept of it gives way to the courses that have a
 * staged member. One whose members were rejected is no copy of theirs. 0 or -errno. */
int beyond_learn_staged(struct ledger *l, const struct ledger_object *o, struct error *e);

/* The directory of o was read: these are its courses, in any order, doubles allowed, which go.
 * 0 or -errno. */
int beyond_learn(struct ledger *l, const struct ledger_object *o, struct strv *courses, struct error *e);
