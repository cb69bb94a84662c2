/* SPDX-License-Identifier: Apache-2.0 */
#include "floods.h"

#include "timespan.h"

/* Of one cause so many entries in that time; the number of the others at most so often. */
#define FLOOD_ENTRIES 100
#define FLOOD_USEC (1 * USEC_PER_HOUR)
#define FLOOD_TELL_USEC (1 * USEC_PER_MINUTE)

static void tell_flood(struct flood *f, enum journal_event event, enum cause cause)
{
        uint64_t untold = f->untold;
        f->untold = 0;
        f->told_usec = now_usec(CLOCK_MONOTONIC);
        if (untold == 0)
                return;
        const struct journal_fields fields = {.cause = cause, .suppressed = &untold};
        if (event == EVENT_REJECTED)
                journal_event(event, &fields, "and %llu more rejected: %s; czarctl list --state REJECTED; %s",
                        (unsigned long long)untold, cause_name(cause), cause_advice(cause));
        else
                journal_event(event, &fields, "and %llu more tables that edX could not export",
                        (unsigned long long)untold);
}

void floods_tell(struct floods *v, bool all)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        bool left = false;
        for (unsigned i = 0; v->flooded && i <= CAUSE_MAX; i++) {
                struct flood *f = i < CAUSE_MAX ? &v->rejected[i] : &v->member_failed;
                if (all || now >= f->told_usec + FLOOD_TELL_USEC)
                        tell_flood(f, i < CAUSE_MAX ? EVENT_REJECTED : EVENT_MEMBER_FAILED,
                                i < CAUSE_MAX ? (enum cause)i : CAUSE_NONE);
                left |= f->untold > 0;
        }
        v->flooded = left;
}

bool floods_may_say(struct floods *v, enum journal_event event, enum cause cause)
{
        struct flood *f = event == EVENT_REJECTED ? &v->rejected[cause] : &v->member_failed;
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        if (f->since_usec == 0 || now >= f->since_usec + FLOOD_USEC) {
                tell_flood(f, event, cause);
                *f = (struct flood){.since_usec = now, .told_usec = now};
        }
        if (f->said < FLOOD_ENTRIES) {
                f->said++;
                return true;
        }
        f->untold++;
        v->flooded = true;
        return false;
}
