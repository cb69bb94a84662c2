/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets a worker, and how many there are. A worker is STARTING until its READY, then IDLE or BUSY with one
 * owner; an IDLE one owes no answer. One that broke its word is reaped before its owner is told, and the next
 * claim starts another. What later homes are copied from is made by the first worker that is READY. */
#include "pool.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "cleanup.h"
#include "journal.h"
#include "limits.h"
#include "str.h"

#define TICK_MSEC 5000
#define RESTART_USEC (2 * USEC_PER_SEC)
#define FIRST_TRIES 3
#define FAILED_STARTS 5

struct pool {
        uv_loop_t *loop;
        const char *program;
        bool keyless;           /* czard-index: no home, no SETUP, one job a process */
        bool has_agents;        /* the last worker that was READY has one */
        bool is_reference;      /* of another pool: what is the key's is borrowed from it */
        struct pool *reference; /* NULL: it is one itself, or keyless */
        struct pool_spec spec;
        char *homedir, *signers;
        struct secret own_passphrase; /* p NULL: that of spec */
        struct config_limits limits;
        enum signature_policy signatures;
        enum pgp_engine engine;
        char template[PATH_MAX]; /* what later homes are copied from, "" before the first READY */
        unsigned n, serial, first_tries, failed_starts;
        unsigned settings; /* counts pool_reconfigure() */
        uint32_t last_id;  /* of a request, to any of the workers */
        uint64_t last_death_usec;
        struct worker *workers;
        struct claim *claims;
        struct claim *refused; /* those that are being told that no worker comes up */
        pool_ready_fn *ready;
        void *arg;
        uv_timer_t tick, serve;
        unsigned open_handles;
};

static void serve_claims(struct pool *p);
static void count_failed_start(struct pool *p, const char *why);

static void set_state(struct worker *w, enum worker_state next)
{
        w->state = next;
        w->heard_usec = uv_now(w->loop) * USEC_PER_MSEC;
}

static void drop_worker(struct worker *w)
{
        struct pool *p = w->pool;
        for (struct worker **at = &p->workers; *at; at = &(*at)->next)
                if (*at == w) {
                        *at = w->next;
                        break;
                }
        p->n--;
        worker_free(w, w->state == WORKER_IDLE);
}

static unsigned n_starting(const struct pool *p)
{
        unsigned n = 0;
        for (const struct worker *w = p->workers; w; w = w->next)
                n += w->state == WORKER_STARTING;
        return n;
}

static int start_worker(struct pool *p, struct error *e);

/* The first worker has failed, and not for the key's sake: another is started before anyone is told. */
static bool first_tries_again(struct pool *p, enum cause cause)
{
        struct error e = {};
        return p->ready && cause == CAUSE_HELPER && ++p->first_tries < FIRST_TRIES &&
               start_worker(p, &e) >= 0;
}

/* Workers do not come up at all: those who wait now are told, and may claim again at once. Of several that
 * start together the last one counts. */
static void count_failed_start(struct pool *p, const char *why)
{
        struct error e = {};
        if (n_starting(p) > 0 || ++p->failed_starts < FAILED_STARTS)
                return;
        p->failed_starts = 0;
        error_set(&e, CAUSE_HELPER, EIO, "no %s comes up: %s", p->program, why);
        p->refused = p->claims;
        p->claims = NULL;
        for (struct claim *c; (c = p->refused);) {
                p->refused = c->next;
                c->waiting = false;
                c->on_message(c->arg, NULL, &e);
        }
}

/* It was set up before a reload, or is one too many since. */
static bool is_outdated(const struct worker *w)
{
        return w->settings != w->pool->settings || w->pool->n > w->pool->spec.workers;
}

static void on_ready(struct worker *w, const struct proto_ready *ready)
{
        struct pool *p = w->pool;
        /* The workers that follow would say the same. */
        if (!str_empty(ready->warning) && !*p->template)
                journal_event(
                        EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING}, "%s", ready->warning);
        bool well = ready->outcome.cause == CAUSE_NONE;
        if (well && !*p->template) {
                worker_take_template(w, p->template);
                memcpy(p->reference->template, p->template, sizeof(p->template));
        }
        p->has_agents = ready->reference;
        w->owed.last = ready->reference;
        if (well)
                set_state(w, WORKER_IDLE);
        if (!well && first_tries_again(p, ready->outcome.cause)) {
                drop_worker(w);
                return;
        }
        pool_ready_fn *tell = p->ready;
        p->ready = NULL;
        if (tell)
                tell(p->arg, p, ready);
        if (!well) {
                if (!tell)
                        journal_event(EVENT_HELPER_DIED,
                                &(struct journal_fields){.cause = ready->outcome.cause},
                                "czard-decrypt cannot use the key: %s", ready->outcome.detail);
                p->last_death_usec = uv_now(p->loop) * USEC_PER_MSEC;
                drop_worker(w);
                count_failed_start(p, ready->outcome.detail);
                return;
        }
        p->failed_starts = 0;
        if (is_outdated(w))
                drop_worker(w);
        serve_claims(p);
}

