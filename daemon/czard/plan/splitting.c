/* SPDX-License-Identifier: Apache-2.0 */
/* Days go newest first. A day whose folder could not be made is tried again when time may help, else not
 * before its file or the rule is another one; it holds up no other day, and no fetching. Where the disk is
 * too small for several at a time they go one after the other. */
#include "splitting.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cleanup.h"
#include "ledger_facts.h"
#include "split.h"
#include "str.h"
#include "timespan.h"

static const struct retry_policy retry_split = {.base_usec = (60 * USEC_PER_SEC), .cap_usec = USEC_PER_HOUR};

struct splitting {
        const struct job_env *on;
        const struct queue *queue; /* asked which objects are in work */
        struct splits *splits;
        int64_t *due; /* ids */
        size_t n, next;
        bool look, asked; /* asked: the ledger, once at least */
        uint64_t staged;  /* record_staged() when it was last looked at */
        bool crowded;     /* of what is due, one at a time: two had not room enough side by side */
        bool refused;     /* this machine cannot split: said, and not tried again in this run */
        uv_timer_t retry;
};

void splitting_retry(struct splitting *s)
{
        struct error e = {};
        record_open(s->on->record);
        if (ledger_splits_retry(s->on->ledger, &e) < 0)
                record_trouble(s->on->record, &e);
        s->look = true;
}

void splitting_look(struct splitting *s)
{
        s->look = true;
}

static void on_retry(uv_timer_t *timer)
{
        struct splitting *s = timer->data;
        s->look = true;
}

/* --- what is due --- */

static int add_due(struct splitting *s, const int64_t *ids, size_t n)
{
        int64_t *v = reallocarray(s->due, s->n + n + 1, sizeof(*v));
        if (!v)
                return -ENOMEM;
        s->due = v;
        for (size_t i = 0; i < n; i++)
                v[s->n++] = ids[i];
        return 0;
}

static void ask_ledger(struct splitting *s)
{
        const struct job_env *on = s->on;
        int64_t now = (int64_t)time(NULL), next = 0;
        if (on->once && !s->asked) /* a run of its own tries all that is to be tried again */
                splitting_retry(s);
        s->asked = true;
        s->look = s->crowded = false;
        s->n = s->next = 0;
        record_open(on->record);
        for (size_t i = 0; i < s->on->config->n_packages; i++) {
                const struct config_package *p = &s->on->config->packages[i];
                _cleanup_free_ int64_t *ids = NULL;
                size_t n = 0;
                struct error e = {};
                if (p->events_by_course == EVENT_RULE_NONE)
                        continue;
                if (ledger_splits_due(
                            on->ledger, p->spec.org, p->events_by_course, now, &ids, &n, &next, &e) < 0)
                        record_trouble(on->record, &e);
                else if (add_due(s, ids, n) < 0)
                        return;
        }
        uv_timer_stop(&s->retry);
        if (next > now && !on->once)
                uv_timer_start(&s->retry, on_retry, (uint64_t)MIN(next - now, (int64_t)3600) * 1000, 0);
}

/* Since the ledger was asked it may have been split, or have failed. */
static bool is_due_still(const struct splitting *s, const struct ledger_object *o, enum event_rule rule)
{
        struct ledger_split row;
        if (ledger_split_get(s->on->ledger, o->id, &row, NULL) < 0)
                return true;
        bool failed = row.cause != CAUSE_NONE && row.tried_rule == rule &&
                      memcmp(row.tried_sha256, o->sha256, SHA256_SIZE) == 0;
        return !ledger_split_is_done(&row, o, rule) &&
               (!failed || (row.next_try > 0 && row.next_try <= (int64_t)time(NULL)));
}

/* Its file is there, and not about to be another one. */
static bool has_file(const struct ledger_object *o)
{
        return *o->staged_etag && o->state != OBJECT_MISSING && o->state != OBJECT_NEW &&
               o->state != OBJECT_FETCHING && o->state != OBJECT_DECRYPTING;
}

