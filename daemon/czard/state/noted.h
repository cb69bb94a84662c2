/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of czard beside its objects: of the run, what czarctl shows also when nothing runs, and the
 * exit status; of staging, `latest` and what is still to be removed. It is kept in the ledger; what cannot be
 * written is not: PAUSE_STATE says so. */
#pragma once

#include <stdbool.h>

#include "config.h"
#include "error.h"
#include "ledger.h"
#include "proto.h"
#include "record.h"
#include "staging.h"

/* --- the run --- */

/* A daemon begins. */
void noted_start(struct recorder *r, struct ledger *ledger);
/* One audit line about czard itself: "start", "stop", "reload", with the hash of the configuration. */
void noted_audit(struct audit *audit, struct ledger *ledger, const struct config *config,
        const char *staging_id, const char *event);

/* How it ends: with which exit status, and what czarctl status says of one that ended before all was done. */
struct ending {
        int status;              /* so far: the greatest */
        char failure[TEXT_SIZE]; /* the first of STATUS_CANNOT */
};

/* czard cannot start, or go on: said in the journal, with the advice ("": none). */
void ending_fail(struct ending *n, const struct error *e, const char *advice);
/* The run is over, and the daemon's, if it is one. incomplete: a listing failed, work was paused, or it was
 * stopped; with --once objects that are left count too. A daemon's troubles are in the journal, not in its
 * exit status. */
void ending_judge(struct ending *n, struct recorder *r, struct ledger *ledger, bool once, bool incomplete);
/* Leaves in the ledger (NULL: there is none) why the run ended early. stopped: a signal ended it. Last of
 * all, outside of a turn. */
void ending_note(const struct ending *n, struct ledger *ledger, bool stopped);

/* --- its parts --- */

/* Why nothing was started. noted: what the ledger has, kept by the caller. */
#define NOTED_PAUSES_SIZE TEXT_SIZE
void noted_pauses(struct recorder *r, struct ledger *ledger, const struct pauses *pauses,
        char noted[static NOTED_PAUSES_SIZE]);
/* Why the feed cannot be brought up to date; "": it is. */
void noted_feed(struct recorder *r, struct ledger *ledger, const char *why);
/* The keys a pool has found in that home; of the first pool: and no others. */
void noted_keys(struct recorder *r, struct ledger *ledger, const struct proto_ready *ready,
        const char *homedir, bool first);

/* --- staging --- */

/* A snapshot was published: `latest` of that organisation and category, by the rule in lib/store/latest.h.
 * What keeps it where it is is said. */
void latest_point(const struct config *config, struct ledger *ledger, struct staging *staging,
        struct recorder *record, const char *org, enum category c);
/* Of all of them: a crash, or a disk that failed, may have come between a snapshot and the link to it. */
void latest_point_all(
        const struct config *config, struct ledger *ledger, struct staging *staging, struct recorder *record);
/* The plaintext of o is staged under another path now, and what is at path could not be removed: says so (a
 * warning) and remembers the path, and keep_as ("" none), for leftover_clear(). why: what
 * staging_retire() said. */
void leftover_note(struct recorder *r, struct ledger *ledger, const struct ledger_object *o, const char *path,
        const char *keep_as, const struct error *why);
/* At start: what is remembered is removed, unless it has come to be of use again. What cannot be is said and
 * stays remembered. */
void leftover_clear(struct recorder *r, struct ledger *ledger, struct staging *staging);
