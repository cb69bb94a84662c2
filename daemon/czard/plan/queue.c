/* SPDX-License-Identifier: Apache-2.0 */
/* What is due. The ledger is the queue; this file keeps two lists of object ids read from it, archives and
 * single files, best first, and as many jobs as there may be at once. Order: the newest snapshot of each
 * organisation, then events newest first, then the rest. */
#include "queue.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <time.h>

#include "cleanup.h"
#include "keep.h"
#include "macro.h"
#include "str.h"
#include "timespan.h"
#include "wants.h"

/* Nothing moves though there is work: looked for now and then, while jobs run. */
#define STALL_LOOK_MSEC 5000
/* czard-fetch gives a request up after six times stall_timeout, and what it waits in between. */
#define STALL_TIMEOUTS 10
#define STALL_LEAST_USEC (30 * USEC_PER_SEC)
#define HOPELESS 2 /* times the limit */

/* No delay is longer than an hour: what waits for longer was written down by a clock that was wrong. */
#define WAIT_MOST_SEC (2 * 3600)

struct queued {
        int64_t id;
        uint64_t size;
};

struct ids {
        struct queued *v;
        size_t n, next;
};

/* How much had come, and when. */
struct mark {
        uint64_t usec, bytes; /* CLOCK_MONOTONIC; 0: none */
};
/* The rate is told from the last one or two of these. */
#define MARK_USEC (10 * USEC_PER_SEC)

struct queue {
        const struct job_env *env;
        struct ids archives, files;
        struct object_job *jobs;
        unsigned files_running, archives_running, held;
        int64_t retry_at;           /* seconds, 0: none */
        bool look_at_all;           /* the next plan looks at IGNORED objects too */
        bool plan, start;           /* wanted in this turn */
        uint64_t done, done_bytes;  /* since the queue was last empty */
        struct mark marks[2];       /* the older one first */
        uint64_t stalled_said_usec; /* CLOCK_MONOTONIC */
        uv_timer_t retry, stall;
        unsigned open_handles;
};

/* --- what is wanted --- */

/* The ledger cannot tell of an object: a pause, after which it is planned anew. -ENOENT: its row went with a
 * turn that was undone, and it is listed again. */
static void cannot_tell(const struct queue *q, int r, const struct error *e)
{
        if (r != -ENOENT)
                record_trouble(q->env->record, e);
}

/* It waits for its next try as after any other failure. */
static void fail_for_memory(const struct queue *q, struct ledger_object *o)
{
        record_enter(q->env->record, o, OBJECT_FETCHING);
        record_failed(q->env->record, o, CAUSE_HELPER, "out of memory", 0);
}

static const char why_beyond[] = "older than keep_snapshots";

/* 1: it is wanted. 0: *ret_why says why not (static storage). *ret_unsafe: it is, to be rejected. -errno: the
 * ledger cannot tell. */
static int is_wanted(const struct queue *q, const struct ledger_object *o, int64_t now, const char **ret_why,
        struct error *ret_unsafe, struct error *e)
{
        enum beyond b;
        bool beaten;
        *ret_why = NULL;
        if (!wants_object(q->env->config, o, now, ret_why, ret_unsafe))
                return 0;
        int r = beyond_look(q->env->ledger, q->env->config, o, NULL, 0, &b, e);
        if (r == 0)
                r = ledger_is_beaten(q->env->ledger, o, &beaten, e);
        if (r < 0)
                return r;
        *ret_why = b == BEYOND_YES ? why_beyond : beaten ? LEDGER_OTHER_SPELLING : NULL;
        return !*ret_why;
}

/* --- planning --- */

struct plan {
        struct queue *q;
        int64_t now;
        struct ids *archives, *files;
        int64_t next_retry;
};

static int add(struct ids *ids, int64_t id, uint64_t size)
{
        if (ARRAY_ROOM(ids->v, ids->n) < 0)
                return -ENOMEM;
        ids->v[ids->n++] = (struct queued){id, size};
        return 0;
}

