/* SPDX-License-Identifier: Apache-2.0 */
/* Finding out what is there: one LIST for every prefix that could have changed, into the ledger. */
#pragma once

#include <uv.h>

#include "config.h"
#include "fetcher.h"
#include "ledger.h"
#include "pauses.h"
#include "queue.h"
#include "record.h"

struct poller;

/* Both borrowed for ever. A new configuration is followed by poller_restart(). */
int poller_new(const struct job_env *env, const struct queue *queue, struct poller **ret);
struct poller *poller_free(struct poller *p);

/* Polls now; when a poll runs already, again right after it. full: list everything and compare. */
void poller_now(struct poller *p, bool full);
/* Polls run by themselves from now on, by poll_interval and full_list_interval. */
void poller_schedule(struct poller *p);
/* The configuration is another one: what runs is dropped, and a full poll begins. */
void poller_restart(struct poller *p);
/* No new ones; what runs is dropped. */
void poller_stop(struct poller *p);
bool poller_running(const struct poller *p);
/* Of the last poll that ended: was every prefix listed? */
bool poller_was_complete(const struct poller *p);
/* Was some of what it listed undone with its turn? The ledger knows less then than there is: of two spellings
 * of one date, perhaps only the one that does not count. */
bool poller_was_lost(const struct poller *p);
/* Seconds until the next one, -1: none planned. */
int64_t poller_next(const struct poller *p);
/* Lists just this key again: it was replaced while it was read, or a GET says that it is not there. */
void poller_object(struct poller *p, const struct ledger_object *o);

/* What listings that ended since it was last asked lead to. */
struct poll_ended {
        bool poll; /* a whole poll ended, or only listings of single objects */
        bool full; /* it listed everything, and nothing of it was lost */
        bool plan; /* objects may be due */
};
/* False: none ended. */
bool poller_take_ended(struct poller *p, struct poll_ended *ret);
