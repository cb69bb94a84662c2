/* SPDX-License-Identifier: Apache-2.0 */
/* One single-file object, from czard-fetch through a pipe to czard-decrypt into an unnamed file, and by
 * staging_publish() to its name.
 *
 *   transfer_start ── a flow: GET and worker (FETCHING)
 *     on_granted ── the worker reads the pipe and writes the file (DECRYPTING)
 *       on_ended ── both well: publish in a thread ── on_published ── record_published()
 *                └─ else: record_failed()
 *
 * What only gpg-agent can open is fetched once more, for the worker that has one. The file has no name before
 * both czard-fetch and the worker have said that it is right. */
#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "job.h"
#include "noted.h"
#include "str.h"
#include "timespan.h"
#include "wants.h"

struct transfer {
        struct object_job job;
        struct flow flow;
        struct staging_attr attr;
        struct staging_top top;
        enum proto_format format;
        bool keep_replaced, replaces;
        bool reference; /* it goes to the worker that has a gpg-agent */
        int out_fd;     /* the unnamed file; we cannot write to it */
        /* What is known of it. The object has what is known of the file that has its name, until this one has
         * it. */
        uint32_t checks;
        uint64_t plain_size;
        uint8_t sha256[SHA256_SIZE];
        char fingerprint[sizeof(((struct ledger_object *)NULL)->fingerprint)];

        bool publishing;
        uv_work_t work;
        struct error publish_error, remove_error;
        /* The object keeps its path until the file has its name: a failed attempt leaves it where it is. */
        char path[sizeof(((struct ledger_object *)NULL)->path)], old_path[STAGED_PATH_SIZE],
                keep_as[PLACE_KEEP_SIZE];
};

static void fail(struct transfer *t, enum cause cause, const char *detail)
{
        record_failed(t->job.env->record, &t->job.o, cause, detail, t->flow.retry_after_usec);
        t->job.over = true;
}

/* --- publishing --- */

static void publish_in_thread(uv_work_t *work)
{
        struct transfer *t = work->data;
        struct staging *s = t->job.env->staging;
        const char *path = t->path;
        /* What stands at another path is retired there; at this one, if anything, is what a crash left. */
        bool moved = *t->old_path && !streq(t->old_path, path);
        const char *keep_as = *t->keep_as ? t->keep_as : NULL;
        if (staging_make_top(s, path, &t->top, &t->publish_error) >= 0 &&
                staging_publish(s, t->out_fd, path, &t->attr, moved ? NULL : keep_as, &t->publish_error) >=
                        0 &&
                moved)
                staging_retire(s, t->old_path, keep_as, &t->remove_error);
}

static void on_published(uv_work_t *work, int status)
{
        struct transfer *t = work->data;
        const struct job_env *env = t->job.env;
        (void)status;
        if (t->publish_error.cause != CAUSE_NONE) {
                fail(t, t->publish_error.cause, t->publish_error.text);
                return;
        }
        if (t->remove_error.cause != CAUSE_NONE)
                leftover_note(env->record, env->ledger, &t->job.o, t->old_path, t->keep_as, &t->remove_error);
        struct ledger_object *o = &t->job.o;
        memcpy(o->path, t->path, sizeof(o->path));
        o->checks = t->checks | t->flow.checks;
        o->plain_size = (int64_t)t->plain_size;
        memcpy(o->sha256, t->sha256, sizeof(o->sha256));
        o->has_sha256 = true;
        memcpy(o->fingerprint, t->fingerprint, sizeof(o->fingerprint));
        record_published(env->record, o, t->replaces, now_usec(CLOCK_MONOTONIC) - t->job.started_usec);
        t->job.over = true;
}

static void publish(struct transfer *t)
{
        const struct job_env *env = t->job.env;
        struct ledger_object *o = &t->job.o;
        snprintf(t->old_path, sizeof(t->old_path), "%s", o->path);
        t->replaces = *o->staged_etag != 0;
        if (t->replaces && !streq(o->staged_etag, o->etag) && t->keep_replaced)
                place_replaced(o, t->keep_as);
        if (place_of(env->config, o, t->format == FORMAT_GUNZIP, t->path) < 0) {
                fail(t, CAUSE_CANCELLED, "its package section is gone");
                return;
        }
        t->publishing = true;
        t->work.data = t;
        uv_queue_work(env->loop, &t->work, publish_in_thread, on_published);
}

/* --- the flow --- */

