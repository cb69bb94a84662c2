/* SPDX-License-Identifier: Apache-2.0 */
#include "missing.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "cleanup.h"
#include "ledger_facts.h"
#include "ledger_rebuild.h"
#include "record.h"
#include "str.h"
#include "wants.h"

/* What is NEW comes before it would be missed, or is looked at in the state that it comes to. */
#define STATES (BIT(OBJECT_PUBLISHED) | BIT(OBJECT_GONE) | BIT(OBJECT_RETRY) | BIT(OBJECT_REJECTED))
#define LOOKS_A_TURN 200 /* at files: a snapshot has thousands */

struct missing {
        const struct job_env *on;
        const struct queue *queue;         /* asked which objects are in work */
        const struct splitting *splitting; /* and which days */
        bool ended;
        int64_t *ids;
        size_t n, next;
        char member[sizeof(
                ((struct ledger_member *)0)->path)]; /* of ids[next]: where to go on; "" its start */
        uv_timer_t turn;
};

/* --- files that are gone --- */

#define ANY INT64_MIN /* size or time do not matter */

/* What is wrong with what stands at path; NULL: nothing. */
static const char *wrong_at(
        const struct missing *m, const char *path, bool folder, int64_t plain_size, int64_t last_modified)
{
        uint64_t size;
        int64_t mtime;
        bool is_dir;
        int r = staging_stat(m->on->staging, path, &size, &mtime, &is_dir);
        if (r == -ENOENT)
                return "missing";
        return r < 0 || is_dir != folder || (plain_size != ANY && size != (uint64_t)plain_size) ||
                               (last_modified != ANY && mtime != last_modified)
                       ? "altered"
                       : NULL;
}

struct look {
        struct missing *m;
        const struct ledger_object *o;
        unsigned *left;
        const char *wrong;
        bool more;
};

static int on_member(struct ledger_member *m, void *arg)
{
        struct look *l = arg;
        if (m->state != OBJECT_PUBLISHED)
                return 0;
        if (*l->left == 0) {
                memcpy(l->m->member, m->path, sizeof(m->path));
                l->more = true;
                return 1;
        }
        (*l->left)--;
        _cleanup_free_ char *path = str_printf("%s/%s", l->o->path, m->path);
        /* A member that shares its storage has the time of the snapshot that had it first. */
        l->wrong = path ? wrong_at(l->m, path, false, m->plain_size, ANY) : NULL;
        if (l->wrong && streq(l->wrong, "missing"))
                l->wrong = "missing a member";
        return l->wrong ? 1 : 0;
}

/* True: it has been looked at as a whole; else the next turn goes on. */
static bool snapshot_wrong(struct missing *m, const struct ledger_object *o, unsigned *left, const char **ret)
{
        *ret = wrong_at(m, o->path, true, ANY, ANY);
        if (*ret)
                return true;
        struct look l = {.m = m, .o = o, .left = left};
        ledger_members_from(m->on->ledger, o->id, m->member, on_member, &l, NULL);
        *ret = l.wrong;
        return !l.more;
}

static int on_claim(struct ledger_object *other, void *arg)
{
        const struct ledger_object *o = arg;
        return other->id != o->id && streq(other->path, o->path);
}

/* The other spelling of an opt-in key is on its way to the same folder. After a crash that may hold the new
 * files already, with no record of it; whose it is shows once the other is through. */
static bool is_claimed(struct ledger *ledger, struct ledger_object *o)
{
        struct ledger_filter f = {.states = OBJECT_STATES_DUE,
                .categories = BIT(CATEGORY_EMAIL_OPT_IN),
                .org = o->org,
                .since = o->date,
                .until = o->date};
        return o->category == CATEGORY_EMAIL_OPT_IN && ledger_each(ledger, &f, on_claim, o, NULL) != 0;
}

/* A day that is not there any more is split again, if its organisation's are split; what is in its folder
 * czarctl verify looks at. */
static void look_at_day(struct missing *m, const struct ledger_object *o)
{
        struct ledger_split day;
        bool is_dir;
        if (ledger_split_get(m->on->ledger, o->id, &day, NULL) < 0 || !*day.path ||
                ledger_split_is_again(&day) || splitting_busy(m->splitting, o->id))
                return;
        int r = staging_stat(m->on->staging, day.path, NULL, NULL, &is_dir);
        if (r == -ENOENT || r == -ELOOP || (r == 0 && !is_dir))
                record_day_missing(m->on->record, o, day.path, r == -ENOENT ? "missing" : "altered",
                        config_event_rule(m->on->config, o->org));
}

/* What stands there from before the version that the row tells of; of a snapshot czarctl verify looks at the
 * members. */
static void look_at_kept(struct missing *m, struct ledger_object *o)
{
        const char *wrong = wrong_at(m, o->path, o->is_zip, o->is_zip ? ANY : o->plain_size, ANY);
        if (wrong)
                record_missing(m->on->record, o, wrong);
}

