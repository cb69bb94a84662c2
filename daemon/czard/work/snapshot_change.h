/* SPDX-License-Identifier: Apache-2.0 */
/* One snapshot against the one before: courses and tables that appeared, vanished, shrank by more than half,
 * or are empty. */
#pragma once

#include "director.h"

/* Says what changed (EVENT_SNAPSHOT_CHANGED) between o and the staged snapshot before it, if anything. */
void snapshot_say_change(struct director *d, const struct ledger_object *o);
