/* SPDX-License-Identifier: Apache-2.0 */
/* What GnuPG does for us: it lists the keys of a home that can decrypt, exports their secret parts for the
 * fast engine, and decrypts one message. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "limits.h"
#include "pgp_secret.h"
#include "sink.h"
#include "str.h"

/* An encryption subkey (or primary key) whose secret part is here. */
struct pgp_subkey {
        char fingerprint[FINGERPRINT_SIZE], key_id[17], keygrip[41];
        int64_t created, expires; /* seconds; 0: never */
        bool revoked;
};

struct pgp_key {
        char fingerprint[FINGERPRINT_SIZE];
        char *user_id;
        int64_t created;
        int64_t expires; /* when nobody can encrypt to it any more; 0: never */
        struct pgp_subkey *subkeys;
        size_t n_subkeys;
};

/* All that can decrypt, found by key id or fingerprint. Starts zeroed. */
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

/* Has gpg export the secret keys with these fingerprints (its agent is asked for each, through loopback
 * pinentry) and opens those whose key id is wanted. Of no other key the secret part is asked for, unless
 * primary says that a primary key is among them: then all come along that belong to these. Keys that cannot
 * be exported or opened are simply not there. 0 and *ret (perhaps with no key), or -errno. */
int pgp_export(const char *home, const char *const *fingerprints, size_t n, bool primary,
        const struct secret *passphrase, char *const *wanted, size_t n_wanted, struct pgp_secret **ret,
        struct error *e);

/* One message for gpg itself to decrypt. GPGME would be in between: its loop over descriptors takes more
 * time than the cipher does, it does not tell how gpg ended, and it gives up where gpg does not (1.24, a
 * message to a passphrase and to a key). */
struct gpg_call {
        const char *home;
        const char *session_key; /* "ALGORITHM:HEX", a secret; NULL: gpg asks the agent */
        source_fn *feed;         /* the message; an error of either, of which nothing is said here: give up */
        sink_fn *drain;          /* the plaintext */
        void (*status)(void *arg, const char *keyword, const char *args);
        void *arg;
};

/* Runs it to its end. SIGPIPE must be ignored. 0 and its exit status (-1: a signal, or it was given up), or
 * -errno: it could not be run. */
int gpg_call(const struct gpg_call *c, int *ret_status, struct error *e);
