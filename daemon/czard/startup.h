/* SPDX-License-Identifier: Apache-2.0 */
/* What is checked once, before anything is fetched: state folder, lock, audit, ledger, staging and its
 * identity, groups, credentials, runtime folder, passphrase. 0, or -errno with the text an admin needs: what
 * to do. */
#pragma once

#include "audit.h"
#include "config.h"
#include "job.h"
#include "ledger.h"
#include "record.h"
#include "secret.h"
#include "staging.h"

/* What lies in state_dir. */
struct startup_state {
        int fd, lock_fd; /* -1: not open */
        struct audit *audit;
        struct ledger *ledger;
};
int startup_state(const struct config *c, struct startup_state *s, struct error *e);
void startup_state_done(struct startup_state *s);

/* ret_id: its identity, which the ledger knows from now on. */
int startup_staging(const struct config_staging *c, struct ledger *ledger, struct staging **ret,
        char ret_id[static STAGING_ID_SIZE], struct error *e);
/* The context of each package, but for its pool. */
int startup_groups(const struct config *c, struct package_context **ret, struct error *e);
/* Where czard starts czard-fetch itself. */
int startup_credentials(const struct config *c, struct error *e);
/* The runtime folder of this state_dir, emptied. */
int startup_run_dir(const char *state_dir, int state_fd, char *ret, size_t size, struct error *e);
/* From the systemd credential, or from path; NULL and none: *ret stays as it is. */
int startup_passphrase(const char *path, struct secret *ret, struct error *e);
/* What a stop or crash left: working states back to NEW, hidden files swept. */
int startup_reconcile(
        struct ledger *ledger, struct staging *staging, struct record *record, bool once, struct error *e);
