/* SPDX-License-Identifier: Apache-2.0 */
#include "latest_point.h"

#include <errno.h>

#include "cleanup.h"
#include "latest.h"

static void say_unmatched(const struct config *config, const char *org, const struct strv *missed)
{
        const struct config_package *p = config_find_package(config, org);
        for (size_t i = 0; p && i < missed->n; i++)
                journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING, .org = org},
                        "[package %s] %s matches nothing in the snapshot that latest would name; it does not "
                        "move. Correct it as the names of files have it (upper and lower case count), then: "
                        "systemctl reload czard",
                        p->name, missed->v[i]);
}

void latest_point(const struct config *config, struct ledger *ledger, struct staging *staging,
        struct recorder *record, const char *org, enum category c)
{
        _cleanup_(strv_done) struct strv missed = {};
        struct error e = {};
        int r = latest_move(ledger, staging, config, org, c, &missed, &e);
        say_unmatched(config, org, &missed);
        if (r < 0 && r != -ENOENT) /* a folder that is not there is MISSING, and told as that */
                record_incomplete(record);
        if (r < 0)
                journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING, .cause = e.cause},
                        "latest of %s/%s: %s", org, category_name(c), e.text);
}

void latest_point_all(
        const struct config *config, struct ledger *ledger, struct staging *staging, struct recorder *record)
{
        for (size_t i = 0; i < config->n_packages; i++) {
                const char *org = config->packages[i].spec.org;
                latest_point(config, ledger, staging, record, org, CATEGORY_DATABASE);
                latest_point(config, ledger, staging, record, org, CATEGORY_EMAIL_OPT_IN);
        }
}
