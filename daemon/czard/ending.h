/* SPDX-License-Identifier: Apache-2.0 */
/* How a run ends: with which exit status, and what czarctl status says of one that ended before all was done.
 */
#pragma once

#include <stdbool.h>

#include "error.h"
#include "ledger.h"

struct ending {
        int status;              /* so far: the greatest */
        char failure[TEXT_SIZE]; /* the first of STATUS_CANNOT */
};

/* czard cannot start, or go on: said in the journal, with the advice ("": none). */
void ending_fail(struct ending *n, const struct error *e, const char *advice);
/* The run is over. incomplete: a listing failed, work was paused, or it was stopped; with --once objects that
 * are left count too. A daemon's troubles are in the journal, not in its exit status. */
void ending_judge(struct ending *n, struct ledger *ledger, bool once, bool incomplete);
/* Leaves in the ledger (NULL: there is none) why the run ended early. stopped: a signal ended it. */
void ending_note(const struct ending *n, struct ledger *ledger, bool stopped);
