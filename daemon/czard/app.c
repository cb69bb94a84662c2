/* SPDX-License-Identifier: Apache-2.0 */
/* The life of czard: set up, run the loop, stop; and the turn of the loop between: what happened is taken
 * from the parts, what follows is decided, what there is room for is started. Every callback is followed by a
 * turn before the loop sleeps. */
#include "app.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "feed.h"
#include "journal.h"
#include "key_command.h"
#include "missing.h"
#include "noted.h"
#include "parts.h"
#include "startup.h"
#include "steward.h"
#include "timespan.h"

#define PAUSE_LOOK_MSEC (60 * 1000)

struct app {
        struct czard_options options;
        uv_loop_t loop;
        uv_prepare_t turn; /* before the loop sleeps */
        uv_timer_t look;   /* while there is a pause: whether it may end */
        uv_timer_t again;  /* fires at once: something happened in the turn itself */

        struct config *config;
        struct package_context *contexts;

        struct startup on; /* what was checked and opened once */
        struct czard_parts parts;
        char noted_pauses[NOTED_PAUSES_SIZE];
        size_t pools_ready;
        struct request_env requests;

        bool loop_open, ready, asked_to_stop, stopping, stopped;
        struct ending ending;
};

/* Nothing new is started from now on; the turn of the loop stops what runs. */
static void stop(struct app *a)
{
        a->stopping = true;
}

static void fail(struct app *a, const struct error *e)
{
        ending_fail(&a->ending, e, cause_advice(e->cause));
        stop(a);
}

static void audit(struct app *a, const char *event)
{
        noted_audit(a->on.audit, a->on.ledger, a->config, a->on.staging_id, event);
}

/* --- keys --- */

static void on_pool_ready(void *arg, struct pool *p, const struct proto_ready *ready)
{
        struct app *a = arg;
        if (ready->outcome.cause != CAUSE_NONE && a->ready) {
                pauses_enter(a->parts.pauses, PAUSE_KEY, ready->outcome.cause, ready->outcome.detail);
                return;
        }
        if (ready->outcome.cause != CAUSE_NONE) {
                struct error e = {};
                error_set(&e, ready->outcome.cause, EACCES, "%s", ready->outcome.detail);
                char room[KEY_COMMAND_SIZE];
                ending_fail(&a->ending, &e,
                        e.cause == CAUSE_SPACE ? KEY_NO_ROOM
                                               : key_advice(a->config, pool_homedir(p), e.cause, room));
                stop(a);
                return;
        }
        watch_keys(a->parts.watch, a->config, pool_homedir(p), ready);
        noted_keys(a->parts.record, a->on.ledger, ready, pool_homedir(p), a->pools_ready == 0);
        if (a->ready || ++a->pools_ready < pools_count(a->parts.pools) || a->stopping)
                return;
        a->ready = true;
        control_ready(a->parts.control);
        notify_ready();
        journal_event(EVENT_READY, NULL, "ready: key usable, staging %s, %zu package%s",
                a->config->staging.path, a->config->n_packages, a->config->n_packages == 1 ? "" : "s");
        if (a->options.once)
                poller_now(a->parts.poll, true);
        else
                poller_schedule(a->parts.poll);
}

/* Gives each package the workers with its key, starting those that are not there. */
static int open_pools(struct app *a, struct error *e)
{
        int r = 0;
        for (size_t i = 0; r >= 0 && i < a->config->n_packages; i++)
                r = pools_open(a->parts.pools, a->config, &a->config->packages[i], &a->contexts[i].pool, e);
        return r;
}

/* One that is still no good says so again. */
static void try_keys_again(struct app *a)
{
        struct error e = {};
        if (open_pools(a, &e) < 0)
                pauses_enter(a->parts.pauses, PAUSE_KEY, e.cause, e.text);
        else
                pauses_leave(a->parts.pauses, PAUSE_KEY);
}

/* A key whose packages went is not kept: its workers end, and their homes with it. What they did for such a
 * package could not be published. */
static void drop_unused_pools(struct app *a)
{
        for (struct pool *p; a->ready && (p = pools_take_unused(a->parts.pools, a->config));) {
                queue_cancel_pool(a->parts.queue, p);
                pool_free(p);
        }
}

