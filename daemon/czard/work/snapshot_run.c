/* SPDX-License-Identifier: Apache-2.0 */
/* A run: wanted members that are neighbours in the archive, one GET for all of them, one worker that reads
 * them one after the other. The worker gets its members in batches, so that only so many files are open and
 * so many members would be done twice: what it has and what is not yet in the ledger are together never more
 * than MEMBERS_A_WORKER. A good verdict counts at once; a bad one counts only once the GET is known to have
 * been good, else the member is wanted again.
 *
 * What the worker says must not decide what is asked of S3, so nothing is asked for single members: a run
 * that left some, for a second look at what was bad or for gpg-agent, is read once more as it was, and one
 * that failed is as if it had never been. */
#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "record.h"
#include "snapshot_job.h"
#include "str.h"
#include "timespan.h"

/* How much one run takes: a share of what there is, so that all workers end together, within bounds. */
#define RUN_SHARE 4
#define RUN_BYTES_LEAST (1 * MIB)
#define RUN_BYTES_MOST (256 * MIB)
#define RUN_MEMBERS_MOST 2048
/* Unwanted bytes between two wanted members that are fetched rather than a request more: as long as they are
 * under 1 % of the run. */
#define GAP_MOST (64 * KIB)
#define WASTE_SHARE 100
/* Rows of members are written together, one fsync for all; but what took long is not left unwritten. */
#define SAVE_USEC (250 * USEC_PER_MSEC)

/* A member that the worker has, or that is judged and not yet in the ledger. */
struct taken {
        struct member m; /* name NULL: the place is free */
        int fd;          /* the unnamed file, to which we cannot write; -1: none */
        bool staged;
};

/* Members are counted in the order of their offsets: n in all, of which `sent` went to the worker, which
 * judged `judged`, whose rows were written up to `saved`. Number i has the place i % MEMBERS_A_WORKER. */
struct snapshot_run {
        struct snapshot *s;
        struct flow flow;
        int64_t id;
        uint64_t position; /* in the archive, of the stream's first byte */
        uint64_t length;   /* of the stream */
        uint64_t next;     /* no member that is not yet sent lies before */
        size_t n_left;     /* for the second reading */
        size_t n_key;      /* of these, those that our key does not open */
        bool bad, gap; /* a bad verdict; and a good one after that: what is staged is no longer a beginning */
        size_t n_staged;    /* by both readings */
        bool second;        /* reading, by a worker that has an agent */
        struct error fault; /* that the worker told of, and is no member's */
        size_t n, sent, judged, saved;
        uint64_t saved_usec;
        /* A disk failed or had no room, or something could not be sent: nothing more is sent, and the run
         * ends with this once what was sent is answered. */
        struct error stopped;
        struct taken v[MEMBERS_A_WORKER];
        struct snapshot_run *older;
};
_Static_assert(MEMBERS_A_WORKER == 2 * MEMBERS_A_BATCH, "a batch lies in one piece");

static struct taken *taken_at(struct snapshot_run *r, size_t i)
{
        return &r->v[i % MEMBERS_A_WORKER];
}

static void taken_done(struct taken *t)
{
        t->fd = close_fd(t->fd);
        member_done(&t->m);
        t->staged = false;
}

/* The rows of what was staged since. */
static void save_staged(struct snapshot_run *r)
{
        for (; r->saved < r->judged; r->saved++) {
                struct taken *t = taken_at(r, r->saved);
                if (t->staged)
                        snapshot_save_member(r->s, &t->m);
                taken_done(t);
        }
        r->saved_usec = now_usec(CLOCK_MONOTONIC);
}

/* Drops it; what it staged is kept. */
static void run_free(struct snapshot_run *r)
{
        save_staged(r);
        for (struct snapshot_run **at = &r->s->runs; *at; at = &(*at)->older)
                if (*at == r) {
                        *at = r->older;
                        break;
                }
        r->s->n_runs--;
        for (size_t i = 0; i < MEMBERS_A_WORKER; i++)
                taken_done(&r->v[i]);
        free(r);
}

/* --- batches --- */

/* What the worker gets of a batch, and what is closed again once it has it. */
struct batch {
        struct message m;
        struct archive_entry entries[MEMBERS_A_BATCH];
        int writable[MEMBERS_A_BATCH];
        size_t n; /* of writable */
};

