/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by steward.c and steward_adopt.c. */
#pragma once

#include "steward.h"

struct audit_entry steward_entry(const struct steward *s, const char *event, const struct ledger_object *o);
void steward_tell(const struct steward *s, const char *what, const struct ledger_object *o, const char *path,
        const char *text, int64_t bytes);
/* Audit entry, made durable. */
int steward_record(const struct steward *s, const struct audit_entry *entry, struct error *e);
