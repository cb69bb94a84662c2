/* SPDX-License-Identifier: Apache-2.0 */
/* The states of an object, and the steps from one to another. */
#pragma once

#include <stdbool.h>

#include "macro.h"

enum object_state {
        OBJECT_NEW,
        OBJECT_FETCHING,
        OBJECT_DECRYPTING,
        OBJECT_PUBLISHED,
        OBJECT_RETRY,
        OBJECT_REJECTED,
        OBJECT_IGNORED,
        OBJECT_GONE,
        OBJECT_MISSING,
        OBJECT_FORGOTTEN,
        OBJECT_PRUNED,
        OBJECT_STATE_MAX
};
/* Still to be staged: it waits for its turn, or is under way. */
#define OBJECT_STATES_DUE                                                                                    \
        (BIT(OBJECT_NEW) | BIT(OBJECT_FETCHING) | BIT(OBJECT_DECRYPTING) | BIT(OBJECT_RETRY))
/* "NEW" ... as czarctl(1) lists them */
const char *object_state_name(enum object_state s);
enum object_state object_state_from_name(const char *s);
/* Is the step from one state to the other in the table of edges? */
bool object_may_enter(enum object_state from, enum object_state to);
