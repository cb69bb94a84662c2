/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of a GnuPG home that can decrypt: all of them, found by key id or fingerprint. */
#pragma once

#include <gpgme.h>

#include "error.h"
#include "pgp_key.h"
#include "str.h"

/* Starts zeroed. */
struct pgp_keyring {
        struct pgp_key *keys;
        size_t n;
        struct strv key_ids; /* of all subkeys */
};

/* Fills *k with what home has. 0, or -errno with a cause; pgp_keyring_done() in either case. */
int pgp_keyring_list(struct pgp_keyring *k, const char *home, struct error *e);
void pgp_keyring_done(struct pgp_keyring *k);

/* What belongs to the key id; both NULL when there is none. */
const struct pgp_key *pgp_keyring_find(
        const struct pgp_keyring *k, const char *key_id, const struct pgp_subkey **ret_subkey);
/* Can nobody encrypt to the subkey any more? now: seconds. */
bool pgp_keyring_expired(const struct pgp_keyring *k, const char *fingerprint, int64_t now);
void pgp_keyring_forget(struct pgp_keyring *k, const char *key_id);

/* Sets the context's home, unless GNUPGHOME says the same already: GPGME runs gpg once more for each home
 * that it is told. */
gpgme_error_t pgp_set_home(gpgme_ctx_t ctx, const char *home);
/* Always returns -err, as error_set(): what, and how GPGME calls err. */
int gpg_error_set(struct error *e, gpgme_error_t err, const char *what);
