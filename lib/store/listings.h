/* SPDX-License-Identifier: Apache-2.0 */
/* What a poll lists, and what it then knows of an object: for czard's polls and for czarctl plan, which says
 * what the next one would bring. */
#pragma once

#include "config.h"
#include "ledger.h"
#include "limits.h"

struct listing_spec {
        enum category category;
        const char *bucket;
        char prefix[KEY_SIZE];
        char start_after[KEY_SIZE]; /* "": everything below prefix */
};
typedef int listings_fn(const struct listing_spec *l, void *arg);
/* Calls each for every listing that a poll makes for a package. A full one lists every prefix whole: old keys
 * can be rewritten. A cheap one lists the current year of events whole, the year before and weekly archives
 * from 30 days before the newest known name, and whole what has no order (rdx, opt-in) or where nothing is
 * known yet. l: NULL when there is no ledger. now: seconds. A non-zero return of each ends it and is
 * returned; else 0 or -ENOMEM. */
int listings_each(struct ledger *l, const struct config_package *p, bool full, int64_t now, listings_fn *each,
        void *arg);

/* What the key of a listed object says, into ret: without an id, NEW, its ETag, size and time left empty. 0,
 * or as package_parse_key(): -ENOENT, ret untouched; -EBADMSG: ours but unsafe, ret has bucket, key, org and
 * the category of the listing. */
int listings_object(const struct package_spec *spec, enum category category, const char *bucket,
        const char *key, struct ledger_object *ret);
