/* SPDX-License-Identifier: Apache-2.0 */
/* Signals, on the loop. */
#include "signals.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "cleanup.h"
#include "notify.h"
#include "poll.h"
#include "queue.h"
#include "record.h"

static const int numbers[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGTERM, SIGINT};

struct signals {
        struct director *d;
        uv_signal_t handles[ELEMENTSOF(numbers)];
        unsigned open_handles;
        bool stopping;
};

void resync_all(struct director *d)
{
        struct ledger_filter f = {.states = BIT(OBJECT_RETRY)};
        _cleanup_free_ int64_t *ids = NULL;
        size_t n = 0;
        struct error e = {};
        if (!d->ready)
                return; /* the first poll of all is to come */
        record_unblock_buckets(d);
        record_open(d);
        if (ledger_ids(d->ledger, &f, &ids, &n, &e) < 0)
                pause_enter(d, PAUSE_STATE, e.cause, e.text);
        for (size_t i = 0; i < n; i++) {
                struct ledger_object o;
                if (queue_busy(d->queue, ids[i]) || ledger_get(d->ledger, ids[i], &o, &e) < 0)
                        continue;
                o.next_try = 0;
                ledger_save(d->ledger, &o, &e);
        }
        if (director_open_pools(d, &e) < 0)
                pause_enter(d, PAUSE_KEY, e.cause, e.text);
        else
                pause_leave(d, PAUSE_KEY);
        poll_now(d->poll, true);
}

void say_status(struct director *d)
{
        char text[512];
        notify_text(d, text, sizeof(text));
        journal_event(EVENT_STATUS, NULL, "%s", text);
}

static void on_signal(uv_signal_t *handle, int number)
{
        struct signals *s = handle->data;
        switch (number) {
        case SIGHUP:
                director_reload(s->d);
                break;
        case SIGUSR1:
                resync_all(s->d);
                break;
        case SIGUSR2:
                say_status(s->d);
                break;
        default:
                if (s->stopping) {
                        record_flush(s->d->record);
                        _exit(STATUS_WELL);
                }
                s->stopping = true;
                director_stop(s->d);
        }
}

int signals_new(struct director *d, struct signals **ret)
{
        struct signals *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->d = d;
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
                uv_signal_init(&d->loop, &s->handles[i]);
                s->handles[i].data = s;
                uv_signal_start(&s->handles[i], on_signal, numbers[i]);
                s->open_handles++;
        }
        *ret = s;
        return 0;
}

static void on_closed(uv_handle_t *h)
{
        struct signals *s = h->data;
        if (--s->open_handles == 0)
                free(s);
}

struct signals *signals_free(struct signals *s)
{
        for (size_t i = 0; s && i < ELEMENTSOF(numbers); i++)
                uv_close((uv_handle_t *)&s->handles[i], on_closed);
        return NULL;
}
