/* SPDX-License-Identifier: Apache-2.0 */
/* What czarctl shows of czard also when nothing runs: kept in the ledger. What cannot be written is not:
 * PAUSE_STATE says so. */
#pragma once

#include "proto.h"
#include "record.h"

/* Of a daemon, when it began and ended; "" of what is no daemon. */
void noted_run(struct recorder *r, struct ledger *ledger, const char *started, const char *stopped);
/* The daemon that began then has ended now. */
void noted_stop(struct recorder *r, struct ledger *ledger);
/* Why a run ended before all was done; "": it did not. Last of all, outside of a turn. */
void noted_end(struct ledger *ledger, const char *why);
/* Why nothing was started. noted: what the ledger has, kept by the caller. */
#define NOTED_PAUSES_SIZE TEXT_SIZE
void noted_pauses(struct recorder *r, struct ledger *ledger, const struct pauses *pauses,
        char noted[static NOTED_PAUSES_SIZE]);
/* Why the feed cannot be brought up to date; "": it is. */
void noted_feed(struct recorder *r, struct ledger *ledger, const char *why);
/* The keys a pool has found in that home; of the first pool: and no others. */
void noted_keys(struct recorder *r, struct ledger *ledger, const struct proto_ready *ready,
        const char *homedir, bool first);
/* One audit line about czard itself: "start", "stop", "reload", with the hash of the configuration. */
void noted_audit(struct audit *audit, struct ledger *ledger, const struct config *config,
        const char *staging_id, const char *event);
