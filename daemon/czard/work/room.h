/* SPDX-License-Identifier: Apache-2.0 */
/* Will an archive fit? */
#pragma once

#include "snapshot_job.h"

/* Compares what the wanted members will take with what is free above min_free. false: it does not fit; said
 * once, and the object waits (the caller drops the job). */
bool room_for(struct snapshot *s);
/* It did not fit before and still does not: it goes on waiting, and nothing is fetched for it. */
bool room_still_short(const struct job_env *env, struct ledger_object *o);
/* An archive was published: what it took is what the next one is judged by. */
void room_learn(const struct snapshot *s);
