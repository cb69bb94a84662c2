/* SPDX-License-Identifier: Apache-2.0 */
/* The order of many names that are not in memory. They are sorted in parts, which are then merged: each name
 * is asked for twice, and so many of them as one part has are in memory at a time; of all others 4 bytes. */
#pragma once

#include "error.h"
#include "str.h"

/* Adds the name of that number to ret. 1, 0: there is none of that number, or -errno and e. */
typedef int order_name_fn(void *arg, size_t number, struct strbuf *ret, struct error *e);

struct order;

/* Of the names 0 to n - 1, by their bytes, equal ones by their numbers. arg is borrowed. 0 or -errno. */
int order_new(size_t n, order_name_fn *name, void *arg, struct order **ret, struct error *e);
struct order *order_free(struct order *o);
DEFINE_CLEANUP(struct order, order, order_free)
/* The next one: 1, its number, and its name, which is valid until the next call. 0: that was all. Or -errno,
 * after which there is no next call. */
int order_next(struct order *o, size_t *ret, const char **ret_name, struct error *e);