/* --- pauses --- */

/* Can our own state be written again? What is left of working states in the ledger goes back to NEW with it.
 */
static void look_at_state(struct app *a)
{
        struct error e = {};
        if (!(pauses_now(a->parts.pauses) & BIT(PAUSE_STATE)))
                return;
        if (!a->stopping && startup_ledger_damaged(a->config, a->on.ledger, &e) < 0)
                fail(a, &e);
        if (a->stopping || record_flush(a->parts.record) < 0 || audit_probe(a->on.audit, &e) < 0 ||
                audit_sync(a->on.audit, &e) < 0 || ledger_begin(a->on.ledger, &e) < 0)
                return;
        char when[TIME_SIZE];
        int r = ledger_meta_set(a->on.ledger, "probe", time_format((int64_t)time(NULL), when), &e);
        if (r >= 0)
                r = queue_recover(a->parts.queue);
        if (r < 0)
                ledger_rollback(a->on.ledger);
        else if (ledger_commit(a->on.ledger, &e) >= 0)
                pauses_leave(a->parts.pauses, PAUSE_STATE);
}

/* The staging volume the one we know, room above min_free, our own state writable? True: no pause of any
 * kind, work may start. */
static bool may_start(struct app *a)
{
        pauses_look_at_staging(a->parts.pauses);
        look_at_state(a);
        return pauses_now(a->parts.pauses) == 0;
}

static void on_look(uv_timer_t *timer)
{
        if (may_start(timer->data))
                uv_timer_stop(timer);
}

/* A pause that ended lets the queue start what is due; what was listed while our state could not be written
 * is listed again. While one lasts it is looked at now and then. */
static void react_to_pauses(struct app *a)
{
        unsigned ended = pauses_take_ended(a->parts.pauses);
        if (ended && !poller_was_lost(a->parts.poll))
                queue_plan(a->parts.queue);
        if ((ended & BIT(PAUSE_STATE)) && !a->options.once && a->ready)
                poller_now(a->parts.poll, true);
        if (pauses_now(a->parts.pauses) && !a->options.once && !uv_is_active((uv_handle_t *)&a->look))
                uv_timer_start(&a->look, on_look, PAUSE_LOOK_MSEC, PAUSE_LOOK_MSEC);
}

/* --- what is asked for --- */

/* What SIGUSR1 asks for, and czarctl resync. */
static void resync_all(struct app *a)
{
        if (!a->ready)
                return; /* the first poll of all is to come */
        pauses_unblock_buckets(a->parts.pauses);
        queue_retry_now(a->parts.queue);
        splitting_retry(a->parts.splitting);
        try_keys_again(a);
        may_start(a);
        poller_now(a->parts.poll, true);
}

/* Hands the configuration in force to all who go by it. */
static void configure(struct app *a)
{
        journal_level(a->config->log_level);
        pauses_configure(a->parts.pauses, a->config);
        record_configure(a->parts.record, a->config);
        a->parts.jobs.config = a->config;
        a->parts.jobs.contexts = a->contexts;
        splitting_look(a->parts.splitting);
}

/* Swaps it in in one step. Running transfers go on: they took what they need of the old one when they
 * started. czard-fetch drains and is renewed, so that new credentials count. */
static void take_over(struct app *a, struct config *fresh, struct package_context *contexts)
{
        struct config *old = a->config;
        a->config = fresh;
        free(a->contexts);
        a->contexts = contexts;
        configure(a);
        pools_reconfigure(a->parts.pools, fresh);
        try_keys_again(a);
        fetcher_renew(a->parts.fetcher);
        pauses_new_credentials(a->parts.pauses);
        queue_look_at_all(a->parts.queue);
        poller_restart(a->parts.poll);
        config_free(old);
        audit(a, "reload");
}

