/* SPDX-License-Identifier: Apache-2.0 */
/* czard's end of czard-decrypt and czard-index, against workers that say anything in any order, and owners
 * that claim, send, release, discard and break at any time. An owner hears, of the worker that it has, the
 * answers to what it sent, in that order, and nothing of one that has lied; a worker that is granted owes
 * nobody anything; a key has never more workers than it may have, and what they leave on the disk goes with
 * them. When all speak the truth again, everybody who waits is served or told. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../unit/scripted_helper.h"
#include "answers.h"
#include "cleanup.h"
#include "journal.h"
#include "limits.h"
#include "pool.h"
#include "terms.h"
#include "timespan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
uint64_t __wrap_uv_now(const uv_loop_t *loop);
int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat);
int __real_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat);

enum { OWNERS = 8, STEPS = 200, ASKED_MOST = 64, WORKERS_MOST = 3, MEMBERS_MOST = 3, ROUNDS = 60 };

/* Bytes as decisions; 0 when they are used up. */
struct tape {
        const uint8_t *p;
        size_t left;
};

static unsigned next(struct tape *t)
{
        return t->left ? (t->left--, *t->p++) : 0;
}

/* --- time, which the tape moves --- */

enum { TICKS = 4 };
static uint64_t passed_msec;
static struct {
        uv_timer_t *timer;
        uv_timer_cb cb;
} ticks[TICKS]; /* of the pools, which last as long as they do */
static size_t n_ticks;

uint64_t __wrap_uv_now(const uv_loop_t *loop)
{
        (void)loop;
        return 1000 + passed_msec;
}

int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
        size_t i = 0;
        if (timeout == 0)
                return __real_uv_timer_start(timer, cb, timeout, repeat);
        while (i < n_ticks && ticks[i].timer != timer)
                i++;
        assert(i < TICKS);
        ticks[i].timer = timer;
        ticks[i].cb = cb;
        n_ticks = MAX(n_ticks, i + 1);
        return __real_uv_timer_start(timer, cb, 1000 * 1000, repeat); /* active, and never due by itself */
}

static void let_pass(uint64_t msec)
{
        passed_msec += msec;
        for (size_t i = 0; i < n_ticks; i++)
                if (uv_is_active((uv_handle_t *)ticks[i].timer))
                        ticks[i].cb(ticks[i].timer);
}

/* --- what a worker was asked and has answered, as it sees it --- */

struct asked {
        uint32_t id;
        enum proto_type type;
        unsigned n, told;
};

struct queue {
        struct asked v[ASKED_MOST];
        size_t first, n;
};

static void queue_add(struct queue *q, uint32_t id, enum proto_type type, unsigned n)
{
        assert(q->first + q->n < ASKED_MOST);
        q->v[q->first + q->n++] = (struct asked){.id = id, .type = type, .n = n};
}

static bool ends(const struct message *m)
{
        return m->type == PROTO_READY || m->type == PROTO_VERDICT || m->type == PROTO_DIRECTORY_DONE;
}

static bool is_answer(const struct asked *a, const struct message *m)
{
        if (m->id != a->id)
                return false;
        switch (m->type) {
        case PROTO_PROGRESS:
                return true;
        case PROTO_READY:
                return a->type == PROTO_SETUP;
        case PROTO_VERDICT:
                return (a->type == PROTO_FILE || a->type == PROTO_MEMBERS) && m->verdict.member == a->told;
        case PROTO_ENTRIES:
        case PROTO_DIRECTORY_DONE:
                return a->type == PROTO_DIRECTORY;
        default:
                return false;
        }
}

/* The message is an answer to the first of them. */
static bool queue_take(struct queue *q, const struct message *m)
{
        struct asked *a = &q->v[q->first];
        if (q->n == 0 || !is_answer(a, m))
                return false;
        if (ends(m) && ++a->told == a->n) {
                q->first++;
                q->n--;
        }
        return true;
}

static struct queue asked[SCRIPTED_MAX];
static bool lied[SCRIPTED_MAX];

/* --- owners --- */

struct owner {
        struct claim claim;
        struct pool *pool;     /* that it claimed one of last */
        struct worker *worker; /* NULL: none */
        struct scripted *s;    /* it, once something was sent to it */
        struct queue sent;
        bool waits, keyless;
        bool at_once; /* sends when granted, gives back when all is answered, claims again when told */
};

static struct pool *pool, *index_pool;
static struct owner owners[OWNERS];
static unsigned readies, workers_most;
static bool usable; /* the first worker could use the key */

