/* SPDX-License-Identifier: Apache-2.0 */
/* The GnuPG home, through gpg as a child that has no network (run.h). czarctl itself never sees a secret key.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "ctl.h"
#include "limits.h"
#include "run.h"
#include "secret.h"

enum secret_part {
        SECRET_NONE, /* only the public part is there */
        SECRET_CARD, /* on a smartcard: no program but gpg with the card can use it */
        SECRET_FILE,
};

#define KEY_WARN_SEC (60 * SEC_PER_DAY) /* so long before its end a key is to be looked after */

/* What is told of a key. */
struct fact_key {
        char fingerprint[FINGERPRINT_SIZE], user_id[256];
        char homedir[LIMIT_PATH + 1]; /* that has it; "" not known */
        int64_t created, expires;     /* seconds; expires 0: never */
};

struct keyring_subkey {
        char fingerprint[FINGERPRINT_SIZE];
        int64_t created, expires; /* seconds; 0: never */
        bool encrypts, revoked;
        enum secret_part secret;
};
struct keyring_key {
        struct fact_key fact;           /* expires: by the rule of terms.h */
        int64_t primary_expires;        /* the primary key's own */
        struct keyring_subkey *subkeys; /* the primary key is the first */
        size_t n_subkeys;
};
/* Keys of which some secret part is there. Starts zeroed. */
struct keyring {
        struct keyring_key *keys;
        size_t n;
};

/* Reads the home; 0 with nothing in it also when there is no home. What is there and cannot be read by this
 * gpg is an error that says so. keyring_done() in either case. 0 or -errno. */
int keyring_read(const char *home, struct keyring *ret, struct error *e);
void keyring_done(struct keyring *k);
#define _cleanup_keyring_ _cleanup_(keyring_done)
/* By its fingerprint, NULL: not there. */
const struct keyring_key *keyring_find(const struct keyring *k, const char *fingerprint);
/* The best that there is of any of its encryption subkeys that are not revoked. */
enum secret_part keyring_can_decrypt(const struct keyring_key *k);

/* Why nobody can encrypt to it, whatever its date: "is revoked", ...; NULL: they can. */
const char *keyring_useless(const struct keyring_key *k);

/* Something in the home that we may not read, or the home itself; its path goes into ret. */
#define KEYRING_DENIED_SIZE (4096 + 64)
bool keyring_denied(const char *home, char ret[KEYRING_DENIED_SIZE]);
/* Are there files of secret keys, whatever gpg thinks of them? */
bool keyring_has_secrets(const char *home);
/* Would gpg wait for ever for somebody's lock? 0 or -EBUSY: whose, and what to do. Before whatever writes. */
int keyring_check_locks(const char *home, struct error *e);
/* gpg --homedir HOME --batch ... args. passphrase NULL or p NULL: none. Exit status or -errno. */
int keyring_gpg(
        const char *home, const char *const *args, const struct secret *passphrase, struct run_spec *spec);
/* Ends the agent that gpg may have started. */
void keyring_stop_agent(const char *home);
/* Makes the folder (0700) when it is not there, and refuses an unsafe one. */
int keyring_make_home(const struct ctl *c, const char *home, struct error *e);
/* The armored public key. The caller frees *ret. 0 or -errno. */
int keyring_export(const char *home, const char *fingerprint, char **ret, size_t *ret_n, struct error *e);

/* The packets of a key, the first MiB of their listing; also of one that gpg cannot take whole. The caller
 * frees *ret. gpg's exit status, or -errno. */
int keyring_packets(const char *home, const char *key, size_t n, char **ret);
/* What is told of a home in which keyring_read() finds no key, and what helps. */
struct key_none {
        char detail[4096 + 128], fix[1280];
};
void keyring_none(const struct ctl *c, const char *home, struct key_none *ret);

/* Does a public key ask its senders for encryption that GnuPG cannot read? Its self-signatures announce SEIPD
 * version 2 (RFC 9580), as keys made by Sequoia or OpenPGP.js do. false also when it cannot be told. */
bool key_asks_for_newer(const char *home, const char *fingerprint);
/* How to take that off, to be pasted as root. */
const char *key_features_advice(
        const struct config *c, const char *home, const char *fingerprint, char *ret, size_t size);
