/* SPDX-License-Identifier: Apache-2.0 */
/* A page: a template filled with JSON. In the template stand, of the innermost object that has the name,
 *
 *      {{name}}                the value as text; {{.}}: the item itself
 *      {{name|form}}           formed: bytes, time, day, ago (of a time), column, row (of a calendar's slot)
 *      {{name|one|many}}       "1 one", "2 many"
 *      {{#name}}...{{/name}}   for each item of an array; else once, unless null, false, 0 or empty
 *      {{?name}}...{{/name}}   once, unless null, false, 0 or empty
 *      {{^name}}...{{/name}}   once, if null, false, 0, empty or not there
 *
 * All text is escaped, here and nowhere else: & < > " ' for HTML, and what no page should show as it is
 * (name_shown_next()) as \xNN. */
#pragma once

#include "error.h"
#include "str.h"

/* Appends to b. 0 or -errno: json is none, or memory ran out. */
int page_fill(struct strbuf *b, const char *page, const char *json, struct error *e);
