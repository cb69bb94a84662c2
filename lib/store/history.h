/* SPDX-License-Identifier: Apache-2.0 */
/* The one writer of history. Each event is a line of the audit record, made durable, and what it does to the
 * ledger, in one transaction that also remembers the line: so a crash leaves either none of it, or a line
 * that history_open() makes up for. czard's journal entry comes after that (state/record.c); czarctl's
 * commands write the same history while czard is stopped. Inside a transaction of the caller all of it is
 * part of that.
 *
 * Where a function fails, the caller's transaction is undone too (ledger_rollback()). */
#pragma once

#include "audit.h"
#include "config.h"
#include "feed.h"
#include "ledger.h"
#include "ledger_facts.h"

struct history {
        struct ledger *ledger;
        struct audit *audit;
        const struct config *config; /* NULL: no groups are told */
        int64_t uid;                 /* of the admin who asked, -1: none did */
        const char *reason;          /* of that admin, NULL: none */
        struct feed *feed;           /* NULL: it follows later */
};

/* Before the first line is appended: is the record as the ledger remembers it? What a crash kept from the
 * ledger is made up for. 0. 1: lines were cut off, or it was written anew: e says so, and so does the record
 * now ("audit-cut"). Or -errno. max_name: [limits] max_name. */
int history_open(struct ledger *l, struct audit *a, int state_fd, size_t max_name, struct error *e);
/* Makes durable what was appended, and has the ledger remember the last line, with what else it commits. */
int history_sync(struct ledger *l, struct audit *a, struct error *e);
/* A line about the object; NULL: about none. What does not apply is not set. */
struct audit_entry history_entry(const struct history *h, const char *event, const struct ledger_object *o);

/* Begins a transaction with that line, durable, for ledger_end(). 0, or -errno, and then nothing is begun. */
int history_begin(const struct history *h, const struct audit_entry *entry, struct error *e);

/* o (path, plain_size, sha256, checks, fingerprint filled) is staged: "published", "replaced" or "adopted".
 * Of a new archive the lines of its members stand before, from since on (NULL: none): without this line they
 * do not count, and are taken back when it cannot be written. */
int history_staged(const struct history *h, const char *event, struct ledger_object *o,
        const struct audit_mark *since, struct error *e);
/* The members of o follow: which object they are of is said once. Neither is durable before
 * history_staged(). *ret: where the record stood before, also after an error. */
int history_members(
        const struct history *h, const struct ledger_object *o, struct audit_mark *ret, struct error *e);
int history_member(const struct history *h, const struct ledger_object *o, const struct ledger_member *m,
        struct error *e);
/* A staged object is not as it was staged; why: for the record. When it is the kept version of an object (see
 * ledger_is_kept()), the row goes on as it is: record and feed say it with the kept version's ETag, and the
 * feed remembers it (feed_says_missing()). */
int history_missing(const struct history *h, struct ledger_object *o, const char *why, struct error *e);
/* Of such a kept version: it is as it was staged again. */
int history_kept_back(const struct history *h, const struct ledger_object *o, struct error *e);
/* What was staged at path ("" not known) was removed: next is FORGOTTEN or PRUNED. */
int history_removed(const struct history *h, struct ledger_object *o, enum object_state next,
        const char *path, struct error *e);
/* The events of o are staged by course: made, which becomes its row. "day-complete". */
int history_day(const struct history *h, const struct ledger_object *o, const struct ledger_split *made,
        struct error *e);
/* The day at path is not as it was made (why: "missing" or "altered"): it is due again. "day-missing". */
int history_day_missing(const struct history *h, const struct ledger_object *o, const char *path,
        const char *why, struct error *e);
/* The day at path is not staged by course any more, though its file is. "day-removed". */
int history_day_removed(
        const struct history *h, const struct ledger_object *o, const char *path, struct error *e);
/* It was refused (cause and detail filled): the line only, not durable. */
int history_rejected(const struct history *h, const struct ledger_object *o, struct error *e);
