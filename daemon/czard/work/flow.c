/* SPDX-License-Identifier: Apache-2.0 */
/* A GET, a pipe, a worker. The GET may start while the worker is still claimed, and fills the pipe then; or
 * the worker waits at the empty pipe for the GET. DONE and verdict come in either order. A broken body makes
 * a broken message, and a reader that gives up makes a broken GET: conclude() tells which came first. */

#include "flow.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#include "cleanup.h"
#include "macro.h"

#define PIPE_SIZE (1024 * 1024)

/* --- its place in the list of slots --- */

static void enter_slots(struct flow *f)
{
        struct slot **at = f->env->slots;
        while (*at)
                at = &(*at)->next;
        *at = &f->slot;
}

static void leave_slots(struct flow *f)
{
        for (struct slot **at = f->env->slots; *at; at = &(*at)->next)
                if (*at == &f->slot) {
                        *at = f->slot.next;
                        break;
                }
}

/* Does all of it lie in the pipe when nobody reads? A pipe holds pages, and a write that does not fit into
 * the rest of a page begins a new one: the worst that can be is a little more than half of its size. */
static bool fits(int pipe_fd, uint64_t length)
{
        int size = fcntl(pipe_fd, F_GETPIPE_SZ);
        return size > 0 && length <= (uint64_t)size / 2;
}

/* --- the end --- */

static void conclude(struct flow *f)
{
        if (!f->have_done || !f->have_verdict)
                return;
        leave_slots(f);
        /* Cancelled: by us, or because the worker closed the pipe; what the worker says of it is the reason
         * then. */
        bool cancelled = f->done_cause == CAUSE_CANCELLED;
        if (f->verdict_cause != CAUSE_NONE && (cancelled || f->done_cause == CAUSE_NONE))
                f->ops->ended(f->arg, f->verdict_cause, f->verdict_detail);
        else
                f->ops->ended(f->arg, cancelled ? CAUSE_HELPER : f->done_cause, f->done_detail);
}

static void set_verdict(struct flow *f, enum cause cause, const char *detail)
{
        f->have_verdict = true;
        f->verdict_cause = cause;
        snprintf(f->verdict_detail, sizeof(f->verdict_detail), "%s", detail);
        f->slot.reader = READER_GONE;
        if (f->slot.get == GET_WAITS) {
                /* Nobody would read it: it is not sent, and there is no DONE to wait for. */
                f->write_fd = close_fd(f->write_fd);
                f->slot.get = GET_ENDED;
                f->have_done = true;
                f->done_cause = CAUSE_CANCELLED;
        } else if (cause != CAUSE_NONE && f->get) {
                /* Without a reader it ends by itself; do not wait for it to notice. */
                fetcher_cancel(f->env->fetcher, f->get);
        }
}

static void on_progress(void *arg, uint64_t bytes)
{
        struct flow *f = arg;
        if (bytes <= f->bytes)
                return;
        f->ops->came(f->arg, bytes - f->bytes);
        f->bytes = bytes;
        moved_on(f->env->moved);
}

static void on_done(void *arg, const struct proto_done *done)
{
        struct flow *f = arg;
        on_progress(f, done->bytes);
        moved_on(f->env->moved);
        f->get = 0;
        f->slot.get = GET_ENDED;
        f->have_done = true;
        f->done_cause = done->outcome.cause;
        snprintf(f->done_detail, sizeof(f->done_detail), "%s", done->outcome.detail);
        f->retry_after_usec = done->retry_after_usec;
        f->checks = done->checks;
        if (f->done_cause == CAUSE_SKEW && done->skew_sec != 0)
                record_skew(f->env->record, done->skew_sec);
        if (cause_remedy(f->done_cause) == REMEDY_CREDENTIALS)
                record_credentials_refused(
                        f->env->record, f->done_cause, f->bucket, done->access_key_id, done->outcome.detail);
        if (f->done_cause != CAUSE_NONE && f->claim.waiting) {
                /* No worker has seen it: there is no verdict to wait for. */
                pool_withdraw(f->pool, &f->claim);
                f->pipe_fd = close_fd(f->pipe_fd);
                set_verdict(f, CAUSE_CANCELLED, "");
        }
        conclude(f);
}

static void on_worker(void *arg, struct message *m, const struct error *e)
{
        struct flow *f = arg;
        if (m && m->type == PROTO_PROGRESS) {
                if (m->progress.bytes != f->read) /* that it is alive is no news */
                        moved_on(f->env->moved);
                f->read = m->progress.bytes;
                return;
        }
        moved_on(f->env->moved);
        if (m) {
                f->ops->message(f->arg, m);
                return;
        }
        f->worker = NULL;
        f->pipe_fd = close_fd(f->pipe_fd);
        set_verdict(f, e->cause, e->text);
        conclude(f);
}

static void on_granted(void *arg, struct worker *w)
{
        struct flow *f = arg;
        struct error e = {};
        f->worker = w;
        f->slot.reader = READER_GRANTED;
        int r = f->ops->granted(f->arg, &e);
        f->pipe_fd = close_fd(f->pipe_fd);
        if (r >= 0)
                return;
        f->worker = NULL;
        worker_release(w);
        set_verdict(f, e.cause == CAUSE_NONE ? CAUSE_HELPER : e.cause, e.text);
        conclude(f);
}

