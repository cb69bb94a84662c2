/* SPDX-License-Identifier: Apache-2.0 */
/* czarctl: what its commands share.
 *
 *   main ── owner (become the owner of state_dir; a keeper stays behind for what only root may)
 *      └── a command ─┬─ ctl_load_config, ctl_open_ledger   what it reads, opened on first use
 *                     ├─ facts, deliver_facts, keyring      what there is to say beside the objects
 *                     ├─ rows (table, json)                 what it prints: fields, said once for both
 *                     ├─ ask                                a running czard does it (control socket), or
 *                     │                                     we do it under the lock
 *                     └─ helpers                            czard-fetch and czard-decrypt, as czard starts
 *                                                           them
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cleanup.h"
#include "config.h"
#include "error.h"
#include "json.h"
#include "ledger.h"
#include "macro.h"
#include "shown.h"

enum ctl_exit { CTL_WELL = 0, CTL_FOUND = 1, CTL_USAGE = 2, CTL_CANNOT = 3 };

#define FLAGS_MOST 16
/* An option of a command. value NULL: a switch. */
struct flag {
        const char *name, *value, *help;
        bool needed;
};

struct ctl;
typedef int command_fn(struct ctl *c);
struct command {
        const char *name;
        const char *arguments; /* as in the usage, "" none */
        const char *summary;   /* one line */
        const char *examples;  /* for --help, "" none */
        struct flag flags[FLAGS_MOST];
        int least, most; /* arguments; most -1: any number */
        /* What must be done with the rights of who started us, before we become the owner of state_dir: input
         * opened, places for output announced (owner.h). May be NULL. */
        command_fn *prepare;
        command_fn *run;
        /* Works also when czard.ini is not whole yet: uses what of it can be read. All others complain less:
         * they use state_dir, socket and [staging] of a broken one and say so. */
        bool early;
        bool alone;  /* needs no configuration and no owner */
        bool asks;   /* changes state: by czard when it runs, see ask.h */
        bool writes; /* changes something else; as with `asks` the configuration must be whole */
};

struct ctl {
        const struct command *command;
        const char *config_path;
        bool json, help, version;
        const char *values[FLAGS_MOST]; /* of the command's flags, "" for a switch that is given */
        int argc;
        char **argv; /* the command's arguments */

        uid_t caller; /* who started us */
        struct config *config;
        bool config_is_partial; /* the file has errors */
        char config_error[TEXT_SIZE];
        struct ledger *ledger;
        int state_fd; /* -1: not open */
        struct owner *owner;
        struct sync_helper *unit; /* a czard-fetch, started as root by prepare (helpers.h), NULL */
        int control_fd;           /* to czard, made as root so that czard sees who asks, -1 */
        int input_fd;             /* opened by prepare, -1 */
        /* Seen as root, before we become another: credential czard.s3 in the store. 0: not there, not seen */
        int64_t stored_s3_since;
        bool stored_s3_encrypted;
        int passphrase_fd;      /* the same: the stored credential, -1 */
        int passphrase_file_fd; /* the same: --passphrase-file, -1 */
        int passphrase_output;  /* where a new one goes (owner.h), -1: nowhere */
};

/* --- ctl.c --- */
void usage_command(const struct command *c, FILE *f);
/* The flag's value, "" for a switch, NULL when not given. */
const char *ctl_flag(const struct ctl *c, const char *name);
/* Says what is wrong, and the usage of the command. Returns CTL_USAGE. */
int ctl_usage(const struct ctl *c, const char *format, ...) _printf_(2, 3);
/* Dates of --since and --until: YYYY-MM-DD. NULL stays NULL. 0 or CTL_USAGE. */
int ctl_date_flag(const struct ctl *c, const char *name, const char **ret);
/* One line of text, for a record. 0 or CTL_USAGE. */
int ctl_line_flag(const struct ctl *c, const char *name);

/* Reads the configuration into c->config. 0, or an exit status after a text. */
int ctl_load_config(struct ctl *c);
/* What writes must not do so by half of a configuration. 0, or an exit status after a text. */
int ctl_refuse_partial(const struct ctl *c);
/* The ledger, read-only, into c->ledger. 0, or an exit status after a text. */
int ctl_open_ledger(struct ctl *c);
int ctl_open_state(struct ctl *c, struct error *e);
/* Says "czarctl: ..." with advice on stderr; of an error without a cause, that there is no memory. Returns
 * CTL_CANNOT. */
int ctl_fail(const struct error *e);
int ctl_fail_text(const char *format, ...) _printf_(1, 2);
/* Who owns state_dir; before it is there, we. */
uid_t ctl_owner(const struct ctl *c);
/* Where the runtime files of the daemon are, as startup.c chooses. "" when they cannot be told. */
#define RUN_DIR_SIZE 3072
void ctl_run_dir(const struct ctl *c, char *ret, size_t size);
/* What helps who may not open path, into ret: not root, or root who has become the owner of state_dir. */
#define CTL_DENIED_SIZE (4096 + 256)
const char *ctl_denied(const struct ctl *c, const char *path, char ret[CTL_DENIED_SIZE]);
/* The path of the control socket. */
void ctl_socket_path(const struct ctl *c, char *ret, size_t size);
/* PID of the czard that holds the lock, 0: none runs. -1: cannot tell. */
pid_t ctl_daemon_pid(struct ctl *c);

/* Opens {"version":1, ... of the answer. */
void answer_open(struct json *j);
/* Closes and prints it. 0 or CTL_CANNOT. */
int answer_print(struct json *j);

/* --- the commands, by file: each returns an exit status --- */
/* changes.c */
command_fn run_resync, run_forget, run_prune, run_latest, run_pause, run_unpause, run_adopt;
/* objects.c */
command_fn run_list, prepare_plan, run_plan;
/* status.c, facts.c, verify.c */
command_fn run_status, run_gaps, run_verify;
/* history.c */
command_fn run_changes, run_audit, prepare_backup, run_backup;
/* metrics.c, report.c */
command_fn prepare_metrics, run_metrics, prepare_report, run_report;
/* check.c */
command_fn prepare_check, run_check;
/* keys.c, import_key.c, import.c */
command_fn prepare_keygen, run_keygen, prepare_key, run_key, prepare_import_key, run_import_key;
command_fn prepare_import_credentials, run_import_credentials;
/* deliver.c */
command_fn prepare_deliver, run_deliver;