static void batch_done(struct batch *b)
{
        for (size_t i = 0; i < b->n; i++)
                close_fd(b->writable[i]);
}

static int batch_add(struct batch *b, struct snapshot_run *r, struct taken *t, struct error *e)
{
        t->fd = staging_create_handed(r->s->job.env->staging, &b->writable[b->n], e);
        if (t->fd < 0)
                return t->fd;
        b->m.fds[b->m.n_fds++] = b->writable[b->n++];
        b->entries[b->m.members.n++] = t->m.entry;
        r->next = t->m.entry.place.offset + 1;
        return 0;
}

/* The next members of the run, into their places. 0 or -errno. */
static int take_members(struct snapshot_run *r, size_t n, struct error *e)
{
        struct member v[MEMBERS_A_BATCH];
        int got = members_batch(r->s->members, r->id, r->next, v, n, e);
        for (int i = 0; i < got; i++)
                taken_at(r, r->sent + (size_t)i)->m = v[i];
        if (got >= 0 && (size_t)got < n)
                return error_set(e, CAUSE_INTERNAL, ENOENT, "members of a run are gone");
        return MIN(got, 0);
}

static int send_batch(struct snapshot_run *r, struct error *e)
{
        _cleanup_(batch_done) struct batch b = {
                .m = {.type = PROTO_MEMBERS,
                        .members = {.position = r->position, .new_stream = r->sent == 0}}};
        size_t end = MIN(r->n, r->sent + MEMBERS_A_BATCH);
        b.m.members.entries = b.entries;
        if (r->sent == 0)
                b.m.fds[b.m.n_fds++] = r->flow.pipe_fd;
        int err = take_members(r, end - r->sent, e);
        for (size_t i = r->sent; err >= 0 && i < end; i++)
                err = batch_add(&b, r, taken_at(r, i), e);
        if (err < 0)
                return err;
        err = worker_send(r->flow.worker, &b.m);
        if (err < 0)
                return error_set(
                        e, CAUSE_HELPER, -err, "czard-decrypt does not take jobs: %s", strerror(-err));
        r->sent = end;
        journal_debug("%zu members of %s are with a worker", b.m.members.n, r->s->job.o.key);
        return 0;
}

/* Two batches are under way, so that the worker never waits for the next. Before one more is sent, the rows
 * of the one before are durable. */
static void feed(struct snapshot_run *r)
{
        while (r->stopped.cause == CAUSE_NONE && r->sent < r->n &&
                r->sent - r->judged <= MEMBERS_A_WORKER - MEMBERS_A_BATCH) {
                if (r->saved < r->judged) {
                        save_staged(r);
                        record_flush(r->s->job.env->record);
                }
                struct error e = {};
                if (send_batch(r, &e) < 0)
                        r->stopped = e;
        }
}

static int on_granted(void *arg, struct error *e)
{
        struct snapshot_run *r = arg;
        feed(r);
        if (r->sent > 0)
                return 0;
        *e = r->stopped;
        return -EIO;
}

/* --- verdicts --- */

/* Gives it its name in the folder, or that of an equal file that is there already. A large one, which takes
 * long to compare, is looked at in a thread when all is published. */
static int link_member(struct snapshot *s, struct taken *t, struct error *e)
{
        struct member *m = &t->m;
        char same[STAGED_MEMBER_SIZE];
        m->linked =
                s->deduplicate && m->plain_size > 0 && m->plain_size <= (int64_t)MEMBERS_LARGE_BYTES &&
                ledger_find_plaintext(s->job.env->ledger, s->job.o.org, s->job.o.category, m->sha256,
                        m->plain_size, same, NULL) >= 0 &&
                snapshot_add_link(s->dir, m->path, same, m->sha256, (uint64_t)m->plain_size, NULL, NULL) >= 0;
        return m->linked ? 0 : snapshot_add(s->dir, m->path, t->fd, e);
}

/* Can the cause be the member's own? Keys: where others could be decrypted. */
static bool is_of_member(enum cause cause)
{
        enum remedy remedy = cause_remedy(cause);
        return remedy == REMEDY_REJECT || remedy == REMEDY_LIMITED || remedy == REMEDY_STOP_KEY;
}

