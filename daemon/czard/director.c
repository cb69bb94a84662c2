/* SPDX-License-Identifier: Apache-2.0 */
/* The life of czard: set up, run the loop, stop. What the loop does between is in poll.c (finds objects),
 * queue.c (chooses them), transfer.c and snapshot.c (bring them in) and record.c (says so). */
#include "director.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "control.h"
#include "cpus.h"
#include "flow.h"
#include "history.h"
#include "latest_point.h"
#include "ledger_facts.h"
#include "leftover.h"
#include "missing.h"
#include "notify.h"
#include "poll.h"
#include "queue.h"
#include "rebuild.h"
#include "record.h"
#include "signals.h"
#include "slots.h"
#include "snapshot_widen.h"
#include "splitting.h"
#include "stall.h"
#include "steward.h"
#include "str.h"
#include "timespan.h"
#include "watch.h"

#define WORKERS_MOST 16
#define PAUSE_LOOK_MSEC (60 * 1000)
#define INDEX_PROCESSES 16 /* archives whose directory is read at a time, over all packages */

void director_status(struct director *d, int status)
{
        d->status = MAX(d->status, status);
}

static void say_failed(struct director *d, const struct error *e)
{
        const char *advice = cause_advice(e->cause);
        journal_event(EVENT_FAILED, &(struct journal_fields){.cause = e->cause}, "%s%s%s", e->text,
                *advice ? "; " : "", advice);
        director_status(d, STATUS_CANNOT);
}

void director_fail(struct director *d, const struct error *e)
{
        say_failed(d, e);
        director_stop(d);
}

const struct config_package *director_package(const struct director *d, const char *org)
{
        return config_find_package(d->config, org);
}

const struct package_context *director_context(const struct director *d, const char *org)
{
        const struct config_package *p = director_package(d, org);
        return p ? &d->packages[p - d->config->packages] : NULL;
}

/* --- the key --- */

unsigned director_workers(const struct config *c)
{
        return c->workers == CONFIG_AUTO ? MIN(cpus_allowed(), WORKERS_MOST) : c->workers;
}

/* The keys a pool has found: kept in the ledger for czarctl. */
static void note_keys(struct director *d, const struct proto_ready *ready)
{
        struct error e = {};
        record_open(d->record);
        /* Pools come one by one: the first begins anew. */
        int r = d->pools_ready == 0 ? ledger_keys_clear(d->ledger, &e) : 0;
        for (size_t i = 0; r == 0 && i < ready->n_keys; i++) {
                struct ledger_key k = {.created = (int64_t)ready->keys[i].created,
                        .expires = (int64_t)ready->keys[i].expires};
                snprintf(k.fingerprint, sizeof(k.fingerprint), "%s", ready->keys[i].fingerprint);
                str_visible(ready->keys[i].user_id, k.user_id, 256);
                r = ledger_key_add(d->ledger, &k, &e);
        }
        if (r < 0)
                record_trouble(d->record, &e);
}

static void on_pool_ready(void *arg, struct pool *p, const struct proto_ready *ready)
{
        struct director *d = arg;
        (void)p;
        if (ready->outcome.cause != CAUSE_NONE && d->ready) {
                pauses_enter(d->pauses, PAUSE_KEY, ready->outcome.cause, ready->outcome.detail);
                return;
        }
        if (ready->outcome.cause != CAUSE_NONE) {
                struct error e = {};
                error_set(&e, ready->outcome.cause, EACCES, "%s", ready->outcome.detail);
                director_fail(d, &e);
                return;
        }
        watch_keys(d->watch, ready);
        note_keys(d, ready);
        if (d->ready || ++d->pools_ready < d->n_pools || d->stopping)
                return;
        d->ready = true;
        control_ready(d->control);
        notify_ready(d->notify);
        journal_event(EVENT_READY, NULL, "ready: key usable, staging %s, %zu package%s",
                d->config->staging.path, d->config->n_packages, d->config->n_packages == 1 ? "" : "s");
        if (d->options.once)
                poll_now(d->poll, true);
        else
                poll_schedule(d->poll);
}

