/* SPDX-License-Identifier: Apache-2.0 */
/* The list is short (max_transfers files and the runs of an archive), so everything is counted anew for each
 * decision, and no count can go wrong. */
#include "slots.h"

#include <stddef.h>

#include "macro.h"

unsigned slots_running(const struct slot *first)
{
        unsigned n = 0;
        for (const struct slot *s = first; s; s = s->next)
                n += s->get == GET_RUNS;
        return n;
}

/* GETs that cannot end before a worker is granted. */
static unsigned n_ahead(const struct slot *first)
{
        unsigned n = 0;
        for (const struct slot *s = first; s; s = s->next)
                n += s->get == GET_RUNS && s->reader == READER_WAITS && !s->fits;
        return n;
}

static bool needs_worker(const struct slot *s, const struct pool *pool)
{
        return s->archive && s->reader != READER_GONE && s->pool == pool;
}

/* Slots that archives may soon need. */
static unsigned n_reserved(const struct slot *first)
{
        unsigned reserved = 0;
        for (const struct slot *s = first; s; s = s->next) {
                unsigned before = 0, n = 0;
                if (!needs_worker(s, s->pool))
                        continue;
                for (const struct slot *other = first; other != s; other = other->next)
                        before += needs_worker(other, s->pool);
                for (const struct slot *other = s; other; other = other->next)
                        n += needs_worker(other, s->pool);
                if (before == 0) /* each pool once */
                        reserved += MIN(n, s->workers);
        }
        return reserved;
}

/* The first that may start is the next. */
enum turn { TURN_GRANTED, TURN_ARCHIVE_AHEAD, TURN_FILE_AHEAD, TURN_LATER };

static enum turn turn_of(const struct slot *s, bool may_go_ahead)
{
        if (s->get != GET_WAITS || (s->reader != READER_GRANTED && !s->fits && !may_go_ahead))
                return TURN_LATER;
        return s->reader == READER_GRANTED ? TURN_GRANTED : s->archive ? TURN_ARCHIVE_AHEAD : TURN_FILE_AHEAD;
}

struct slot *slots_next(struct slot *first, unsigned max_transfers)
{
        unsigned running = slots_running(first), ahead = n_ahead(first);
        bool full = running >= max_transfers;
        /* Only a reload that lowered max_transfers leaves all slots to those ahead: one that was granted goes
         * beside them, or the workers would wait for slots, and these for workers. */
        if (full && running > ahead)
                return NULL;
        unsigned kept = MAX(n_reserved(first), 1U);
        bool may_go_ahead = ahead + kept < max_transfers;
        struct slot *best = NULL;
        enum turn best_turn = TURN_LATER;
        for (struct slot *s = first; s; s = s->next) {
                enum turn t = turn_of(s, may_go_ahead);
                if (t < best_turn && (!full || t == TURN_GRANTED)) {
                        best = s;
                        best_turn = t;
                }
        }
        return best;
}
