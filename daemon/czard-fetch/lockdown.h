/* SPDX-License-Identifier: Apache-2.0 */
/* What czard-fetch can reach once it has read its configuration and credentials: no file but CA certificates,
 * resolver and time zone data, no TCP but to the endpoint or proxy and to name servers. */
#pragma once

#include "config.h"

/* proxy: the one in force, NULL: none. missing: what the kernel cannot restrict, for HELLO. 0 or -errno. */
int lock_down(const struct config *config, const char *proxy, char *missing, size_t size, struct error *e);
