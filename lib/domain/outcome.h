/* SPDX-License-Identifier: Apache-2.0 */
/* The states of an object, the steps from one to another, and what becomes of one that could not be finished:
 * its next state, when it is tried again, and what else is to be done. A pure function; whoever asks does
 * what it says. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
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

/* --- what becomes of one that failed --- */

/* REMEDY_LIMITED: refused by the server's answers so often, then REJECTED. After that there is one more try
 * each time that a day, two, four ... OUTCOME_DAYS_MOST days have passed. */
#define OUTCOME_LIMITED_TRIES 5
#define OUTCOME_DAYS_MOST 32
/* A message for other keys than ours may be a stray. So many in a row are none: the key is the wrong one. */
#define OUTCOME_KEYS_IN_A_ROW 3

struct outcome_case {
        enum cause cause;
        unsigned tries;            /* that failed before this one */
        unsigned refusals;         /* of these, and of earlier runs: by causes of REMEDY_LIMITED */
        unsigned keys;             /* objects in a row before this one for which there was no key */
        bool once;                 /* czard --once: the run is short */
        uint64_t now_usec;         /* CLOCK_REALTIME */
        uint64_t retry_after_usec; /* what S3 asked for; 0: nothing */
        uint64_t random;           /* any 64 bits, for the jitter */
};

/* What else is to be done. */
enum outcome_also {
        OUTCOME_RELIST = BIT(0),        /* list the key again: what is there now? */
        OUTCOME_BLOCK_BUCKET = BIT(1),  /* its credentials are refused: leave the bucket alone for a while */
        OUTCOME_RENEW = BIT(2),         /* the next czard-fetch reads the credentials anew */
        OUTCOME_PAUSE_KEY = BIT(3),     /* nothing can be decrypted */
        OUTCOME_PAUSE_SPACE = BIT(4),   /* the staging volume is full */
        OUTCOME_PAUSE_STAGING = BIT(5), /* the staging volume is not there, or fails */
};

struct outcome_decision {
        enum object_state next; /* NEW, RETRY or REJECTED */
        int64_t at;             /* seconds: RETRY: not before; REJECTED: one more try then, 0: none; else 0 */
        uint64_t delay_usec;    /* until then */
        unsigned tries, refusals; /* from now on */
        unsigned also;            /* BIT(...) of enum outcome_also */
        bool forget;              /* nothing failed: the cause is not kept */
};

struct outcome_decision outcome_of(const struct outcome_case *c);