/* What was sent to the workers is taken and noted. Who got the last of it, or NULL. */
static struct scripted *drain(void)
{
        struct scripted *last = NULL;
        for (size_t i = 0; i < n_scripted; i++) {
                struct message m = {};
                while (scripted[i].sock >= 0 && proto_recv(scripted[i].sock, &m, NULL) == 0) {
                        queue_add(
                                &asked[i], m.id, m.type, m.type == PROTO_MEMBERS ? (unsigned)m.members.n : 1);
                        last = &scripted[i];
                        message_done(&m);
                        m = (struct message){};
                }
        }
        return last;
}

static bool somebody_died(void)
{
        for (size_t i = 0; i < n_scripted; i++)
                if (scripted[i].helper && scripted[i].sock < 0)
                        return true;
        return false;
}

/* 0 or -errno: it did not get it. */
static int send_job(struct owner *o, unsigned kind, unsigned n)
{
        static struct archive_entry entries[MEMBERS_MOST];
        int fds[2];
        if (!o->worker || o->sent.first + o->sent.n + 1 >= ASKED_MOST)
                return -ENOBUFS;
        for (size_t i = 0; i < MEMBERS_MOST; i++)
                entries[i].name = (char *)(uintptr_t) "m";
        assert(pipe(fds) == 0);
        struct message m = {.type = PROTO_FILE, .fds = {fds[0], fds[1]}, .n_fds = 2};
        if (o->keyless) {
                m = (struct message){.type = PROTO_DIRECTORY, .fds = {fds[0]}, .n_fds = 1};
        } else if (kind % 2) {
                m = (struct message){
                        .type = PROTO_MEMBERS, .members = {.entries = entries, .n = 1 + n % MEMBERS_MOST}};
                for (; m.n_fds < m.members.n; m.n_fds++)
                        m.fds[m.n_fds] = fds[1];
        }
        drain();
        int r = worker_send(o->worker, &m);
        close_fd(fds[0]);
        close_fd(fds[1]);
        if (r < 0)
                return r;
        queue_add(&o->sent, m.id, m.type, m.type == PROTO_MEMBERS ? (unsigned)m.members.n : 1);
        struct scripted *s = drain();
        assert(!s || !o->s || s == o->s);
        if (o->s || !s)
                return 0; /* not s: its end is closed, and the pool does not know it yet */
        o->s = s;
        /* It is granted for the first time: it has answered all before. */
        const struct queue *q = &asked[s - scripted];
        assert(q->n == 1 && !s->killed && !lied[s - scripted]);
        assert(!o->keyless || q->first == 0); /* one archive a process */
        return 0;
}

static void forget_worker(struct owner *o)
{
        o->worker = NULL;
        o->s = NULL;
        o->sent = (struct queue){};
}

static void release(struct owner *o)
{
        struct worker *w = o->worker;
        forget_worker(o);
        worker_release(w);
}

static void claim(struct owner *o)
{
        if (o->worker || o->waits)
                return;
        o->waits = true;
        o->pool = o->keyless ? index_pool : o->claim.rank % 4 == 3 && usable ? pool_reference(pool) : pool;
        pool_claim(o->pool, &o->claim);
        assert(!o->worker);
}

static void on_granted(void *arg, struct worker *w)
{
        struct owner *o = arg;
        assert(o->waits && !o->worker && w);
        for (size_t i = 0; i < OWNERS; i++)
                assert(owners[i].worker != w);
        o->waits = false;
        o->worker = w;
        /* It takes jobs; but one may have died without having been seen to. */
        if (o->at_once && send_job(o, o->claim.rank, o->claim.rank) < 0)
                assert(somebody_died());
}

static void on_worker(void *arg, struct message *m, const struct error *e)
{
        struct owner *o = arg;
        if (!m) { /* it has none any more, or gets none */
                assert(e && e->cause == CAUSE_HELPER && *e->text && (o->worker || o->waits));
                assert(!o->s || o->s->killed || o->s->gone);
                o->waits = false;
                forget_worker(o);
                if (o->at_once)
                        claim(o);
                return;
        }
        assert(o->worker && !o->waits && o->s && !o->s->killed && !lied[o->s - scripted]);
        assert(queue_take(&o->sent, m));
        if (o->at_once && o->sent.n == 0)
                release(o);
}

static void on_ready(void *arg, struct pool *p, const struct proto_ready *ready)
{
        (void)arg;
        assert(p == pool && ready->outcome.cause < CAUSE_MAX);
        readies++;
        usable = ready->outcome.cause == CAUSE_NONE;
}

/* --- workers --- */

/* Nothing is under way to anybody: what is said next is the next that is heard. */
static void settle(uv_loop_t *loop)
{
        script_turn(loop);
        drain();
}

