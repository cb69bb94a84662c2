/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by steward.c and steward_adopt.c. */
#pragma once

#include "steward.h"

struct audit_entry steward_entry(const struct steward *s, const char *event, const struct ledger_object *o);
void steward_tell(const struct steward *s, const char *what, const struct ledger_object *o, const char *path,
        const char *text, int64_t bytes);
bool steward_is_busy(const struct steward *s, const struct ledger_object *o);
/* Saves the row with that state; -EBUSY: it cannot be entered from where it is. */
int steward_enter(const struct steward *s, struct ledger_object *o, enum object_state next, struct error *e);
/* Audit entry, made durable. */
int steward_record(const struct steward *s, const struct audit_entry *entry, struct error *e);
