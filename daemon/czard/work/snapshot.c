/* SPDX-License-Identifier: Apache-2.0 */
/* The life of one archive: the directory is read from its end (DIRECTORY), what earlier attempts staged is
 * looked at (PREPARING), wanted members come in runs of neighbours (RUNS), the folder is published
 * (PUBLISHING). The archive itself never touches a disk. A failure keeps the partial folder; the next attempt
 * goes on at the members that are missing. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "beyond.h"
#include "cleanup.h"
#include "record.h"
#include "room.h"
#include "str.h"

/* The first guess at where the directory begins. It holds the end record, which tells where it really begins,
 * and is fetched twice when the directory is larger: so it is a small share of the archive. */
#define WINDOW_LEAST 4096
#define WINDOW_MOST (64 * KIB)
#define WINDOW_SHARE 256

static void free_snapshot(struct snapshot *s)
{
        s->members = members_free(s->members);
        s->dir = snapshot_free(s->dir);
        snapshot_change_done(&s->change);
        free(s);
}

void snapshot_finish(struct snapshot *s)
{
        queue_job_done(s->job.d->queue, &s->job);
        free_snapshot(s);
}

void snapshot_fail(struct snapshot *s, enum cause cause, const char *detail)
{
        /* An attempt that brought something in does not count against the object. */
        if (s->progress)
                s->job.o.attempts = s->job.o.refusals = 0;
        record_failed(s->job.d->record, &s->job.o, cause, detail, s->retry_after_usec);
        snapshot_finish(s);
}

void snapshot_step(struct snapshot *s)
{
        if (s->state == SNAPSHOT_RUNS && s->cause == CAUSE_NONE)
                snapshot_start_runs(s);
        if (s->state != SNAPSHOT_RUNS || s->n_runs > 0)
                return;
        if (s->cause != CAUSE_NONE)
                snapshot_fail(s, s->cause, s->detail);
        else
                snapshot_publish_all(s);
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
                if (done->outcome.cause != CAUSE_NONE)
                        flow_judge(&s->directory, done->outcome.cause, done->outcome.detail);
                else
                        flow_judge(&s->directory, e->cause, e->text);
        }
}

/* Which courses it has is kept: whether it is beyond keep_snapshots may be asked again. */
static void learn_courses(struct snapshot *s)
{
        struct director *d = s->job.d;
        _cleanup_(strv_done) struct strv courses = {};
        struct error e = {};
        if (s->job.o.category != CATEGORY_DATABASE || members_courses(s->members, &courses, &e) < 0)
                return;
        record_open(d->record);
        if (beyond_learn(d->ledger, &s->job.o, &courses, &e) < 0)
                record_trouble(d->record, &e);
}

/* One beyond keep_snapshots was begun only to see whether it has the last copy of a course. In doubt it has.
 */
static bool is_due(struct snapshot *s)
{
        struct ledger_object *o = &s->job.o;
        enum beyond beyond;
        learn_courses(s);
        beyond_look(s->job.d->ledger, s->job.d->config, o, NULL, 0, &beyond, NULL);
        if (beyond != BEYOND_YES)
                return true;
        snprintf(o->detail, sizeof(o->detail), "older than keep_snapshots, and newer ones have its courses");
        record_enter(s->job.d->record, o, OBJECT_IGNORED);
        return false;
}

/* --- in a thread, for there may be very many --- */

bool snapshot_thread_ended(struct snapshot *s)
{
        s->working = false;
        if (s->cancelled) {
                record_failed(s->job.d->record, &s->job.o, CAUSE_CANCELLED, "stopped", 0);
                snapshot_finish(s);
        } else if (s->work_error.cause != CAUSE_NONE) {
                snapshot_fail(s, s->work_error.cause, s->work_error.text);
        } else {
                return true;
        }
        return false;
}

static void complete_in_thread(uv_work_t *work)
{
        struct snapshot *s = work->data;
        members_complete(
                s->members, s->directory_done.offset, staging_folds_case(s->job.d->staging), &s->work_error);
}

static void read_directory(struct snapshot *s);

/* Damage on the way to a directory shows in nothing but the directory: what would refuse the archive is read
 * once more. May free s. */
static void directory_failed(struct snapshot *s, enum cause cause, const char *detail)
{
        struct journal_fields f = object_fields(&s->job.o);
        if (s->read_again || cause_remedy(cause) != REMEDY_REJECT) {
                snapshot_fail(s, cause, detail);
                return;
        }
        f.cause = cause;
        journal_event(EVENT_NOTE, &f, "the directory of %s is read once more: %s", s->job.o.key, detail);
        s->read_again = true;
        s->work_error = (struct error){};
        read_directory(s);
}

