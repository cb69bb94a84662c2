/* SPDX-License-Identifier: Apache-2.0 */
/* How an object is shown: the same in list and plan. */
#pragma once

#include "ctl.h"
#include "table.h"

/* Opens the JSON object of o and writes its fields; the caller may add some and closes it. */
void object_json(struct json *j, const struct ledger_object *o);
struct table *object_table(void);
void object_row(struct table *t, const struct ledger_object *o);