static void reload(struct app *a)
{
        struct config *fresh;
        struct package_context *contexts;
        const char *restart;
        struct error e = {};
        notify_reloading();
        if (startup_reload(a->options.config_path, a->config, &fresh, &contexts, &restart, &e) < 0) {
                journal_event(EVENT_RELOAD_REFUSED, &(struct journal_fields){.cause = e.cause},
                        "reload refused, the old configuration stays in force: %s", e.text);
        } else {
                take_over(a, fresh, contexts);
                journal_event(EVENT_RELOADED, NULL, "configuration reloaded%s%s%s",
                        restart ? "; a change of " : "", restart ? restart : "",
                        restart ? " needs a restart and is not in force yet" : "");
        }
        notify_ready();
}

static void react_to_signal(struct app *a, int number)
{
        char text[TEXT_SIZE];
        bool stops = number == SIGTERM || number == SIGINT;
        if (a->stopping && !stops)
                return;
        switch (number) {
        case SIGHUP:
                reload(a);
                break;
        case SIGUSR1:
                resync_all(a);
                break;
        case SIGUSR2:
                notify_text(a->parts.notify, text, sizeof(text));
                journal_event(EVENT_STATUS, NULL, "%s", text);
                break;
        default:
                if (a->asked_to_stop) {
                        record_flush(a->parts.record);
                        _exit(STATUS_WELL);
                }
                a->asked_to_stop = true;
                stop(a);
        }
}

static void react_to_requests(struct app *a)
{
        if (!a->requests.resync_all)
                return;
        a->requests.resync_all = false;
        resync_all(a);
}

/* --- one turn of the loop --- */

static void react_to_record(struct app *a)
{
        struct ledger_object o;
        int64_t id, at = record_take_retry(a->parts.record);
        if (pauses_take_renew(a->parts.pauses))
                fetcher_renew(a->parts.fetcher);
        while (record_take_relist(a->parts.record, &id)) {
                struct error e = {};
                int r = ledger_get(a->on.ledger, id, &o, &e);
                if (r >= 0)
                        poller_object(a->parts.poll, &o);
                else if (r != -ENOENT)
                        record_trouble(a->parts.record, &e);
        }
        if (at != 0)
                queue_retry_at(a->parts.queue, at);
}

/* What cannot be written of it now is written with the next event, or looked at after the next poll. */
static void look_at_feed(struct app *a)
{
        struct error e = {};
        if (pauses_now(a->parts.pauses) & BIT(PAUSE_STAGING) || record_flush(a->parts.record) < 0)
                return;
        int r = feed_look(a->parts.feed, &e);
        noted_feed(a->parts.record, a->on.ledger, r < 0 ? e.text : "");
        if (r < 0)
                record_incomplete(a->parts.record);
        if (r != 0)
                journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING, .cause = e.cause},
                        "%s%s",
                        r > 0 ? "the feed was lost or cut short, and was made again from the audit record, "
                                "with the same numbers"
                        : r == -ENODATA ? "the feed was lost or cut short, and cannot be made again now: "
                                        : "the feed could not be looked at, or made again if it was lost: ",
                        e.text);
}

static bool react_to_poll(struct app *a)
{
        struct poll_ended ended;
        if (!poller_take_ended(a->parts.poll, &ended))
                return false;
        if (ended.poll)
                may_start(a); /* a pause may be over */
        if (ended.poll)
                look_at_feed(a);
        if (ended.poll && !a->options.once)
                watch_look(a->parts.watch, a->config);
        if (ended.full) {
                queue_look_at_all(a->parts.queue);
                missing_look(a->parts.missing);
        }
        if (ended.plan)
                queue_plan(a->parts.queue);
        return true;
}

static bool react_to_missing(struct app *a)
{
        if (!missing_take_ended(a->parts.missing))
                return false;
        splitting_look(a->parts.splitting);
        if (!(pauses_now(a->parts.pauses) & BIT(PAUSE_STAGING)))
                latest_point_all(a->config, a->on.ledger, a->on.staging, a->parts.record);
        return true;
}

/* Plans what is asked for, and starts what there is room for. */
static void start_jobs(struct app *a)
{
        struct error e = {};
        if (queue_wants_plan(a->parts.queue)) {
                bool again = queue_looks_at_all(a->parts.queue) && !missing_widen(a->parts.missing);
                if (queue_make_plan(a->parts.queue, again, &e) < 0)
                        fail(a, &e);
        }
        if (a->ready && !a->stopping && queue_take_start(a->parts.queue) && may_start(a))
                queue_start(a->parts.queue);
}