/* True: done with it. */
static bool look_at(struct missing *m, int64_t id, unsigned *left)
{
        const struct job_env *on = m->on;
        struct ledger_object o;
        const char *wrong = NULL;
        if (ledger_get(on->ledger, id, &o, NULL) < 0 || !(STATES & BIT(o.state)) ||
                queue_busy(m->queue, id) || is_claimed(on->ledger, &o))
                return true;
        (*left)--;
        if (o.category == CATEGORY_EVENTS)
                look_at_day(m, &o);
        if (ledger_is_kept(&o))
                look_at_kept(m, &o);
        if (!ledger_should_be_staged(&o))
                return true;
        if (!o.is_zip)
                wrong = wrong_at(m, o.path, false, o.plain_size, o.last_modified);
        else if (!snapshot_wrong(m, &o, left, &wrong))
                return false;
        if (wrong)
                record_missing(on->record, &o, wrong);
        return true;
}

static void on_turn(uv_timer_t *timer)
{
        struct missing *m = timer->data;
        unsigned left = LOOKS_A_TURN;
        while (left > 0 && m->next < m->n)
                if (look_at(m, m->ids[m->next], &left)) {
                        m->next++;
                        *m->member = 0;
                }
        if (m->next < m->n && !(pauses_now(m->on->pauses) & BIT(PAUSE_STAGING))) {
                uv_timer_start(&m->turn, on_turn, 0, 0);
                return;
        }
        free(take_ptr(&m->ids));
        m->n = m->next = 0;
        m->ended = true;
}

void missing_look(struct missing *m)
{
        struct ledger_filter f = {.states = STATES};
        if (m->ids || (pauses_now(m->on->pauses) & BIT(PAUSE_STAGING)) ||
                ledger_ids(m->on->ledger, &f, &m->ids, &m->n, NULL) < 0)
                return;
        m->next = 0;
        *m->member = 0;
        uv_timer_start(&m->turn, on_turn, 0, 0);
}

bool missing_running(const struct missing *m)
{
        return m->ids != NULL;
}

bool missing_take_ended(struct missing *m)
{
        bool ended = m->ended;
        m->ended = false;
        return ended;
}

/* --- members that are wanted now --- */

/* A filter was widened: a published archive with members that were left out and are wanted now becomes due
 * again. It is made anew beside the published folder, which gives it by hard link what it has, so only the
 * new members are fetched; then the two are exchanged. The members of all snapshots are looked at once after
 * each change of the configuration, not at each start; but as long as an archive is in work, which may have
 * been begun before the change, that look does not count as the last. */

struct left_out {
        const struct config_package *package;
        bool wanted;
};

static int on_left_out(struct ledger_member *m, void *arg)
{
        struct left_out *l = arg;
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

static int widen(const struct missing *m, int64_t id, struct error *e)
{
        const struct job_env *on = m->on;
        struct ledger_object o;
        int r = ledger_get(on->ledger, id, &o, e);
        struct left_out l = {.package = r < 0 ? NULL : config_find_package(on->config, o.org)};
        if (r < 0 || !l.package || !o.is_zip || !streq(o.staged_etag, o.etag) || queue_busy(m->queue, id) ||
                !wants_object(on->config, &o, (int64_t)time(NULL), NULL, NULL))
                return r;
        r = left_out_unknown(on->ledger, id, &l.wanted, e);
        if (r >= 0 && !l.wanted)
                r = ledger_members(on->ledger, id, on_left_out, &l, e);
        if (r >= 0 && l.wanted)
                record_enter(on->record, &o, OBJECT_NEW);
        return r;
}

bool missing_widen(const struct missing *m)
{
        const struct job_env *on = m->on;
        char seen[FINGERPRINT_SIZE] = "";
        struct ledger_filter f = {.states = BIT(OBJECT_PUBLISHED), .categories = BIT(CATEGORY_DATABASE)};
        _cleanup_free_ int64_t *ids = NULL;
        size_t n = 0;
        struct error e = {};
        record_open(on->record);
        int r = ledger_meta_get(on->ledger, LEDGER_FILTERED_BY, seen, sizeof(seen), &e);
        if (r >= 0 && streq(seen, on->config->sha256))
                return true;
        if (r >= 0)
                r = ledger_ids(on->ledger, &f, &ids, &n, &e);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = widen(m, ids[i], &e);
        bool in_work = queue_has_archive(m->queue);
        if (r >= 0 && !in_work)
                r = ledger_meta_set(on->ledger, LEDGER_FILTERED_BY, on->config->sha256, &e);
        if (r < 0)
                record_trouble(on->record, &e);
        return !in_work;
}

/* --- life --- */

struct missing *missing_new(
        const struct job_env *env, const struct queue *queue, const struct splitting *splitting)
{
        struct missing *m = calloc(1, sizeof(*m));
        if (!m)
                return NULL;
        *m = (struct missing){.on = env, .queue = queue, .splitting = splitting};
        uv_timer_init(env->loop, &m->turn);
        m->turn.data = m;
        return m;
}

static void on_closed(uv_handle_t *h)
{
        struct missing *m = h->data;
        free(m->ids);
        free(m);
}

struct missing *missing_free(struct missing *m)
{
        if (m)
                uv_close((uv_handle_t *)&m->turn, on_closed);
        return NULL;
}
