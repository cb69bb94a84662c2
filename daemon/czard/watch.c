/* SPDX-License-Identifier: Apache-2.0 */
/* The daily watch. Key expiry is told 60, 30, 14, 7 and 1 days before, and daily once it is past. */
#include "watch.h"

#include <stdlib.h>
#include <time.h>

#include "timespan.h"

#define DAY 86400
#define KEYS_MOST 64

struct watched_key {
        char fingerprint[65];
        int64_t expires;
};

struct watch {
        struct director *d;
        struct watched_key keys[KEYS_MOST];
        size_t n_keys;
        uv_timer_t daily;
};

static const int64_t warn_days[] = {60, 30, 14, 7, 1};

static void look_at_key(const struct watched_key *k, bool at_start)
{
        int64_t left = k->expires - (int64_t)time(NULL), days = left / DAY;
        if (k->expires == 0)
                return;
        bool say = left < 0;
        for (size_t i = 0; i < ELEMENTSOF(warn_days); i++)
                say |= at_start ? days <= warn_days[i] : days == warn_days[i];
        if (!say)
                return;
        char when[21];
        journal_event(EVENT_KEY_EXPIRING, &(struct journal_fields){.fingerprint = k->fingerprint},
                "the key %s %s %s; extend it (czarctl key extend) and send the new public key to edX, or "
                "files stop "
                "coming",
                k->fingerprint, left < 0 ? "has expired on" : "expires on", time_format(k->expires, when));
}

static void on_daily(uv_timer_t *timer)
{
        struct watch *w = timer->data;
        for (size_t i = 0; i < w->n_keys; i++)
                look_at_key(&w->keys[i], false);
}

void watch_keys(struct watch *w, const struct proto_ready *ready)
{
        for (size_t i = 0; i < ready->n_keys && w->n_keys < KEYS_MOST; i++) {
                struct watched_key *k = &w->keys[w->n_keys++];
                snprintf(k->fingerprint, sizeof(k->fingerprint), "%s", ready->keys[i].fingerprint);
                k->expires = ready->keys[i].expires;
                look_at_key(k, true);
        }
}

int watch_new(struct director *d, struct watch **ret)
{
        struct watch *w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        w->d = d;
        uv_timer_init(&d->loop, &w->daily);
        w->daily.data = w;
        if (!d->options.once)
                uv_timer_start(&w->daily, on_daily, DAY * 1000, DAY * 1000);
        *ret = w;
        return 0;
}

static void on_closed(uv_handle_t *h)
{
        free(h->data);
}

struct watch *watch_free(struct watch *w)
{
        if (w)
                uv_close((uv_handle_t *)&w->daily, on_closed);
        return NULL;
}