/* The pool for that GnuPG home; made when there is none yet. */
static int pool_for(
        struct director *d, const struct config_package *package, struct pool **ret, struct error *e)
{
        const char *homedir = package->homedir;
        for (size_t i = 0; i < d->n_pools; i++)
                if (streq(pool_homedir(d->pools[i]), homedir)) {
                        *ret = d->pools[i];
                        return 0;
                }
        struct pool **pools = realloc(d->pools, (d->n_pools + 1) * sizeof(*pools));
        if (!pools)
                return error_set(e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        d->pools = pools;
        struct pool_spec spec = {.run_dir = d->run_dir,
                .number = d->pools_made,
                .homedir = homedir,
                .config = d->config,
                .passphrase = &d->passphrase,
                .passphrase_file = package->own_passphrase ? package->passphrase_file : NULL,
                .workers = director_workers(d->config)};
        int r = pool_new(&d->loop, &spec, on_pool_ready, d, ret, e);
        if (r >= 0)
                d->pools[d->n_pools++] = *ret;
        d->pools_made++;
        return r;
}

static bool has_package(const struct director *d, const struct pool *pool)
{
        for (size_t i = 0; i < d->config->n_packages; i++)
                if (d->packages[i].pool == pool)
                        return true;
        return false;
}

/* A key whose packages went is not kept: its workers end, and their homes with it. What they did for such a
 * package could not be published. */
static void drop_unused_pools(struct director *d)
{
        size_t kept = 0;
        if (!d->pools_changed || !d->ready)
                return;
        d->pools_changed = false;
        for (size_t i = 0; i < d->n_pools; i++) {
                if (has_package(d, d->pools[i])) {
                        d->pools[kept++] = d->pools[i];
                        continue;
                }
                queue_cancel_pool(d->queue, d->pools[i]);
                pool_free(d->pools[i]);
        }
        d->n_pools = kept;
}

int director_open_pools(struct director *d, struct error *e)
{
        for (size_t i = 0; i < d->config->n_packages; i++) {
                int r = pool_for(d, &d->config->packages[i], &d->packages[i].pool, e);
                if (r < 0)
                        return r;
        }
        d->pools_changed = true;
        return 0;
}

/* --- one turn of the loop --- */

/* Can our own state be written again? What is left of working states in the ledger goes back to NEW with it.
 */
static void look_at_state(struct director *d)
{
        struct error e = {};
        if (!(pauses_now(d->pauses) & BIT(PAUSE_STATE)))
                return;
        if (!d->stopping && rebuild_is_needed(d->config, d->ledger, &e) < 0)
                director_fail(d, &e);
        if (d->stopping || record_flush(d->record) < 0 || audit_probe(d->audit, &e) < 0 ||
                audit_sync(d->audit, &e) < 0 || ledger_begin(d->ledger, &e) < 0)
                return;
        char when[21];
        int r = ledger_meta_set(d->ledger, "probe", time_format((int64_t)time(NULL), when), &e);
        if (r >= 0)
                r = queue_recover(d->queue);
        if (r < 0)
                ledger_rollback(d->ledger);
        else if (ledger_commit(d->ledger, &e) >= 0)
                pauses_leave(d->pauses, PAUSE_STATE);
}

bool director_may_start(struct director *d)
{
        pauses_look_at_staging(d->pauses);
        look_at_state(d);
        return pauses_now(d->pauses) == 0;
}

static void on_look(uv_timer_t *timer)
{
        if (director_may_start(timer->data))
                uv_timer_stop(timer);
}

/* A pause that ended lets the queue start what is due; what was listed while our state could not be written
 * is listed again. While one lasts it is looked at now and then. */
static void react_to_pauses(struct director *d)
{
        unsigned ended = pauses_take_ended(d->pauses);
        if (ended && !poll_was_lost(d->poll))
                queue_plan(d->queue);
        if ((ended & BIT(PAUSE_STATE)) && !d->options.once && d->ready)
                poll_now(d->poll, true);
        if (pauses_now(d->pauses) && !d->options.once && !uv_is_active((uv_handle_t *)&d->look))
                uv_timer_start(&d->look, on_look, PAUSE_LOOK_MSEC, PAUSE_LOOK_MSEC);
}

/* What SIGUSR1 asks for, and czarctl resync. */
static void resync_all(struct director *d)
{
        struct ledger_filter f = {.states = BIT(OBJECT_RETRY)};
        _cleanup_free_ int64_t *ids = NULL;
        size_t n = 0;
        struct error e = {};
        if (!d->ready)
                return; /* the first poll of all is to come */
        record_unblock_buckets(d->record);
        record_open(d->record);
        int r = ledger_ids(d->ledger, &f, &ids, &n, &e);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                struct ledger_object o;
                if (queue_busy(d->queue, ids[i]))
                        continue;
                r = ledger_get(d->ledger, ids[i], &o, &e);
                o.next_try = 0;
                if (r >= 0)
                        r = ledger_save(d->ledger, &o, &e);
        }
        if (r < 0)
                record_trouble(d->record, &e);
        if (director_open_pools(d, &e) < 0)
                pauses_enter(d->pauses, PAUSE_KEY, e.cause, e.text);
        else
                pauses_leave(d->pauses, PAUSE_KEY);
        director_may_start(d);
        poll_now(d->poll, true);
}

