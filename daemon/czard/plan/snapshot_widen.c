/* SPDX-License-Identifier: Apache-2.0 */
/* A filter was widened: a published archive with members that were left out and are wanted now becomes due
 * again. It is made anew beside the published folder, which gives it by hard link what it has, so only the
 * new members are fetched; then the two are exchanged. The members of all snapshots are looked at once after
 * each change of the configuration, not at each start; but as long as an archive is in work, which may have
 * been begun before the change, that look does not count as the last. */
#include "snapshot_widen.h"

#include <stdlib.h>
#include <time.h>

#include "cleanup.h"
#include "ledger_facts.h"
#include "ledger_rebuild.h"
#include "record.h"
#include "str.h"
#include "wants.h"

#define FACT LEDGER_FILTERED_BY

struct look {
        const struct config_package *package;
        bool wanted;
};

static int on_member(struct ledger_member *m, void *arg)
{
        struct look *l = arg;
        l->wanted = m->state == OBJECT_IGNORED && *m->path && config_wants_course(l->package, m->course) &&
                    config_wants_table(l->package, m->table);
        return l->wanted;
}

/* A ledger that was rebuilt does not know them: the archive's directory must be looked at. Said once. */
static int left_out_unknown(struct ledger *ledger, int64_t id, bool *ret, struct error *e)
{
        int r = ledger_left_out(ledger, id, ret, e);
        return *ret ? ledger_set_left_out(ledger, id, false, e) : r;
}

struct widen {
        const struct config *config;
        struct ledger *ledger;
        struct recorder *record;
        const struct queue *queue;
};

static int widen(const struct widen *w, int64_t id, struct error *e)
{
        struct ledger_object o;
        int r = ledger_get(w->ledger, id, &o, e);
        struct look l = {.package = r < 0 ? NULL : config_find_package(w->config, o.org)};
        if (r < 0 || !l.package || !o.is_zip || !streq(o.staged_etag, o.etag) || queue_busy(w->queue, id) ||
                !wants_object(w->config, &o, (int64_t)time(NULL), NULL, NULL))
                return r;
        r = left_out_unknown(w->ledger, id, &l.wanted, e);
        if (r >= 0 && !l.wanted)
                r = ledger_members(w->ledger, id, on_member, &l, e);
        if (r >= 0 && l.wanted)
                record_enter(w->record, &o, OBJECT_NEW);
        return r;
}

bool snapshot_widen(const struct config *config, struct ledger *ledger, struct recorder *record,
        const struct queue *queue)
{
        const struct widen w = {.config = config, .ledger = ledger, .record = record, .queue = queue};
        char seen[FINGERPRINT_SIZE] = "";
        struct ledger_filter f = {.states = BIT(OBJECT_PUBLISHED), .categories = BIT(CATEGORY_DATABASE)};
        _cleanup_free_ int64_t *ids = NULL;
        size_t n = 0;
        struct error e = {};
        record_open(record);
        int r = ledger_meta_get(ledger, FACT, seen, sizeof(seen), &e);
        if (r >= 0 && streq(seen, config->sha256))
                return true;
        if (r >= 0)
                r = ledger_ids(ledger, &f, &ids, &n, &e);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = widen(&w, ids[i], &e);
        bool in_work = queue_has_archive(queue);
        if (r >= 0 && !in_work)
                r = ledger_meta_set(ledger, FACT, config->sha256, &e);
        if (r < 0)
                record_trouble(record, &e);
        return !in_work;
}