static void on_message(struct worker *w, struct message *m)
{
        if (w->on_message)
                w->on_message(w->arg, m, NULL);
}

static void on_gone(struct worker *w, const struct error *how)
{
        struct pool *p = w->pool;
        worker_message_fn *owner = w->state == WORKER_BUSY ? w->on_message : NULL;
        void *owner_arg = w->arg;
        bool starting = w->state == WORKER_STARTING;
        p->last_death_usec = uv_now(p->loop) * USEC_PER_MSEC;
        drop_worker(w);
        if (owner)
                owner(owner_arg, NULL, how);
        if (starting)
                count_failed_start(p, how->text + strlen(p->program) + 1);
        if (starting && p->ready && !first_tries_again(p, CAUSE_HELPER)) {
                pool_ready_fn *tell = p->ready;
                p->ready = NULL;
                tell(p->arg, p,
                        &(struct proto_ready){.outcome = {.cause = CAUSE_HELPER, .detail = how->text}});
        }
}

static const struct worker_ops ops = {.ready = on_ready, .message = on_message, .gone = on_gone};

static int start_worker(struct pool *p, struct error *e)
{
        bool import = !*p->template;
        const struct worker_spec spec = {.program = p->program,
                .run_dir = p->spec.run_dir,
                .number = p->spec.number,
                .serial = ++p->serial,
                .setup = {.source = import ? p->homedir : p->template,
                        .signers = p->signers,
                        .import = import,
                        .reference = p->is_reference,
                        .signatures = (uint8_t)p->signatures,
                        .engine = (uint8_t)p->engine,
                        .max_plaintext = p->limits.max_plaintext,
                        .max_ratio = p->limits.max_ratio,
                        .max_name = p->limits.max_name},
                .passphrase = p->own_passphrase.p ? &p->own_passphrase : p->spec.passphrase};
        struct worker *w = calloc(1, sizeof(*w));
        if (!w)
                return error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
        *w = (struct worker){.loop = p->loop,
                .last_id = &p->last_id,
                .ops = &ops,
                .pool = p,
                .state = p->keyless ? WORKER_IDLE : WORKER_STARTING,
                .settings = p->settings,
                .next = p->workers};
        int r = worker_start(w, &spec, e);
        if (r < 0) {
                free(w);
                return r;
        }
        p->workers = w;
        p->n++;
        return 0;
}

static void grant(struct pool *p, struct worker *w)
{
        struct claim *c = p->claims;
        p->claims = c->next;
        c->waiting = false;
        w->on_message = c->on_message;
        w->arg = c->arg;
        set_state(w, WORKER_BUSY);
        c->granted(c->arg, w);
}

static struct worker *idle_worker(struct pool *p)
{
        for (struct worker *w = p->workers; w; w = w->next)
                if (w->state == WORKER_IDLE && w->broken.cause == CAUSE_NONE)
                        return w;
        return NULL;
}

static void grant_idle(struct pool *p)
{
        struct worker *w;
        while (p->claims && (w = idle_worker(p)))
                grant(p, w);
}

/* As many as the claims that still wait could use, all at once. But nobody knows what the first one finds. */
static unsigned n_wanted(const struct pool *p)
{
        unsigned starting = n_starting(p), claims = 0, room = MAX(p->spec.workers, p->n) - p->n;
        for (const struct claim *c = p->claims; c; c = c->next)
                claims++;
        bool first = !*p->template && starting > 0;
        return first || claims <= starting ? 0 : MIN(claims - starting, room);
}

