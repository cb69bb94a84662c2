/* SPDX-License-Identifier: Apache-2.0 */
/* The places where systemd looks for credentials by relative name. */
#pragma once

#include "error.h"

#define CREDSTORE "/etc/credstore"
#define CREDSTORE_ENCRYPTED "/etc/credstore.encrypted"

/* Stores what fd holds as credential `name` ("czard.s3"), as root: encrypted with systemd-creds and a drop-in
 * for the unit where that works, else as a file with mode 0400. The other form of it is removed. 0 or -errno.
 */
int credstore_put(const char *name, int fd, char where[TEXT_SIZE], struct error *e);
/* Opens the stored credential, decrypted, as root. A descriptor or -errno (-ENOENT: there is none). */
int credstore_open(const char *name);
/* Is it there? ret_when: its modification time. */
bool credstore_has(const char *name, int64_t *ret_when, bool *ret_encrypted);
