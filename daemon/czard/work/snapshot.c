/* SPDX-License-Identifier: Apache-2.0 */
/* The life of one archive: the directory is read from its end (DIRECTORY), what earlier attempts staged is
 * looked at (PREPARING), wanted members come in runs of neighbours (RUNS), the folder is published
 * (PUBLISHING). The archive itself never touches a disk. A failure keeps the partial folder; the next attempt
 * goes on at the members that are missing. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "cleanup.h"
#include "keep.h"
#include "snapshot_job.h"
#include "str.h"
#include "timespan.h"

/* The first guess at where the directory begins. It holds the end record, which tells where it really begins,
 * and is fetched twice when the directory is larger: so it is a small share of the archive. */
#define WINDOW_LEAST 4096
#define WINDOW_MOST (64 * KIB)
#define WINDOW_SHARE 256

/* Its end is recorded. */
static void finish(struct snapshot *s)
{
        s->job.over = true;
}

static void fail(struct snapshot *s, enum cause cause, const char *detail)
{
        if (s->state == SNAPSHOT_RUNS)
                snapshot_forget_refused(s);
        /* An attempt that brought something in does not count against the object. */
        if (s->progress)
                s->job.o.attempts = s->job.o.refusals = 0;
        record_failed(s->job.env->record, &s->job.o, cause, detail, s->retry_after_usec);
        finish(s);
}

/* --- the directory --- */

static int on_granted(void *arg, struct error *e)
{
        struct snapshot *s = arg;
        struct message m = {
                .type = PROTO_DIRECTORY,
                .directory = {.size = s->job.o.size, .start = s->window_start, .max_members = s->max_members},
                .fds = {s->directory.pipe_fd},
                .n_fds = 1,
        };
        int r = worker_send(s->directory.worker, &m);
        return r < 0 ? error_set(e, CAUSE_HELPER, -r, "czard-index does not take jobs: %s", strerror(-r)) : 0;
}

/* What czard-index told of the directory cannot be so. */
static int check_directory(const struct snapshot *s, const struct proto_directory_done *done, struct error *e)
{
        if (done->outcome.cause != CAUSE_NONE || done->need_start != 0)
                return 0;
        if (done->count != s->n_told)
                return error_set(e, CAUSE_HELPER, EPROTO, "told %" PRIu64 " members of %" PRIu64, s->n_told,
                        done->count);
        if (done->offset > s->job.o.size)
                return error_set(
                        e, CAUSE_HELPER, EPROTO, "told of a directory behind the end of its archive");
        return 0;
}

/* The archive is whole; something was written to it that is not of it. */
static void say_behind(const struct snapshot *s, const char *what)
{
        const struct journal_fields f = object_fields(&s->job.o);
        char shown[160];
        journal_event(EVENT_NOTE, &f, "%s has %s", s->job.o.key, str_visible(what, shown, sizeof(shown)));
}

static void on_message(void *arg, struct message *m)
{
        struct snapshot *s = arg;
        const struct proto_directory_done *done = &m->directory_done;
        struct error *e = &s->work_error;
        int r = 0;
        if (m->type == PROTO_ENTRIES)
                r = e->cause == CAUSE_NONE ? snapshot_take_entries(s, &m->entries, e) : 0;
        else if (e->cause == CAUSE_NONE)
                r = check_directory(s, done, e);
        if (r == -EPROTO) {
                flow_break(&s->directory, e->text);
        } else if (m->type == PROTO_DIRECTORY_DONE) {
                s->directory_done.need_start = done->need_start;
                s->directory_done.offset = done->offset;
                if (done->outcome.cause == CAUSE_NONE && e->cause == CAUSE_NONE && *done->outcome.detail)
                        say_behind(s, done->outcome.detail);
                if (done->outcome.cause != CAUSE_NONE)
                        flow_judge(&s->directory, done->outcome.cause, done->outcome.detail);
                else
                        flow_judge(&s->directory, e->cause, e->text);
        }
}

/* Which courses it has is kept: whether it is beyond keep_snapshots may be asked again. */
static void learn_courses(struct snapshot *s)
{
        const struct job_env *env = s->job.env;
        _cleanup_(strv_done) struct strv courses = {};
        struct error e = {};
        if (s->job.o.category != CATEGORY_DATABASE || members_courses(s->members, &courses, &e) < 0)
                return;
        record_open(env->record);
        if (beyond_learn(env->ledger, &s->job.o, &courses, &e) < 0)
                record_trouble(env->record, &e);
}

/* One beyond keep_snapshots was begun only to see whether it has the last copy of a course. In doubt it has.
 */
static bool is_due(struct snapshot *s)
{
        struct ledger_object *o = &s->job.o;
        enum beyond beyond;
        learn_courses(s);
        beyond_look(s->job.env->ledger, s->job.env->config, o, NULL, 0, &beyond, NULL);
        if (beyond != BEYOND_YES)
                return true;
        snprintf(o->detail, sizeof(o->detail), "older than keep_snapshots, and newer ones have its courses");
        record_enter(s->job.env->record, o, OBJECT_IGNORED);
        return false;
}

