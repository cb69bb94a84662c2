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

struct poll;

/* All borrowed for ever. */
struct poll_spec {
        uv_loop_t *loop;
        struct ledger *ledger;
        struct record *record;
        struct pauses *pauses;
        struct fetcher *fetcher;
        struct queue *queue; /* asked which objects are in work */
};
int poll_new(const struct poll_spec *spec, struct poll **ret);
/* The configuration in force; borrowed until the next call, and followed by poll_restart(). */
void poll_configure(struct poll *p, const struct config *config);
struct poll *poll_free(struct poll *p);

/* Polls now; when a poll runs already, again right after it. full: list everything and compare. */
void poll_now(struct poll *p, bool full);
/* Polls run by themselves from now on, by poll_interval and full_list_interval. */
void poll_schedule(struct poll *p);
/* The configuration is another one: what runs is dropped, and a full poll begins. */
void poll_restart(struct poll *p);
/* No new ones; what runs is dropped. */
void poll_stop(struct poll *p);
bool poll_running(const struct poll *p);
/* Of the last poll that ended: was every prefix listed? */
bool poll_was_complete(const struct poll *p);
/* Was some of what it listed undone with its turn? The ledger knows less then than there is: of two spellings
 * of one date, perhaps only the one that does not count. */
bool poll_was_lost(const struct poll *p);
/* Seconds until the next one, -1: none planned. */
int64_t poll_next(const struct poll *p);
/* Lists just this key again: it was replaced while it was read, or a GET says that it is not there. */
void poll_object(struct poll *p, const struct ledger_object *o);

/* What listings that ended since it was last asked lead to. */
struct poll_ended {
        bool poll; /* a whole poll ended, or only listings of single objects */
        bool full; /* it listed everything, and nothing of it was lost */
        bool plan; /* objects may be due */
};
/* False: none ended. */
bool poll_take_ended(struct poll *p, struct poll_ended *ret);
