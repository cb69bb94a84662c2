/* SPDX-License-Identifier: Apache-2.0 */
/* The AWS access key of the data czar, from the CSV that edX sends. */
#pragma once

#include <stdbool.h>

#include "error.h"
#include "limits.h"
#include "secret.h"

struct credentials {
        char access_key_id[ACCESS_KEY_ID_SIZE]; /* no secret: it names the key */
        struct secret secret_key;               /* len > 0 */
        struct secret session_token;            /* len 0: none */
};

/* Reads the CSV: the header line says which column is which, whatever their order and spelling ("Secret
 * Access Key", "secret_access_key", "aws_secret_access_key", ...); values may be quoted; CRLF and a BOM are
 * fine; exactly one key. csv is overwritten. 0, or -EINVAL/-ENOMEM; the text says line and
 * column (bytes), and never quotes a value. */
int credentials_parse(struct secret *csv, struct credentials *ret, struct error *e);

/* The same from a file. It must be private (check_owner_mode, 077) unless trusted: a file of
 * $CREDENTIALS_DIRECTORY, whose mode systemd chooses. */
int credentials_load(int dir_fd, const char *path, bool trusted, struct credentials *ret, struct error *e);

void credentials_done(struct credentials *c);
#define _cleanup_credentials_ _cleanup_(credentials_done)
