/* SPDX-License-Identifier: Apache-2.0 */
/* Real keys and messages, made by gpg in a temporary folder. */
#pragma once

#include <stddef.h>

struct gpg_fixture {
        char dir[64]; /* /tmp/czXXXXXX; homes and messages lie below it */
};

#define FIXTURE_PASSPHRASE "hunter two 100%"

/* Makes the homes
 *   open     our key, no passphrase; knows the foreign public key
 *   locked   our key with FIXTURE_PASSPHRASE
 *   expired  a key that expired in 2020
 *   maker    a foreign key (the maker of messages signs with it) and all public keys
 * and the plaintext files "plain" (100 KB) and "plain.gz". The user ids are HOME@x.org. */
void gpg_fixture_make(struct gpg_fixture *f);
/* Ends all agents that were started here and removes the folder. */
void gpg_fixture_remove(struct gpg_fixture *f);

/* Runs a shell command in the folder, with $G for gpg in the maker's home and $T for trust and batch options;
 * fails the test when it fails. */
void gpg_run(const struct gpg_fixture *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A whole file below the folder; the caller frees. */
char *gpg_read(const struct gpg_fixture *f, const char *name, size_t *ret_len);
/* Writes it. */
void gpg_write(const struct gpg_fixture *f, const char *name, const void *p, size_t n);
