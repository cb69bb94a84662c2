/* SPDX-License-Identifier: Apache-2.0 */
/* prune: what retention lets go is removed from the disk, then the audit record tells it, then the ledger. */
#include "latest.h"
#include "steward.h"
#include "steward_internal.h"

static const char *why_of(enum keep_kind kind)
{
        switch (kind) {
        case KEEP_EVENTS:
                return "keep_days";
        case KEEP_SNAPSHOT:
                return "keep_snapshots";
        case KEEP_REPLACED:
                return "keep_replaced";
        case KEEP_BY_COURSE:
                return "events_by_course is none";
        }
        return "";
}

static int prune_object(
        const struct steward *s, struct ledger_object *o, const struct keep_item *item, struct error *e)
{
        const struct history h = steward_history(s);
        int r = steward_remove_by_course(s, o, "pruned", why_of(item->kind), e);
        if (r == 0)
                r = staging_remove(s->staging, item->path, e);
        if (r == 0)
                r = history_removed(&h, o, OBJECT_PRUNED, item->path, e);
        return r < 0 || !o->is_zip ? r : steward_move_latest(s, o->org, o->category, e);
}

/* A replaced version, which is not in the ledger. */
static int prune_replaced(const struct steward *s, const struct keep_item *item, struct error *e)
{
        const struct history h = steward_history(s);
        struct audit_entry a = history_entry(&h, "pruned", NULL);
        a.path = item->path;
        int r = staging_remove(s->staging, item->path, e);
        if (r == 0)
                r = history_begin(&h, &a, e);
        return r < 0 ? r : ledger_end(s->ledger, 0, e);
}

int steward_prune(const struct steward *s, const struct keep_item *item, bool apply, struct error *e)
{
        struct ledger_object o;
        int r = 0;
        if (item->object_id == 0) {
                r = apply ? prune_replaced(s, item, e) : 0;
        } else {
                bool by_course = item->kind == KEEP_BY_COURSE;
                r = ledger_get(s->ledger, item->object_id, &o, e);
                if (r == 0 && (steward_is_busy(s, &o) ||
                                      (!by_course && !object_may_enter(o.state, OBJECT_PRUNED)))) {
                        steward_tell(s, "skipped", &o, item->path, "is being fetched", item->bytes);
                        return 0;
                }
                if (r == 0 && apply)
                        r = by_course ? steward_prune_by_course(s, &o, item, e)
                                      : prune_object(s, &o, item, e);
        }
        if (r == 0)
                steward_tell(s, "pruned", item->object_id ? &o : NULL, item->path, why_of(item->kind),
                        item->bytes);
        return r;
}
