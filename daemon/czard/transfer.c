/* SPDX-License-Identifier: Apache-2.0 */
/* One single-file object, from czard-fetch through a pipe to czard-decrypt into an unnamed file, and by
 * staging_publish() to its name.
 *
 *   start ── GET runs into the pipe, a worker is claimed (WAITING)
 *     granted ── the worker reads the pipe, writes the file (DECRYPTING)
 *       DONE from czard-fetch *and* VERDICT from the worker ── conclude()
 *         both well ── publish in a thread (PUBLISHING) ── record_published()
 *         else      ── record_failed()
 *
 * The file has no name before both verdicts are good. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "cleanup.h"
#include "director.h"
#include "queue.h"
#include "record.h"
#include "str.h"
#include "timespan.h"

#define PIPE_SIZE (1024 * 1024)
/* Claims of single files stand behind those of the newest snapshot. */
#define RANK_EVENTS 1
#define RANK_OTHER 2

enum transfer_state { TRANSFER_WAITING, TRANSFER_DECRYPTING, TRANSFER_PUBLISHING };

struct transfer {
        struct job job;
        enum transfer_state state;
        enum proto_format format;
        struct staging_attr attr;
        uint64_t keep_replaced_usec;

        int pipe_fd;  /* read end, until the worker has it */
        int out_fd;   /* the unnamed file */
        uint32_t get; /* request id, 0: none or ended */
        struct claim claim;
        struct worker *worker; /* NULL: not yet, or its verdict is in */
        bool have_done, have_verdict, cancelled;

        /* How it ended. */
        enum cause done_cause, verdict_cause;
        char done_detail[512], verdict_detail[512];
        uint64_t retry_after_usec;

        uv_work_t work;
        struct error publish_error;
        char old_path[512], keep_as[256];
        bool replaces;
};

static void transfer_free(struct transfer *t)
{
        close_fd(t->pipe_fd);
        close_fd(t->out_fd);
        free(t);
}

static void finish(struct transfer *t)
{
        queue_job_done(t->job.d->queue, &t->job);
        transfer_free(t);
}

static void fail(struct transfer *t, enum cause cause, const char *detail)
{
        record_failed(t->job.d, &t->job.o, cause, detail, t->retry_after_usec);
        finish(t);
}

/* --- publishing --- */

static void publish_in_thread(uv_work_t *work)
{
        struct transfer *t = work->data;
        staging_publish(t->job.d->staging, t->out_fd, t->job.o.path, &t->attr,
                *t->keep_as ? t->keep_as : NULL, &t->publish_error);
}

static void on_published(uv_work_t *work, int status)
{
        struct transfer *t = work->data;
        struct director *d = t->job.d;
        (void)status;
        if (t->publish_error.cause != CAUSE_NONE) {
                if (t->cancelled)
                        transfer_free(t);
                else
                        fail(t, t->publish_error.cause, t->publish_error.text);
                return;
        }
        struct error e = {};
        if (*t->old_path && !streq(t->old_path, t->job.o.path))
                staging_remove(d->staging, t->old_path, &e);
        record_published(d, &t->job.o, t->replaces, now_usec(CLOCK_MONOTONIC) - t->job.started_usec);
        if (t->cancelled)
                transfer_free(t);
        else
                finish(t);
}

/* The ETag without quotes, for a file name. */
static void bare_etag(const char *etag, char *ret, size_t size)
{
        size_t n = 0;
        for (; *etag && n + 1 < size; etag++)
                if (strchr("0123456789abcdefABCDEF-", *etag))
                        ret[n++] = *etag;
        ret[n] = 0;
}

