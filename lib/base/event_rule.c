/* SPDX-License-Identifier: Apache-2.0 */
#include "event_rule.h"

#include "str.h"

static const char *const rule_names[EVENT_RULE_MAX] = {"none", "edx", "edx+url"};

const char *event_rule_name(enum event_rule rule)
{
        return rule_names[rule];
}

enum event_rule event_rule_from_name(const char *name)
{
        for (unsigned i = 0; i < EVENT_RULE_MAX; i++)
                if (streq(name, rule_names[i]))
                        return (enum event_rule)i;
        return EVENT_RULE_MAX;
}
