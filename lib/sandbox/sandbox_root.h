/* SPDX-License-Identifier: Apache-2.0 */
/* Inside lib/sandbox: a root of its own, for sandbox_enter(). */
#pragma once

#include "sandbox.h"

/* Enters it: of the file system there is then what these paths name (those that exist), the rest of it is
 * gone; and there is no network. The first is a folder that exists. For a process with one thread. 1; 0: this
 * kernel does not let us, and nothing was changed; or -errno: half way. */
int sandbox_root(const struct sandbox_path *paths, size_t n, struct error *e);
