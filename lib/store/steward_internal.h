/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by steward.c and steward_adopt.c. */
#pragma once

#include "history.h"
#include "steward.h"

struct history steward_history(const struct steward *s);
void steward_tell(const struct steward *s, const char *what, const struct ledger_object *o, const char *path,
        const char *text, int64_t bytes);
bool steward_is_busy(const struct steward *s, const struct ledger_object *o);
