/* SPDX-License-Identifier: Apache-2.0 */
/* Records in an unnamed file: for what is too much to be kept in memory and need not outlive us. It is read
 * and written by calls and never mapped, for mapped pages count as memory. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct shelf;

/* Makes one in the folder dir_fd, mode 0600; whatever ends us, nothing is left of it. 0 or -errno. */
int shelf_new(int dir_fd, struct shelf **ret, struct error *e);
struct shelf *shelf_free(struct shelf *s);
/* Puts n bytes behind all that is there, and tells where. After an error the shelf is as it was. */
int shelf_add(struct shelf *s, const void *p, size_t n, uint64_t *ret_at, struct error *e);
/* Writes over what was added there. After an error a part of it may be written. */
int shelf_put(struct shelf *s, uint64_t at, const void *p, size_t n, struct error *e);
/* Several threads may read at a time, as long as nobody adds or puts. */
int shelf_get(const struct shelf *s, uint64_t at, void *p, size_t n, struct error *e);
