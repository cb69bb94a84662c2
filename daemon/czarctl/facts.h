/* SPDX-License-Identifier: Apache-2.0 */
/* What status, metrics, gaps and report say beside the objects: polls, pause, keys, credentials; which days
 * are missing; which could not be split. */
#pragma once

#include "ctl.h"
#include "habit.h"
#include "key_command.h"
#include "keyring.h"
#include "ledger_facts.h"

#define FACT_KEYS 16

struct facts {
        pid_t daemon;                            /* 0: does not run; -1: cannot tell */
        int64_t last_poll, last_poll_incomplete; /* seconds, 0: never */
        int64_t next_poll;                       /* 0: not known or none planned */
        int64_t started_at, stopped_at;          /* of the daemon that ran last; 0: none, or not stopped */
        bool enabled;                            /* czard.service is to be started at boot */
        char last_pause[TEXT_SIZE];              /* in which the last run is, or ended; "" none */
        char ended_early[TEXT_SIZE];             /* why the last run did, "" did not */
        char feed[TEXT_SIZE];                    /* why the feed is not up to date, "" it is */
        char paused[TEXT_SIZE];                  /* by an admin; "" not */
        char pauses[TEXT_SIZE];                  /* all that czard names while it runs, "" none */
        char pause_reasons[TEXT_SIZE];           /* the same with why, as pauses_text() has it */
        uint64_t running, due, due_bytes, rate;  /* of czard's queue */
        bool live;                               /* the two lines above are from a running czard */
        struct fact_key keys[FACT_KEYS];
        size_t n_keys;
        char credentials[TEXT_SIZE]; /* where they are, "" not known */
        int64_t credentials_since;   /* modification time, 0: not known */
};
/* Opens the ledger when it is not. live: ask a running czard too. 0 or an exit status after a text. */
int facts_read(struct ctl *c, bool live, struct facts *ret);
/* Seconds until the first key expires; INT64_MAX: none does. */
int64_t facts_key_left(const struct facts *f);

/* Something that somebody should look at, and what helps. */
struct problem {
        const char *what; /* for scripts */
        char text[640], fix[2 * KEY_COMMAND_SIZE];
        uint64_t n;
};
#define PROBLEMS_MOST 64
struct problems {
        struct problem v[PROBLEMS_MOST];
        size_t n;
};
void problem_add(struct problems *to, const char *what, uint64_t n, const char *fix, const char *format, ...)
        _printf_(5, 6);
/* Does czard run, and poll? Are there keys, and do they last? Is it paused, or did it end too early? */
void facts_judge_run(const struct facts *f, const struct config *c, struct problems *p);
void facts_judge_key(const struct facts *f, const struct config *c, struct problems *p);
void facts_judge_pauses(const struct facts *f, struct problems *p);

/* The dates of all objects in the ledger, by series, and what is missing of them. */
struct days {
        struct habit habit;
        struct habit_gaps gaps;
};
/* By what is due today. The ledger must be open. 0 or -errno. */
int days_read(struct ctl *c, struct days *ret, struct error *e);
void days_done(struct days *d);
#define _cleanup_days_ _cleanup_(days_done)

/* Does the configuration want more of that series? Not of a site that was taken out, for example. */
bool days_is_wanted(const struct ctl *c, const struct habit_series *s);
/* The gap since the last file of a series, NULL: none. */
const struct habit_gap *days_late(const struct days *d, size_t series);
/* Why it may be, "" when nothing points to a reason. */
void days_hint(
        const struct days *d, const struct habit_gap *g, const struct facts *f, char *ret, size_t size);

/* --- days of events that should be staged by course, and could not be split. A failure of a day that is not
 * wanted any more, or is staged as wanted meanwhile, is none --- */

/* What to do about it: the volume is there, and it is the day's file that is not as it was staged. */
const char *not_split_advice(enum cause cause);
/* 0, or a non-zero return, which ends the walk. */
typedef int not_split_fn(void *arg, const struct ledger_split *row, const struct ledger_object *o);
/* By path. each NULL: arg is a uint64_t that counts them. 0, -errno, or what each returned. */
int not_split(struct ctl *c, not_split_fn *each, void *arg, struct error *e);
