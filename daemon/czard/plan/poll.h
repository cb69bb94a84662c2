/* SPDX-License-Identifier: Apache-2.0 */
/* Finding out what is there: one LIST for every prefix that could have changed, into the ledger. */
#pragma once

#include "director.h"

int poll_new(struct director *d, struct poll **ret);
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
/* Seconds until the next one, -1: none planned. */
int64_t poll_next(const struct poll *p);
/* Lists just this key again: it was replaced while it was read, or a GET says that it is not there. */
void poll_object(struct poll *p, const struct ledger_object *o);
