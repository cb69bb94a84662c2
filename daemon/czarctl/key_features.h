/* SPDX-License-Identifier: Apache-2.0 */
/* Does a public key ask its senders for encryption that GnuPG cannot read? */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config.h"

/* Its self-signatures announce SEIPD version 2 (RFC 9580), as keys made by Sequoia or OpenPGP.js do. false
 * also when it cannot be told. */
bool key_asks_for_newer(const char *home, const char *fingerprint);
/* How to take that off, to be pasted as root. */
const char *key_features_advice(
        const struct config *c, const char *home, const char *fingerprint, char *ret, size_t size);
