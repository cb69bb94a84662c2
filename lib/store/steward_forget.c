/* SPDX-License-Identifier: Apache-2.0 */
/* forget and prune: what an admin demands, or retention lets go, is removed from the disk, then the audit
 * record tells it, then the ledger. Where learner data is deleted on somebody's demand, whatever keeps a copy
 * from being found or removed is an error, and the object is not FORGOTTEN before all of them are gone. */
#include <errno.h>
#include <stdio.h>

#include "ledger_facts.h"
#include "limits.h"
#include "macro.h"
#include "steward.h"
#include "str.h"
#include "wants.h"

/* Removes path and notes it, when it is there. */
static int remove_path(const struct steward *s, const char *what, const struct ledger_object *o,
        const char *path, const char *why, int64_t bytes, struct error *e)
{
        bool there = staging_stat(s->staging, path, NULL, NULL, NULL) != -ENOENT;
        int r = there ? staging_remove(s->staging, path, e) : 0;
        if (r == 0)
                r = staging_remove_remains(s->staging, path, e);
        if (r == 0 && there)
                steward_tell(s, what, o, path, why, bytes);
        return r;
}

/* Events by course go with the file that they were made from: the folder, a half-built one, the row. */
static int remove_by_course(const struct steward *s, const struct ledger_object *o, const char *what,
        const char *why, struct error *e)
{
        char path[STAGED_PATH_SIZE];
        struct ledger_split row;
        if (place_by_course(o, path) < 0)
                return 0;
        int64_t bytes = ledger_split_get(s->ledger, o->id, &row, NULL) == 0 ? (int64_t)row.files_size : -1;
        int r = remove_path(s, what, o, path, why, bytes, e);
        if (r == 0)
                r = snapshot_discard(s->staging, path, e);
        return r == 0 ? ledger_split_delete(s->ledger, o->id, e) : r;
}

/* --- forget --- */

static int remove_replaced(
        const struct steward *s, const struct ledger_object *o, const char *path, struct error *e)
{
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *dir = slash ? str_printf("%.*s/" PLACE_REPLACED, (int)(slash - path), path)
                                         : strdup(PLACE_REPLACED);
        _cleanup_(strv_done) struct strv names = {};
        int r = dir ? staging_list(s->staging, dir, &names, e)
                    : error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        if (r == -ENOENT)
                return 0;
        for (size_t i = 0; r == 0 && i < names.n; i++) {
                if (!place_is_replaced_of(o, path, names.v[i]))
                        continue;
                _cleanup_free_ char *one = str_printf("%s/%s", dir, names.v[i]);
                r = one ? remove_path(s, "forgotten", o, one, "replaced version", -1, e)
                        : error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        }
        return r;
}

/* --- archives, whose folder two keys may share --- */

struct rival {
        const struct steward *s;
        const struct ledger_object *o;
        const char *etag;
        bool found, is_busy;
};

static int on_rival(struct ledger_object *other, void *arg)
{
        struct rival *r = arg;
        if (other->id != r->o->id && streq(other->etag, r->etag) && other->state != OBJECT_FORGOTTEN &&
                other->state != OBJECT_PRUNED) {
                r->found = true;
                r->is_busy |= steward_is_busy(r->s, other);
        }
        return 0;
}

/* Is what the record beside the folder speaks of the other spelling's? */
static int find_rival(const struct steward *s, const struct ledger_object *o, const char *etag,
        struct rival *ret, struct error *e)
{
        const struct ledger_filter f = {
                .categories = BIT(CATEGORY_EMAIL_OPT_IN), .org = o->org, .since = o->date, .until = o->date};
        *ret = (struct rival){.s = s, .o = o, .etag = etag};
        return *etag && o->category == CATEGORY_EMAIL_OPT_IN ? ledger_each(s->ledger, &f, on_rival, ret, e)
                                                             : 0;
}

static int remove_folder(
        const struct steward *s, const struct ledger_object *o, const char *path, struct error *e)
{
        struct snapshot_claim claim;
        struct ledger_object other;
        struct rival rival;
        int r = snapshot_claim(s->staging, path, &claim, e);
        if (r == 0)
                r = find_rival(s, o, claim.tag, &rival, e);
        if (r < 0)
                return r;
        if (rival.is_busy && claim.is_appearing)
                return error_set(e, CAUSE_INTERNAL, EBUSY,
                        "the other spelling of %s is taking its place right now: try again in a moment",
                        o->key);
        bool is_staged = *o->staged_etag || o->state == OBJECT_MISSING;
        bool is_others = rival.found && claim.is_published;
        if (!is_staged && !is_others) {
                /* nobody has noted it: it is what a crash left of this one, unless the other is known there
                 */
                r = ledger_other_staged(s->ledger, o, path, &other, e);
                is_others = r == 0;
                r = r == -ENOENT ? 0 : r;
        }
        if (r == 0 && !is_others)
                r = remove_path(s, "forgotten", o, path, "", o->plain_size, e);
        if (r < 0 || (rival.found && !claim.is_published))
                return r;
        if (!rival.found)
                return snapshot_discard(s->staging, path, e);
        /* A crash came after the other's rename: what is called partial is the old folder. */
        _cleanup_free_ char *partial = snapshot_partial_path(path);
        return partial ? remove_path(s, "forgotten", o, partial, "replaced version", -1, e)
                       : error_set(e, CAUSE_IO, ENOMEM, "out of memory");
}

