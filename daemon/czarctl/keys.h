/* SPDX-License-Identifier: Apache-2.0 */
/* What keygen, import-key and key share. */
#pragma once

#include "keyring.h"

#define PUBLIC_FILE "czard-public-key.asc"
#define DEFAULT_EXPIRE "2y"

/* What is told of a home in which keyring_read() finds no key, and what helps. */
struct key_none {
        char detail[4096 + 128], fix[1280];
};
void key_none(const struct ctl *c, const char *home, struct key_none *ret);

/* Of "30d", "2w", "18m", "2y", "90" (days), as gpg counts: a month has 30 days, a year 365. -EINVAL: not one.
 */
int64_t span_seconds(const char *s);