static void react_to_signal(struct director *d, int number)
{
        char text[512];
        bool stops = number == SIGTERM || number == SIGINT;
        if (d->stopping && !stops)
                return;
        switch (number) {
        case SIGHUP:
                director_reload(d);
                break;
        case SIGUSR1:
                resync_all(d);
                break;
        case SIGUSR2:
                notify_text(d, text, sizeof(text));
                journal_event(EVENT_STATUS, NULL, "%s", text);
                break;
        default:
                if (d->asked_to_stop) {
                        record_flush(d->record);
                        _exit(STATUS_WELL);
                }
                d->asked_to_stop = true;
                director_stop(d);
        }
}

static void react_to_requests(struct director *d)
{
        if (!d->request_env->resync_all)
                return;
        d->request_env->resync_all = false;
        resync_all(d);
}

/* For czarctl, which may look when nothing runs any more: why nothing was started, and of a daemon, when it
 * began and ended. What cannot be written is not: PAUSE_STATE says so. */
static void note_pauses(struct director *d)
{
        char text[512];
        pauses_text(d->pauses, text, sizeof(text));
        if (streq(text, d->noted_pauses))
                return;
        snprintf(d->noted_pauses, sizeof(d->noted_pauses), "%s", text);
        if (pauses_now(d->pauses) & BIT(PAUSE_STATE))
                return;
        record_open(d->record);
        (void)ledger_meta_set(d->ledger, "pauses", text, NULL);
}

static void note_run(struct director *d, const char *started, const char *stopped)
{
        record_open(d->record);
        (void)ledger_meta_set(d->ledger, "daemon-started", started, NULL);
        (void)ledger_meta_set(d->ledger, "daemon-stopped", stopped, NULL);
        (void)record_flush(d->record);
}

static void react_to_record(struct director *d)
{
        struct ledger_object o;
        int64_t id, at = record_take_retry(d->record);
        if (record_take_renew(d->record))
                fetcher_renew(d->fetcher);
        while (record_take_relist(d->record, &id)) {
                struct error e = {};
                int r = ledger_get(d->ledger, id, &o, &e);
                if (r >= 0)
                        poll_object(d->poll, &o);
                else if (r != -ENOENT)
                        record_trouble(d->record, &e);
        }
        if (at != 0)
                queue_retry_at(d->queue, at);
}

static bool react_to_poll(struct director *d)
{
        struct poll_ended ended;
        if (!poll_take_ended(d->poll, &ended))
                return false;
        if (ended.poll)
                director_may_start(d); /* a pause may be over */
        if (ended.poll && !d->options.once)
                watch_look(d->watch, d->config);
        if (ended.full) {
                queue_look_at_all(d->queue);
                missing_look(d->missing);
        }
        if (ended.plan)
                queue_plan(d->queue);
        return true;
}

static bool react_to_missing(struct director *d)
{
        if (!missing_take_ended(d->missing))
                return false;
        if (!(pauses_now(d->pauses) & BIT(PAUSE_STAGING)))
                latest_point_all(d->config, d->ledger, d->staging, d->record);
        return true;
}

/* Plans what is asked for, and starts what there is room for. */
static void start_jobs(struct director *d)
{
        struct error e = {};
        if (queue_wants_plan(d->queue)) {
                bool again = queue_looks_at_all(d->queue) &&
                             !snapshot_widen(d->config, d->ledger, d->record, d->queue);
                if (queue_make_plan(d->queue, again, &e) < 0)
                        director_fail(d, &e);
        }
        if (d->ready && !d->stopping && queue_take_start(d->queue) && director_may_start(d))
                queue_start(d->queue);
}