/* --- all of it --- */

/* Wherever a copy may be: where the ledger says; where the configuration, which may have changed since or may
 * be about to count, puts it; and an event file under both of its names. Paths are each once. */
static int find_places(
        const struct steward *s, const struct ledger_object *o, struct strv *ret, struct error *e)
{
        char path[STAGED_PATH_SIZE], other[STAGED_PATH_SIZE];
        int r = *o->path ? strv_add(ret, o->path) : 0;
        if (r == 0 && place_of(s->config, o, false, path) == 0 && !strv_has(ret, path))
                r = strv_add(ret, path);
        for (size_t i = 0; r == 0 && o->category == CATEGORY_EVENTS && i < ret->n; i++)
                if (place_other_format(ret->v[i], other) && !strv_has(ret, other))
                        r = strv_add(ret, other);
        return r < 0 ? error_set(e, CAUSE_IO, ENOMEM, "out of memory") : 0;
}

static int remove_copies(const struct steward *s, const struct ledger_object *o, struct error *e)
{
        char path[STAGED_PATH_SIZE];
        _cleanup_(strv_done) struct strv places = {};
        int r = find_places(s, o, &places, e);
        if (r == 0 && places.n == 0 &&
                (o->published_at != 0 || o->attempts > 0 || o->state == OBJECT_FETCHING ||
                        o->state == OBJECT_DECRYPTING))
                return error_set(e, CAUSE_CONFIG, ENOENT,
                        "where copies of %s may be is not known: no [package] section has its key any more; "
                        "put that section back, then forget it again",
                        o->key);
        if (r == 0)
                r = remove_by_course(s, o, "forgotten", "by course", e);
        if (r == 0 && place_by_course(o, path) == 0)
                r = remove_replaced(s, o, path, e);
        for (size_t i = 0; r == 0 && i < places.n; i++) {
                r = o->is_zip ? remove_folder(s, o, places.v[i], e)
                              : remove_path(s, "forgotten", o, places.v[i], "", o->plain_size, e);
                if (r == 0)
                        r = remove_replaced(s, o, places.v[i], e);
        }
        return r;
}

/* What is left where it was staged before. The paths stay in the ledger until it is FORGOTTEN. */
static int remove_leftovers(const struct steward *s, const struct ledger_object *o, struct error *e)
{
        struct ledger_leftover l = {};
        char after[sizeof(l.path)] = "";
        int r;
        while ((r = ledger_leftover_next(s->ledger, after, &l, e)) == 1) {
                memcpy(after, l.path, sizeof(after));
                if (l.object_id != o->id)
                        continue;
                r = remove_path(s, "forgotten", o, l.path, "left at another path", -1, e);
                if (r == 0)
                        r = remove_replaced(s, o, l.path, e);
                if (r < 0)
                        return r;
        }
        return r;
}

int steward_forget(const struct steward *s, int64_t id, struct error *e)
{
        struct ledger_object o;
        char path[STAGED_PATH_SIZE] = "";
        int r = ledger_get(s->ledger, id, &o, e);
        if (r < 0)
                return r;
        if (steward_is_busy(s, &o))
                return error_set(e, CAUSE_INTERNAL, EBUSY,
                        "%s is being fetched right now: try again when it is done, or pause first", o.key);
        if (o.state == OBJECT_FORGOTTEN) {
                steward_tell(s, "skipped", &o, "", "was forgotten before", -1);
                return 0;
        }
        const struct history h = steward_history(s);
        snprintf(path, sizeof(path), "%s", o.path);
        if (!*path)
                (void)place_of(
                        s->config, &o, s->config && s->config->staging.events_format == EVENTS_PLAIN, path);
        r = remove_copies(s, &o, e);
        if (r == 0)
                r = remove_leftovers(s, &o, e);
        if (r == 0)
                r = history_removed(&h, &o, OBJECT_FORGOTTEN, path, e);
        if (r < 0)
                return r;
        steward_tell(s, "forgotten", &o, "", "", -1);
        return o.is_zip ? steward_move_latest(s, o.org, o.category, e) : 0;
}

/* --- prune --- */

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
        int r = remove_by_course(s, o, "pruned", why_of(item->kind), e);
        if (r == 0)
                r = staging_remove(s->staging, item->path, e);
        if (r == 0)
                r = history_removed(&h, o, OBJECT_PRUNED, item->path, e);
        return r < 0 || !o->is_zip ? r : steward_move_latest(s, o->org, o->category, e);
}

static int prune_by_course(
        const struct steward *s, const struct ledger_object *o, const struct keep_item *item, struct error *e)
{
        const struct history h = steward_history(s);
        int r = staging_remove(s->staging, item->path, e);
        return r < 0 ? r : history_day_removed(&h, o, item->path, e);
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
                        r = by_course ? prune_by_course(s, &o, item, e) : prune_object(s, &o, item, e);
        }
        if (r == 0)
                steward_tell(s, "pruned", item->object_id ? &o : NULL, item->path, why_of(item->kind),
                        item->bytes);
        return r;
}
