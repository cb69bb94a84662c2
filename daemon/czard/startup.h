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
