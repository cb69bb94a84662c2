/* SPDX-License-Identifier: Apache-2.0 */
/* A timer that runs only while jobs do. The decision is is_due(). */
#include "stall.h"

#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"

#define LOOK_MSEC 5000
/* czard-fetch gives a request up after six times stall_timeout, and what it waits in between. */
#define TIMEOUTS 10
#define LEAST_USEC (30 * USEC_PER_SEC)
#define HOPELESS 2 /* times the limit */

struct stall {
        const struct job_env *on;
        const struct queue *queue; /* asked how much is under way */
        uv_timer_t timer;
        uint64_t said_usec;
};

/* Is it to be said now? said_usec: when it was the last time (0: never). */
static bool is_due(uint64_t now_usec, uint64_t moved_usec, uint64_t said_usec, uint64_t limit_usec)
{
        uint64_t since = MAX(moved_usec, said_usec);
        return now_usec > since && now_usec - since > limit_usec;
}

/* How long nothing may move: longer than czard-fetch tries one request. */
static uint64_t limit(const struct stall *s)
{
        uint64_t timeout = s->on->config->s3.stall_timeout_usec;
        return timeout < UINT64_MAX / TIMEOUTS ? MAX(TIMEOUTS * timeout, LEAST_USEC) : UINT64_MAX;
}

static unsigned n_running(const struct stall *s)
{
        struct queue_progress p;
        queue_progress(s->queue, &p);
        return p.running;
}

bool stall_is_hopeless(const struct stall *s)
{
        return n_running(s) > 0 &&
               is_due(now_usec(CLOCK_MONOTONIC), s->on->flow.moved->usec, 0, HOPELESS * limit(s));
}

static void say(const struct stall *s, uint64_t now)
{
        unsigned gets = 0, waiting = 0, busy = 0;
        char span[SPAN_SIZE];
        for (const struct slot *slot = *s->on->flow.slots; slot; slot = slot->next) {
                gets += slot->get == GET_RUNS;
                waiting += slot->get == GET_WAITS;
                busy += slot->reader == READER_GRANTED;
        }
        journal_event(EVENT_STALLED, NULL,
                "nothing has moved for %s, with %u object%s under way (%u GET%s running, %u waiting, %u "
                "helper%s at work); helpers are replaced and what they did is tried again",
                timespan_format(now - s->on->flow.moved->usec, span, sizeof(span)), n_running(s),
                n_running(s) == 1 ? "" : "s", gets, gets == 1 ? "" : "s", waiting, busy,
                busy == 1 ? "" : "s");
}

/* Workers first: they end in a later turn. When czard-fetch is given up, flows end at once. */
static void free_all(struct stall *s)
{
        for (struct slot *slot = *s->on->flow.slots; slot; slot = slot->next)
                if (slot->reader == READER_GRANTED)
                        flow_break(container_of(slot, struct flow, slot), "did not get on");
        fetcher_break(s->on->flow.fetcher, "did not get on");
}

static void on_timer(uv_timer_t *timer)
{
        struct stall *s = timer->data;
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        if (n_running(s) == 0) {
                uv_timer_stop(timer);
        } else if (is_due(now, s->on->flow.moved->usec, s->said_usec, limit(s))) {
                s->said_usec = now;
                say(s, now);
                free_all(s);
        }
}

void stall_watch(struct stall *s)
{
        if (!uv_is_active((uv_handle_t *)&s->timer) && n_running(s) > 0)
                uv_timer_start(&s->timer, on_timer, LOOK_MSEC, LOOK_MSEC);
}

int stall_new(const struct job_env *env, const struct queue *queue, struct stall **ret)
{
        struct stall *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        *s = (struct stall){.on = env, .queue = queue};
        uv_timer_init(env->loop, &s->timer);
        s->timer.data = s;
        *ret = s;
        return 0;
}

static void on_closed(uv_handle_t *h)
{
        free(h->data);
}

struct stall *stall_free(struct stall *s)
{
        if (s)
                uv_close((uv_handle_t *)&s->timer, on_closed);
        return NULL;
}
