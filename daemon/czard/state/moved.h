/* SPDX-License-Identifier: Apache-2.0 */
/* When work last got on. Progress is bytes moved, a verdict, a job that began or ended; that a helper is
 * alive is none. Threads write it too. */
#pragma once

#include <stdatomic.h>

#include "timespan.h"

struct moved {
        _Atomic uint64_t usec; /* CLOCK_MONOTONIC; 0: never */
        atomic_bool news;      /* since moved_take() */
};

static inline void moved_on(struct moved *m)
{
        m->usec = now_usec(CLOCK_MONOTONIC);
        m->news = true;
}

static inline bool moved_take(struct moved *m)
{
        return atomic_exchange(&m->news, false);
}
