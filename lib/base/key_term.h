/* SPDX-License-Identifier: Apache-2.0 */
/* Until when can anyone encrypt to an OpenPGP key? As long as one of its encryption subkeys and the primary
 * key are valid: an old subkey that has expired beside a good one ends nothing. All programs ask here. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Times are in seconds, 0: never expires. Starts zeroed. */
struct key_term {
        int64_t last; /* end of the subkey that lasts longest */
        bool any;
};

/* a or b, whichever ends first. */
static inline int64_t key_term_earlier(int64_t a, int64_t b)
{
        return a == 0 || (b != 0 && b < a) ? b : a;
}

/* One encryption subkey (or an encrypting primary) that is not revoked and whose secret part is there. */
static inline void key_term_add(struct key_term *t, int64_t expires)
{
        if (!t->any || (t->last != 0 && (expires == 0 || expires > t->last)))
                t->last = expires;
        t->any = true;
}

static inline int64_t key_term_end(const struct key_term *t, int64_t primary_expires)
{
        return key_term_earlier(t->any ? t->last : 0, primary_expires);
}