static void on_completed(uv_work_t *work, int status)
{
        struct snapshot *s = work->data;
        struct error e = {};
        (void)status;
        if (!s->cancelled && s->work_error.cause != CAUSE_NONE) {
                s->working = false;
                directory_failed(s, s->work_error.cause, s->work_error.text);
                return;
        }
        if (!snapshot_thread_ended(s))
                return;
        if (!is_due(s)) {
                snapshot_finish(s);
        } else if (snapshot_tell_refused(s, &e) < 0) {
                snapshot_fail(s, e.cause, e.text);
        } else {
                record_enter(s->job.d->record, &s->job.o, OBJECT_DECRYPTING);
                s->state = SNAPSHOT_PREPARING;
                snapshot_prepare(s);
        }
}

void snapshot_in_thread(struct snapshot *s, uv_work_cb work, uv_after_work_cb done)
{
        s->working = true;
        s->work.data = s;
        uv_queue_work(&s->job.d->loop, &s->work, work, done);
}

/* What was told before it was known where the directory begins does not count. */
static int begin_members(struct snapshot *s, struct error *e)
{
        int r = s->members ? 0 : members_open(s->job.d->ledger, &s->members, e);
        s->n_told = 0;
        return r < 0 ? r : members_begin(s->members, e);
}

static void get_directory(struct snapshot *s);

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
                snapshot_in_thread(s, complete_in_thread, on_completed);
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
        if (begin_members(s, &e) < 0 || flow_start(&s->directory, s->job.d, s->job.d->index, &directory_ops,
                                                s, &get, RANK_ARCHIVE, &e) < 0)
                snapshot_fail(s, e.cause, e.text);
}

static void read_directory(struct snapshot *s)
{
        uint64_t size = s->job.o.size, window = MIN(MAX(size / WINDOW_SHARE, WINDOW_LEAST), WINDOW_MOST);
        s->window_start = window >= size ? 0 : size - window;
        s->second_read = false;
        get_directory(s);
}

/* --- life --- */

static bool cancel(struct job *j)
{
        struct snapshot *s = container_of(j, struct snapshot, job);
        s->cancelled = true;
        if (s->working)
                return false; /* what comes after the thread ends it */
        if (s->state == SNAPSHOT_DIRECTORY)
                flow_cancel(&s->directory);
        snapshot_cancel_runs(s);
        record_failed(j->d->record, &j->o, CAUSE_CANCELLED, "stopped", 0);
        free_snapshot(s);
        return true;
}

struct job *snapshot_new(struct director *d, const struct ledger_object *o)
{
        const struct package_context *context = director_context(d, o->org);
        struct snapshot *s = context && context->pool ? calloc(1, sizeof(*s)) : NULL;
        if (!s)
                return NULL;
        const struct config_staging *c = &d->config->staging;
        s->job.cancel = cancel;
        s->job.pool = context->pool;
        s->attr = (struct staging_attr){.gid = context->gid[o->category], .mtime = o->last_modified};
        s->org = context->top;
        s->max_name = d->config->limits.max_name;
        s->max_members = d->config->limits.max_members;
        s->keep_replaced = c->keep_replaced_usec > 0;
        s->deduplicate = c->deduplicate;
        s->hold_incomplete = c->incomplete_snapshots == INCOMPLETE_HOLD;
        if (o->category == CATEGORY_DATABASE)
                snprintf(s->top, sizeof(s->top), "%s-%s", o->org, o->date);
        return &s->job;
}

void snapshot_start(struct job *j)
{
        struct snapshot *s = container_of(j, struct snapshot, job);
        struct ledger_object *o = &j->o;
        struct package_item item;
        struct error e = {};
        struct ledger_object other, *there = NULL; /* what has its place now */
        const struct config_package *p = director_package(j->d, o->org);
        record_enter(j->d->record, o, OBJECT_FETCHING);
        if (room_still_short(j->d, o)) {
                snapshot_finish(s);
                return;
        }
        if (package_parse_key(&p->spec, o->bucket, o->key, &item, &e) < 0) {
                snapshot_fail(s, CAUSE_CANCELLED, "its package section is gone");
                return;
        }
        snprintf(s->old_path, sizeof(s->old_path), "%s", o->path);
        snprintf(o->path, sizeof(o->path), "%s", item.path);
        if (*o->staged_etag)
                there = o;
        else if (ledger_other_staged(j->d->ledger, o, o->path, &other, NULL) == 0)
                there = &other;
        s->replaces = there != NULL;
        if (there && s->keep_replaced)
                place_replaced(there, s->keep_as);
        o->checks = 0;
        if (o->size == 0)
                snapshot_fail(s, CAUSE_BAD_ZIP, "it is empty");
        else
                read_directory(s);
}
