/* SPDX-License-Identifier: Apache-2.0 */
/* czard itself: what the modules of this folder share.
 *
 *   main ── director ─┬─ startup      checks everything once: lock, folders, groups, identity, ledger, audit
 *                     ├─ reload       SIGHUP
 *                     ├─ poll         LISTs every prefix, tells the ledger      ── fetcher ── czard-fetch
 *                     ├─ queue        which object next ─┬─ transfer  one file  ── pool ──── czard-decrypt
 *                     │                                  └─ snapshot  one archive of members, whose directory
 *                     │                                               is read by   ── pool ── czard-index
 *                     ├─ slots        which GET of these (flow) runs; stall: what stands still is freed
 *                     ├─ splitting    which days are split by course ── split ── czard-filter
 *                     ├─ record       what happened: journal, and ledger + audit by lib/store/history
 *                     ├─ missing, watch  the ledger against the disk; keys that expire, files that are late
 *                     ├─ pauses       why nothing is started at the moment
 *                     ├─ control      czarctl's requests ── requests ── lib/store/steward
 *                     └─ signals, notify
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "audit.h"
#include "config.h"
#include "control_msg.h"
#include "fetcher.h"
#include "job.h"
#include "journal.h"
#include "ledger.h"
#include "moved.h"
#include "pauses.h"
#include "pool.h"
#include "secret.h"
#include "staging.h"

struct options {
        const char *config_path, *fetch_socket;
        bool once;
};

struct director {
        uv_loop_t loop;
        struct options options;
        struct config *config;
        struct package_context *packages;

        int state_fd, lock_fd;
        char run_dir[4096];
        struct ledger *ledger;
        struct audit *audit;
        struct staging *staging;
        struct feed *feed;
        char staging_id[STAGING_ID_SIZE];
        struct secret passphrase;

        struct fetcher *fetcher;
        struct slot *slots;  /* of all flows; those that wait are looked at once a turn of the loop */
        struct pool **pools; /* one for each GnuPG home */
        size_t n_pools, pools_ready;
        unsigned pools_made; /* numbers them: homes of one that went are not another's */
        bool pools_changed;  /* some may be without a package now */
        struct pool *index;  /* the processes that read directories of archives */

        struct poll *poll;
        struct queue *queue;
        struct record *record;
        struct signals *signals;
        struct pauses *pauses;
        char noted_pauses[512]; /* as the ledger has it */

        struct control *control; /* NULL: it could not be had */
        struct request_env *request_env;
        struct notify *notify;
        struct watch *watch;
        struct missing *missing;
        struct splitting *splitting;
        uv_prepare_t turn; /* before the loop sleeps: what follows from what happened */
        uv_timer_t look;   /* while there is a pause: whether it may end */
        uv_timer_t again;  /* fires at once: something happened in the turn itself */

        struct moved moved;
        struct stall *stall;

        bool loop_open, ready, asked_to_stop, stopping, stopped;
        int status; /* exit status so far: the greatest */
};

/* 0 once set up: the loop may run; else the exit status is in d->status. */
int director_open(struct director *d, const struct options *options);
/* Runs until there is nothing more to do (--once) or a signal came. Returns the exit status. */
int director_run(struct director *d);
void director_close(struct director *d);

/* Raises the exit status. */
void director_status(struct director *d, int status);
/* Says why (EVENT_FAILED) and stops with exit status 3. */
void director_fail(struct director *d, const struct error *e);
/* Begins to stop: nothing new is started, what runs is dropped cleanly. */
void director_stop(struct director *d);
/* The staging volume the one we know, room above min_free, our own state writable? True: no pause of any
 * kind, work may start. */
bool director_may_start(struct director *d);
/* SIGHUP; reload.c */
void director_reload(struct director *d);
/* Gives each package the workers with its key, starting those that are not there. */
int director_open_pools(struct director *d, struct error *e);
unsigned director_workers(const struct config *c);
/* One audit line about czard itself: "start", "stop", "reload", with the hash of the configuration. */
void director_audit(struct director *d, const char *event);

/* The package section of that org, or NULL. */
const struct config_package *director_package(const struct director *d, const char *org);
const struct package_context *director_context(const struct director *d, const char *org);

/* --- startup.c --- */
/* Everything that can be checked before the loop runs. 0, or -errno with the text an admin needs. */
int startup_state(struct director *d, struct error *e);
int startup_staging(struct director *d, struct error *e);
int startup_groups(const struct config *c, struct package_context **ret, struct error *e);
int startup_credentials(const struct director *d, struct error *e);
int startup_run_dir(struct director *d, struct error *e);
int startup_passphrase(struct director *d, struct error *e);
/* What a stop or crash left: working states back to NEW, hidden files swept. */
int startup_reconcile(struct director *d, struct error *e);
