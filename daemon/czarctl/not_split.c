/* SPDX-License-Identifier: Apache-2.0 */
#include "not_split.h"

#include <errno.h>

const char *not_split_advice(enum cause cause)
{
        return cause == CAUSE_STAGING
                       ? "czarctl verify says what became of its file; czarctl resync with its key "
                         "fetches that again"
                       : cause_advice(cause);
}

struct walk {
        struct ctl *c;
        not_split_fn *each;
        void *arg;
        struct error *e;
};

static int on_row(const struct ledger_split *row, void *arg)
{
        const struct walk *w = arg;
        struct ledger_object o;
        if (row->cause == CAUSE_NONE)
                return 0;
        int r = ledger_get(w->c->ledger, row->object_id, &o, w->e);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        enum event_rule rule = config_event_rule(w->c->config, o.org);
        return rule != EVENT_RULE_NONE && !ledger_split_is_done(row, &o, rule) ? w->each(w->arg, row, &o) : 0;
}

int not_split(struct ctl *c, not_split_fn *each, void *arg, struct error *e)
{
        struct walk w = {.c = c, .each = each, .arg = arg, .e = e};
        return ledger_splits(c->ledger, on_row, &w, e);
}
