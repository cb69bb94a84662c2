/* SPDX-License-Identifier: Apache-2.0 */
/* What an admin should hear of before it hurts: keys that expire, files that are late. */
#pragma once

#include "config.h"
#include "ledger.h"
#include "proto.h"

struct watch;

/* The ledger is borrowed for ever. NULL: out of memory. */
struct watch *watch_new(struct ledger *ledger);
struct watch *watch_free(struct watch *w);
/* The keys a pool has found in that home; looked at now and daily. */
void watch_keys(
        struct watch *w, const struct config *config, const char *homedir, const struct proto_ready *ready);
/* A poll has ended: the daily look, with the first one of each day (UTC). Needs no timer of its own, and what
 * has been listed is known. Not with --once. */
void watch_look(struct watch *w, const struct config *config);
