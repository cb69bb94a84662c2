/* SPDX-License-Identifier: Apache-2.0 */
/* The requests. All changes go through lib/store/steward.c, each in a transaction of its own: the turn's
 * transaction of record.c is flushed before. */
#include "requests.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "journal.h"
#include "ledger_report.h"
#include "str.h"
#include "timespan.h"

#define STEP_USEC (50 * USEC_PER_MSEC)
#define NO_REASON "no reason given"

/* --- telling --- */

static void tell(struct control_job *j, const struct strv *message)
{
        if (!j->gone && !j->tell(j->arg, message))
                j->gone = true;
}

static void tell_words(struct control_job *j, const char *const *words, size_t n)
{
        struct strv m = {};
        int r = 0;
        for (size_t i = 0; r == 0 && i < n; i++)
                r = strv_add(&m, words[i]);
        if (r == 0)
                tell(j, &m);
        strv_done(&m);
}

static void tell_row(struct control_job *j, const char *what, const char *bucket, const char *key,
        const char *path, const char *text, int64_t bytes)
{
        char number[32];
        snprintf(number, sizeof(number), "%lld", (long long)bytes);
        const char *const words[] = {"row", what, bucket, key, path, text, number};
        tell_words(j, words, ELEMENTSOF(words));
}

static void tell_progress(struct control_job *j)
{
        struct queue_progress q;
        char done[BYTES_SIZE], total[BYTES_SIZE];
        queue_progress(j->env->queue, &q);
        snprintf(done, sizeof(done), "%llu", (unsigned long long)q.done_bytes);
        snprintf(total, sizeof(total), "%llu", (unsigned long long)q.due_bytes);
        const char *const words[] = {"progress", done, total, ""};
        tell_words(j, words, ELEMENTSOF(words));
}

static void release(struct control_job *j)
{
        if (j->holding)
                queue_release(j->env->queue);
        j->holding = false;
}

static void end(struct control_job *j, int status, const char *text)
{
        release(j);
        j->over = true;
        j->status = status;
        snprintf(j->text, sizeof(j->text), "%s", text);
}

/* --- the steward --- */

static bool is_busy(void *arg, int64_t object_id)
{
        const struct control_job *j = arg;
        return queue_busy(j->env->queue, object_id) || splitting_busy(j->env->splitting, object_id);
}

static void on_note(void *arg, const struct steward_note *n)
{
        struct control_job *j = arg;
        const struct ledger_object *o = n->object;
        tell_row(j, n->what, o ? o->bucket : "", o ? o->key : "", n->path, n->text, n->bytes);
        bool forgotten = streq(n->what, "forgotten") && !*n->path, pruned = streq(n->what, "pruned");
        struct journal_fields f = o ? object_fields(o) : (struct journal_fields){};
        f.path = *n->path ? n->path : NULL;
        if (streq(n->what, "missing"))
                record_say_missing(&f, n->text);
        if (streq(n->what, "day-missing"))
                record_say_day_missing(&f, n->text, config_event_rule(j->env->on->config, o->org));
        if (!forgotten && !pruned)
                return;
        journal_event(forgotten ? EVENT_FORGOTTEN : EVENT_PRUNED, &f, "%s %s, asked for by uid %u",
                forgotten ? "forgotten:" : "pruned",
                *n->path ? n->path
                : o      ? o->key
                         : "",
                (unsigned)j->uid);
}

static struct steward steward_of(struct control_job *j)
{
        record_flush(j->env->on->record);
        return (struct steward){.ledger = j->env->on->ledger,
                .audit = j->env->audit,
                .staging = j->env->on->staging,
                .config = j->env->on->config,
                .feed = j->env->feed,
                .uid = j->uid,
                .reason = control_value(&j->request, "reason"),
                .is_busy = is_busy,
                .note = on_note,
                .arg = j};
}

static char *const *arguments(const struct control_job *j, size_t *n)
{
        size_t first = control_arguments(&j->request);
        *n = j->request.n - first;
        return j->request.v + first;
}

/* --- status --- */

