/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of steward.h share. */
#pragma once

#include "history.h"

struct steward;

struct history steward_history(const struct steward *s);
void steward_tell(const struct steward *s, const char *what, const struct ledger_object *o, const char *path,
        const char *text, int64_t bytes);
bool steward_is_busy(const struct steward *s, const struct ledger_object *o);
/* `latest` of that organisation and category, by the rule in latest.h. 0 or -errno. */
int steward_move_latest(const struct steward *s, const char *org, enum category c, struct error *e);