/* One that says what is not so is killed at once, unless it was before. */
static void say(uv_loop_t *loop, struct scripted *s, const struct message *m)
{
        size_t i = (size_t)(s - scripted);
        bool live = s->helper && !s->killed && !s->gone && s->sock >= 0;
        bool reference = m->type == PROTO_VERDICT && m->verdict.outcome.cause == CAUSE_REFERENCE;
        enum request_kind kind = REQUEST_NONE;
        if (asked[i].n > 0) {
                enum proto_type type = asked[i].v[asked[i].first].type;
                kind = type == PROTO_SETUP       ? REQUEST_SETUP
                       : type == PROTO_FILE      ? REQUEST_FILE
                       : type == PROTO_DIRECTORY ? REQUEST_DIRECTORY
                                                 : REQUEST_MEMBERS;
        }
        bool well = queue_take(&asked[i], m) && answer_check(kind, m, NULL) == 0;
        if (s->sock < 0 || proto_send(s->sock, m) < 0)
                return;
        lied[i] |= !well;
        script_turn(loop);
        if (live && !reference) /* whether it may say that depends on what it said before */
                assert(well || s->killed || !s->helper);
}

static void lie(struct tape *t, uv_loop_t *loop, struct scripted *s)
{
        settle(loop);
        static const uint8_t types[] = {PROTO_VERDICT, PROTO_READY, PROTO_ENTRIES, PROTO_DIRECTORY_DONE,
                PROTO_PROGRESS, PROTO_DONE, PROTO_SPLIT_DONE, PROTO_MEMBERS, PROTO_LISTED, PROTO_HELLO};
        struct message m = {.type = types[next(t) % ELEMENTSOF(types)]};
        const struct queue *q = &asked[s - scripted];
        unsigned which = next(t);
        m.id = which < 2 && q->n > which ? q->v[q->first + which].id : which;
        unsigned cause = next(t) % CAUSE_MAX, more = next(t);
        if (m.type == PROTO_VERDICT)
                m.verdict = (struct proto_verdict){
                        .outcome.cause = cause, .member = more % 4, .checks = more & 8 ? BIT(more >> 4) : 0};
        else if (m.type == PROTO_READY)
                m.ready = (struct proto_ready){.outcome.cause = cause, .reference = more & 1};
        else if (m.type == PROTO_DIRECTORY_DONE)
                m.directory_done.outcome.cause = cause;
        else if (m.type == PROTO_DONE)
                m.done.outcome.cause = cause;
        else if (m.type == PROTO_PROGRESS)
                m.progress.bytes = more;
        say(loop, s, &m);
}

/* The next answer that it owes. */
static void answer(uv_loop_t *loop, struct scripted *s, enum cause cause, bool reference)
{
        const struct queue *q = &asked[s - scripted];
        settle(loop);
        if (q->n == 0)
                return;
        const struct asked *a = &q->v[q->first];
        struct message m = {.type = PROTO_VERDICT, .id = a->id};
        m.verdict = (struct proto_verdict){.outcome.cause = cause, .member = a->told};
        if (a->type == PROTO_SETUP) {
                m.type = PROTO_READY;
                m.ready = (struct proto_ready){.outcome.cause = cause, .reference = reference};
        } else if (a->type == PROTO_DIRECTORY) {
                m.type = PROTO_DIRECTORY_DONE;
                m.directory_done = (struct proto_directory_done){.outcome.cause = cause};
        }
        say(loop, s, &m);
}

static void bytes(struct tape *t, uv_loop_t *loop, struct scripted *s)
{
        uint8_t junk[16];
        settle(loop);
        size_t n = next(t) % sizeof(junk);
        for (size_t i = 0; i < n; i++)
                junk[i] = (uint8_t)next(t);
        if (s->sock < 0 || write(s->sock, junk, n) < 0)
                return;
        lied[s - scripted] = true;
        script_turn(loop);
}

/* --- the play --- */

static void count_workers(void)
{
        unsigned n = 0, index = 0;
        for (size_t i = 0; i < n_scripted; i++) {
                bool is_index = strcmp(scripted[i].program, "czard-index") == 0;
                bool live = scripted[i].helper != NULL;
                n += live && !is_index;
                index += live && is_index;
        }
        assert(n <= workers_most + 1 && index <= 1); /* and one with an agent */
}

static void reconfigure(unsigned workers)
{
        static const struct config config;
        workers_most = MAX(workers_most, workers);
        pool_reconfigure(pool, &config, workers);
}

