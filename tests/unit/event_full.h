/* SPDX-License-Identifier: Apache-2.0 */
/* A second reader of events, to compare with: it builds the whole value and knows no short way. */
#pragma once

#include "event.h"

/* As event_course(), of any n bytes. */
int event_full_course(enum event_rule rule, const char *p, size_t n, struct course_key *ret);
