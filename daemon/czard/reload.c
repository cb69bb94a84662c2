/* SPDX-License-Identifier: Apache-2.0 */
/* SIGHUP. The new configuration is read and checked as a whole before anything changes; then it is swapped in
 * one step. Running transfers go on: they took what they need of the old one when they started. Keys that
 * need a restart keep their old values, and the journal names one. czard-fetch drains and is renewed, so that
 * new credentials count. */
#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "director.h"
#include "notify.h"
#include "poll.h"
#include "queue.h"
#include "record.h"
#include "requests.h"
#include "splitting.h"
#include "str.h"

static void swap(char **a, char **b)
{
        char *t = *a;
        *a = *b;
        *b = t;
}

/* A package that uses the general GnuPG home stays with the one that is in force. */
static int keep_homedir(const struct config *old, struct config *fresh)
{
        for (size_t i = 0; i < fresh->n_packages; i++) {
                struct config_package *p = &fresh->packages[i];
                if (!streq(p->homedir, fresh->openpgp.homedir))
                        continue;
                char *s = strdup(old->openpgp.homedir);
                if (!s)
                        return -ENOMEM;
                free(p->homedir);
                p->homedir = s;
        }
        return 0;
}

/* What needs a restart keeps its old value in the new configuration. */
static int carry_over(struct config *old, struct config *fresh)
{
        int r = keep_homedir(old, fresh);
        if (r < 0)
                return r;
        swap(&old->state_dir, &fresh->state_dir);
        swap(&old->socket, &fresh->socket);
        swap(&old->openpgp.homedir, &fresh->openpgp.homedir);
        swap(&old->openpgp.passphrase_file, &fresh->openpgp.passphrase_file);
        swap(&old->staging.path, &fresh->staging.path);
        fresh->staging.file_mode = old->staging.file_mode;
        fresh->staging.dir_mode = old->staging.dir_mode;
        fresh->staging.encrypted_device = old->staging.encrypted_device;
        return 0;
}

static int read_fresh(struct director *d, struct config **ret, struct package_context **ret_packages,
        const char **ret_restart, struct error *e)
{
        _cleanup_(cleanup_config) struct config *fresh = NULL;
        int r = config_load(d->options.config_path, &fresh, e, NULL);
        if (r >= 0)
                r = startup_groups(fresh, ret_packages, e);
        if (r < 0)
                return r;
        *ret_restart = config_needs_restart(d->config, fresh);
        *ret = take_ptr(&fresh);
        return 0;
}

void director_reload(struct director *d)
{
        struct config *fresh = NULL;
        struct package_context *packages = NULL;
        const char *restart = NULL;
        struct error e = {};
        if (d->stopping)
                return;
        notify_reloading(d->notify);
        int r = read_fresh(d, &fresh, &packages, &restart, &e);
        if (r >= 0 && carry_over(d->config, fresh) < 0)
                r = error_set(&e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        if (r < 0) {
                journal_event(EVENT_RELOAD_REFUSED, &(struct journal_fields){.cause = e.cause},
                        "reload refused, the old configuration stays in force: %s", e.text);
                free(packages);
                config_free(fresh);
                notify_ready(d->notify);
                return;
        }
        struct config *old = d->config;
        d->config = fresh;
        free(d->packages);
        d->packages = packages;
        pauses_configure(d->pauses, &fresh->staging);
        record_configure(d->record, fresh);
        queue_configure(d->queue, fresh, packages);
        d->request_env->config = fresh;
        journal_level(fresh->log_level);
        for (size_t i = 0; i < d->n_pools; i++)
                pool_reconfigure(d->pools[i], fresh, director_workers(fresh));
        if (director_open_pools(d, &e) < 0)
                pauses_enter(d->pauses, PAUSE_KEY, e.cause, e.text);
        else
                pauses_leave(d->pauses, PAUSE_KEY); /* a key that is still no good says so again */
        fetcher_renew(d->fetcher);
        record_new_credentials(d->record);
        queue_look_at_all(d->queue);
        poll_configure(d->poll, fresh);
        splitting_look(d->splitting);
        poll_restart(d->poll);
        config_free(old);
        director_audit(d, "reload");
        journal_event(EVENT_RELOADED, NULL, "configuration reloaded%s%s%s", restart ? "; a change of " : "",
                restart ? restart : "", restart ? " needs a restart and is not in force yet" : "");
        notify_ready(d->notify);
}
