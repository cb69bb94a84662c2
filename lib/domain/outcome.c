/* SPDX-License-Identifier: Apache-2.0 */
#include "outcome.h"

#include "str.h"
#include "timespan.h"

/* --- states: a table of names and a table of edges --- */

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

/* --- what becomes of one that failed: the remedy of its cause (lib/base/error.h) decides --- */

static const struct retry_policy retry_daemon = {30 * USEC_PER_SEC, 1 * USEC_PER_HOUR};
static const struct retry_policy retry_once = {1 * USEC_PER_SEC, 1 * USEC_PER_MINUTE};

static void wait(struct outcome_decision *o, const struct outcome_case *c, uint64_t delay_usec)
{
        o->delay_usec = delay_usec;
        o->at = (int64_t)((c->now_usec + delay_usec + USEC_PER_SEC - 1) / USEC_PER_SEC);
}

static void retry(struct outcome_decision *o, const struct outcome_case *c, uint64_t delay_usec)
{
        o->next = OBJECT_RETRY;
        o->tries++;
        wait(o, c, delay_usec);
}

static uint64_t backoff(const struct outcome_case *c, uint64_t retry_after_usec)
{
        return retry_delay_usec(
                c->once ? &retry_once : &retry_daemon, c->tries + 1, retry_after_usec, c->random);
}

/* The object is left as it was: the failure is not its own. */
static void put_back(struct outcome_decision *o, unsigned also)
{
        o->next = OBJECT_NEW;
        o->also = also;
}

static void limited(struct outcome_decision *o, const struct outcome_case *c)
{
        o->refusals++;
        if (o->refusals < OUTCOME_LIMITED_TRIES) {
                retry(o, c, backoff(c, c->retry_after_usec));
                return;
        }
        o->next = OBJECT_REJECTED;
        o->tries++;
        unsigned n = o->refusals - OUTCOME_LIMITED_TRIES;
        if (n < 32 && 1U << n <= OUTCOME_DAYS_MOST)
                wait(o, c, (1U << n) * USEC_PER_DAY);
}

struct outcome_decision outcome_of(const struct outcome_case *c)
{
        struct outcome_decision o = {.tries = c->tries, .refusals = c->refusals};
        switch (cause_remedy(c->cause)) {
        case REMEDY_REJECT:
                o.next = OBJECT_REJECTED;
                o.tries++;
                break;
        case REMEDY_LIMITED:
                limited(&o, c);
                break;
        case REMEDY_GONE:
        case REMEDY_RESTART:
                retry(&o, c, backoff(c, 0));
                o.also = OUTCOME_RELIST;
                break;
        case REMEDY_CREDENTIALS:
                put_back(&o, OUTCOME_BLOCK_BUCKET | (c->cause == CAUSE_NO_CREDENTIALS ? OUTCOME_RENEW : 0));
                break;
        case REMEDY_DENIED:
                retry(&o, c, USEC_PER_HOUR);
                break;
        case REMEDY_STOP_KEY:
                retry(&o, c, USEC_PER_HOUR);
                if (c->cause == CAUSE_PASSPHRASE || c->keys + 1 >= OUTCOME_KEYS_IN_A_ROW)
                        o.also = OUTCOME_PAUSE_KEY;
                break;
        case REMEDY_PAUSE:
                put_back(&o, c->cause == CAUSE_SPACE ? OUTCOME_PAUSE_SPACE : OUTCOME_PAUSE_STAGING);
                break;
        case REMEDY_NONE:
        case REMEDY_RETRY:
        case REMEDY_FATAL:
                if (c->cause == CAUSE_CANCELLED) {
                        put_back(&o, 0);
                        o.forget = true;
                } else {
                        retry(&o, c, backoff(c, c->retry_after_usec));
                }
                break;
        }
        return o;
}