/* One object that may be due. IGNORED ones are looked at too: a filter may have been widened. */
static void consider(struct plan *plan, int64_t id)
{
        struct queue *q = plan->q;
        struct recorder *record = q->env->record;
        struct ledger_object o;
        struct error unsafe, e = {};
        const char *why;
        if (queue_busy(q, id))
                return;
        int r = ledger_get(q->env->ledger, id, &o, &e);
        if (r == 0)
                r = is_wanted(q, &o, plan->now, &why, &unsafe, &e);
        if (r < 0) {
                cannot_tell(q, r, &e);
                return;
        }
        if (r == 0) {
                if (o.state != OBJECT_IGNORED) {
                        snprintf(o.detail, sizeof(o.detail), "%s", why);
                        record_enter(record, &o, OBJECT_IGNORED);
                }
                return;
        }
        if (o.state == OBJECT_IGNORED) {
                o.detail[0] = 0;
                record_enter(record, &o, OBJECT_NEW);
        }
        if (unsafe.cause != CAUSE_NONE) {
                record_failed(record, &o, unsafe.cause, unsafe.text, 0);
                return;
        }
        if (o.state == OBJECT_RETRY && o.next_try > plan->now && o.next_try <= plan->now + WAIT_MOST_SEC) {
                if (record_tries_again(record, &o) &&
                        (plan->next_retry == 0 || o.next_try < plan->next_retry))
                        plan->next_retry = o.next_try;
                return;
        }
        if ((o.state == OBJECT_RETRY && !record_tries_again(record, &o)) ||
                pauses_bucket_blocked(q->env->pauses, o.bucket))
                return;
        if (add(o.is_zip ? plan->archives : plan->files, id, o.size) < 0)
                fail_for_memory(q, &o);
}

static int consider_all(struct plan *plan, unsigned categories, struct error *e)
{
        unsigned filtered = plan->q->look_at_all ? BIT(OBJECT_IGNORED) : 0;
        struct ledger_filter f = {.states = BIT(OBJECT_NEW) | BIT(OBJECT_RETRY) | filtered,
                .categories = categories,
                .newest_first = true};
        _cleanup_free_ int64_t *ids = NULL;
        size_t n = 0;
        int r = ledger_ids(plan->q->env->ledger, &f, &ids, &n, e);
        for (size_t i = 0; r >= 0 && i < n; i++)
                consider(plan, ids[i]);
        return r;
}

void queue_plan(struct queue *q)
{
        q->plan = true;
}

bool queue_wants_plan(const struct queue *q)
{
        return q->plan;
}

int queue_make_plan(struct queue *q, bool look_again, struct error *e)
{
        static const enum category order[] = {
                CATEGORY_DATABASE, CATEGORY_EVENTS, CATEGORY_EMAIL_OPT_IN, CATEGORY_RDX};
        struct plan plan = {.q = q, .now = (int64_t)time(NULL), .archives = &q->archives, .files = &q->files};
        struct error trouble = {};
        int r = 0;
        q->plan = false;
        q->start = true;
        free(q->archives.v);
        free(q->files.v);
        q->archives = q->files = (struct ids){};
        if (!q->jobs) {
                q->done = q->done_bytes = 0;
                q->marks[0] = q->marks[1] = (struct mark){};
        }
        record_open(q->env->record);
        if (ledger_reconsider(q->env->ledger, plan.now, &trouble) < 0)
                record_trouble(q->env->record, &trouble);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(order); i++)
                r = consider_all(&plan, BIT(order[i]), e);
        q->look_at_all = look_again;
        q->retry_at = 0;
        uv_timer_stop(&q->retry);
        if (plan.next_retry != 0)
                queue_retry_at(q, plan.next_retry);
        return r;
}

void queue_look_at_all(struct queue *q)
{
        q->look_at_all = true;
}

bool queue_looks_at_all(const struct queue *q)
{
        return q->look_at_all;
}

/* --- running --- */

static void on_retry(uv_timer_t *timer)
{
        struct queue *q = timer->data;
        q->retry_at = 0;
        queue_plan(q);
}

