/* SPDX-License-Identifier: Apache-2.0 */
/* The states as a table of names and a table of edges. */
#include "object_state.h"

#include "str.h"

/* The numbers are in the ledger: never reorder, only add. */
static const char *const state_names[OBJECT_STATE_MAX] = {
        [OBJECT_NEW] = "NEW",
        [OBJECT_FETCHING] = "FETCHING",
        [OBJECT_DECRYPTING] = "DECRYPTING",
        [OBJECT_PUBLISHED] = "PUBLISHED",
        [OBJECT_RETRY] = "RETRY",
        [OBJECT_REJECTED] = "REJECTED",
        [OBJECT_IGNORED] = "IGNORED",
        [OBJECT_GONE] = "GONE",
        [OBJECT_MISSING] = "MISSING",
        [OBJECT_FORGOTTEN] = "FORGOTTEN",
        [OBJECT_PRUNED] = "PRUNED",
};

/* Every state may go to NEW (resync) and to FORGOTTEN (an admin's word); these two are not repeated. */
static const unsigned object_edges[OBJECT_STATE_MAX] = {
        /* PUBLISHED: what is staged already was recognised (adopt, reconciliation after a crash) */
        [OBJECT_NEW] = BIT(OBJECT_FETCHING) | BIT(OBJECT_PUBLISHED) | BIT(OBJECT_RETRY) |
                       BIT(OBJECT_REJECTED) | BIT(OBJECT_IGNORED) | BIT(OBJECT_GONE) | BIT(OBJECT_PRUNED),
        [OBJECT_FETCHING] = BIT(OBJECT_DECRYPTING) | BIT(OBJECT_RETRY) | BIT(OBJECT_REJECTED) |
                            BIT(OBJECT_IGNORED) | BIT(OBJECT_GONE),
        [OBJECT_DECRYPTING] = BIT(OBJECT_PUBLISHED) | BIT(OBJECT_RETRY) | BIT(OBJECT_REJECTED) |
                              BIT(OBJECT_IGNORED) | BIT(OBJECT_GONE),
        /* IGNORED: the other spelling of its key took its place */
        [OBJECT_PUBLISHED] =
                BIT(OBJECT_MISSING) | BIT(OBJECT_IGNORED) | BIT(OBJECT_GONE) | BIT(OBJECT_PRUNED),
        [OBJECT_RETRY] = BIT(OBJECT_FETCHING) | BIT(OBJECT_REJECTED) | BIT(OBJECT_IGNORED) |
                         BIT(OBJECT_GONE) | BIT(OBJECT_PRUNED),
        [OBJECT_REJECTED] = BIT(OBJECT_IGNORED) | BIT(OBJECT_GONE) | BIT(OBJECT_PRUNED),
        [OBJECT_IGNORED] = BIT(OBJECT_GONE) | BIT(OBJECT_PRUNED),
        /* PUBLISHED: it is back, and what is staged is still the same */
        [OBJECT_GONE] =
                BIT(OBJECT_PUBLISHED) | BIT(OBJECT_MISSING) | BIT(OBJECT_IGNORED) | BIT(OBJECT_PRUNED),
        /* PUBLISHED: adopted, or it was only another volume */
        [OBJECT_MISSING] = BIT(OBJECT_PUBLISHED) | BIT(OBJECT_IGNORED) | BIT(OBJECT_PRUNED),
        [OBJECT_FORGOTTEN] = 0,
        [OBJECT_PRUNED] = 0,
};

const char *object_state_name(enum object_state s)
{
        return s < OBJECT_STATE_MAX ? state_names[s] : "unknown";
}

enum object_state object_state_from_name(const char *s)
{
        for (enum object_state i = 0; i < OBJECT_STATE_MAX; i++)
                if (streq(state_names[i], s))
                        return i;
        return OBJECT_STATE_MAX;
}

bool object_may_enter(enum object_state from, enum object_state to)
{
        if (from >= OBJECT_STATE_MAX || to >= OBJECT_STATE_MAX)
                return false;
        return to == OBJECT_NEW || to == OBJECT_FORGOTTEN || (object_edges[from] & BIT(to));
}
