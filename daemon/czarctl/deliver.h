/* SPDX-License-Identifier: Apache-2.0 */
/* deliver list|plan|log: looking at what czard-deliver does, with its own code (lib/delivery). */
#pragma once

#include "ctl.h"

/* The state folder of czard-deliver, -ENOENT: nothing was delivered yet, or -errno. */
int deliver_state(const struct ctl *c, struct error *e);
/* One delivery as its record has it, for status, check and metrics. Borrowed for the call. */
struct deliver_fact {
        const struct config_delivery *delivery;
        bool stands_still; /* something is due and cannot be handed out */
        const char *state, *reason;
        uint64_t out, out_bytes, destroy;
};
typedef void deliver_fact_fn(void *arg, const struct deliver_fact *f);
/* 0, or -errno when the record cannot be read: what was told before counts. */
int deliver_facts(const struct ctl *c, deliver_fact_fn *each, void *arg, struct error *e);
int deliver_list(struct ctl *c);
int deliver_plan(struct ctl *c, const char *name);
int deliver_log(struct ctl *c, const char *name);