static void step(struct tape *t, uv_loop_t *loop)
{
        unsigned op = next(t);
        struct owner *o = &owners[next(t) % OWNERS];
        struct scripted *s = n_scripted ? &scripted[next(t) % n_scripted] : NULL;
        switch (op % 16) {
        case 0:
        case 1:
        case 2:
                claim(o);
                break;
        case 3:
        case 4:
                send_job(o, op >> 4, op >> 5);
                break;
        case 5:
                if (o->worker)
                        release(o);
                break;
        case 6:
                if (o->worker && op > 128) {
                        struct worker *w = o->worker;
                        forget_worker(o);
                        worker_discard(w);
                } else if (o->worker) {
                        worker_break(o->worker, "is given up by the test");
                        assert(worker_send(o->worker, &(struct message){.type = PROTO_FILE}) < 0);
                }
                break;
        case 7:
                if (o->waits)
                        pool_withdraw(o->pool, &o->claim);
                o->waits = false;
                break;
        case 8:
                if (op > 128)
                        reconfigure(1 + op % WORKERS_MOST);
                break;
        case 9:
                let_pass(op > 128 ? 61000 : 5000);
                for (size_t i = 0; op > 128 && i < OWNERS; i++)
                        assert(!owners[i].s || owners[i].s->killed);
                break;
        case 10:
                if (s && s->sock >= 0 && (s->killed || op > 128))
                        script_reap(loop, s);
                break;
        case 11:
                if (s)
                        lie(t, loop, s);
                break;
        case 12:
                if (s && op > 128)
                        bytes(t, loop, s);
                break;
        default:
                if (s)
                        answer(loop, s, op > 224 ? next(t) % CAUSE_MAX : CAUSE_NONE, op & 16);
                break;
        }
        if (op & 1)
                script_turn(loop);
        drain();
        count_workers();
}

static bool somebody_waits(void)
{
        for (size_t i = 0; i < OWNERS; i++)
                if (owners[i].waits)
                        return true;
        return false;
}

/* From now on workers do as they should, those that were killed are reaped, and owners give back what they
 * have: nobody waits for ever. */
static void play_out(uv_loop_t *loop)
{
        for (size_t i = 0; i < OWNERS; i++)
                owners[i].at_once = false;
        for (unsigned round = 0; round < ROUNDS && somebody_waits(); round++) {
                for (size_t i = 0; i < OWNERS; i++)
                        if (owners[i].worker)
                                release(&owners[i]);
                for (size_t i = 0; i < n_scripted; i++) {
                        if (scripted[i].sock >= 0 && (scripted[i].killed || scripted[i].retired))
                                script_reap(loop, &scripted[i]);
                        else if (scripted[i].sock >= 0)
                                answer(loop, &scripted[i], CAUSE_NONE, false);
                }
                let_pass(5000);
                script_turn(loop);
                drain();
        }
        assert(!somebody_waits());
        for (size_t i = 0; i < OWNERS; i++)
                if (owners[i].worker)
                        release(&owners[i]);
}

static void set_up(struct tape *t)
{
        memset(asked, 0, sizeof(asked));
        memset(lied, 0, sizeof(lied));
        n_ticks = 0;
        passed_msec = 0;
        readies = 0;
        usable = false;
        for (size_t i = 0; i < OWNERS; i++) {
                unsigned how = next(t);
                owners[i] = (struct owner){.keyless = how % 4 == 0, .at_once = how & 16};
                owners[i].claim = (struct claim){
                        .granted = on_granted, .on_message = on_worker, .arg = &owners[i], .rank = how % 8};
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct tape t = {data, size};
        static const struct config config;
        static const struct secret none;
        char dir[] = "/tmp/czard-fuzz-pool-XXXXXX";
        uv_loop_t loop;
        journal_level(-1);
        workers_most = 2;
        assert(mkdtemp(dir) && uv_loop_init(&loop) == 0);
        const struct pool_spec spec = {
                .run_dir = dir, .homedir = dir, .config = &config, .passphrase = &none, .workers = 2};
        set_up(&t);
        assert(pool_new(&loop, &spec, on_ready, NULL, &pool, NULL) == 0 &&
                pool_new_index(&loop, 1, &index_pool) == 0);
        drain();
        for (unsigned i = 0; t.left > 0 && i < STEPS; i++)
                step(&t, &loop);
        play_out(&loop);
        assert(readies <= 1);
        pool_free(pool);
        pool_free(index_pool);
        uv_run(&loop, UV_RUN_DEFAULT);
        assert(uv_loop_close(&loop) == 0);
        script_reset();
        assert(rmdir(dir) == 0); /* no home is left */
        return 0;
}