static int do_status(struct control_job *j, struct error *e)
{
        const struct request_env *v = j->env;
        struct queue_progress q;
        (void)e;
        queue_progress(v->queue, &q);
        tell_row(j, "next-poll", "", "", "", "", poller_running(v->poll) ? 0 : poller_next(v->poll));
        tell_row(j, "running", "", "", "", "", q.running);
        tell_row(j, "due", "", "", "", "", (int64_t)(q.due - MIN(q.done, q.due)));
        tell_row(j, "due-bytes", "", "", "", "", (int64_t)(q.due_bytes - MIN(q.done_bytes, q.due_bytes)));
        tell_row(j, "rate", "", "", "", "", (int64_t)q.rate);
        for (enum pause p = 0; p < PAUSE_MAX; p++)
                if (pauses_now(v->on->pauses) & BIT(p))
                        tell_row(j, "pause", "", "", "", pause_name(p), 0);
        char why[PAUSES_TEXT_SIZE];
        pauses_text(v->on->pauses, why, sizeof(why));
        tell_row(j, "pause-reasons", "", "", "", why, 0);
        return 0;
}

/* --- resync --- */

static int begin_resync(struct control_job *j, struct error *e)
{
        size_t n;
        uint64_t changed = 0;
        char *const *patterns = arguments(j, &n);
        j->waiting = control_value(&j->request, "wait");
        if (n == 0) {
                j->env->resync_all = true;
        } else {
                struct steward s = steward_of(j);
                int r = steward_find(&s, patterns, n, &j->ids, &j->n, e);
                if (r == 0)
                        r = steward_resync(&s, patterns, n, &changed, e);
                if (r < 0)
                        return r;
                pauses_unblock_buckets(j->env->on->pauses);
                queue_plan(j->env->queue);
        }
        if (n == 0 && !j->waiting)
                end(j, STATUS_WELL, "listing everything now; czarctl status shows what comes of it");
        return 0;
}

/* How many of the named objects are still to come, and how many did not get there. */
static void count_named(const struct control_job *j, size_t *open, size_t *failed)
{
        *open = *failed = 0;
        for (size_t i = 0; i < j->n; i++) {
                struct ledger_object o;
                if (ledger_get(j->env->on->ledger, j->ids[i], &o, NULL) < 0) {
                        ++*failed;
                        continue;
                }
                bool working =
                        o.state == OBJECT_NEW || o.state == OBJECT_FETCHING || o.state == OBJECT_DECRYPTING;
                *open += working;
                uint64_t members = 0;
                (void)report_rejected(j->env->on->ledger, o.id, &members, NULL);
                *failed += !working && (o.state != OBJECT_PUBLISHED || members > 0);
        }
}

static void wait_named(struct control_job *j)
{
        size_t open, failed;
        char text[128];
        count_named(j, &open, &failed);
        if (open > 0 && pauses_now(j->env->on->pauses) == 0)
                return;
        if (open > 0)
                snprintf(text, sizeof(text), "fetching pauses; %zu of %zu are still to come", open, j->n);
        else
                snprintf(text, sizeof(text), "%zu staged, %zu not, or not whole", j->n - failed, failed);
        end(j, open > 0 || failed > 0 ? STATUS_INCOMPLETE : STATUS_WELL, text);
}

