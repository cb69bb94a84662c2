/* SPDX-License-Identifier: Apache-2.0 */
/* Where a request for a bucket goes. Source: AWS, "Virtual hosting of buckets". */
#pragma once

#include "config.h"
#include "str.h"

struct place {
        const char *scheme;       /* static */
        struct strbuf host, path; /* path: as signed, not percent-encoded */
};

/* key NULL: the bucket itself. Without an endpoint the host is AWS's for that region. 0 or -ENOMEM; the
 * caller calls place_done() either way. */
int place_find(const struct config_s3 *config, const char *region, const char *bucket, const char *key,
        struct place *ret);
void place_done(struct place *p);
#define _cleanup_place_ _cleanup_(place_done)

bool place_is_tls(const struct config_s3 *config);
/* The TCP port of all of them. proxy: the one in force, NULL or "": none. */
uint16_t place_port(const struct config_s3 *config, const char *proxy);