static void publish(struct transfer *t)
{
        struct director *d = t->job.d;
        struct ledger_object *o = &t->job.o;
        struct package_item item;
        struct error e = {};
        const struct config_package *p = director_package(d, o->org);
        if (!p || package_parse_key(&p->spec, o->bucket, o->key, &item, &e) < 0) {
                fail(t, CAUSE_CANCELLED, "its package section is gone");
                return;
        }
        snprintf(t->old_path, sizeof(t->old_path), "%s", o->path);
        snprintf(o->path, sizeof(o->path), "%s", item.path);
        if (t->format == FORMAT_GUNZIP && str_ends(o->path, ".gz"))
                o->path[strlen(o->path) - 3] = 0;
        t->replaces = *o->staged_etag != 0;
        if (t->replaces && !streq(o->staged_etag, o->etag) && t->keep_replaced_usec > 0) {
                char etag[64];
                const char *slash = strrchr(o->path, '/');
                bare_etag(o->staged_etag, etag, sizeof(etag));
                snprintf(t->keep_as, sizeof(t->keep_as), ".replaced/%s-%s",
                        *o->date ? o->date
                        : slash  ? slash + 1
                                 : o->path,
                        etag);
        }
        t->state = TRANSFER_PUBLISHING;
        t->work.data = t;
        uv_queue_work(&d->loop, &t->work, publish_in_thread, on_published);
}

static void conclude(struct transfer *t)
{
        if (!t->have_done || !t->have_verdict)
                return;
        /* A broken body makes a broken message, and a reader that gives up makes a broken GET: the first to
         * fail is the cause. */
        if (t->done_cause != CAUSE_NONE && t->done_cause != CAUSE_CANCELLED)
                fail(t, t->done_cause, t->done_detail);
        else if (t->verdict_cause != CAUSE_NONE)
                fail(t, t->verdict_cause, t->verdict_detail);
        else if (t->done_cause != CAUSE_NONE)
                fail(t, t->done_cause, t->done_detail);
        else
                publish(t);
}

/* --- what the helpers say --- */

static void set_verdict(struct transfer *t, enum cause cause, const char *detail)
{
        t->have_verdict = true;
        t->verdict_cause = cause;
        snprintf(t->verdict_detail, sizeof(t->verdict_detail), "%s", detail);
}

static void on_done(void *arg, const struct proto_done *done)
{
        struct transfer *t = arg;
        t->get = 0;
        t->have_done = true;
        t->done_cause = done->outcome.cause;
        snprintf(t->done_detail, sizeof(t->done_detail), "%s", done->outcome.detail);
        t->retry_after_usec = done->retry_after_usec;
        t->job.o.checks |= done->checks;
        if (done->skew_sec != 0 && done->outcome.cause == CAUSE_SKEW)
                record_skew(t->job.d, done->skew_sec);
        if (done->outcome.cause == CAUSE_CREDENTIALS)
                record_credentials_refused(
                        t->job.d, t->job.o.bucket, done->access_key_id, done->outcome.detail);
        if (t->done_cause != CAUSE_NONE && t->claim.waiting) {
                /* No worker has seen it: nothing to wait for. */
                const struct config_package *p = director_package(t->job.d, t->job.o.org);
                struct package_context *context = p ? director_context(t->job.d, t->job.o.org) : NULL;
                if (context)
                        pool_withdraw(context->pool, &t->claim);
                set_verdict(t, CAUSE_CANCELLED, "");
        }
        conclude(t);
}

static void take_verdict(struct transfer *t, const struct proto_verdict *v)
{
        struct ledger_object *o = &t->job.o;
        set_verdict(t, v->outcome.cause, v->outcome.detail);
        o->checks |= v->checks;
        o->plain_size = (int64_t)v->plain_size;
        memcpy(o->sha256, v->sha256, sizeof(o->sha256));
        o->has_sha256 = v->outcome.cause == CAUSE_NONE;
        snprintf(o->fingerprint, sizeof(o->fingerprint), "%s", v->fingerprint);
        if (v->warnings & WARN_KEY_EXPIRED)
                record_key_expired(t->job.d, v->fingerprint);
}

static void on_worker(void *arg, struct message *m, const struct error *e)
{
        struct transfer *t = arg;
        if (m && m->type != PROTO_VERDICT)
                return;
        struct worker *w = t->worker;
        t->worker = NULL;
        if (m) {
                take_verdict(t, &m->verdict);
                worker_release(w);
        } else {
                set_verdict(t, e->cause, e->text);
        }
        /* Without a reader the GET ends by itself; do not wait for it to notice. */
        if (t->verdict_cause != CAUSE_NONE && t->get)
                fetcher_cancel(t->job.d->fetcher, t->get);
        conclude(t);
}

