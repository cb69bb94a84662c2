/* SPDX-License-Identifier: Apache-2.0 */
/* Where an object is staged, and under which names its replaced versions are kept: the one place where these
 * names are made. */
#pragma once

#include "config.h"
#include "ledger.h"
#include "limits.h"

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
