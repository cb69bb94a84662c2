/* SPDX-License-Identifier: Apache-2.0 */
/* How many GETs run at once. Values in, decision out: no loop, no I/O.
 *
 * A GET whose reader is there makes way; one without a reader fills its pipe and then holds its slot until a
 * worker comes, and the workers may all be held by runs that wait for a slot. So at least one slot is never
 * given to a GET that waits for a reader, and nothing stands still:
 *
 *   - work that was granted a worker takes free slots first;
 *   - a GET whose body fits into its pipe may start in any slot, as it ends without a reader;
 *   - others may start ahead of their worker only while fewer than max_transfers - max(1, R) such GETs run,
 *     those of archives, whose claims are served first, before those of files. R is what archives may soon
 *     need: over all pools, the smaller of the pool's workers and of the claims for archives that are granted
 *     or wait there.
 *
 * After a reload that lowered max_transfers more may run than that; then nothing starts, but one that was
 * granted where all that run wait for a worker.
 *
 * That at most max_transfers files are in work at once is the queue's business. */
#pragma once

#include "slot.h"

/* The one of the list (NULL: empty) whose GET is to start now, or NULL. */
struct slot *slots_next(struct slot *first, unsigned max_transfers);
/* How many GETs run. */
unsigned slots_running(const struct slot *first);