/* --- in a thread, for there may be very many --- */

static void work_in_thread(uv_work_t *work)
{
        struct snapshot *s = work->data;
        s->body(s);
}

static void on_worked(uv_work_t *work, int status)
{
        struct snapshot *s = work->data;
        (void)status;
        s->working = false;
        s->news = true;
}

/* Until the next step the members are the thread's. */
static void in_thread(struct snapshot *s, void (*body)(struct snapshot *s))
{
        s->working = true;
        s->body = body;
        s->work.data = s;
        uv_queue_work(s->job.env->loop, &s->work, work_in_thread, on_worked);
}

static void complete_members(struct snapshot *s)
{
        members_complete(s->members, s->directory_done.offset, staging_folds_case(s->job.env->staging),
                &s->work_error);
}

/* What was told before it was known where the directory begins does not count. */
static int begin_members(struct snapshot *s, struct error *e)
{
        int r = s->members ? 0 : members_open(s->job.env->ledger, &s->members, e);
        s->n_told = 0;
        return r < 0 ? r : members_begin(s->members, e);
}

static void read_directory(struct snapshot *s);
static void get_directory(struct snapshot *s);

/* Damage on the way to a directory shows in nothing but the directory: what would refuse the archive is read
 * once more. */
static void directory_failed(struct snapshot *s, enum cause cause, const char *detail)
{
        struct journal_fields f = object_fields(&s->job.o);
        if (s->read_again || cause_remedy(cause) != REMEDY_REJECT) {
                fail(s, cause, detail);
                return;
        }
        f.cause = cause;
        journal_event(EVENT_NOTE, &f, "the directory of %s is read once more: %s", s->job.o.key, detail);
        s->read_again = true;
        s->work_error = (struct error){};
        read_directory(s);
}

static void on_ended(void *arg, enum cause cause, const char *detail)
{
        struct snapshot *s = arg;
        s->retry_after_usec = s->directory.retry_after_usec;
        s->job.o.checks |= s->directory.checks;
        if (cause != CAUSE_NONE) {
                directory_failed(s, cause, detail);
        } else if (s->directory_done.need_start != 0) {
                if (s->second_read || s->directory_done.need_start >= s->window_start) {
                        directory_failed(s, CAUSE_BAD_ZIP, "its directory is not where its end says");
                        return;
                }
                s->second_read = true;
                s->window_start = s->directory_done.need_start;
                get_directory(s);
        } else {
                in_thread(s, complete_members);
        }
}

static void on_came(void *arg, uint64_t bytes)
{
        struct snapshot *s = arg;
        s->job.came_bytes += bytes;
}

static const struct flow_ops directory_ops = {
        .granted = on_granted, .message = on_message, .came = on_came, .ended = on_ended};

static void get_directory(struct snapshot *s)
{
        const struct ledger_object *o = &s->job.o;
        struct error e = {};
        struct proto_get get = {.bucket = o->bucket,
                .key = o->key,
                .etag = o->etag,
                .offset = s->window_start,
                .length = o->size - s->window_start,
                .size = o->size};
        s->directory_done = (struct proto_directory_done){};
        const struct job_env *env = s->job.env;
        if (begin_members(s, &e) < 0 || flow_start(&s->directory, &env->flow, env->index, &directory_ops, s,
                                                &get, RANK_ARCHIVE, &e) < 0)
                fail(s, e.cause, e.text);
}

static void read_directory(struct snapshot *s)
{
        uint64_t size = s->job.o.size, window = MIN(MAX(size / WINDOW_SHARE, WINDOW_LEAST), WINDOW_MOST);
        s->window_start = window >= size ? 0 : size - window;
        s->second_read = false;
        get_directory(s);
}

/* --- step by step --- */

static void directory_is_read(struct snapshot *s)
{
        struct error e = {};
        if (!is_due(s)) {
                finish(s);
        } else if (snapshot_tell_refused(s, &e) < 0) {
                fail(s, e.cause, e.text);
        } else {
                record_enter(s->job.env->record, &s->job.o, OBJECT_DECRYPTING);
                s->state = SNAPSHOT_PREPARING;
                if (snapshot_open_folder(s, &e) < 0)
                        fail(s, e.cause, e.text);
                else
                        in_thread(s, snapshot_look_at_known);
        }
}

/* Starts more runs, or, when none is left, publishes or fails. */
static void go_on_with_runs(struct snapshot *s)
{
        struct error e = {};
        if (s->cause == CAUSE_NONE)
                snapshot_start_runs(s);
        if (s->n_runs == 0 && s->cause == CAUSE_NONE && s->n_held > 0) {
                snapshot_judge_held(s);
                if (s->cause == CAUSE_NONE)
                        snapshot_start_runs(s);
        }
        if (s->n_runs > 0)
                return;
        if (s->cause != CAUSE_NONE) {
                fail(s, s->cause, s->detail);
        } else if (snapshot_prepare_publishing(s, &e) < 0) {
                fail(s, e.cause, e.text);
        } else {
                s->state = SNAPSHOT_PUBLISHING;
                in_thread(s, snapshot_publish_folder);
        }
}

