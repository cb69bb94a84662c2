/* SPDX-License-Identifier: Apache-2.0 */
/* What is checked once, before anything is fetched: state folder, lock, audit, ledger, staging and its
 * identity, runtime folder, passphrase, credentials; and groups. 0, or -errno with the text an admin needs:
 * what to do. */
#pragma once

#include "audit.h"
#include "config.h"
#include "job.h"
#include "ledger.h"
#include "record.h"
#include "secret.h"
#include "staging.h"

struct startup {
        int state_fd, lock_fd; /* -1: not open */
        struct audit *audit;
        struct ledger *ledger;
        struct staging *staging;
        char staging_id[STAGING_ID_SIZE];
        char run_dir[4096]; /* of this state_dir; "" not made */
        struct secret passphrase;
};
/* own_fetch: czard starts czard-fetch itself. */
int startup_open(const struct config *c, bool own_fetch, struct startup *s, struct error *e);
void startup_done(struct startup *s);
/* The context of each package, but for its pool. */
int startup_groups(const struct config *c, struct package_context **ret, struct error *e);
/* What a stop or crash left: working states back to NEW, hidden files swept. */
int startup_reconcile(
        struct ledger *ledger, struct staging *staging, struct recorder *record, bool once, struct error *e);
/* While czard runs: is the ledger damaged? Then it is moved away, and czard has to stop, so that the next
 * start rebuilds it: -EUCLEAN and the text. */
int startup_ledger_damaged(const struct config *config, struct ledger *ledger, struct error *e);
/* SIGHUP: the new configuration, read and checked as a whole before anything changes. *ret is ready to be put
 * in force, with *ret_contexts; what needs a restart (*ret_restart: a key of it, static storage; NULL:
 * nothing) was taken over from old, which is not to be used for more than ending what began with it. -errno:
 * old is as it was. */
int startup_reload(const char *path, struct config *old, struct config **ret,
        struct package_context **ret_contexts, const char **ret_restart, struct error *e);
