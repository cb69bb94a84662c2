/* SPDX-License-Identifier: Apache-2.0 */
/* What this process may read, and as whom: fixed at start from its own configuration, whatever is asked. */
#pragma once

#include "config.h"
#include "credentials.h"

struct access;

/* config is borrowed. 0 or -errno. A missing or bad credentials file is no error here: it is the answer to
 * each request that needs it. */
int access_new(const struct config *config, struct access **ret, struct error *e);
struct access *access_free(struct access *a);

/* Which credentials are used, in words, for the journal. */
const char *access_source(const struct access *a);

/* The credentials for a listing at or below a configured prefix, or for a key a package may read. 0, or
 * -EACCES with CAUSE_DENIED (not ours) or CAUSE_CREDENTIALS (there are none). */
int access_list(const struct access *a, const char *bucket, const char *prefix,
        const struct credentials **ret, struct error *e);
int access_get(const struct access *a, const char *bucket, const char *key, const struct credentials **ret,
        struct error *e);

/* The descriptor of $CREDENTIALS_DIRECTORY, or -ENOENT where there is none. */
int access_open_directory(void);
