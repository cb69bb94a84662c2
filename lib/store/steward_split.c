/* SPDX-License-Identifier: Apache-2.0 */
/* Events by course go with the file that they were made from. */
#include <errno.h>
#include <stdlib.h>

#include "ledger_split.h"
#include "limits.h"
#include "macro.h"
#include "place.h"
#include "steward.h"
#include "steward_internal.h"

int steward_remove_by_course(const struct steward *s, const struct ledger_object *o, const char *what,
        const char *why, struct error *e)
{
        char path[STAGED_PATH_SIZE];
        struct ledger_split row;
        if (place_by_course(o, path) < 0)
                return 0;
        int64_t bytes = ledger_split_get(s->ledger, o->id, &row, NULL) == 0 ? (int64_t)row.files_size : -1;
        bool there = staging_stat(s->staging, path, NULL, NULL, NULL) == 0;
        int r = there ? staging_remove(s->staging, path, e) : 0;
        if (r == 0)
                r = staging_remove_remains(s->staging, path, e);
        if (r == 0)
                r = snapshot_discard(s->staging, path, e);
        if (r == 0)
                r = ledger_split_delete(s->ledger, o->id, e);
        if (r == 0 && there)
                steward_tell(s, what, o, path, why, bytes);
        return r;
}

int steward_prune_by_course(
        const struct steward *s, const struct ledger_object *o, const struct keep_item *item, struct error *e)
{
        const struct history h = steward_history(s);
        int r = staging_remove(s->staging, item->path, e);
        return r < 0 ? r : history_day_removed(&h, o, item->path, e);
}

/* Days whose folder is not there. */
struct absent {
        const struct steward *s;
        int64_t *ids;
        size_t n;
};

static int on_split(const struct ledger_split *row, void *arg)
{
        struct absent *a = arg;
        if (!*row->path || ledger_split_is_again(row) ||
                staging_stat(a->s->staging, row->path, NULL, NULL, NULL) == 0)
                return 0;
        if (ARRAY_ROOM(a->ids, a->n) < 0)
                return -ENOMEM;
        a->ids[a->n++] = row->object_id;
        return 0;
}

static int miss_day(const struct steward *s, int64_t id, struct error *e)
{
        const struct history h = steward_history(s);
        struct ledger_object o;
        struct ledger_split day;
        int r = ledger_get(s->ledger, id, &o, e);
        if (r == 0)
                r = ledger_split_get(s->ledger, id, &day, e);
        if (r == 0)
                r = history_day_missing(&h, &o, day.path, "not there", e);
        if (r == 0)
                steward_tell(s, "missing", &o, day.path,
                        config_event_rule(s->config, o.org) == EVENT_RULE_NONE
                                ? "by course; it is not made again, as events_by_course is none"
                                : "by course; it is due again",
                        -1);
        return r;
}

int steward_adopt_by_course(const struct steward *s, struct error *e)
{
        struct absent a = {.s = s};
        int r = ledger_splits(s->ledger, on_split, &a, e);
        for (size_t i = 0; r == 0 && i < a.n; i++)
                r = miss_day(s, a.ids[i], e);
        free(a.ids);
        return r;
}
