/* SPDX-License-Identifier: Apache-2.0 */
/* Will an archive fit? */
#pragma once

#include "snapshot.h"

/* Compares what the wanted members will take with what is free above min_free. 0: it fits. -ENOSPC and e: it
 * does not; the text says how much is missing. */
int room_for(const struct snapshot *s, struct error *e);
/* An archive was published: what it took is what the next one is judged by. */
void room_learn(const struct snapshot *s);