static void start_one(struct splitting *s, int64_t id)
{
        struct split_job job = {.most = s->crowded ? 1 : workers_wanted(s->on->config)};
        if (splits_busy(s->splits, id) || queue_busy(s->queue, id) ||
                ledger_get(s->on->ledger, id, &job.o, NULL) < 0 || !has_file(&job.o))
                return;
        const struct config_package *p = config_find_package(s->on->config, job.o.org);
        if (!p || p->events_by_course == EVENT_RULE_NONE || !is_due_still(s, &job.o, p->events_by_course))
                return;
        const struct package_context *context = &s->on->contexts[p - s->on->config->packages];
        job.rule = p->events_by_course;
        job.gid = context->by_course_gid;
        job.top = context->top;
        job.min_free = s->on->config->staging.min_free;
        (void)ledger_splits_courses(s->on->ledger, job.o.org, job.o.site, &job.courses, NULL);
        (void)splits_start(s->splits, &job);
}

static size_t at_once(const struct splitting *s, size_t most)
{
        return s->crowded ? 1 : most;
}

bool splitting_has_next(struct splitting *s, size_t most)
{
        if (s->refused || splits_running(s->splits) >= at_once(s, most))
                return false;
        if (s->look)
                ask_ledger(s);
        return s->next < s->n;
}

void splitting_start(struct splitting *s, size_t most)
{
        while (s->next < s->n && splits_running(s->splits) < at_once(s, most))
                start_one(s, s->due[s->next++]);
}

/* --- what became of it --- */

static struct journal_fields fields_of(const struct split_outcome *o)
{
        struct journal_fields f = object_fields(&o->job.o);
        f.path = o->made.path;
        f.duration_usec = &o->duration_usec;
        return f;
}

static void say_done(const struct split_outcome *o)
{
        const struct ledger_split *m = &o->made;
        char hex[SHA256_HEX];
        struct journal_fields f = fields_of(o);
        hex_encode(m->sums_sha256, SHA256_SIZE, hex);
        f.sha256 = hex;
        f.plain_size = &m->files_size;
        journal_event(EVENT_DAY_COMPLETE, &f,
                "%s %s: %" PRIu64 " courses; of %" PRIu64 " lines %" PRIu64 " of no course, %" PRIu64
                " invalid, %" PRIu64 " unparsed",
                o->replaced ? "replaced" : "split by course:", m->path, m->courses, m->lines_in, m->no_course,
                m->invalid, m->unparsed);
        if (*o->kept_as)
                journal_event(EVENT_NOTE,
                        &(struct journal_fields){.priority = LOG_WARNING, .path = o->kept_as},
                        "the folder that stood at %s had a file that czard did not put there: it is kept as "
                        "%s "
                        "for keep_replaced; take out what you need",
                        m->path, o->kept_as);
        if (m->courses_left_out == 0)
                return;
        f.priority = LOG_WARNING;
        journal_event(EVENT_DAY_COMPLETE, &f,
                "%s: %" PRIu64
                " more courses than a day may have were left out, those with the fewest lines; "
                "their lines are counted as invalid (learners can invent courses)",
                m->path, m->courses_left_out);
}

static void save(struct splitting *s, const struct ledger_split *row)
{
        struct error e = {};
        record_open(s->on->record);
        if (ledger_split_save(s->on->ledger, row, &e) < 0)
                record_trouble(s->on->record, &e);
}

static void note_done(struct splitting *s, const struct split_outcome *o)
{
        s->look |= s->next >= s->n; /* the file or the rule may have become another one meanwhile */
        if (record_day(s->on->record, &o->job.o, &o->made) >= 0)
                say_done(o);
}

/* It may have room enough once it is alone. */
static bool put_back(struct splitting *s, const struct split_outcome *o)
{
        if (o->cause != CAUSE_SPACE || !o->shared || add_due(s, &o->job.o.id, 1) < 0)
                return false;
        s->crowded = true;
        return true;
}

