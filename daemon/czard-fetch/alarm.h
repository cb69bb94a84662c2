/* SPDX-License-Identifier: Apache-2.0 */
/* A one-shot timer that can be freed at any time, also from its own callback (libuv wants a handle to live
 * until it is closed; this hides that). */
#pragma once

#include <stdint.h>
#include <uv.h>

struct alarm;

typedef void alarm_fn(void *arg);

int alarm_new(uv_loop_t *loop, alarm_fn *fire, void *arg, struct alarm **ret);
/* Runs fire once, from the loop, after so long (0: in the next turn). An earlier setting is replaced. */
void alarm_set(struct alarm *a, uint64_t usec);
void alarm_stop(struct alarm *a);
struct alarm *alarm_free(struct alarm *a);
