/* SPDX-License-Identifier: Apache-2.0 */
#include "reload.h"

#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "startup.h"
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

int reload_read(const char *path, struct config *old, struct config **ret,
        struct package_context **ret_contexts, const char **ret_restart, struct error *e)
{
        _cleanup_(cleanup_config) struct config *fresh = NULL;
        _cleanup_free_ struct package_context *contexts = NULL;
        int r = config_load(path, &fresh, e, NULL);
        if (r >= 0)
                r = startup_groups(fresh, &contexts, e);
        if (r < 0)
                return r;
        const char *restart = config_needs_restart(old, fresh);
        r = carry_over(old, fresh);
        if (r < 0)
                return error_set(e, CAUSE_INTERNAL, -r, "out of memory");
        *ret_restart = restart;
        *ret_contexts = take_ptr(&contexts);
        *ret = take_ptr(&fresh);
        return 0;
}