static void on_serve(uv_timer_t *timer)
{
        struct pool *p = timer->data;
        grant_idle(p);
        uint64_t now = uv_now(p->loop) * USEC_PER_MSEC;
        if (p->last_death_usec != 0 && now < p->last_death_usec + RESTART_USEC)
                return;
        for (unsigned n = n_wanted(p); n > 0; n--) {
                struct error e = {};
                if (start_worker(p, &e) >= 0)
                        continue;
                journal_event(EVENT_HELPER_DIED, &(struct journal_fields){.cause = e.cause}, "%s", e.text);
                p->last_death_usec = now;
                count_failed_start(p, e.text);
                return;
        }
        if (p->keyless)
                grant_idle(p);
}

/* In the next turn of the loop: who is granted a worker may fail at once, and nobody is to fail within
 * another's call. */
static void serve_claims(struct pool *p)
{
        uv_timer_start(&p->serve, on_serve, 0, 0);
}

/* Kills the silent, and gives claims another chance after a death. Runs only while something could need it.
 */
static void on_tick(uv_timer_t *timer)
{
        struct pool *p = timer->data;
        bool active = false;
        for (struct worker *w = p->workers; w; w = w->next) {
                if (w->state == WORKER_IDLE)
                        continue;
                active = true;
                worker_look(w);
        }
        serve_claims(p);
        if (!active && !p->claims)
                uv_timer_stop(timer);
}

static void keep_ticking(struct pool *p)
{
        if (!uv_is_active((uv_handle_t *)&p->tick))
                uv_timer_start(&p->tick, on_tick, TICK_MSEC, TICK_MSEC);
}

void pool_claim(struct pool *p, struct claim *c)
{
        struct claim **at = &p->claims;
        while (*at && (*at)->rank <= c->rank)
                at = &(*at)->next;
        c->next = *at;
        c->waiting = true;
        *at = c;
        keep_ticking(p);
        serve_claims(p);
}

static void unlink_claim(struct claim **list, const struct claim *c)
{
        for (struct claim **at = list; *at; at = &(*at)->next)
                if (*at == c) {
                        *at = c->next;
                        return;
                }
}

void pool_withdraw(struct pool *p, struct claim *c)
{
        if (!c->waiting)
                return;
        unlink_claim(&p->claims, c);
        unlink_claim(&p->refused, c);
        c->waiting = false;
}

void worker_release(struct worker *w)
{
        struct pool *p = w->pool;
        w->on_message = NULL;
        w->arg = NULL;
        bool well = w->owed.n == 0 && w->broken.cause == CAUSE_NONE;
        if (well)
                set_state(w, WORKER_IDLE);
        if (!well || p->keyless || is_outdated(w))
                drop_worker(w);
        serve_claims(p);
}

void worker_discard(struct worker *w)
{
        struct pool *p = w->pool;
        drop_worker(w);
        serve_claims(p);
}

unsigned pool_size(const struct pool *p)
{
        return p->spec.workers;
}

static void take_settings(struct pool *p, const struct config *c)
{
        struct strbuf signers = {};
        for (size_t i = 0; i < c->openpgp.signers.n; i++)
                strbuf_printf(&signers, "%s%s", i ? " " : "", c->openpgp.signers.v[i]);
        free(p->signers);
        p->signers = signers.s;
        p->limits = c->limits;
        p->signatures = c->openpgp.signatures;
        p->engine = c->openpgp.engine;
}

const char *pool_homedir(const struct pool *p)
{
        return p->homedir;
}

struct pool *pool_reference(struct pool *p)
{
        return p->reference && !p->has_agents ? p->reference : p;
}

void pool_reconfigure(struct pool *p, const struct config *config, unsigned workers)
{
        take_settings(p, config);
        p->settings++;
        p->spec.workers = workers;
        for (struct worker *w = p->workers, *next; w; w = next) {
                next = w->next;
                if (w->state == WORKER_IDLE)
                        drop_worker(w);
        }
        serve_claims(p);
        if (p->reference)
                pool_reconfigure(p->reference, config, 1);
}

static void init_timers(struct pool *p)
{
        uv_timer_init(p->loop, &p->tick);
        uv_timer_init(p->loop, &p->serve);
        p->tick.data = p->serve.data = p;
        p->open_handles = 2;
}

/* A pool without a worker. */
static struct pool *new_pool(uv_loop_t *loop, const struct pool_spec *spec)
{
        struct pool *p = calloc(1, sizeof(*p));
        if (!p)
                return NULL;
        *p = (struct pool){.loop = loop, .program = "czard-decrypt", .spec = *spec};
        p->homedir = strdup(spec->homedir);
        take_settings(p, spec->config);
        p->spec.passphrase_file = NULL;
        init_timers(p);
        return p;
}

