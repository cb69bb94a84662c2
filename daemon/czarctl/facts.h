/* SPDX-License-Identifier: Apache-2.0 */
/* What status, metrics, gaps and report say beside the objects: polls, pause, keys, credentials. */
#pragma once

#include "keyring.h"

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
