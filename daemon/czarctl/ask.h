/* SPDX-License-Identifier: Apache-2.0 */
/* Having a change made: by the czard that runs, over its control socket, or by ourselves under the lock. */
#pragma once

#include "ctl.h"
#include "steward.h"

/* One line of an answer, whoever gave it. Strings are borrowed. */
struct ask_row {
        const char *what, *bucket, *key, *path, *text;
        int64_t bytes; /* -1: unknown */
};
struct ask_spec {
        /* COMMAND NAME=VALUE ... -- ARGUMENT ..., see lib/wire/control_msg.h */
        struct strv *request;
        void (*row)(void *arg, const struct ask_row *row);
        /* The same without czard. NULL: only a running czard can. need_staging: open the staging folder. */
        int (*offline)(void *arg, const struct steward *s, struct error *e);
        bool need_staging;
        bool any_volume; /* also when it is not the one that is known: adopt */
        void *arg;
        /* Filled in: the text of the end, where czard gave one. */
        char text[TEXT_SIZE];
        bool asked; /* czard did it */
};
/* Is it the volume that czard knows? An empty mount point is not believed, and not written to. 0 or -errno.
 */
int ask_check_volume(struct ledger *l, const struct staging *s, struct error *e);
/* 0 or 1 as the answer said, CTL_CANNOT after a text on stderr. */
int ask(struct ctl *c, struct ask_spec *spec);
/* As root, before root is given up: connects when czard runs, so that its audit record names root. */
void ask_prepare(struct ctl *c);
/* Just this request to a running czard: -ENOTCONN when none answers, else as above. */
int ask_daemon(struct ctl *c, struct ask_spec *spec, struct error *e);
