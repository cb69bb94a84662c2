/* SPDX-License-Identifier: Apache-2.0 */
/* What check_*.c share: a list of findings. */
#pragma once

#include "ctl.h"

struct checkup {
        struct ctl *c;
        struct json json;
        unsigned failed, n;
};
enum finding { FINE, NOTICE, BAD };
/* One finding. fix "" or NULL: nothing to do. detail is one line. */
void check_add(struct checkup *k, const char *name, enum finding f, const char *fix, const char *format, ...)
        _printf_(5, 6);

/* check_local.c: configuration, folders, group, disk, key, units */
void check_local(struct checkup *k);
void check_units(struct checkup *k);
/* check_remote.c: passphrase through czard-decrypt; credentials, clock and prefixes through czard-fetch */
void check_key(struct checkup *k);
void check_remote(struct checkup *k);