/* Takes what happened below and reacts. Was there news? */
static bool react(struct director *d)
{
        bool news = moved_take(&d->moved);
        react_to_requests(d);
        news |= react_to_poll(d);
        news |= react_to_missing(d);
        react_to_pauses(d);
        start_jobs(d);
        splitting_turn(d->splitting);
        react_to_record(d); /* last: what was started above may have failed already */
        note_pauses(d);
        return news;
}

/* --- set up, run, stop --- */

static void stop_now(struct director *d)
{
        if (d->stopped)
                return;
        d->stopped = true;
        notify_stopping(d->notify);
        journal_event(EVENT_STOPPING, NULL, "stopping");
        poll_stop(d->poll);
        queue_cancel_all(d->queue);
        record_flush(d->record);
        for (size_t i = 0; i < d->n_pools; i++)
                d->pools[i] = pool_free(d->pools[i]);
        d->index = pool_free(d->index);
        d->fetcher = fetcher_free(d->fetcher);
        d->control = control_free(d->control);
        signals_leave(d->signals);
        d->notify = notify_free(d->notify);
        d->stall = stall_free(d->stall);
        d->watch = watch_free(d->watch);
        d->missing = missing_free(d->missing);
        d->splitting = splitting_free(d->splitting);
        uv_close((uv_handle_t *)&d->again, NULL);
        uv_close((uv_handle_t *)&d->look, NULL);
}

static bool is_over(const struct director *d)
{
        return d->options.once && d->ready && !poll_running(d->poll) && queue_idle(d->queue) &&
               !missing_running(d->missing) && splitting_idle(d->splitting);
}

/* Sends the GETs that there are slots for. */
static void start_gets(struct director *d)
{
        for (struct slot *s = d->slots; s; s = s->next)
                s->workers = pool_size(s->pool); /* a reload may have changed it */
        for (struct slot *s; (s = slots_next(d->slots, (unsigned)d->config->s3.max_transfers));)
                flow_start_get(container_of(s, struct flow, slot));
}

static void on_again(uv_timer_t *timer)
{
        (void)timer;
}

/* What follows from what happened: once a turn of the loop, before it sleeps. */
static void turn(struct director *d)
{
        queue_step(d->queue);
        for (int number; d->signals && (number = signals_take(d->signals)) != 0;)
                react_to_signal(d, number);
        if (d->stopped)
                return;
        bool news = react(d);
        drop_unused_pools(d);
        if (d->stopping || is_over(d)) {
                stop_now(d);
                return;
        }
        start_gets(d);
        queue_mark(d->queue);
        stall_watch(d->stall);
        if (news)
                notify_status(d->notify);
        if (news || d->moved.news)
                uv_timer_start(&d->again, on_again, 0, 0);
}

static void on_turn(uv_prepare_t *handle)
{
        struct director *d = handle->data;
        turn(d);
        record_flush(d->record);
}

void director_stop(struct director *d)
{
        d->stopping = true;
}

