/* SPDX-License-Identifier: Apache-2.0 */
/* The rules by which events can be split by course: as the configuration, the ledger, messages and a day's
 * MANIFEST.jsonl name them. What they say is in lib/events. */
#pragma once

enum event_rule {
        EVENT_RULE_NONE,    /* events are not split */
        EVENT_RULE_EDX,     /* as the producer does */
        EVENT_RULE_EDX_URL, /* and by URL where there is no context, as in logs before 2014 */
        EVENT_RULE_MAX
};

/* "none", "edx", "edx+url" */
const char *event_rule_name(enum event_rule rule);
/* The rule of that name, or EVENT_RULE_MAX. */
enum event_rule event_rule_from_name(const char *name);