static int add_reference(struct pool *p, const struct pool_spec *spec)
{
        struct pool_spec one = *spec;
        one.workers = 1;
        if (p->own_passphrase.p)
                one.passphrase = &p->own_passphrase;
        p->reference = new_pool(p->loop, &one);
        if (!p->reference)
                return -ENOMEM;
        p->reference->is_reference = true;
        return 0;
}

int pool_new(uv_loop_t *loop, const struct pool_spec *spec, pool_ready_fn *ready, void *arg,
        struct pool **ret, struct error *e)
{
        struct pool *p = new_pool(loop, spec);
        if (!p)
                return error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
        p->ready = ready;
        p->arg = arg;
        int r = spec->passphrase_file ? secret_load_line(spec->passphrase_file, LIMIT_PASSPHRASE, false,
                                                &p->own_passphrase, e)
                                      : 0;
        if (r == 0 && add_reference(p, spec) < 0)
                r = error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
        if (r == 0)
                r = start_worker(p, e);
        if (r < 0) {
                pool_free(p);
                return r;
        }
        keep_ticking(p);
        *ret = p;
        return 0;
}

int pool_new_index(uv_loop_t *loop, unsigned workers, struct pool **ret)
{
        struct pool *p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        *p = (struct pool){
                .loop = loop, .program = "czard-index", .keyless = true, .spec = {.workers = workers}};
        init_timers(p);
        *ret = p;
        return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
        struct pool *p = h->data;
        if (--p->open_handles == 0)
                free(p);
}

struct pool *pool_free(struct pool *p)
{
        if (!p)
                return NULL;
        p->reference = pool_free(p->reference);
        while (p->workers)
                drop_worker(p->workers);
        if (*p->template && !p->is_reference)
                homes_remove(p->template);
        secret_done(&p->own_passphrase);
        free(p->homedir);
        free(p->signers);
        p->homedir = p->signers = NULL;
        uv_close((uv_handle_t *)&p->tick, on_timer_closed);
        uv_close((uv_handle_t *)&p->serve, on_timer_closed);
        return NULL;
}

/* --- one for each home --- */

struct pools {
        struct pools_spec spec;
        struct pool **v;
        size_t n;
        unsigned made; /* numbers them: homes of one that went are not another's */
};

int pools_open(struct pools *p, const struct config *config, const struct config_package *package,
        struct pool **ret, struct error *e)
{
        for (size_t i = 0; i < p->n; i++)
                if (streq(p->v[i]->homedir, package->homedir)) {
                        *ret = p->v[i];
                        return 0;
                }
        if (ARRAY_ROOM(p->v, p->n) < 0)
                return error_set(e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        const struct pool_spec spec = {.run_dir = p->spec.run_dir,
                .number = p->made++,
                .homedir = package->homedir,
                .config = config,
                .passphrase = p->spec.passphrase,
                .passphrase_file = package->own_passphrase ? package->passphrase_file : NULL,
                .workers = workers_wanted(config)};
        int r = pool_new(p->spec.loop, &spec, p->spec.ready, p->spec.arg, ret, e);
        if (r >= 0)
                p->v[p->n++] = *ret;
        return r;
}

void pools_reconfigure(struct pools *p, const struct config *config)
{
        for (size_t i = 0; i < p->n; i++)
                pool_reconfigure(p->v[i], config, workers_wanted(config));
}

static bool is_used(const struct pool *pool, const struct config *config)
{
        for (size_t i = 0; i < config->n_packages; i++)
                if (streq(pool->homedir, config->packages[i].homedir))
                        return true;
        return false;
}

struct pool *pools_take_unused(struct pools *p, const struct config *config)
{
        for (size_t i = 0; i < p->n; i++)
                if (!is_used(p->v[i], config)) {
                        struct pool *unused = p->v[i];
                        p->v[i] = p->v[--p->n];
                        return unused;
                }
        return NULL;
}

size_t pools_count(const struct pools *p)
{
        return p->n;
}

struct pools *pools_new(const struct pools_spec *spec)
{
        struct pools *p = calloc(1, sizeof(*p));
        if (p)
                p->spec = *spec;
        return p;
}

struct pools *pools_free(struct pools *p)
{
        if (!p)
                return NULL;
        for (size_t i = 0; i < p->n; i++)
                pool_free(p->v[i]);
        free(p->v);
        free(p);
        return NULL;
}