/* Days to be split by course: none while files are to come, which have all cores; one at a time beside a
 * poll, else one a core. */
static void start_splits(struct app *a)
{
        size_t most = poller_running(a->parts.poll) ? 1 : workers_wanted(a->config);
        if (a->ready && !a->stopping && !queue_held(a->parts.queue) && !queue_is_working(a->parts.queue) &&
                pauses_now(a->parts.pauses) == 0 && splitting_has_next(a->parts.splitting, most) &&
                may_start(a))
                splitting_start(a->parts.splitting, most);
}

/* Takes what happened below and reacts. Was there news? */
static bool react(struct app *a)
{
        bool news = moved_take(&a->parts.moved);
        splitting_step(a->parts.splitting);
        react_to_requests(a);
        news |= react_to_poll(a);
        news |= react_to_missing(a);
        react_to_pauses(a);
        start_jobs(a);
        start_splits(a);
        react_to_record(a); /* last: what was started above may have failed already */
        noted_pauses(a->parts.record, a->on.ledger, a->parts.pauses, a->noted_pauses);
        return news;
}

/* What may be freed before the loop has come to its end. */
static void close_parts(struct app *a)
{
        parts_close(&a->parts);
        uv_close((uv_handle_t *)&a->again, NULL);
        uv_close((uv_handle_t *)&a->look, NULL);
        a->stopped = true;
}

static void stop_now(struct app *a)
{
        notify_stopping();
        journal_event(EVENT_STOPPING, NULL, "stopping");
        poller_stop(a->parts.poll);
        queue_cancel_all(a->parts.queue);
        record_flush(a->parts.record);
        signals_leave(a->parts.signals);
        close_parts(a);
}

static bool is_over(const struct app *a)
{
        return a->options.once && a->ready && !poller_running(a->parts.poll) && queue_idle(a->parts.queue) &&
               !missing_running(a->parts.missing) && splitting_idle(a->parts.splitting);
}

static void on_again(uv_timer_t *timer)
{
        (void)timer;
}

/* What follows from what happened: once a turn of the loop, before it sleeps. */
static void turn(struct app *a)
{
        queue_step(a->parts.queue);
        for (int number; a->parts.signals && (number = signals_take(a->parts.signals)) != 0;)
                react_to_signal(a, number);
        if (a->stopped)
                return;
        bool news = react(a);
        drop_unused_pools(a);
        if (a->stopping || is_over(a)) {
                stop_now(a);
                return;
        }
        slots_start(a->parts.slots, (unsigned)a->config->s3.max_transfers);
        queue_mark(a->parts.queue);
        notify_status(a->parts.notify, news);
        if (news || a->parts.moved.news)
                uv_timer_start(&a->again, on_again, 0, 0);
}

static void on_turn(uv_prepare_t *handle)
{
        struct app *a = handle->data;
        turn(a);
        record_flush(a->parts.record);
}

/* --- set up --- */

static int cannot_start(int r, struct error *e)
{
        return r < 0 && e->cause == CAUSE_NONE
                       ? error_set(e, CAUSE_INTERNAL, -r, "cannot start: %s", strerror(-r))
                       : r;
}

static int open_state(struct app *a, struct error *e)
{
        int r = startup_open(a->config, !a->options.fetch_socket, &a->on, e);
        return r < 0 ? r : startup_groups(a->config, &a->contexts, e);
}

/* Takes up an admin's pause that was in force, and listens. */
static int open_control(struct app *a, struct error *e)
{
        struct ledger *ledger = a->on.ledger;
        char text[TEXT_SIZE] = "";
        (void)ledger_meta_get(ledger, "pauses", a->noted_pauses, sizeof(a->noted_pauses), NULL);
        if (steward_paused(ledger, text, sizeof(text), e) >= 0 && *text)
                pauses_enter(a->parts.pauses, PAUSE_ADMIN, CAUSE_NONE, text);
        a->requests = (struct request_env){.on = &a->parts.jobs,
                .audit = a->on.audit,
                .feed = a->parts.feed,
                .queue = a->parts.queue,
                .poll = a->parts.poll,
                .splitting = a->parts.splitting};
        return control_new(&a->loop, a->config->socket, a->on.run_dir, &a->requests, &a->parts.control, e);
}

