/* SPDX-License-Identifier: Apache-2.0 */
/* The half of the sandbox that is a seccomp filter; sandbox.h is what programs use. */
#pragma once

#include "sandbox.h"

/* Needs no_new_privs. Of s: families, streams_only and has_children. 0 or -errno. */
int sandbox_calls(const struct sandbox *s, struct error *e);
