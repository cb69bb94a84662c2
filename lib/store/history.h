/* SPDX-License-Identifier: Apache-2.0 */
/* What happened, in the audit record and in the ledger: first the line, durable, then the row, which
 * remembers the line. For czard and for czarctl's commands while it is stopped. */
#pragma once

#include "audit.h"
#include "ledger.h"

/* Before the first line is appended: is the record as the ledger remembers it? What a crash kept from the
 * ledger is made up for. 0. 1: lines were cut off, or it was written anew: e says so, and so does the record
 * now ("audit-cut"). Or -errno. max_name: [limits] max_name. */
int history_open(struct ledger *l, struct audit *a, int state_fd, size_t max_name, struct error *e);
/* Makes durable what was appended, and has the ledger remember the last line, with what else it commits. */
int history_sync(struct ledger *l, struct audit *a, struct error *e);
/* A line about the object; NULL: about none. What does not apply is not set. */
struct audit_entry history_entry(const char *event, const struct ledger_object *o);
