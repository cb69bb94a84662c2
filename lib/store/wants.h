/* SPDX-License-Identifier: Apache-2.0 */
/* What the configuration makes of objects: which listings find them, whether they are wanted, and where they
 * are staged. */
#pragma once

#include <stdbool.h>

#include "config.h"
#include "ledger.h"
#include "limits.h"

/* Does it want the object? By organisation, category, site, prefix, since and keep_days.
 * now: seconds. *ret_why, when given and it is not wanted: why (static storage).
 * A key that is ours but unsafe (package_parse_key()) is wanted, to be rejected: *ret_unsafe, when given,
 * then has its cause and text, and CAUSE_NONE else. */
bool wants_object(const struct config *c, const struct ledger_object *o, int64_t now, const char **ret_why,
        struct error *ret_unsafe);
/* More of those: of a site that was taken out nothing is missed. */
bool wants_series(const struct config *c, const char *org, enum category category, const char *site);
/* Is the date of a file of events longer ago than keep_days? */
bool wants_is_too_old(const struct config_staging *c, const char *date, int64_t now);

/* What a poll lists, and what it then knows of an object: for czard's polls and for czarctl plan, which says
 * what the next one would bring. */
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

/* Where an object is staged, and under which names its replaced versions are kept: the one place where these
 * names are made. */
#define PLACE_REPLACED ".replaced" /* a folder beside what was replaced */
#define PLACE_KEEP_SIZE 384

/* The file, or the archive's folder, that this configuration gives the object, relative to the staging root;
 * plain: events are staged unpacked. 0, or -ENOENT: no package section has its key. */
int place_of(const struct config *c, const struct ledger_object *o, bool plain, char ret[STAGED_PATH_SIZE]);
/* The other name that the same event file has with the other events_format; false: it has none. */
bool place_other_format(const char *path, char ret[STAGED_PATH_SIZE]);
/* The folder of a day's events by course. -ENOENT: o is no file of events with a site and a date. */
int place_by_course(const struct ledger_object *o, char ret[STAGED_PATH_SIZE]);
/* ".replaced/DATE-ETAG" (".replaced/FILE-ETAG" for what has no date): where the version that is staged at
 * o->path now goes when it is replaced, relative to its folder. */
void place_replaced(const struct ledger_object *o, char ret[PLACE_KEEP_SIZE]);
/* Is the entry of that folder a version of o, or what is left of one that could not be removed as a whole? */
bool place_is_replaced_of(const struct ledger_object *o, const char *path, const char *entry);