void queue_retry_at(struct queue *q, int64_t when)
{
        if (q->retry_at != 0 && q->retry_at <= when)
                return;
        q->retry_at = when;
        int64_t wait = when - (int64_t)time(NULL);
        /* A clock that jumps is noticed within the minute. */
        uint64_t msec = wait <= 0 ? 0 : wait > 60 ? 60000 : (uint64_t)wait * 1000;
        uv_timer_start(&q->retry, on_retry, msec, 0);
}

/* Those before it have been fetched since it was planned: is it still due? */
static bool is_due(const struct queue *q, struct ledger_object *o)
{
        enum beyond b;
        struct error e = {};
        int r = beyond_look(q->env->ledger, q->env->config, o, NULL, 0, &b, &e);
        if (r < 0)
                cannot_tell(q, r, &e);
        if (b == BEYOND_YES) {
                snprintf(o->detail, sizeof(o->detail), "%s", why_beyond);
                record_enter(q->env->record, o, OBJECT_IGNORED);
        }
        return b != BEYOND_YES && b != BEYOND_WAITS;
}

static unsigned *running(struct queue *q, const struct object_job *j)
{
        return j->o.is_zip ? &q->archives_running : &q->files_running;
}

static void start(struct queue *q, int64_t id)
{
        const struct job_env *env = q->env;
        struct ledger_object o;
        struct error e = {};
        if (queue_busy(q, id))
                return;
        int r = ledger_get(env->ledger, id, &o, &e);
        if (r < 0) {
                cannot_tell(q, r, &e);
                return;
        }
        const struct package_context *context = package_context_find(env, o.org);
        if ((o.state != OBJECT_NEW && o.state != OBJECT_RETRY) || !context || !context->pool ||
                pauses_bucket_blocked(env->pauses, o.bucket) || !is_due(q, &o))
                return;
        struct object_job *j = o.is_zip ? snapshot_start(env, &o, context) : transfer_start(env, &o, context);
        if (!j) {
                fail_for_memory(q, &o);
                return;
        }
        j->next = q->jobs;
        q->jobs = j;
        (*running(q, j))++;
        moved_on(env->flow.moved);
}

bool queue_take_start(struct queue *q)
{
        if (!q->start || q->held > 0)
                return false;
        q->start = false;
        return q->archives.next < q->archives.n || q->files.next < q->files.n;
}

void queue_start(struct queue *q)
{
        const struct pauses *pauses = q->env->pauses;
        unsigned files = (unsigned)q->env->config->s3.max_transfers;
        while (q->archives.next < q->archives.n && q->archives_running < 1 && pauses_now(pauses) == 0)
                start(q, q->archives.v[q->archives.next++].id);
        while (q->files.next < q->files.n && q->files_running < files && pauses_now(pauses) == 0)
                start(q, q->files.v[q->files.next++].id);
}

/* Takes those that are over out of the list. */
static void take_ended(struct queue *q)
{
        for (struct object_job **at = &q->jobs, *j; (j = *at);) {
                if (!j->over) {
                        at = &j->next;
                        continue;
                }
                *at = j->next;
                (*running(q, j))--;
                if (!j->leaving) {
                        q->done++;
                        q->done_bytes += MIN(j->came_bytes, j->due_bytes);
                }
                q->start = true;
                if (j->o.is_zip && q->look_at_all)
                        q->plan = true; /* a filter was widened while the archive was in work */
                moved_on(q->env->flow.moved);
                j->ops->free(j);
        }
}

void queue_step(struct queue *q)
{
        for (struct object_job *j = q->jobs; j; j = j->next)
                if (j->ops->step && !j->over)
                        j->ops->step(j);
        take_ended(q);
}

static void cancel_jobs(struct queue *q, const struct pool *pool)
{
        for (struct object_job *j = q->jobs; j; j = j->next)
                if (!j->over && !j->leaving && (!pool || j->pool == pool)) {
                        j->leaving = true;
                        j->ops->cancel(j);
                }
        take_ended(q);
}

void queue_cancel_pool(struct queue *q, const struct pool *pool)
{
        cancel_jobs(q, pool);
}

