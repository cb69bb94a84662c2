/* SPDX-License-Identifier: Apache-2.0 */
/* Which of many is called that? Their names are elsewhere, in a file or the ledger; here is a hash of each
 * name and its number, 16 bytes. What has the hash of a name need not have the name: the caller looks. Names
 * come from outside; the hash is a part of SHA-256, so that nobody makes many of them share one. For one
 * thread at a time. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct lookup;

struct lookup_entry {
        uint64_t hash;
        size_t number;
};

/* For at most so many names. 0 or -ENOMEM. */
int lookup_new(size_t most, struct lookup **ret);
struct lookup *lookup_free(struct lookup *l);
void lookup_add(struct lookup *l, const char *name, size_t number);
/* Once all were added, before the first look. */
void lookup_sort(struct lookup *l);
/* The first that has the hash of that name, or NULL; and the next one with that hash, or NULL. By numbers. */
const struct lookup_entry *lookup_first(struct lookup *l, const char *name);
const struct lookup_entry *lookup_next(const struct lookup *l, const struct lookup_entry *entry);
/* The first group of several with one hash at or behind *at, which is moved behind it; NULL: there is no
 * other. */
const struct lookup_entry *lookup_group(const struct lookup *l, size_t *at, size_t *ret_n);
