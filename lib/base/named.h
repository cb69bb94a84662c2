/* SPDX-License-Identifier: Apache-2.0 */
/* Things that are found by their names, and made when they are asked for first: a tree of tsearch(3). The
 * first member of a thing is `char *name`, which is owned. A tree starts as NULL. */
#pragma once

#include <stddef.h>

/* The thing, or NULL. */
void *named_find(void *const *tree, const char *name);
/* The same; one that is not there yet is made, of size bytes, zero but for its name. NULL: no memory. */
void *named_need(void **tree, const char *name, size_t size);
/* Frees all. done (may be NULL) frees what a thing owns besides its name. */
void named_free(void **tree, void (*done)(void *thing));
