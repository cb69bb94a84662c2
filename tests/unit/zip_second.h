/* SPDX-License-Identifier: Apache-2.0 */
/* A second opinion on a directory: libzip's. Which archives it refuses depends on its version, so only what
 * both take is compared. */
#pragma once

#include "zip_list.h"

/* The archive at p, of n bytes, against what was read of it (in the order of the directory). 1: libzip says
 * the same. 0: it refuses the archive. A difference fails an assert() and is printed. */
int zip_second(const void *p, size_t n, const struct zip_list *l);
