/* SPDX-License-Identifier: Apache-2.0 */
#include "ending.h"

#include <stdio.h>

#include "control_msg.h"
#include "journal.h"
#include "noted.h"

void ending_fail(struct ending *n, const struct error *e, const char *advice)
{
        journal_event(EVENT_FAILED, &(struct journal_fields){.cause = e->cause}, "%s%s%s", e->text,
                *advice ? "; " : "", advice);
        if (n->status != STATUS_CANNOT)
                snprintf(n->failure, sizeof(n->failure), "%s", e->text);
        n->status = STATUS_CANNOT;
}

void ending_judge(struct ending *n, struct ledger *ledger, bool once, bool incomplete)
{
        struct ledger_filter left = {
                .states = BIT(OBJECT_RETRY) | BIT(OBJECT_FETCHING) | BIT(OBJECT_DECRYPTING)};
        struct error e = {};
        uint64_t count = 0, bytes;
        if (once && (ledger_count(ledger, &left, &count, &bytes, &e) < 0 || count > 0))
                incomplete = true;
        if (once && incomplete)
                n->status = MAX(n->status, STATUS_INCOMPLETE);
}

void ending_note(const struct ending *n, struct ledger *ledger, bool stopped)
{
        if (ledger)
                noted_end(ledger, n->status == STATUS_CANNOT ? n->failure : stopped ? "it was stopped" : "");
}
