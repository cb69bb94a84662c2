/* SPDX-License-Identifier: Apache-2.0 */
#include "parts.h"

#include <errno.h>

#include "feed.h"
#include "journal.h"
#include "str.h"

#define INDEX_PROCESSES 16 /* archives whose directory is read at a time, over all packages */

/* What cannot be written of the feed now is written with the next event. */
static int open_record(struct czard_parts *p, const struct parts_spec *spec, struct error *e)
{
        const struct startup *on = spec->on;
        struct error late = {};
        p->pauses = pauses_new(on->staging, on->staging_id);
        p->record = p->pauses ? record_new(on->ledger, on->audit, p->pauses, spec->once) : NULL;
        if (!p->record)
                return -ENOMEM;
        int r = feed_new(on->ledger, on->audit, on->staging, on->state_fd, &p->feed, e);
        if (r < 0)
                return r;
        feed_each_piece(p->feed, notify_alive, NULL);
        record_configure(p->record, spec->config);
        record_set_feed(p->record, p->feed);
        if (feed_check(p->feed, &late) < 0)
                journal_event(EVENT_NOTE,
                        &(struct journal_fields){.priority = LOG_WARNING, .cause = late.cause},
                        "the feed could not be brought up to date: %s", late.text);
        return 0;
}

static int open_helpers(struct czard_parts *p, const struct parts_spec *spec, struct error *e)
{
        const struct startup *on = spec->on;
        const struct fetcher_spec fetcher = {
                .config_path = spec->config_path, .socket_path = spec->fetch_socket};
        const struct pools_spec pools = {.loop = spec->loop,
                .run_dir = on->run_dir,
                .passphrase = &on->passphrase,
                .ready = spec->ready,
                .arg = spec->arg};
        (void)e;
        p->pools = pools_new(&pools);
        int r = p->pools ? fetcher_new(spec->loop, &fetcher, &p->fetcher) : -ENOMEM;
        return r < 0 ? r : pool_new_index(spec->loop, INDEX_PROCESSES, &p->index);
}

static int open_plan(struct czard_parts *p, const struct parts_spec *spec, struct error *e)
{
        const struct job_env *jobs = &p->jobs;
        (void)e;
        p->jobs = (struct job_env){.loop = spec->loop,
                .once = spec->once,
                .ledger = spec->on->ledger,
                .staging = spec->on->staging,
                .record = p->record,
                .pauses = p->pauses,
                .index = p->index,
                .flow = {.fetcher = p->fetcher, .record = p->record, .moved = &p->moved, .slots = &p->slots}};
        int r = queue_new(jobs, &p->queue);
        if (r >= 0)
                r = poller_new(jobs, p->queue, &p->poll);
        if (r >= 0)
                r = splitting_new(jobs, p->queue, &p->splitting);
        p->missing = missing_new(jobs, p->queue, p->splitting);
        return r >= 0 && !p->missing ? -ENOMEM : r;
}

static int open_face(struct czard_parts *p, const struct parts_spec *spec, struct error *e)
{
        (void)e;
        p->watch = watch_new(spec->on->ledger);
        const struct notify_spec notify = {
                .loop = spec->loop, .queue = p->queue, .poll = p->poll, .pauses = p->pauses};
        int r = p->watch ? signals_new(spec->loop, &p->signals) : -ENOMEM;
        return r < 0 ? r : notify_new(&notify, &p->notify);
}

int parts_open(struct czard_parts *p, const struct parts_spec *spec, struct error *e)
{
        int (*const steps[])(struct czard_parts *, const struct parts_spec *, struct error *) = {
                open_record, open_helpers, open_plan, open_face};
        int r = 0;
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(steps); i++)
                r = steps[i](p, spec, e);
        return r;
}

void parts_close(struct czard_parts *p)
{
        p->pools = pools_free(p->pools);
        p->index = pool_free(p->index);
        p->fetcher = fetcher_free(p->fetcher);
        p->control = control_free(p->control);
        p->notify = notify_free(p->notify);
        p->watch = watch_free(p->watch);
        p->missing = missing_free(p->missing);
        p->splitting = splitting_free(p->splitting);
}

void parts_leave(struct czard_parts *p)
{
        p->signals = signals_free(p->signals);
        p->poll = poller_free(p->poll);
        p->queue = queue_free(p->queue);
}

void parts_free(struct czard_parts *p)
{
        p->record = record_free(p->record);
        p->pauses = pauses_free(p->pauses);
        p->feed = feed_free(p->feed);
}
