/* SPDX-License-Identifier: Apache-2.0 */
/* Folders that live as long as the command: a worker's GnuPG home, a key that is being tried. They lie in
 * memory (tmpfs) where the machine has such a place, and are removed however we end: a child waits for that.
 * What a machine that stopped left behind is swept by the next command. */
#pragma once

#include "ctl.h"

/* In main, as root, before we become the owner of state_dir: makes a place in /run for him. */
void scratch_prepare(const struct ctl *c);
/* A new folder, 0700. 0 or -errno. */
#define SCRATCH_SIZE 4096
int scratch_make(const struct ctl *c, const char *what, char ret[SCRATCH_SIZE], struct error *e);
/* Removes it now. */
void scratch_remove(const char *path);
/* At the end: removes all. */
void scratch_done(void);
