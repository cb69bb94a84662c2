/* SPDX-License-Identifier: Apache-2.0 */
/* A run: wanted members that are neighbours in the archive, one GET for all of them, one worker that reads
 * them one after the other. The worker gets its members in batches, so that only so many files are open and
 * so many members would be done twice: what it has and what is not yet in the ledger are together never more
 * than MEMBERS_A_WORKER. A good verdict counts at once; a bad one counts only once the GET is known to have
 * been good, else the member is wanted again. */
#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "record.h"
#include "snapshot.h"
#include "str.h"
#include "timespan.h"

/* How much one run takes: a share of what there is, so that all workers end together, within bounds. */
#define RUN_SHARE 4
#define RUN_BYTES_LEAST (1 * MIB)
#define RUN_BYTES_MOST (256 * MIB)
#define RUN_MEMBERS_MOST 2048 /* 40 bytes each: memory for a run is bounded, whatever the archive has */
/* Unwanted bytes between two wanted members that are fetched rather than a request more: as long as they are
 * under 1 % of the run. */
#define GAP_MOST (64 * KIB)
#define WASTE_SHARE 100
/* Rows of members are written together, one fsync for all; but what took long is not left unwritten. */
#define SAVE_USEC (250 * USEC_PER_MSEC)

struct taken {
        struct member *member;
        struct facts *facts; /* from when it is sent until nothing is to be done with it */
        int fd;              /* the unnamed file; we cannot write to it */
        bool judged;
        enum cause cause; /* a bad verdict, until the GET is known to be good */
        char *detail;
};

struct run {
        struct snapshot *s;
        struct flow flow;
        uint64_t position;
        struct taken *v;
        size_t n, sent, judged, saved;
        uint64_t saved_usec;
        /* A disk failed or had no room, or something could not be sent: nothing more is sent, and the run
         * ends with this once what was sent is answered. */
        struct error stopped;
        struct run *next;
};

/* The rows of what was staged since. */
static void save_staged(struct run *r)
{
        for (; r->saved < r->judged; r->saved++) {
                struct taken *t = &r->v[r->saved];
                if (t->member->step != MEMBER_STAGED)
                        continue;
                snapshot_save_member(r->s, t->member, t->facts);
                free(take_ptr(&t->facts));
        }
        r->saved_usec = now_usec(CLOCK_MONOTONIC);
}