/* Takes up an admin's pause that was in force, and listens. */
static int open_control(struct director *d, struct error *e)
{
        char text[512] = "";
        (void)ledger_meta_get(d->ledger, "pauses", d->noted_pauses, sizeof(d->noted_pauses), NULL);
        if (steward_paused(d->ledger, text, sizeof(text), e) >= 0 && *text)
                pauses_enter(d->pauses, PAUSE_ADMIN, CAUSE_NONE, text);
        d->request_env = calloc(1, sizeof(*d->request_env));
        if (!d->request_env)
                return error_set(e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        *d->request_env = (struct request_env){.config = d->config,
                .feed = d->feed,
                .ledger = d->ledger,
                .audit = d->audit,
                .staging = d->staging,
                .record = d->record,
                .pauses = d->pauses,
                .queue = d->queue,
                .poll = d->poll,
                .is_split = splitting_busy,
                .split_arg = d->splitting};
        return control_new(&d->loop, d->config->socket, d->run_dir, d->request_env, &d->control, e);
}

static int open_queue(struct director *d)
{
        const struct job_env env = {.loop = &d->loop,
                .ledger = d->ledger,
                .staging = d->staging,
                .record = d->record,
                .pauses = d->pauses,
                .index = d->index,
                .flow = {.fetcher = d->fetcher, .record = d->record, .moved = &d->moved, .slots = &d->slots}};
        int r = queue_new(&env, &d->queue);
        if (r >= 0)
                queue_configure(d->queue, d->config, d->packages);
        return r;
}

static int open_poll(struct director *d)
{
        struct poll_spec spec = {.loop = &d->loop,
                .ledger = d->ledger,
                .record = d->record,
                .pauses = d->pauses,
                .fetcher = d->fetcher,
                .queue = d->queue};
        int r = poll_new(&spec, &d->poll);
        if (r >= 0)
                poll_configure(d->poll, d->config);
        return r;
}

static int open_watch(struct director *d)
{
        struct missing_spec spec = {.loop = &d->loop,
                .ledger = d->ledger,
                .staging = d->staging,
                .record = d->record,
                .queue = d->queue,
                .pauses = d->pauses};
        d->watch = watch_new(d->ledger);
        d->missing = missing_new(&spec);
        return d->watch && d->missing ? 0 : -ENOMEM;
}

/* What cannot be written now is written with the next event. */
static void open_feed(struct director *d)
{
        struct error e = {};
        if (feed_check(d->feed, &e) < 0)
                journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING, .cause = e.cause},
                        "the feed could not be brought up to date: %s", e.text);
}

static int open_all(struct director *d, struct error *e)
{
        int (*const steps[])(struct director *, struct error *) = {
                startup_state, startup_staging, startup_run_dir, startup_passphrase};
        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                int r = steps[i](d, e);
                if (r < 0)
                        return r;
        }
        struct fetcher_spec spec = {
                .config_path = d->options.config_path, .socket_path = d->options.fetch_socket};
        int r = startup_groups(d->config, &d->packages, e);
        if (r < 0)
                return r;
        r = startup_credentials(d, e);
        if (r < 0)
                return r;
        d->pauses = pauses_new(d->staging, d->staging_id);
        d->record = d->pauses ? record_new(d->ledger, d->audit, d->pauses, d->options.once) : NULL;
        r = d->record ? 0 : -ENOMEM;
        if (r == 0) {
                pauses_configure(d->pauses, &d->config->staging);
                record_configure(d->record, d->config);
                r = feed_new(d->ledger, d->audit, d->staging, d->state_fd, d->config->limits.max_name,
                        &d->feed, e);
        }
        if (r == 0) {
                record_set_feed(d->record, d->feed);
                open_feed(d);
        }
        if (r >= 0)
                r = fetcher_new(&d->loop, &spec, &d->fetcher);
        if (r >= 0)
                r = pool_new_index(&d->loop, INDEX_PROCESSES, &d->index);
        if (r >= 0)
                r = open_queue(d);
        if (r >= 0)
                r = open_poll(d);
        if (r >= 0)
                r = signals_new(&d->loop, &d->signals);
        if (r >= 0)
                r = stall_new(d, &d->stall);
        if (r >= 0)
                r = notify_new(d, &d->notify);
        if (r >= 0)
                r = open_watch(d);
        if (r >= 0)
                r = splitting_new(d, &d->splitting);
        if (r < 0)
                return error_set(e, CAUSE_INTERNAL, -r, "cannot start: %s", strerror(-r));
        r = startup_reconcile(d, e);
        if (r >= 0)
                leftover_clear(d->record, d->ledger, d->staging);
        if (r >= 0)
                r = open_control(d, e);
        return r < 0 ? r : director_open_pools(d, e);
}

void director_audit(struct director *d, const char *event)
{
        struct error e = {};
        struct audit_entry a = {.event = event,
                .config_sha256 = d->config->sha256,
                .staging_id = *d->staging_id ? d->staging_id : NULL,
                .size = -1,
                .mtime = -1,
                .uid = -1};
        if (audit_append(d->audit, &a, &e) < 0 || history_sync(d->ledger, d->audit, &e) < 0)
                journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_ERR, .cause = e.cause},
                        "audit.jsonl: %s", e.text);
}