/* Once it is known what stands there still. */
static void note_failed(struct splitting *s, const struct split_outcome *o)
{
        struct ledger_split row;
        struct journal_fields f = fields_of(o);
        f.cause = o->cause;
        if (ledger_split_get(s->on->ledger, o->job.o.id, &row, NULL) < 0)
                row = (struct ledger_split){.object_id = o->job.o.id, .rule = o->job.rule};
        enum remedy remedy = cause_remedy(o->cause);
        bool again = remedy == REMEDY_RETRY || remedy == REMEDY_PAUSE || remedy == REMEDY_FATAL;
        row.attempts = row.cause == CAUSE_NONE ? 1 : row.attempts + 1;
        row.cause = o->cause;
        snprintf(row.detail, sizeof(row.detail), "%s", o->detail);
        row.tried_rule = o->job.rule;
        memcpy(row.tried_sha256, o->job.o.sha256, SHA256_SIZE);
        uint64_t delay = retry_delay_usec(&retry_split, row.attempts, 0, retry_random()) + USEC_PER_SEC;
        row.next_try = again ? (int64_t)(time(NULL) + (time_t)(delay / USEC_PER_SEC)) : 0;
        save(s, &row);
        record_incomplete(s->on->record);
        f.attempt = row.attempts;
        journal_event(EVENT_DAY_FAILED, &f, "%s was not split by course: %s; %s", o->job.o.path, o->detail,
                again ? "tried again later" : "tried again when its file or events_by_course is another one");
        if (!s->on->once) /* then in the next run */
                s->look |= s->next >= s->n;
}

/* No kernel of this machine lets anybody split: nothing is noted, the days stay due. */
static void note_refused(struct splitting *s, const struct split_outcome *o)
{
        if (!s->refused)
                journal_event(EVENT_DAY_FAILED,
                        &(struct journal_fields){.cause = o->cause, .priority = LOG_ERR},
                        "events are not split by course: %s", o->detail);
        s->refused = true;
        record_incomplete(s->on->record);
}

void splitting_step(struct splitting *s)
{
        struct split_outcome o;
        while (splits_take(s->splits, &o)) {
                moved_on(s->on->flow.moved);
                if (o.cause == CAUSE_SPACE)
                        pauses_room_again(s->on->pauses); /* its folder is gone */
                if (o.cause == CAUSE_NONE)
                        note_done(s, &o);
                else if (o.cause == CAUSE_CONFIG)
                        note_refused(s, &o);
                else if (!put_back(s, &o))
                        note_failed(s, &o);
        }
        if (s->staged != record_staged(s->on->record))
                s->look = true;
        s->staged = record_staged(s->on->record);
}

bool splitting_idle(const struct splitting *s)
{
        if (splits_running(s->splits) > 0)
                return false;
        if (pauses_now(s->on->pauses) != 0 || s->refused)
                return true;
        return !s->look && s->staged == record_staged(s->on->record) && s->next >= s->n;
}

bool splitting_busy(const struct splitting *s, int64_t object_id)
{
        return splits_busy(s->splits, object_id);
}

int splitting_new(const struct job_env *env, const struct queue *queue, struct splitting **ret)
{
        struct splitting *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        *s = (struct splitting){.on = env, .queue = queue, .look = true};
        int r = splits_new(env->loop, env->staging, &s->splits);
        if (r < 0) {
                free(s);
                return r;
        }
        uv_timer_init(env->loop, &s->retry);
        s->retry.data = s;
        *ret = s;
        return 0;
}

static void on_closed(uv_handle_t *h)
{
        free(h->data);
}

struct splitting *splitting_free(struct splitting *s)
{
        if (!s)
                return NULL;
        s->splits = splits_free(s->splits);
        free(s->due);
        s->due = NULL;
        s->n = s->next = 0;
        uv_close((uv_handle_t *)&s->retry, on_closed);
        return NULL;
}