static int open_parts(struct app *a, struct error *e)
{
        const struct parts_spec spec = {.loop = &a->loop,
                .config_path = a->options.config_path,
                .fetch_socket = a->options.fetch_socket,
                .once = a->options.once,
                .config = a->config,
                .on = &a->on,
                .ready = on_pool_ready,
                .arg = a};
        return parts_open(&a->parts, &spec, e);
}

static int begin(struct app *a, struct error *e)
{
        configure(a);
        int r = startup_reconcile(a->on.ledger, a->on.staging, a->parts.record, a->options.once, e);
        if (r < 0)
                return r;
        latest_point_all(a->config, a->on.ledger, a->on.staging, a->parts.record);
        leftover_clear(a->parts.record, a->on.ledger, a->on.staging);
        return 0;
}

static int open_all(struct app *a, struct error *e)
{
        int (*const steps[])(struct app *, struct error *) = {
                open_state, open_parts, begin, open_control, open_pools};
        int r = 0;
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(steps); i++)
                r = cannot_start(steps[i](a, e), e);
        return r;
}

static int app_open(struct app *a)
{
        struct error e = {};
        int r = config_load(a->options.config_path, &a->config, &e, NULL);
        if (r < 0) {
                journal_event(EVENT_FAILED, &(struct journal_fields){.cause = e.cause}, "%s", e.text);
                a->ending.status = r == -ENOMEM ? STATUS_CANNOT : STATUS_USAGE;
                return r;
        }
        journal_level(a->config->log_level);
        journal_event(EVENT_STARTED, NULL, "czard %s started", CZARD_VERSION);
        for (size_t i = 0; i < a->config->warnings.n; i++)
                journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING}, "%s",
                        a->config->warnings.v[i]);
        uv_loop_init(&a->loop);
        uv_timer_init(&a->loop, &a->again);
        uv_timer_init(&a->loop, &a->look);
        uv_prepare_init(&a->loop, &a->turn);
        a->turn.data = a->look.data = a;
        a->loop_open = true;
        r = open_all(a, &e);
        if (r < 0) {
                ending_fail(&a->ending, &e, cause_advice(e.cause));
                ending_note(&a->ending, a->on.ledger, false);
                return r;
        }
        audit(a, "start");
        if (!a->options.once)
                noted_start(a->parts.record, a->on.ledger);
        return 0;
}

/* --- run, end --- */

static void run(struct app *a)
{
        uv_prepare_start(&a->turn, on_turn);
        uv_unref((uv_handle_t *)&a->turn);
        uv_run(&a->loop, UV_RUN_DEFAULT);
        queue_step(a->parts.queue); /* a thread may have been the last */
        record_flush(a->parts.record);
        bool once = a->options.once, early = once && a->asked_to_stop;
        bool incomplete = pauses_ever(a->parts.pauses) || record_is_incomplete(a->parts.record) || early;
        ending_judge(&a->ending, a->parts.record, a->on.ledger, once, incomplete);
        ending_note(&a->ending, a->on.ledger, early);
        audit(a, "stop");
        journal_event(EVENT_STOPPED, NULL, "stopped");
}

static void app_done(struct app *a)
{
        if (a->loop_open) {
                if (!a->stopped)
                        close_parts(a);
                parts_leave(&a->parts);
                uv_close((uv_handle_t *)&a->turn, NULL);
                uv_run(&a->loop, UV_RUN_DEFAULT);
                uv_loop_close(&a->loop);
        }
        parts_free(&a->parts);
        free(a->contexts);
        startup_done(&a->on);
        a->config = config_free(a->config);
}

int app_run(const struct czard_options *options)
{
        struct app a = {.options = *options, .on = {.state_fd = -1, .lock_fd = -1}};
        if (app_open(&a) >= 0)
                run(&a);
        app_done(&a);
        return a.ending.status;
}
