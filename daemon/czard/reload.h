/* SPDX-License-Identifier: Apache-2.0 */
/* SIGHUP: the new configuration, read and checked as a whole before anything changes. */
#pragma once

#include "config.h"
#include "job.h"

/* *ret is ready to be put in force, with *ret_contexts; what needs a restart (*ret_restart: a key of it,
 * static storage; NULL: nothing) was taken over from old, which is not to be used for more than ending what
 * began with it. -errno: old is as it was. */
int reload_read(const char *path, struct config *old, struct config **ret,
        struct package_context **ret_contexts, const char **ret_restart, struct error *e);
