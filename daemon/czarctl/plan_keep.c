/* SPDX-License-Identifier: Apache-2.0 */
/* What of a plan is not fetched after all, by the rules of czard's queue. */
#include "plan_keep.h"

#include <errno.h>
#include <stdlib.h>

#include "beyond.h"

struct kept_until {
        struct ctl *c;
        const struct ledger_object *v;
        size_t n;
};

/* One date in two spellings. */
static bool is_beaten(const struct kept_until *d, const struct ledger_object *o)
{
        bool beaten = false;
        if (d->c->ledger)
                ledger_is_beaten(d->c->ledger, o, &beaten, NULL);
        for (size_t i = 0; i < d->n; i++)
                beaten |= ledger_is_beaten_by(o, &d->v[i]);
        return beaten;
}

int plan_drop(
        struct ctl *c, struct ledger_object *due, size_t *n, struct plan_undecided *ret, struct error *e)
{
        struct kept_until d = {c, due, *n};
        _cleanup_free_ enum beyond *beyond = calloc(*n + 1, sizeof(*beyond));
        size_t kept = 0;
        int r = beyond ? 0 : error_set(e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        for (size_t i = 0; r >= 0 && i < *n; i++)
                if (is_beaten(&d, &due[i]))
                        beyond[i] = BEYOND_YES;
                else
                        r = beyond_look(c->ledger, c->config, &due[i], due, *n, &beyond[i], e);
        for (size_t i = 0; r >= 0 && i < *n; i++)
                switch (beyond[i]) {
                case BEYOND_NO:
                case BEYOND_LAST_COPY:
                        due[kept++] = due[i];
                        break;
                case BEYOND_UNREAD:
                case BEYOND_WAITS:
                        ret->n++;
                        ret->bytes += due[i].size;
                        break;
                case BEYOND_YES:
                        break;
                }
        if (r >= 0)
                *n = kept;
        return MIN(r, 0);
}
