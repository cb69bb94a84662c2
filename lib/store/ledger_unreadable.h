/* SPDX-License-Identifier: Apache-2.0 */
/* Entries of listings that could not be read: no ETag, size, date or key. What they are is not known, and
 * nothing is fetched of them; that they are there is kept here, so that whoever asks is told until a listing
 * is as it should be. */
#pragma once

#include "ledger.h"

/* Of o its identity: bucket, key (the listing's prefix where the key is what is missing), org, category, site
 * and date. Without a date it has that of today. */
int ledger_unreadable_add(
        struct ledger *l, const struct ledger_object *o, int64_t generation, struct error *e);
/* The listing was read to its end, from start_after ("": its beginning) on: what it no longer had as
 * unreadable in `generation` goes. */
int ledger_unreadable_settle(struct ledger *l, const struct ledger_listing *of, const char *start_after,
        int64_t generation, struct error *e);
/* All listings were read, whole: also what is none of theirs any more goes. */
int ledger_unreadable_settle_all(struct ledger *l, int64_t generation, struct error *e);
