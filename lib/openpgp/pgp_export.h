/* SPDX-License-Identifier: Apache-2.0 */
/* The secret keys of a GnuPG home, for the fast engine. */
#pragma once

#include <stdbool.h>

#include "pgp_secret.h"

/* Has gpg export the secret keys with these fingerprints (its agent is asked for each, through loopback
 * pinentry) and opens those whose key id is wanted. Of no other key the secret part is asked for, unless
 * primary says that a primary key is among them: then all come along that belong to these. Keys that cannot
 * be exported or opened are simply not there. 0 and *ret (perhaps with no key), or -errno. */
int pgp_export(const char *home, const char *const *fingerprints, size_t n, bool primary,
        const struct secret *passphrase, char *const *wanted, size_t n_wanted, struct pgp_secret **ret,
        struct error *e);
