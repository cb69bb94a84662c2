/* SPDX-License-Identifier: Apache-2.0 */
/* RSA secret keys out of what "gpg --export-secret-keys" gives (RFC 4880, 5.5.3), as OpenSSL keys. They, and
 * whatever OpenSSL derives from them, are in its secure heap: locked where RLIMIT_MEMLOCK allows, not in core
 * dumps, wiped when freed. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "secret.h"

struct pgp_secret;

/* Puts everything that OpenSSL allocates in this process into its secure heap. Must be called before any
 * other use of OpenSSL: -EBUSY when it is too late; calling it again does nothing. 0 or -errno. */
int pgp_secret_init(void);

/* Reads every key of the export that is RSA and can be opened with the passphrase (len 0: none). wanted: the
 * key ids (16 upper-case hex digits) to take, n of them; others are passed over, and so is what is no RSA
 * key, has no secret part, or is protected in a way that is not known here: those keys are the reference
 * engine's. 0 and *ret (perhaps with no key), or -errno. */
int pgp_secret_read(const void *export, size_t n, const struct secret *passphrase, char *const *wanted,
        size_t n_wanted, struct pgp_secret **ret, struct error *e);
struct pgp_secret *pgp_secret_free(struct pgp_secret *s);

/* How many keys were taken. */
size_t pgp_secret_count(const struct pgp_secret *s);
/* The index of the key with that id, or -1. */
int pgp_secret_find(const struct pgp_secret *s, const uint8_t key_id[8]);
/* The id of key i as 16 upper-case hex digits. */
void pgp_secret_id(const struct pgp_secret *s, int i, char ret[17]);
/* Size in bytes of the modulus of key i. */
size_t pgp_secret_size(const struct pgp_secret *s, int i);
#define PGP_SECRET_INSTEAD 32
/* RSA without padding: in (at most pgp_secret_size bytes) to exactly that many bytes of out. instead: what to
 * take for the session key when out is not well-formed; only who has the key can tell it from a right one,
 * for it is random but the same each time. 0 or -EBADMSG (in is not below the modulus, which says nothing of
 * the key). */
int pgp_secret_rsa(const struct pgp_secret *s, int i, const uint8_t *in, size_t n, uint8_t *out,
        uint8_t instead[PGP_SECRET_INSTEAD]);
