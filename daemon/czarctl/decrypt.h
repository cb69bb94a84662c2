/* SPDX-License-Identifier: Apache-2.0 */
/* A czard-decrypt worker for one command. */
#pragma once

#include "ctl.h"
#include "scratch.h"
#include "secret.h"
#include "str.h"
#include "sync_helper.h"

struct decrypt_helper {
        struct sync_helper helper;
        char home[SCRATCH_SIZE];
        struct strv usable; /* fingerprints of the primary keys that open */
        char warning[TEXT_SIZE];
};
/* Starts a worker on a copy of the GnuPG home, with the passphrase (p NULL: none). 0 once the key can be
 * used; else -errno with its cause: CAUSE_NO_KEY, CAUSE_PASSPHRASE, ... */
int decrypt_open(struct ctl *c, const char *homedir, const struct secret *passphrase,
        struct decrypt_helper *ret, struct error *e);
/* Asks for the passphrase, several times if need be, until it opens the key; into *passphrase. */
int decrypt_ask(struct ctl *c, const char *homedir, struct secret *passphrase, struct decrypt_helper *ret,
        struct error *e);
void decrypt_close(struct decrypt_helper *d);
/* Decrypts the message in fd (from its beginning) into *ret. 0, or -errno with the cause of its verdict in e.
 */
int decrypt_message(struct decrypt_helper *d, int fd, struct secret *ret, struct error *e);