static void on_granted(void *arg, struct worker *w)
{
        struct transfer *t = arg;
        struct director *d = t->job.d;
        struct error e = {};
        t->out_fd = staging_create(d->staging, &e);
        if (t->out_fd < 0) {
                worker_release(w);
                t->pipe_fd = close_fd(t->pipe_fd);
                set_verdict(t, e.cause, e.text);
                conclude(t);
                return;
        }
        struct message m = {
                .type = PROTO_FILE,
                .file = {.size = t->job.o.size, .format = (uint8_t)t->format},
                .fds = {t->pipe_fd, t->out_fd},
                .n_fds = 2,
        };
        t->worker = w;
        t->state = TRANSFER_DECRYPTING;
        record_enter(d, &t->job.o, OBJECT_DECRYPTING);
        int r = worker_send(w, &m);
        t->pipe_fd = close_fd(t->pipe_fd);
        if (r < 0) {
                t->worker = NULL;
                worker_discard(w);
                set_verdict(t, CAUSE_HELPER, "czard-decrypt does not take jobs");
                conclude(t);
        }
}

/* --- life --- */

static void cancel(struct job *j)
{
        struct transfer *t = container_of(j, struct transfer, job);
        struct director *d = j->d;
        if (t->state == TRANSFER_PUBLISHING) {
                t->cancelled = true; /* the thread finishes; on_published() records and frees */
                return;
        }
        struct package_context *context = director_context(d, j->o.org);
        if (t->claim.waiting && context)
                pool_withdraw(context->pool, &t->claim);
        if (t->worker)
                worker_discard(t->worker);
        if (t->get)
                fetcher_forget(d->fetcher, t->get);
        record_failed(d, &j->o, CAUSE_CANCELLED, "stopped", 0);
        transfer_free(t);
}

struct job *transfer_new(struct director *d, const struct ledger_object *o)
{
        const struct package_context *context = director_context(d, o->org);
        struct transfer *t = context ? calloc(1, sizeof(*t)) : NULL;
        if (!t)
                return NULL;
        t->job.cancel = cancel;
        t->job.kind = "transfer";
        t->pipe_fd = t->out_fd = -1;
        t->attr = (struct staging_attr){.gid = context->gid[o->category], .mtime = o->last_modified};
        t->keep_replaced_usec = d->config->staging.keep_replaced_usec;
        t->format = o->category != CATEGORY_EVENTS                     ? FORMAT_OPAQUE
                    : d->config->staging.events_format == EVENTS_PLAIN ? FORMAT_GUNZIP
                                                                       : FORMAT_GZIP;
        return &t->job;
}

void transfer_start(struct job *j)
{
        struct transfer *t = container_of(j, struct transfer, job);
        struct director *d = j->d;
        struct ledger_object *o = &j->o;
        struct package_context *context = director_context(d, o->org);
        int fds[2];
        record_enter(d, o, OBJECT_FETCHING);
        if (pipe2(fds, O_CLOEXEC) < 0) {
                fail(t, CAUSE_IO, strerror(errno));
                return;
        }
        fcntl(fds[0], F_SETPIPE_SZ, PIPE_SIZE);
        t->pipe_fd = fds[0];
        o->checks = 0;
        struct proto_get get = {.bucket = o->bucket,
                .key = o->key,
                .etag = o->etag,
                .length = o->size,
                .size = o->size,
                .whole = 1};
        t->get = fetcher_get(d->fetcher, &get, fds[1], on_done, t);
        close_fd(fds[1]);
        t->claim = (struct claim){.granted = on_granted,
                .on_message = on_worker,
                .arg = t,
                .rank = o->category == CATEGORY_EVENTS ? RANK_EVENTS : RANK_OTHER};
        pool_claim(context->pool, &t->claim);
}