/* A bad verdict, or a good one of what cannot be staged: kept until the GET is known to be good. */
static void note_bad(struct snapshot_run *r, const struct taken *t, enum cause cause, const char *detail)
{
        struct error e = {};
        if (members_judged(r->s->members, t->m.number, cause, detail, &e) < 0)
                snapshot_trouble(r->s, e.cause, e.text);
        if (r->stopped.cause == CAUSE_NONE && (cause_remedy(cause) == REMEDY_PAUSE || cause == CAUSE_IO))
                error_set(&r->stopped, cause, EIO, "%s", detail);
}

/* A good verdict. 0, also when it could not be staged, which is kept for the end; or -EPROTO and e: the
 * worker broke its word. */
static int stage(struct snapshot_run *r, struct taken *t, const struct proto_verdict *v, struct error *ret_e)
{
        struct snapshot *s = r->s;
        struct member *m = &t->m;
        struct error e = {};
        int err = staging_check_written(s->job.env->staging, t->fd, v->plain_size, &e);
        if (err == -EPROTO) {
                *ret_e = e;
                return err;
        }
        m->step = MEMBER_STAGED;
        m->plain_size = (int64_t)v->plain_size;
        m->rows = v->rows;
        m->checks = v->checks | CHECK_ONE_ETAG;
        m->has_sha256 = true;
        memcpy(m->sha256, v->sha256, sizeof(m->sha256));
        if (*v->fingerprint)
                snprintf(s->job.o.fingerprint, sizeof(s->job.o.fingerprint), "%s", v->fingerprint);
        if (v->warnings & WARN_KEY_EXPIRED)
                record_key_expired(s->job.env->record, s->job.o.org, v->fingerprint);
        if (err >= 0)
                err = link_member(s, t, &e);
        /* Names of members that are in each other's way were refused before: this is somebody else's file. */
        if (err < 0) {
                note_bad(r, t, e.cause, e.text);
                return 0;
        }
        if (members_staged(s->members, m, &e) < 0)
                snapshot_trouble(s, e.cause, e.text);
        t->staged = true;
        s->n_staged++;
        r->n_staged++;
        return 0;
}

static void on_message(void *arg, struct message *msg)
{
        struct snapshot_run *r = arg;
        struct error e = {};
        const struct proto_verdict *v = &msg->verdict;
        struct taken *t = taken_at(r, r->judged);
        r->bad |= v->outcome.cause != CAUSE_NONE;
        r->gap |= r->bad && v->outcome.cause == CAUSE_NONE;
        if (v->outcome.cause == CAUSE_REFERENCE) {
                r->n_left++;
        } else if (v->outcome.cause != CAUSE_NONE) {
                if (!is_of_member(v->outcome.cause) && r->fault.cause == CAUSE_NONE)
                        error_set(&r->fault, v->outcome.cause, EIO, "%s", v->outcome.detail);
                note_bad(r, t, v->outcome.cause, v->outcome.detail);
        } else if (stage(r, t, v, &e) < 0) {
                flow_break(&r->flow, e.text);
                return;
        }
        r->judged++;
        t->fd = close_fd(t->fd);
        if (now_usec(CLOCK_MONOTONIC) > r->saved_usec + SAVE_USEC)
                save_staged(r);
        feed(r);
        if (r->judged == r->n)
                flow_judge(&r->flow, CAUSE_NONE, "");
        else if (r->judged == r->sent)
                flow_judge(&r->flow, r->stopped.cause, r->stopped.text);
}

/* --- the end of a run --- */

static const struct flow_ops run_ops;

static int reject(struct snapshot *s, struct member *m, struct error *e)
{
        m->step = MEMBER_REJECTED;
        if (cause_remedy(m->cause) == REMEDY_STOP_KEY)
                m->cause = CAUSE_NOT_FOR_US;
        int r = members_reject(s->members, m, e);
        if (r >= 0)
                snapshot_rejected(s, m);
        return r;
}

/* The GET was good, so what the worker said of the member is true of the member. A range has no ETag to tell
 * a broken transfer from a broken file: it is read twice before that is believed. */