/* Drops it; what it staged is kept. */
static void run_free(struct run *r)
{
        save_staged(r);
        for (struct run **at = &r->s->runs; *at; at = &(*at)->next)
                if (*at == r) {
                        *at = r->next;
                        break;
                }
        r->s->n_runs--;
        for (size_t i = 0; i < r->n; i++) {
                close_fd(r->v[i].fd);
                free(r->v[i].facts);
                free(r->v[i].detail);
        }
        free(r->v);
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

static int batch_add(struct batch *b, struct run *r, struct taken *t, struct error *e)
{
        t->fd = staging_create_handed(r->s->job.d->staging, &b->writable[b->n], e);
        if (t->fd < 0)
                return t->fd;
        b->m.fds[b->m.n_fds++] = b->writable[b->n++];
        t->facts = snapshot_facts(r->s, t->member, e);
        if (!t->facts)
                return -EIO;
        b->entries[b->m.members.n++] = snapshot_entry(t->member, t->facts);
        return 0;
}

static int send_batch(struct run *r, struct error *e)
{
        _cleanup_(batch_done) struct batch b = {
                .m = {.type = PROTO_MEMBERS,
                        .members = {.position = r->position, .new_stream = r->sent == 0}}};
        size_t end = MIN(r->n, r->sent + MEMBERS_A_BATCH);
        b.m.members.entries = b.entries;
        if (r->sent == 0)
                b.m.fds[b.m.n_fds++] = r->flow.pipe_fd;
        for (size_t i = r->sent; i < end; i++) {
                int err = batch_add(&b, r, &r->v[i], e);
                if (err < 0)
                        return err;
        }
        int err = worker_send(r->flow.worker, &b.m);
        if (err < 0)
                return error_set(
                        e, CAUSE_HELPER, -err, "czard-decrypt does not take jobs: %s", strerror(-err));
        r->sent = end;
        journal_debug("%zu members of %s are with a worker", b.m.members.n, r->s->job.o.key);
        return 0;
}

/* Two batches are under way, so that the worker never waits for the next. Before one more is sent, the rows
 * of the one before are durable. */
static void feed(struct run *r)
{
        while (r->stopped.cause == CAUSE_NONE && r->sent < r->n &&
                r->sent - r->judged <= MEMBERS_A_WORKER - MEMBERS_A_BATCH) {
                if (r->saved < r->judged) {
                        save_staged(r);
                        record_flush(r->s->job.d->record);
                }
                struct error e = {};
                if (send_batch(r, &e) < 0)
                        r->stopped = e;
        }
}

static int on_granted(void *arg, struct error *e)
{
        struct run *r = arg;
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
        const struct facts *f = t->facts;
        struct package_member parsed;
        char same[1024];
        int r = snapshot_parse(s, f, &parsed, e);
        if (r < 0)
                return r;
        t->member->linked =
                s->deduplicate && f->plain_size > 0 && f->plain_size <= SHARED_AT_ONCE &&
                ledger_find_plaintext(s->job.d->ledger, s->job.o.org, s->job.o.category, f->sha256,
                        f->plain_size, same, NULL) >= 0 &&
                snapshot_add_link(s->dir, parsed.path, same, f->sha256, (uint64_t)f->plain_size, NULL) >= 0;
        return t->member->linked ? 0 : snapshot_add(s->dir, parsed.path, t->fd, e);
}

/* 0, also when it could not be staged, which is kept for the end; or -EPROTO and e: the worker broke its
 * word. */
static int stage(struct run *r, struct taken *t, const struct proto_verdict *v, struct error *ret_e)
{
        struct snapshot *s = r->s;
        struct member *m = t->member;
        struct facts *f = t->facts;
        struct error e = {};
        int err = staging_check_written(s->job.d->staging, t->fd, v->plain_size, &e);
        if (err == -EPROTO) {
                *ret_e = e;
                return err;
        }
        f->plain_size = (int64_t)v->plain_size;
        f->checks = v->checks | CHECK_ONE_ETAG;
        memcpy(f->sha256, v->sha256, sizeof(f->sha256));
        if (*v->fingerprint)
                snprintf(s->job.o.fingerprint, sizeof(s->job.o.fingerprint), "%s", v->fingerprint);
        if (v->warnings & WARN_KEY_EXPIRED)
                record_key_expired(s->job.d->record, v->fingerprint);
        if (err >= 0)
                err = link_member(s, t, &e);
        if (err >= 0)
                err = snapshot_facts_put(s, m, f, &e);
        /* Names of members that are in each other's way were refused before: this is somebody else's file. */
        if (err < 0) {
                t->cause = e.cause;
                t->detail = strdup(e.text);
                return 0;
        }
        m->has_sha256 = true;
        m->cause = CAUSE_NONE;
        snapshot_count_staged(s, m, f);
        s->progress = true;
        return 0;
}

static void on_message(void *arg, struct message *msg)
{
        struct run *r = arg;
        struct error e = {};
        const struct proto_verdict *v = &msg->verdict;
        struct taken *t = &r->v[r->judged];
        if (v->outcome.cause != CAUSE_NONE) {
                t->cause = v->outcome.cause;
                t->detail = strdup(v->outcome.detail);
        } else if (stage(r, t, v, &e) < 0) {
                flow_break(&r->flow, e.text);
                return;
        }
        t->judged = true;
        r->judged++;
        t->fd = close_fd(t->fd);
        if (r->stopped.cause == CAUSE_NONE &&
                (cause_remedy(t->cause) == REMEDY_PAUSE || t->cause == CAUSE_IO))
                error_set(&r->stopped, t->cause, EIO, "%s", t->detail ? t->detail : "");
        if (now_usec(CLOCK_MONOTONIC) > r->saved_usec + SAVE_USEC)
                save_staged(r);
        feed(r);
        if (r->judged == r->n)
                flow_judge(&r->flow, CAUSE_NONE, "");
        else if (r->judged == r->sent)
                flow_judge(&r->flow, r->stopped.cause, r->stopped.text);
}

/* --- the end of a run --- */

static void want_again(struct snapshot *s, struct member *m)
{
        m->step = MEMBER_WANTED;
        size_t i = (size_t)(m - s->members);
        s->next = MIN(s->next, i);
}

/* The GET was good, so what the worker said of the member is true of the member. */
static void judge(struct snapshot *s, struct taken *t)
{
        struct member *m = t->member;
        enum remedy remedy = cause_remedy(t->cause);
        m->tries++;
        if (remedy != REMEDY_REJECT && remedy != REMEDY_LIMITED && remedy != REMEDY_STOP_KEY) {
                if (s->cause == CAUSE_NONE) {
                        s->cause = t->cause;
                        snprintf(s->detail, sizeof(s->detail), "%s", t->detail ? t->detail : "");
                }
                want_again(s, m);
        } else if (remedy == REMEDY_STOP_KEY && s->n_staged == 0) {
                /* Not one could be decrypted: it is the key that is wrong, not the member. */
                s->cause = t->cause;
                snprintf(s->detail, sizeof(s->detail), "%s", t->detail ? t->detail : "");
                want_again(s, m);
        } else if (m->tries < MEMBER_TRIES && t->cause != CAUSE_LIMIT) {
                want_again(s, m);
        } else {
                snapshot_reject_member(s, m, t->facts,
                        remedy == REMEDY_STOP_KEY ? CAUSE_NOT_FOR_US : t->cause, t->detail ? t->detail : "");
        }
}

static void on_ended(void *arg, enum cause cause, const char *detail)
{
        struct run *r = arg;
        struct snapshot *s = r->s;
        if (cause != CAUSE_NONE && s->cause == CAUSE_NONE) {
                s->cause = cause;
                snprintf(s->detail, sizeof(s->detail), "%s", detail);
                s->retry_after_usec = r->flow.retry_after_usec;
        }
        s->job.o.checks |= r->flow.checks;
        for (size_t i = 0; i < r->n; i++) {
                struct taken *t = &r->v[i];
                if (t->member->step != MEMBER_TAKEN)
                        continue;
                if (cause == CAUSE_NONE && t->judged)
                        judge(s, t);
                else
                        want_again(s, t->member);
        }
        run_free(r);
        snapshot_step(s);
}

static const struct flow_ops run_ops = {.granted = on_granted, .message = on_message, .ended = on_ended};

/* --- choosing the members of a run --- */

static uint64_t end_of(const struct member *m)
{
        return m->place.offset + m->place.extent;
}

struct choice {
        size_t first, last, n;
        uint64_t bytes, waste;
};

/* The next wanted member and those that follow it closely. A member that failed before gets a run of its own.
 */
static bool choose(const struct snapshot *s, struct choice *ret)
{
        unsigned workers = pool_size(s->job.pool);
        uint64_t most_bytes = s->wanted_bytes / (RUN_SHARE * workers);
        size_t most = s->n_wanted / (RUN_SHARE * workers);
        most = MIN(MAX(most, (size_t)MEMBERS_A_WORKER), (size_t)RUN_MEMBERS_MOST);
        most_bytes = MIN(MAX(most_bytes, RUN_BYTES_LEAST), RUN_BYTES_MOST);
        size_t i = s->next;
        while (i < s->n_members && s->members[i].step != MEMBER_WANTED)
                i++;
        if (i == s->n_members)
                return false;
        *ret = (struct choice){.first = i, .last = i, .n = 1, .bytes = s->members[i].place.extent};
        for (size_t k = i + 1; k < s->n_members && s->members[i].tries == 0; k++) {
                const struct member *m = &s->members[k];
                if (m->step != MEMBER_WANTED)
                        continue;
                uint64_t gap = m->place.offset - end_of(&s->members[ret->last]);
                if (m->tries > 0 || ret->n >= most || ret->bytes + m->place.extent > most_bytes ||
                        gap > GAP_MOST || ret->waste + gap > ret->bytes / WASTE_SHARE)
                        break;
                ret->waste += gap;
                ret->bytes += gap + m->place.extent;
                ret->last = k;
                ret->n++;
        }
        return true;
}

static int start_run(struct snapshot *s, const struct choice *c, struct error *e)
{
        struct run *r = calloc(1, sizeof(*r));
        struct taken *v = r ? calloc(c->n, sizeof(*v)) : NULL;
        if (!v) {
                free(r);
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        }
        *r = (struct run){.s = s, .v = v, .position = s->members[c->first].place.offset, .next = s->runs};
        s->runs = r;
        s->n_runs++;
        for (size_t i = c->first; i <= c->last; i++)
                if (s->members[i].step == MEMBER_WANTED) {
                        s->members[i].step = MEMBER_TAKEN;
                        v[r->n++] = (struct taken){.member = &s->members[i], .fd = -1};
                }
        s->next = c->last + 1;
        const struct ledger_object *o = &s->job.o;
        struct proto_get get = {.bucket = o->bucket,
                .key = o->key,
                .etag = o->etag,
                .offset = r->position,
                .length = end_of(&s->members[c->last]) - r->position,
                .size = o->size};
        int err = flow_start(&r->flow, s->job.d, s->job.pool, &run_ops, r, &get, RANK_ARCHIVE, e);
        if (err < 0) {
                for (size_t i = 0; i < r->n; i++)
                        want_again(s, r->v[i].member);
                run_free(r);
        }
        return err;
}

void snapshot_start_runs(struct snapshot *s)
{
        /* One more than there are workers: its first bytes are in the pipe when a worker is free. */
        unsigned most = (unsigned)MIN(pool_size(s->job.pool) + 1, s->job.d->config->s3.max_transfers);
        struct choice c;
        while (s->n_runs < most && s->cause == CAUSE_NONE && pauses_now(s->job.d->pauses) == 0 &&
                choose(s, &c)) {
                struct error e = {};
                if (!director_may_start(s->job.d))
                        break;
                if (start_run(s, &c, &e) < 0) {
                        s->cause = e.cause;
                        snprintf(s->detail, sizeof(s->detail), "%s", e.text);
                }
        }
        if (s->n_runs == 0 && s->cause == CAUSE_NONE && choose(s, &c)) {
                /* Paused in the middle: the rest comes when the pause is over. */
                s->cause = CAUSE_CANCELLED;
                snprintf(s->detail, sizeof(s->detail), "paused");
        }
}

void snapshot_cancel_runs(struct snapshot *s)
{
        while (s->runs) {
                flow_cancel(&s->runs->flow);
                run_free(s->runs);
        }
}