void queue_cancel_all(struct queue *q)
{
        cancel_jobs(q, NULL);
        uv_timer_stop(&q->retry);
        uv_timer_stop(&q->stall);
        q->retry_at = 0;
}

void queue_hold(struct queue *q)
{
        q->held++;
}

void queue_release(struct queue *q)
{
        if (--q->held == 0)
                q->start = true;
}

bool queue_held(const struct queue *q)
{
        return q->held > 0;
}

bool queue_busy(const struct queue *q, int64_t object_id)
{
        for (const struct object_job *j = q->jobs; j; j = j->next)
                if (j->o.id == object_id)
                        return true;
        return false;
}

bool queue_has_archive(const struct queue *q)
{
        return q->archives_running > 0;
}

bool queue_is_working(const struct queue *q)
{
        return q->jobs || q->plan || q->archives.next < q->archives.n || q->files.next < q->files.n;
}

bool queue_idle(const struct queue *q)
{
        if (q->jobs)
                return false;
        return pauses_now(q->env->pauses) != 0 || (!queue_is_working(q) && q->retry_at == 0);
}

void queue_retry_now(struct queue *q)
{
        struct ledger_filter f = {.states = BIT(OBJECT_RETRY)};
        _cleanup_free_ int64_t *ids = NULL;
        size_t n = 0;
        struct error e = {};
        record_open(q->env->record);
        int r = ledger_ids(q->env->ledger, &f, &ids, &n, &e);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                struct ledger_object o;
                if (queue_busy(q, ids[i]))
                        continue;
                r = ledger_get(q->env->ledger, ids[i], &o, &e);
                o.next_try = 0;
                if (r >= 0)
                        r = ledger_save(q->env->ledger, &o, &e);
        }
        if (r < 0)
                record_trouble(q->env->record, &e);
}

int queue_recover(struct queue *q)
{
        struct ledger_filter f = {.states = BIT(OBJECT_FETCHING) | BIT(OBJECT_DECRYPTING)};
        _cleanup_free_ int64_t *ids = NULL;
        size_t n = 0;
        struct error e = {};
        int r = ledger_ids(q->env->ledger, &f, &ids, &n, &e);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                struct ledger_object o;
                if (!queue_busy(q, ids[i]) && ledger_get(q->env->ledger, ids[i], &o, &e) >= 0)
                        r = ledger_enter(q->env->ledger, &o, OBJECT_NEW, &e);
        }
        return r;
}

/* --- progress --- */

static unsigned n_running(const struct queue *q)
{
        return q->files_running + q->archives_running;
}

static void add_waiting(const struct ids *ids, struct queue_progress *p)
{
        for (size_t i = ids->next; i < ids->n; i++) {
                p->due++;
                p->due_bytes += ids->v[i].size;
        }
}

static uint64_t came(const struct queue *q)
{
        uint64_t bytes = q->done_bytes;
        for (const struct object_job *j = q->jobs; j; j = j->next)
                bytes += MIN(j->came_bytes, j->due_bytes);
        return bytes;
}

static uint64_t rate(const struct queue *q, uint64_t bytes)
{
        const struct mark *m = &q->marks[0];
        uint64_t took = m->usec == 0 ? 0 : now_usec(CLOCK_MONOTONIC) - m->usec;
        if (took < USEC_PER_SEC || bytes < m->bytes)
                return 0;
        return (uint64_t)((double)(bytes - m->bytes) * USEC_PER_SEC / (double)took);
}

void queue_progress(const struct queue *q, struct queue_progress *ret)
{
        struct queue_progress p = {.done = q->done, .due = q->done, .due_bytes = q->done_bytes};
        add_waiting(&q->archives, &p);
        add_waiting(&q->files, &p);
        for (const struct object_job *j = q->jobs; j; j = j->next) {
                p.due++;
                p.due_bytes += j->due_bytes;
        }
        p.done_bytes = came(q);
        p.rate = rate(q, p.done_bytes);
        p.running = n_running(q);
        *ret = p;
}