static void known_is_looked_at(struct snapshot *s)
{
        if (!room_for(s)) {
                finish(s);
                return;
        }
        s->job.due_bytes = s->job.came_bytes + s->sums.wanted_bytes;
        s->state = SNAPSHOT_RUNS;
        go_on_with_runs(s);
}

static void drop(struct snapshot *s)
{
        if (s->state == SNAPSHOT_DIRECTORY)
                flow_cancel(&s->directory);
        snapshot_cancel_runs(s);
        fail(s, CAUSE_CANCELLED, "stopped");
}

/* A thread has ended, or a run. */
static void step(struct object_job *j)
{
        struct snapshot *s = container_of(j, struct snapshot, job);
        if (!s->news)
                return;
        s->news = false;
        if (s->cancelled && s->state != SNAPSHOT_PUBLISHING) {
                drop(s);
        } else if (s->work_error.cause != CAUSE_NONE && s->state == SNAPSHOT_DIRECTORY) {
                directory_failed(s, s->work_error.cause, s->work_error.text);
        } else if (s->work_error.cause != CAUSE_NONE) {
                fail(s, s->work_error.cause, s->work_error.text);
        } else {
                switch (s->state) {
                case SNAPSHOT_DIRECTORY:
                        directory_is_read(s);
                        break;
                case SNAPSHOT_PREPARING:
                        known_is_looked_at(s);
                        break;
                case SNAPSHOT_RUNS:
                        go_on_with_runs(s);
                        break;
                case SNAPSHOT_PUBLISHING:
                        snapshot_record_published(s);
                        finish(s);
                        break;
                }
        }
}

/* --- life --- */

static void cancel(struct object_job *j)
{
        struct snapshot *s = container_of(j, struct snapshot, job);
        s->cancelled = true;
        if (!s->working && !(s->state == SNAPSHOT_PUBLISHING && s->news))
                drop(s); /* else the step after the thread ends it */
}

static void snapshot_job_free(struct object_job *j)
{
        struct snapshot *s = container_of(j, struct snapshot, job);
        s->members = members_free(s->members);
        s->dir = snapshot_free(s->dir);
        strbuf_done(&s->change.text);
        free(s);
}

static const struct job_ops snapshot_ops = {.step = step, .cancel = cancel, .free = snapshot_job_free};

/* Where it goes, and what has its place now. */
static void find_place(struct snapshot *s, const char *path)
{
        struct ledger_object *o = &s->job.o, other, *there = NULL;
        snprintf(s->old_path, sizeof(s->old_path), "%s", o->path);
        snprintf(o->path, sizeof(o->path), "%s", path);
        if (*o->staged_etag)
                there = o;
        else if (ledger_other_staged(s->job.env->ledger, o, o->path, &other, NULL) == 0)
                there = &other;
        s->replaces = there != NULL;
        if (there && s->keep_replaced)
                place_replaced(there, s->keep_as);
}

static void begin(struct snapshot *s)
{
        const struct job_env *env = s->job.env;
        struct ledger_object *o = &s->job.o;
        const struct config_package *p = config_find_package(env->config, o->org);
        struct package_item item;
        struct error e = {};
        record_enter(env->record, o, OBJECT_FETCHING);
        if (room_still_short(env, o)) {
                finish(s);
                return;
        }
        if (package_parse_key(&p->spec, o->bucket, o->key, &item, &e) < 0) {
                fail(s, CAUSE_CANCELLED, "its package section is gone");
                return;
        }
        find_place(s, item.path);
        o->checks = 0;
        if (o->size == 0)
                fail(s, CAUSE_BAD_ZIP, "it is empty");
        else
                read_directory(s);
}

struct object_job *snapshot_start(
        const struct job_env *env, const struct ledger_object *o, const struct package_context *context)
{
        const struct config *c = env->config;
        struct snapshot *s = calloc(1, sizeof(*s));
        if (!s)
                return NULL;
        s->job = (struct object_job){.ops = &snapshot_ops,
                .env = env,
                .o = *o,
                .pool = context->pool,
                .started_usec = now_usec(CLOCK_MONOTONIC),
                .due_bytes = o->size};
        s->attr = (struct staging_attr){.gid = context->gid[o->category], .mtime = o->last_modified};
        s->org = context->top;
        s->max_name = c->limits.max_name;
        s->max_members = c->limits.max_members;
        s->keep_replaced = c->staging.keep_replaced_usec > 0;
        s->deduplicate = c->staging.deduplicate;
        s->hold_incomplete = c->staging.incomplete_snapshots == INCOMPLETE_HOLD;
        if (o->category == CATEGORY_DATABASE)
                snprintf(s->top, sizeof(s->top), "%s-%s", o->org, o->date);
        begin(s);
        return &s->job;
}
