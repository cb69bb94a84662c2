/* SPDX-License-Identifier: Apache-2.0 */
/* What a unit file and its drop-ins say of a service's user, locks, limits and credentials. */
#pragma once

#include "str.h"

/* --property=NAME=VALUE for systemd-run, in the order of the files, so that a service run by it is locked as
 * the unit is. What starts, restarts and watches the unit is left out. The caller frees *ret (strv_done). 0;
 * -ENOENT: there is no such unit; -errno. */
int unit_locks(const char *unit, struct strv *ret);