static void wait_all(struct control_job *j)
{
        const struct request_env *v = j->env;
        struct queue_progress q;
        struct ledger_filter retries = {.states = BIT(OBJECT_RETRY)};
        uint64_t n = 0, bytes;
        char text[160];
        queue_progress(v->queue, &q);
        if (v->resync_all || poller_running(v->poll) || q.running > 0 ||
                (q.done < q.due && pauses_now(v->on->pauses) == 0))
                return;
        struct ledger_filter refused = {.states = BIT(OBJECT_REJECTED)};
        uint64_t objects = 0, members = 0;
        ledger_count(v->on->ledger, &retries, &n, &bytes, NULL);
        ledger_count(v->on->ledger, &refused, &objects, &bytes, NULL);
        uint64_t unreadable = 0;
        (void)report_rejected(v->on->ledger, 0, &members, NULL);
        (void)report_unreadable(v->on->ledger, &unreadable, NULL);
        bool complete = poller_was_complete(v->poll);
        if (pauses_now(v->on->pauses))
                snprintf(text, sizeof(text), "listed; fetching pauses");
        else if (!complete || n > 0)
                snprintf(text, sizeof(text), "%s; %llu to be tried again",
                        complete ? "listed" : "not every prefix could be listed", (unsigned long long)n);
        else if (objects > 0 || members > 0)
                snprintf(text, sizeof(text),
                        "staged, except %llu rejected object%s and %llu rejected member%s",
                        (unsigned long long)objects, objects == 1 ? "" : "s", (unsigned long long)members,
                        members == 1 ? "" : "s");
        else if (unreadable > 0)
                snprintf(text, sizeof(text), "staged, except %llu listed entr%s that cannot be read",
                        (unsigned long long)unreadable, unreadable == 1 ? "y" : "ies");
        else
                snprintf(text, sizeof(text), "everything that is there is staged");
        bool well = pauses_now(v->on->pauses) == 0 && complete && n == 0 && objects == 0 && members == 0 &&
                    unreadable == 0;
        end(j, well ? STATUS_WELL : STATUS_INCOMPLETE, text);
}

/* --- pause --- */

static int do_pause(struct control_job *j, struct error *e)
{
        const char *text = control_value(&j->request, "text");
        if (str_empty(text))
                text = NO_REASON;
        struct steward s = steward_of(j);
        int r = steward_pause(&s, text, e);
        if (r < 0)
                return r;
        /* What runs is dropped: from now on nothing changes. It goes on where it was. */
        queue_cancel_all(j->env->queue);
        pauses_enter(j->env->on->pauses, PAUSE_ADMIN, CAUSE_NONE, text);
        return 0;
}

static int do_unpause(struct control_job *j, struct error *e)
{
        struct steward s = steward_of(j);
        int r = steward_pause(&s, NULL, e);
        if (r >= 0)
                pauses_leave(j->env->on->pauses, PAUSE_ADMIN);
        return r;
}

/* --- forget, prune --- */

/* Nothing is started until all of it is done. */
static void hold(struct control_job *j)
{
        queue_hold(j->env->queue);
        j->holding = true;
}

static int begin_forget(struct control_job *j, struct error *e)
{
        size_t n;
        char *const *patterns = arguments(j, &n);
        struct steward s = steward_of(j);
        int r = str_empty(s.reason) || n == 0
                        ? error_set(e, CAUSE_CONFIG, EINVAL, "forget needs a reason and a key or pattern")
                        : steward_refuse_paused(&s, "forget", e);
        if (r == 0)
                r = steward_find(&s, patterns, n, &j->ids, &j->n, e);
        if (r < 0)
                return r;
        hold(j);
        for (size_t i = 0; i < j->n; i++)
                if (queue_busy(j->env->queue, j->ids[i])) {
                        /* The others that are dropped with it go on where they were. */
                        queue_cancel_all(j->env->queue);
                        break;
                }
        return 0;
}

/* -EAGAIN: a file of it is just being published; it is forgotten once that has ended. */
static int forget_next(struct control_job *j, struct error *e)
{
        if (queue_busy(j->env->queue, j->ids[j->next]))
                return -EAGAIN;
        struct steward s = steward_of(j);
        return steward_forget(&s, j->ids[j->next++], e);
}

static int begin_prune(struct control_job *j, struct error *e)
{
        struct steward s = steward_of(j);
        int r = steward_refuse_paused(&s, "prune", e);
        if (r == 0)
                r = keep_plan(s.ledger, s.staging, s.config, (int64_t)time(NULL), &j->list, e);
        j->n = j->list.n;
        if (r >= 0)
                hold(j);
        return r;
}

static int prune_next(struct control_job *j, struct error *e)
{
        struct steward s = steward_of(j);
        return steward_prune(&s, &j->list.items[j->next++], true, e);
}

