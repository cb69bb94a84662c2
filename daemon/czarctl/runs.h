/* SPDX-License-Identifier: Apache-2.0 */
/* The commands, by file. Each returns an exit status; the prepare_ ones run with the rights of who started
 * us. */
#pragma once

#include "ctl.h"

/* changes.c */
int run_resync(struct ctl *c);
int run_forget(struct ctl *c);
int run_prune(struct ctl *c);
int run_latest(struct ctl *c);
int run_pause(struct ctl *c);
int run_unpause(struct ctl *c);
int run_adopt(struct ctl *c);
/* one file each */
int run_status(struct ctl *c);
int run_list(struct ctl *c);
int prepare_plan(struct ctl *c);
int run_plan(struct ctl *c);
int run_gaps(struct ctl *c);
int run_changes(struct ctl *c); /* feed_show.c */
int run_verify(struct ctl *c);
int run_audit(struct ctl *c); /* audit_show.c */
int prepare_backup(struct ctl *c);
int run_backup(struct ctl *c);
int prepare_metrics(struct ctl *c);
int run_metrics(struct ctl *c);
int prepare_check(struct ctl *c);
int run_check(struct ctl *c);
/* keygen.c, import_key.c, keys.c */
int prepare_keygen(struct ctl *c);
int run_keygen(struct ctl *c);
int prepare_import_key(struct ctl *c);
int run_import_key(struct ctl *c);
int prepare_key(struct ctl *c);
int run_key(struct ctl *c);
/* import.c */
int prepare_import_credentials(struct ctl *c);
int run_import_credentials(struct ctl *c);
/* deliver.c */
int prepare_deliver(struct ctl *c);
int run_deliver(struct ctl *c);
/* report.c */
int prepare_report(struct ctl *c);
int run_report(struct ctl *c);
int run_demo(struct ctl *c);
