/* SPDX-License-Identifier: Apache-2.0 */
/* The secret keys of a GnuPG home, for the fast engine. */
#pragma once

#include "pgp_secret.h"

/* Has gpg export the secret keys with these fingerprints (its agent is asked once, through loopback pinentry)
 * and opens those whose key id is wanted. Keys that cannot be exported or opened are simply not there. 0 and
 * *ret (perhaps with no key), or -errno. */
int pgp_export(const char *home, const char *const *fingerprints, size_t n, const struct secret *passphrase,
        char *const *wanted, size_t n_wanted, struct pgp_secret **ret, struct error *e);