static int judge(struct snapshot_run *r, struct member *m, struct error *e)
{
        struct snapshot *s = r->s;
        /* Which is wrong, the key or the member? That is known when all have been tried: in whatever order
         * they came. */
        bool of_key = cause_remedy(m->cause) == REMEDY_STOP_KEY && s->n_staged == 0;
        m->tries++;
        if (!is_of_member(m->cause) || (of_key && s->n_held + r->n_key >= HELD_MOST)) {
                snapshot_trouble(s, m->cause, m->detail);
                return members_again(s->members, m, e);
        }
        if (!r->second && m->cause != CAUSE_LIMIT && m->cause != CAUSE_ZIP_FORM) {
                r->n_left++;
                r->n_key += of_key;
                return members_leave(s->members, m, e);
        }
        if (!of_key)
                return reject(s, m, e);
        /* Its run has staged nothing, so it is not missed when those are given up of which a member was
         * refused. */
        if (s->n_held++ == 0)
                snprintf(s->held_detail, sizeof(s->held_detail), "%s", m->detail);
        s->held_cause = m->cause;
        return members_hold(s->members, m, e);
}

/* 0 or -errno. */
static int judge_all(struct snapshot_run *r, struct error *e)
{
        int err = 1;
        while (err > 0) {
                _cleanup_member_ struct member m = {};
                err = members_next_judged(r->s->members, r->id, &m, e);
                if (err > 0 && judge(r, &m, e) < 0)
                        err = -EIO;
        }
        return err;
}

/* What it still has is wanted again. */
static void release(struct snapshot_run *r)
{
        struct error e = {};
        if (members_release(r->s->members, r->id, &e) < 0)
                snapshot_trouble(r->s, e.cause, e.text);
}

static int start_flow(struct snapshot_run *r, struct error *e)
{
        const struct ledger_object *o = &r->s->job.o;
        struct pool *pool = r->second ? pool_reference(r->s->job.pool) : r->s->job.pool;
        struct proto_get get = {.bucket = o->bucket,
                .key = o->key,
                .etag = o->etag,
                .offset = r->position,
                .length = r->length,
                .size = o->size};
        return flow_start(&r->flow, &r->s->job.env->flow, pool, &run_ops, r, &get, RANK_ARCHIVE, e);
}

/* The same bytes once more, for the members that are left, by the worker with the agent: which of them these
 * are nobody sees who sees the requests. 1, 0: there are none, or -errno. */
static int read_again(struct snapshot_run *r, struct error *e)
{
        save_staged(r);
        if (judge_all(r, e) < 0)
                return -EIO;
        if (r->n_left == 0)
                return 0;
        r->n = r->n_left;
        r->n_left = r->n_key = r->sent = r->judged = r->saved = 0;
        r->next = r->position;
        r->second = r->gap = true;
        return start_flow(r, e) < 0 ? -EIO : 1;
}

static int forget_staged(const struct member *m, void *arg, struct error *e)
{
        struct snapshot *s = arg;
        struct ledger_member row;
        record_open(s->job.env->record);
        member_to_ledger(m, s->job.o.id, &row);
        return ledger_member_delete(s->job.env->ledger, &row, e);
}

/* How far it came is the word of a worker that failed; and which members it did not like is its word too,
 * when somebody cuts the connection then. */
static void undo(struct snapshot_run *r)
{
        struct snapshot *s = r->s;
        struct error e = {};
        for (size_t i = 0; i < MEMBERS_A_WORKER; i++)
                r->v[i].staged = false;
        if (members_undo(s->members, r->id, forget_staged, s, &e) < 0)
                record_trouble(s->job.env->record, &e);
        s->n_staged -= r->n_staged;
        r->n_staged = 0;
}

void snapshot_forget_refused(struct snapshot *s)
{
        struct error e = {};
        if (s->n_rejected > 0 && members_undo_refused(s->members, forget_staged, s, &e) < 0)
                record_trouble(s->job.env->record, &e);
}

static void on_ended(void *arg, enum cause cause, const char *detail)
{
        struct snapshot_run *r = arg;
        struct snapshot *s = r->s;
        s->job.o.checks |= r->flow.checks;
        bool failed = r->fault.cause != CAUSE_NONE || r->judged < r->sent || (r->gap && cause != CAUSE_NONE);
        struct error e = {};
        if (cause == CAUSE_NONE && !failed) {
                int again = read_again(r, &e);
                if (again > 0)
                        return;
                failed = again < 0;
                if (failed)
                        snapshot_trouble(s, e.cause, e.text);
        }
        if (cause != CAUSE_NONE && s->cause == CAUSE_NONE) {
                snapshot_trouble(s, cause, detail);
                s->retry_after_usec = r->flow.retry_after_usec;
        } else if (r->fault.cause != CAUSE_NONE) {
                snapshot_trouble(s, r->fault.cause, r->fault.text);
        }
        if (failed)
                undo(r);
        s->progress |= r->n_staged > 0;
        release(r);
        run_free(r);
        s->news = true;
}