/* Is it to be said now? said_usec: when it was the last time (0: never). */
static bool is_stalled(uint64_t now_usec, uint64_t moved_usec, uint64_t said_usec, uint64_t limit_usec)
{
        uint64_t since = MAX(moved_usec, said_usec);
        return now_usec > since && now_usec - since > limit_usec;
}

/* How long nothing may move: longer than czard-fetch tries one request. */
static uint64_t stall_limit(const struct queue *q)
{
        uint64_t timeout = q->env->config->s3.stall_timeout_usec;
        return timeout < UINT64_MAX / STALL_TIMEOUTS ? MAX(STALL_TIMEOUTS * timeout, STALL_LEAST_USEC)
                                                     : UINT64_MAX;
}

bool queue_is_hopeless(const struct queue *q)
{
        return n_running(q) > 0 &&
               is_stalled(now_usec(CLOCK_MONOTONIC), q->env->flow.moved->usec, 0, HOPELESS * stall_limit(q));
}

static void say_stalled(const struct queue *q, uint64_t now)
{
        unsigned gets = 0, waiting = 0, busy = 0;
        char span[SPAN_SIZE];
        for (const struct slot *slot = *q->env->flow.slots; slot; slot = slot->next) {
                gets += slot->get == GET_RUNS;
                waiting += slot->get == GET_WAITS;
                busy += slot->reader == READER_GRANTED;
        }
        journal_event(EVENT_STALLED, NULL,
                "nothing has moved for %s, with %u object%s under way (%u GET%s running, %u waiting, %u "
                "helper%s at work); helpers are replaced and what they did is tried again",
                timespan_format(now - q->env->flow.moved->usec, span, sizeof(span)), n_running(q),
                n_running(q) == 1 ? "" : "s", gets, gets == 1 ? "" : "s", waiting, busy,
                busy == 1 ? "" : "s");
}

/* Workers first: they end in a later turn. When czard-fetch is given up, flows end at once. */
static void free_stalled(struct queue *q)
{
        for (struct slot *slot = *q->env->flow.slots; slot; slot = slot->next)
                if (slot->reader == READER_GRANTED)
                        flow_break(container_of(slot, struct flow, slot), "did not get on");
        fetcher_break(q->env->flow.fetcher, "did not get on");
}

static void on_look(uv_timer_t *timer)
{
        struct queue *q = timer->data;
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        if (n_running(q) == 0) {
                uv_timer_stop(timer);
        } else if (is_stalled(now, q->env->flow.moved->usec, q->stalled_said_usec, stall_limit(q))) {
                q->stalled_said_usec = now;
                say_stalled(q, now);
                free_stalled(q);
        }
}

void queue_mark(struct queue *q)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        struct mark *last = &q->marks[1];
        if (q->jobs && (last->usec == 0 || now - last->usec > MARK_USEC)) {
                q->marks[0] = last->usec == 0 ? (struct mark){now, came(q)} : *last;
                *last = (struct mark){now, came(q)};
        }
        if (!uv_is_active((uv_handle_t *)&q->stall) && n_running(q) > 0)
                uv_timer_start(&q->stall, on_look, STALL_LOOK_MSEC, STALL_LOOK_MSEC);
}

/* --- life --- */

int queue_new(const struct job_env *env, struct queue **ret)
{
        struct queue *q = calloc(1, sizeof(*q));
        if (!q)
                return -ENOMEM;
        *q = (struct queue){.env = env, .look_at_all = true};
        uv_timer_init(env->loop, &q->retry);
        uv_timer_init(env->loop, &q->stall);
        q->retry.data = q->stall.data = q;
        q->open_handles = 2;
        *ret = q;
        return 0;
}

static void on_closed(uv_handle_t *h)
{
        struct queue *q = h->data;
        if (--q->open_handles == 0)
                free(q);
}

struct queue *queue_free(struct queue *q)
{
        if (!q)
                return NULL;
        queue_cancel_all(q);
        free(q->archives.v);
        free(q->files.v);
        q->archives.v = q->files.v = NULL;
        uv_close((uv_handle_t *)&q->retry, on_closed);
        uv_close((uv_handle_t *)&q->stall, on_closed);
        return NULL;
}
