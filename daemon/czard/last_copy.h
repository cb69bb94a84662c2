/* SPDX-License-Identifier: Apache-2.0 */
/* The last copy of a course is never left out: an archive beyond keep_snapshots is fetched all the same when
 * it has a wanted course that no newer one has. To know that its directory is read, once. */
#pragma once

#include "snapshot.h"

enum last_copy {
        LAST_COPY_NO,
        LAST_COPY_YES,
        LAST_COPY_UNKNOWN, /* its directory must be read first */
        LAST_COPY_LATER    /* a newer one is not through yet */
};

/* The directory of an archive was read: which courses it has is kept in the ledger. */
void last_copy_learn(const struct snapshot *s);
enum last_copy last_copy_look(struct director *d, const struct ledger_object *o);
