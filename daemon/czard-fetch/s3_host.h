/* SPDX-License-Identifier: Apache-2.0 */
/* Where a request for a bucket goes. Source: AWS, "Virtual hosting of buckets". */
#pragma once

#include "config.h"
#include "str.h"

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
