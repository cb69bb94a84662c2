/* SPDX-License-Identifier: Apache-2.0 */
/* Journal entries of one cause are limited: so many in a time, then how many more there were. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "journal.h"

/* Zeroed at first. */
struct floods {
        struct flood {
                uint64_t since_usec, told_usec, untold;
                unsigned said; /* since since_usec */
        } rejected[CAUSE_MAX], member_failed;
        bool flooded; /* one of these has something untold */
};

/* May an entry of that event (EVENT_REJECTED of a cause, EVENT_MEMBER_FAILED) be written? Else it is counted.
 */
bool floods_may_say(struct floods *v, enum journal_event event, enum cause cause);
/* At the end of a turn: says how many were counted, of what has waited long enough; all of it at the end of
 * everything. */
void floods_tell(struct floods *v, bool all);