int director_open(struct director *d, const struct options *options)
{
        struct error e = {};
        *d = (struct director){.options = *options, .state_fd = -1, .lock_fd = -1};
        int r = config_load(options->config_path, &d->config, &e, NULL);
        if (r < 0) {
                journal_event(EVENT_FAILED, &(struct journal_fields){.cause = e.cause}, "%s", e.text);
                d->status = r == -ENOMEM ? STATUS_CANNOT : STATUS_USAGE;
                return r;
        }
        journal_level(d->config->log_level);
        journal_event(EVENT_STARTED, NULL, "czard %s started", CZARD_VERSION);
        for (size_t i = 0; i < d->config->warnings.n; i++)
                journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING}, "%s",
                        d->config->warnings.v[i]);
        uv_loop_init(&d->loop);
        uv_timer_init(&d->loop, &d->again);
        uv_prepare_init(&d->loop, &d->turn);
        uv_timer_init(&d->loop, &d->look);
        d->turn.data = d->look.data = d;
        d->loop_open = true;
        r = open_all(d, &e);
        if (r < 0) {
                say_failed(d, &e);
                return r;
        }
        director_audit(d, "start");
        char when[21];
        if (!options->once)
                note_run(d, time_format((int64_t)time(NULL), when), "");
        return 0;
}

/* --once: what was due and did not get there. */
static void judge(struct director *d)
{
        struct ledger_filter f = {
                .states = BIT(OBJECT_RETRY) | BIT(OBJECT_FETCHING) | BIT(OBJECT_DECRYPTING)};
        struct error e = {};
        uint64_t n = 0, bytes;
        if (ledger_count(d->ledger, &f, &n, &bytes, &e) < 0 || n > 0)
                director_status(d, STATUS_INCOMPLETE);
}

int director_run(struct director *d)
{
        uv_prepare_start(&d->turn, on_turn);
        uv_unref((uv_handle_t *)&d->turn);
        uv_run(&d->loop, UV_RUN_DEFAULT);
        queue_step(d->queue); /* a thread may have been the last */
        record_flush(d->record);
        if (pauses_ever(d->pauses) || record_is_incomplete(d->record))
                director_status(d, STATUS_INCOMPLETE);
        if (d->options.once)
                judge(d);
        else if (d->status == STATUS_INCOMPLETE)
                d->status = STATUS_WELL; /* a daemon's troubles are in the journal, not in its exit status */
        char when[21], started[32] = "";
        if (!d->options.once) {
                (void)ledger_meta_get(d->ledger, "daemon-started", started, sizeof(started), NULL);
                note_run(d, started, time_format((int64_t)time(NULL), when));
        } else if (d->status == STATUS_WELL) {
                note_run(d, "", ""); /* whoever goes over to --once does not want to hear of the daemon */
        }
        director_audit(d, "stop");
        journal_event(EVENT_STOPPED, NULL, "stopped");
        return d->status;
}

void director_close(struct director *d)
{
        if (d->loop_open) {
                for (size_t i = 0; i < d->n_pools; i++)
                        d->pools[i] = pool_free(d->pools[i]);
                d->index = pool_free(d->index);
                d->fetcher = fetcher_free(d->fetcher);
                d->control = control_free(d->control);
                d->signals = signals_free(d->signals);
                d->notify = notify_free(d->notify);
                d->stall = stall_free(d->stall);
                d->watch = watch_free(d->watch);
                d->missing = missing_free(d->missing);
                d->splitting = splitting_free(d->splitting);
                d->poll = poll_free(d->poll);
                d->queue = queue_free(d->queue);
                if (!uv_is_closing((uv_handle_t *)&d->again)) {
                        uv_close((uv_handle_t *)&d->again, NULL);
                        uv_close((uv_handle_t *)&d->look, NULL);
                }
                uv_close((uv_handle_t *)&d->turn, NULL);
                uv_run(&d->loop, UV_RUN_DEFAULT);
                uv_loop_close(&d->loop);
                d->record = record_free(d->record);
                d->pauses = pauses_free(d->pauses);
        }
        if (*d->run_dir)
                pool_remove_homes(d->run_dir);
        free(d->request_env);
        free(d->pools);
        free(d->packages);
        d->feed = feed_free(d->feed);
        d->staging = staging_free(d->staging);
        journal_audit_head(NULL);
        d->audit = audit_free(d->audit);
        d->ledger = ledger_free(d->ledger);
        secret_done(&d->passphrase);
        close_fd(d->lock_fd);
        close_fd(d->state_fd);
        d->config = config_free(d->config);
}