int flow_start(struct flow *f, const struct flow_env *env, struct pool *pool, const struct flow_ops *ops,
        void *arg, const struct proto_get *get, enum flow_rank rank, struct error *e)
{
        int fds[2];
        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_set(e, CAUSE_IO, errno, "pipe: %s", strerror(errno));
        fcntl(fds[0], F_SETPIPE_SZ, PIPE_SIZE);
        *f = (struct flow){.env = env,
                .pool = pool,
                .ops = ops,
                .arg = arg,
                .request = *get,
                .pipe_fd = fds[0],
                .write_fd = fds[1],
                .slot = {.pool = pool, .archive = rank == RANK_ARCHIVE, .fits = fits(fds[0], get->length)}};
        snprintf(f->bucket, sizeof(f->bucket), "%s", get->bucket);
        enter_slots(f);
        f->claim = (struct claim){.granted = on_granted, .on_message = on_worker, .arg = f, .rank = rank};
        pool_claim(pool, &f->claim);
        return 0;
}

void flow_judge(struct flow *f, enum cause cause, const char *detail)
{
        struct worker *w = f->worker;
        f->worker = NULL;
        set_verdict(f, cause, detail);
        if (w)
                worker_release(w);
        conclude(f);
}

void flow_break(struct flow *f, const char *why)
{
        worker_break(f->worker, why);
}

void flow_cancel(struct flow *f)
{
        pool_withdraw(f->pool, &f->claim);
        leave_slots(f);
        f->write_fd = close_fd(f->write_fd);
        f->pipe_fd = close_fd(f->pipe_fd);
        if (f->worker)
                worker_discard(f->worker);
        f->worker = NULL;
        if (f->get)
                fetcher_forget(f->env->fetcher, f->get);
        f->get = 0;
}

/* --- slots --- */

static void start_get(struct flow *f)
{
        f->slot.get = GET_RUNS;
        f->get = fetcher_get(f->env->fetcher, &f->request, f->write_fd, on_progress, on_done, f);
        f->write_fd = close_fd(f->write_fd);
        if (f->get == 0)
                on_done(f, &(struct proto_done){.outcome = {.cause = CAUSE_HELPER, .detail = "out of memory"},
                                   .access_key_id = "",
                                   .new_etag = ""});
}

/* The list is short (max_transfers files and the runs of an archive), so everything is counted anew for each
 * decision, and no count can go wrong. */
static unsigned n_running(const struct slot *first)
{
        unsigned n = 0;
        for (const struct slot *s = first; s; s = s->next)
                n += s->get == GET_RUNS;
        return n;
}

/* GETs that cannot end before a worker is granted. */
static unsigned n_ahead(const struct slot *first)
{
        unsigned n = 0;
        for (const struct slot *s = first; s; s = s->next)
                n += s->get == GET_RUNS && s->reader == READER_WAITS && !s->fits;
        return n;
}

static bool needs_worker(const struct slot *s, const struct pool *pool)
{
        return s->archive && s->reader != READER_GONE && s->pool == pool;
}

/* Slots that archives may soon need. */
static unsigned n_reserved(const struct slot *first)
{
        unsigned reserved = 0;
        for (const struct slot *s = first; s; s = s->next) {
                unsigned before = 0, n = 0;
                if (!needs_worker(s, s->pool))
                        continue;
                for (const struct slot *other = first; other != s; other = other->next)
                        before += needs_worker(other, s->pool);
                for (const struct slot *other = s; other; other = other->next)
                        n += needs_worker(other, s->pool);
                if (before == 0) /* each pool once */
                        reserved += MIN(n, s->workers);
        }
        return reserved;
}

/* The first that may start is the next. */
enum turn { TURN_GRANTED, TURN_ARCHIVE_AHEAD, TURN_FILE_AHEAD, TURN_LATER };

static enum turn turn_of(const struct slot *s, bool may_go_ahead)
{
        if (s->get != GET_WAITS || (s->reader != READER_GRANTED && !s->fits && !may_go_ahead))
                return TURN_LATER;
        return s->reader == READER_GRANTED ? TURN_GRANTED : s->archive ? TURN_ARCHIVE_AHEAD : TURN_FILE_AHEAD;
}

struct slot *slots_next(struct slot *first, unsigned max_transfers)
{
        unsigned running = n_running(first), ahead = n_ahead(first);
        bool full = running >= max_transfers;
        /* Only a reload that lowered max_transfers leaves all slots to those ahead: one that was granted goes
         * beside them, or the workers would wait for slots, and these for workers. */
        if (full && running > ahead)
                return NULL;
        unsigned kept = MAX(n_reserved(first), 1U);
        bool may_go_ahead = ahead + kept < max_transfers;
        struct slot *best = NULL;
        enum turn best_turn = TURN_LATER;
        for (struct slot *s = first; s; s = s->next) {
                enum turn t = turn_of(s, may_go_ahead);
                if (t < best_turn && (!full || t == TURN_GRANTED)) {
                        best = s;
                        best_turn = t;
                }
        }
        return best;
}

void slots_start(struct slot *first, unsigned max_transfers)
{
        for (struct slot *s = first; s; s = s->next)
                s->workers = pool_size(s->pool); /* a reload may have changed it */
        for (struct slot *s; (s = slots_next(first, max_transfers));)
                start_get(container_of(s, struct flow, slot));
}
