/* SPDX-License-Identifier: Apache-2.0 */
/* The GnuPG home, through gpg as a child that has no network (run.h). czarctl itself never sees a secret key.
 */
#pragma once

#include "facts.h"
#include "run.h"
#include "secret.h"

/* Public parts of the keys whose secret part is there. How many, 0 also when there is no home. */
size_t keyring_read(const char *home, struct fact_key *ret, size_t size);
/* gpg --homedir HOME --batch ... args. passphrase NULL or p NULL: none. Exit status or -errno. */
int keyring_gpg(
        const char *home, const char *const *args, const struct secret *passphrase, struct run_spec *spec);
/* Ends the agent that gpg may have started. */
void keyring_stop_agent(const char *home);
/* Makes the folder (0700) when it is not there, and refuses an unsafe one. */
int keyring_make_home(const char *home, struct error *e);
/* The armored public key. The caller frees *ret. 0 or -errno. */
int keyring_export(const char *home, const char *fingerprint, char **ret, size_t *ret_n, struct error *e);
