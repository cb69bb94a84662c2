/* SPDX-License-Identifier: Apache-2.0 */
/* One uv_timer_t in memory of its own. */
#include "alarm.h"

#include <errno.h>
#include <stdlib.h>

#include "macro.h"

struct alarm {
        uv_timer_t timer;
        alarm_fn *fire;
        void *arg;
};

static void on_timer(uv_timer_t *timer)
{
        struct alarm *a = timer->data;
        a->fire(a->arg);
}

int alarm_new(uv_loop_t *loop, alarm_fn *fire, void *arg, struct alarm **ret)
{
        struct alarm *a = calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;
        *a = (struct alarm){.fire = fire, .arg = arg};
        uv_timer_init(loop, &a->timer);
        a->timer.data = a;
        *ret = a;
        return 0;
}

void alarm_set(struct alarm *a, uint64_t usec)
{
        uv_timer_start(&a->timer, on_timer, (usec + USEC_PER_MSEC - 1) / USEC_PER_MSEC, 0);
}

void alarm_stop(struct alarm *a)
{
        uv_timer_stop(&a->timer);
}

static void on_closed(uv_handle_t *h)
{
        free(h->data);
}

struct alarm *alarm_free(struct alarm *a)
{
        if (a)
                uv_close((uv_handle_t *)&a->timer, on_closed);
        return NULL;
}
