/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by steward.c and steward_adopt.c. */
#pragma once

#include "history.h"

struct steward;
struct keep_item;

struct history steward_history(const struct steward *s);
void steward_tell(const struct steward *s, const char *what, const struct ledger_object *o, const char *path,
        const char *text, int64_t bytes);
bool steward_is_busy(const struct steward *s, const struct ledger_object *o);
/* `latest` of that organisation and category, by the rule in latest.h. 0 or -errno. */
int steward_move_latest(const struct steward *s, const char *org, enum category c, struct error *e);

/* --- steward_split.c --- */
/* The day's events by course: the folder, a half-built one, the row. Notes it when it was there. */
int steward_remove_by_course(const struct steward *s, const struct ledger_object *o, const char *what,
        const char *why, struct error *e);
int steward_prune_by_course(const struct steward *s, const struct ledger_object *o,
        const struct keep_item *item, struct error *e);
/* Another volume was accepted: days whose folder is not there are due again. */
int steward_adopt_by_course(const struct steward *s, struct error *e);