static void on_came(void *arg, uint64_t bytes)
{
        struct snapshot_run *r = arg;
        r->s->job.came_bytes += bytes;
}

static const struct flow_ops run_ops = {
        .granted = on_granted, .message = on_message, .came = on_came, .ended = on_ended};

/* --- choosing the members of a run --- */

static struct members_limits limits_of(const struct snapshot *s)
{
        unsigned shares = RUN_SHARE * pool_size(s->job.pool);
        uint64_t members = MAX(s->sums.n[MEMBER_WANTED] / shares, (uint64_t)MEMBERS_A_WORKER);
        uint64_t bytes = MAX(s->sums.wanted_bytes / shares, RUN_BYTES_LEAST);
        return (struct members_limits){.members = (size_t)MIN(members, (uint64_t)RUN_MEMBERS_MOST),
                .bytes = MIN(bytes, RUN_BYTES_MOST),
                .gap = GAP_MOST,
                .waste = WASTE_SHARE};
}

static struct snapshot_run *run_new(struct snapshot *s)
{
        struct snapshot_run *r = calloc(1, sizeof(*r));
        if (!r)
                return NULL;
        r->s = s;
        r->id = ++s->run_id;
        for (size_t i = 0; i < MEMBERS_A_WORKER; i++)
                r->v[i].fd = -1;
        r->older = s->runs;
        s->runs = r;
        s->n_runs++;
        return r;
}

/* 1; 0: nothing is wanted; or -errno. */
static int start_run(struct snapshot *s, struct error *e)
{
        const struct members_limits limits = limits_of(s);
        struct snapshot_run *r = run_new(s);
        if (!r)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        struct members_run run = {.id = r->id};
        int err = members_take_run(s->members, &limits, &run, e);
        r->position = run.offset;
        r->length = run.length;
        r->n = run.n;
        if (err > 0 && start_flow(r, e) < 0) {
                release(r);
                err = -EIO;
        }
        if (err <= 0)
                run_free(r);
        return err;
}

/* The others have been tried. Not one could be decrypted: then it is the key that is wrong. */
void snapshot_judge_held(struct snapshot *s)
{
        struct error e = {};
        int r = s->n_staged > 0;
        if (r == 0) {
                snapshot_trouble(s, s->held_cause, s->held_detail);
                r = members_release(s->members, MEMBERS_HELD, &e);
        }
        while (r > 0) {
                _cleanup_member_ struct member m = {};
                r = members_next_judged(s->members, MEMBERS_HELD, &m, &e);
                if (r > 0 && reject(s, &m, &e) < 0)
                        r = -EIO;
        }
        s->n_held = 0;
        if (r < 0)
                snapshot_trouble(s, e.cause, e.text);
}

void snapshot_start_runs(struct snapshot *s)
{
        struct pauses *pauses = s->job.env->pauses;
        /* One more than there are workers: its first bytes are in the pipe when a worker is free. */
        unsigned most = (unsigned)MIN(pool_size(s->job.pool) + 1, s->job.env->config->s3.max_transfers);
        while (s->n_runs < most && s->cause == CAUSE_NONE && pauses_now(pauses) == 0 &&
                members_any_wanted(s->members)) {
                struct error e = {};
                pauses_look_at_staging(pauses);
                if (pauses_now(pauses) != 0)
                        break;
                if (start_run(s, &e) < 0)
                        snapshot_trouble(s, e.cause, e.text);
        }
        /* Paused in the middle: the rest comes when the pause is over. */
        if (s->n_runs == 0 && s->cause == CAUSE_NONE && members_any_wanted(s->members))
                snapshot_trouble(s, CAUSE_CANCELLED, "paused");
}

void snapshot_cancel_runs(struct snapshot *s)
{
        while (s->runs) {
                flow_cancel(&s->runs->flow);
                if (s->runs->gap)
                        undo(s->runs);
                run_free(s->runs);
        }
}
