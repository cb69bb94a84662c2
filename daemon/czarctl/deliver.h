/* SPDX-License-Identifier: Apache-2.0 */
/* deliver list|plan|log: looking at what czard-deliver does, with its own code (lib/delivery). */
#pragma once

#include "ctl.h"

/* The state folder of czard-deliver, -ENOENT: nothing was delivered yet, or -errno. */
int deliver_state(const struct ctl *c, struct error *e);
int deliver_list(struct ctl *c);
int deliver_plan(struct ctl *c, const char *name);
int deliver_log(struct ctl *c, const char *name);
