/* SPDX-License-Identifier: Apache-2.0 */
/* The findings of check, and those that this machine alone decides. */
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

/* Configuration, folders, group, disk, key; and the units. */
void check_local(struct checkup *k);
void check_units(struct checkup *k);
