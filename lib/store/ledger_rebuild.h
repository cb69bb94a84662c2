/* SPDX-License-Identifier: Apache-2.0 */
/* A ledger that was lost, or found damaged, is made anew from the audit record. What the record cannot tell
 * (objects that were never staged, retries, GONE) comes with the next full listing; whether the files are
 * still there says the next look at the disk. */
#pragma once

#include <stddef.h>

#include "audit.h"
#include "ledger.h"

/* The fact that holds the hash of the configuration whose filters chose the members. */
#define LEDGER_FILTERED_BY "members-filtered-by"

struct ledger_rebuilt {
        uint64_t lines;            /* of the record */
        uint64_t unreadable;       /* of these: passed over */
        uint64_t objects, members; /* in the ledger now */
        char staging_id[33];       /* "": the record does not tell */
};

/* Was there a ledger before this one? It knows no staging volume, and the record has entries. 1, 0 or -errno.
 */
int ledger_is_lost(struct ledger *l, const struct audit *a, struct error *e);

/* Fills an empty ledger from state_fd's audit.jsonl, in one transaction. max_name: [limits] max_name, for the
 * names of members. 0 or -errno; then the ledger is as it was. */
int ledger_rebuild(
        struct ledger *l, int state_fd, size_t max_name, struct ledger_rebuilt *ret, struct error *e);
/* After a crash: does to the ledger what the lines after that number tell, which became durable before the
 * ledger's rows. */
int ledger_catch_up(struct ledger *l, int state_fd, uint64_t after, size_t max_name,
        struct ledger_rebuilt *ret, struct error *e);
