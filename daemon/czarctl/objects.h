/* SPDX-License-Identifier: Apache-2.0 */
/* How an object is shown: the same in list and plan. */
#pragma once

#include "ctl.h"
#include "rows.h"

#define OBJECT_COLUMNS "state|date|org|category|site|>size|>plain_size=PLAIN|what=OBJECT OR PATH|cause"
/* Adds a row; more: the caller adds members in JSON and calls rows_end_item(). */
void object_row(struct rows *r, const struct ledger_object *o, bool more);
