/* SPDX-License-Identifier: Apache-2.0 */
/* What this process may read, from where, and as whom: fixed at start from its own configuration, whatever is
 * asked. */
#pragma once

#include "config.h"
#include "credentials.h"
#include "str.h"

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

/* Where a request for a bucket goes. Source: AWS, "Virtual hosting of buckets". */
struct s3_host {
        const char *scheme;       /* static */
        struct strbuf host, path; /* path: as signed, not percent-encoded */
};

/* key NULL: the bucket itself. Without an endpoint the host is AWS's for that region. 0 or -ENOMEM; the
 * caller calls s3_host_done() either way. */
int s3_host_find(const struct config_s3 *config, const char *region, const char *bucket, const char *key,
        struct s3_host *ret);
void s3_host_done(struct s3_host *p);
#define _cleanup_s3_host_ _cleanup_(s3_host_done)

bool s3_host_is_tls(const struct config_s3 *config);
/* The TCP port of all of them. proxy: the one in force, NULL or "": none. */
uint16_t s3_host_port(const struct config_s3 *config, const char *proxy);
