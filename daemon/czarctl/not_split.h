/* SPDX-License-Identifier: Apache-2.0 */
/* Days of events that should be staged by course, and could not be split: for status, metrics and report. A
 * failure of a day that is not wanted any more, or is staged as wanted meanwhile, is none. */
#pragma once

#include "ctl.h"
#include "ledger_split.h"

/* What to do about it: the volume is there, and it is the day's file that is not as it was staged. */
const char *not_split_advice(enum cause cause);
/* 0, or a non-zero return, which ends the walk. */
typedef int not_split_fn(void *arg, const struct ledger_split *row, const struct ledger_object *o);
/* By path. 0, -errno, or what each returned. */
int not_split(struct ctl *c, not_split_fn *each, void *arg, struct error *e);