static int on_granted(void *arg, struct error *e)
{
        struct transfer *t = arg;
        _cleanup_close_ int writable = -1;
        close_fd(t->out_fd);
        t->out_fd = staging_create_handed(t->job.env->staging, &writable, e);
        if (t->out_fd < 0)
                return t->out_fd;
        if (!t->reference)
                record_enter(t->job.env->record, &t->job.o, OBJECT_DECRYPTING);
        struct message m = {
                .type = PROTO_FILE,
                .file = {.size = t->job.o.size, .format = (uint8_t)t->format},
                .fds = {t->flow.pipe_fd, writable},
                .n_fds = 2,
        };
        int r = worker_send(t->flow.worker, &m);
        return r < 0 ? error_set(e, CAUSE_HELPER, -r, "czard-decrypt does not take jobs: %s", strerror(-r))
                     : 0;
}

static void on_message(void *arg, struct message *m)
{
        struct transfer *t = arg;
        struct error e = {};
        const struct proto_verdict *v = &m->verdict;
        if (v->outcome.cause != CAUSE_NONE) {
                flow_judge(&t->flow, v->outcome.cause, v->outcome.detail);
                return;
        }
        int r = staging_check_written(t->job.env->staging, t->out_fd, v->plain_size, &e);
        if (r == -EPROTO) {
                flow_break(&t->flow, e.text);
                return;
        }
        t->checks = v->checks;
        t->plain_size = v->plain_size;
        memcpy(t->sha256, v->sha256, sizeof(t->sha256));
        snprintf(t->fingerprint, sizeof(t->fingerprint), "%s", v->fingerprint);
        if (v->warnings & WARN_KEY_EXPIRED)
                record_key_expired(t->job.env->record, t->job.o.org, v->fingerprint);
        flow_judge(&t->flow, e.cause, e.text);
}

static void start_flow(struct transfer *t);

static void on_ended(void *arg, enum cause cause, const char *detail)
{
        struct transfer *t = arg;
        if (cause == CAUSE_NONE) {
                publish(t);
        } else if (cause == CAUSE_REFERENCE && !t->reference) {
                t->reference = true;
                start_flow(t);
        } else {
                fail(t, cause, detail);
        }
}

static void on_came(void *arg, uint64_t bytes)
{
        struct transfer *t = arg;
        t->job.came_bytes += bytes;
}

static const struct flow_ops flow_ops = {
        .granted = on_granted, .message = on_message, .came = on_came, .ended = on_ended};

static void start_flow(struct transfer *t)
{
        const struct ledger_object *o = &t->job.o;
        struct pool *pool = t->reference ? pool_reference(t->job.pool) : t->job.pool;
        struct error e = {};
        struct proto_get get = {.bucket = o->bucket,
                .key = o->key,
                .etag = o->etag,
                .length = o->size,
                .size = o->size,
                .whole = 1};
        if (flow_start(&t->flow, &t->job.env->flow, pool, &flow_ops, t, &get,
                    o->category == CATEGORY_EVENTS ? RANK_EVENTS : RANK_OTHER, &e) < 0)
                fail(t, e.cause, e.text);
}

/* --- life --- */

static void cancel(struct object_job *j)
{
        struct transfer *t = container_of(j, struct transfer, job);
        if (t->publishing)
                return; /* on_published() records how it ended */
        flow_cancel(&t->flow);
        fail(t, CAUSE_CANCELLED, "stopped");
}

static void transfer_free(struct object_job *j)
{
        struct transfer *t = container_of(j, struct transfer, job);
        close_fd(t->out_fd);
        free(t);
}

static const struct job_ops transfer_ops = {.cancel = cancel, .free = transfer_free};

struct object_job *transfer_start(
        const struct job_env *env, const struct ledger_object *from, const struct package_context *context)
{
        const struct config_staging *c = &env->config->staging;
        struct transfer *t = calloc(1, sizeof(*t));
        if (!t)
                return NULL;
        *t = (struct transfer){.job = {.ops = &transfer_ops, .env = env, .o = *from, .pool = context->pool},
                .out_fd = -1,
                .attr = {.gid = context->gid[from->category], .mtime = from->last_modified},
                .top = context->top,
                .keep_replaced = c->keep_replaced_usec > 0,
                .format = from->category != CATEGORY_EVENTS  ? FORMAT_OPAQUE
                          : c->events_format == EVENTS_PLAIN ? FORMAT_GUNZIP
                                                             : FORMAT_GZIP};
        t->job.started_usec = now_usec(CLOCK_MONOTONIC);
        t->job.due_bytes = from->size;
        record_enter(env->record, &t->job.o, OBJECT_FETCHING);
        start_flow(t);
        return &t->job;
}