static void step_items(struct control_job *j, int (*next)(struct control_job *, struct error *))
{
        uint64_t until = now_usec(CLOCK_MONOTONIC) + STEP_USEC;
        struct error e = {};
        int r = 0;
        while (r == 0 && j->next < j->n && now_usec(CLOCK_MONOTONIC) < until)
                r = next(j, &e);
        if (r < 0 && r != -EAGAIN)
                end(j, STATUS_CANNOT, e.text);
        else if (j->next >= j->n)
                end(j, STATUS_WELL, "");
        if (j->over)
                queue_plan(j->env->queue);
}

static void step_forget(struct control_job *j)
{
        step_items(j, forget_next);
}

static void step_prune(struct control_job *j)
{
        step_items(j, prune_next);
}

/* --- latest --- */

static int do_latest(struct control_job *j, struct error *e)
{
        const char *org = control_value(&j->request, "org"), *date = control_value(&j->request, "date"),
                   *category = control_value(&j->request, "category");
        int day;
        enum category c = category ? category_from_name(category) : CATEGORY_MAX;
        if (!org || c == CATEGORY_MAX || !config_find_package(j->env->on->config, org) ||
                (!str_empty(date) && date_parse_whole(date, &day) < 0))
                return error_set(e, CAUSE_CONFIG, EINVAL, "no such organisation, category or date");
        struct steward s = steward_of(j);
        return steward_latest(&s, org, c, str_empty(date) ? NULL : date, e);
}

/* --- missing --- */

/* Of each: WHY ETAG s3://BUCKET/KEY, or day-WHY SHA256-OF-SHA256SUMS s3://BUCKET/KEY. */
static int do_missing(struct control_job *j, struct error *e)
{
        size_t n;
        char *const *v = arguments(j, &n);
        struct steward s = steward_of(j);
        int r = 0;
        if (pauses_now(j->env->on->pauses) & BIT(PAUSE_STAGING))
                return error_set(e, CAUSE_STAGING, EIO, "the staging volume is not there");
        for (size_t i = 0; r == 0 && i + 2 < n; i += 3) {
                const char *day = str_after(v[i], "day-");
                r = day ? steward_day_missing(&s, day, v[i + 1], v[i + 2], e)
                        : steward_missing(&s, v[i], v[i + 1], v[i + 2], e);
        }
        splitting_look(j->env->splitting);
        return r;
}

/* --- the job --- */

static void step_resync(struct control_job *j)
{
        tell_progress(j);
        if (j->n > 0)
                wait_named(j);
        else
                wait_all(j);
        if (!j->over && j->gone)
                end(j, STATUS_WELL, "");
}

/* What begins, and what goes on until it ends; without the latter, or with nobody who waits, it has ended. */
static const struct control_kind {
        const char *name;
        int (*begin)(struct control_job *j, struct error *e);
        void (*step)(struct control_job *j);
} kinds[] = {
        {"status", do_status, NULL},
        {"resync", begin_resync, step_resync},
        {"pause", do_pause, NULL},
        {"unpause", do_unpause, NULL},
        {"forget", begin_forget, step_forget},
        {"prune", begin_prune, step_prune},
        {"latest", do_latest, NULL},
        {"missing", do_missing, NULL},
};

int control_job_begin(struct control_job *j, struct error *e)
{
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (streq(j->request.v[0], kinds[i].name))
                        j->kind = &kinds[i];
        if (!j->kind)
                return error_set(
                        e, CAUSE_HELPER, EINVAL, "czard does not know the request '%.32s'", j->request.v[0]);
        if (j->kind->begin != do_status)
                journal_event(EVENT_NOTE, NULL, "uid %u asks for %s", (unsigned)j->uid, j->kind->name);
        int r = j->kind->begin(j, e);
        if (r >= 0 && !j->over && !j->holding && !j->waiting)
                end(j, STATUS_WELL, "");
        return MIN(r, 0);
}

void control_job_step(struct control_job *j)
{
        if (!j->over)
                j->kind->step(j);
}

void control_job_done(struct control_job *j)
{
        release(j);
        free(j->ids);
        j->ids = NULL;
        keep_list_done(&j->list);
        strv_done(&j->request);
}
