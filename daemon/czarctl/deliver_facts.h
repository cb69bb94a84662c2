/* SPDX-License-Identifier: Apache-2.0 */
/* deliver list|plan|log: looking at what czard-deliver does, with its own code (lib/delivery). */
#pragma once

#include "ctl.h"
#include "delivery_record.h"

/* The state folder of czard-deliver, -ENOENT: nothing was delivered yet, or -errno. */
int deliver_state(const struct ctl *c, struct error *e);
/* A delivery: of the configuration, or one that is not there any more (is_gone) and of which messages still
 * lie in its outbox. The rest is borrowed for the call. */
struct deliver_fact {
        const struct config_delivery *delivery;
        const struct records *records;
        bool is_gone;
        bool stands_still; /* something is due and cannot be handed out, or nobody looks after it any more */
        const char *state, *reason, *fix; /* reason "" none */
        uint64_t delivered, out, out_bytes, destroy;
        int64_t last;
        struct strv unmatched; /* patterns that match nothing that is staged */
        char *trouble;         /* what its next run would meet, or not do; NULL: nothing */
        char *advice;          /* for that; NULL: fix has it */
        const char *why;       /* why it is not well: reason or trouble; NULL: it is */
};
typedef void deliver_fact_fn(void *arg, const struct deliver_fact *f);
/* By the record, what is staged, and the recipients' keys. 0, or -errno when the record cannot be read: what
 * was told before counts. */
int deliver_facts(const struct ctl *c, deliver_fact_fn *each, void *arg, struct error *e);
/* name: only that one, NULL: all. */
int deliver_list(struct ctl *c, const char *name);
/* The usage error that names those that there are. */
int deliver_unknown(const struct ctl *c, const char *name);
