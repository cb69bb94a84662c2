/* SPDX-License-Identifier: Apache-2.0 */
/* What an admin may have done to the state: start objects again, forget, prune, pin, pause, adopt. czard does
 * it while it runs (control socket), czarctl does it itself under the lock while czard is stopped; so it is
 * here, once. Each works through the ledger and the audit record in this order: disk, audit (durable),
 * ledger. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "history.h"
#include "keep.h"
#include "ledger.h"
#include "staging.h"

/* What happened to one object or path; strings are borrowed for the call. */
struct steward_note {
        const char *what;                   /* "resync" "forgotten" "pruned" "adopted" "missing" "day-missing"
                                             * "skipped" */
        const struct ledger_object *object; /* NULL: none; path then */
        const char *path;                   /* that was removed or found, "" none */
        const char *text;                   /* why, "" none */
        int64_t bytes;                      /* -1: unknown */
};

struct steward {
        struct ledger *ledger;
        struct audit *audit;
        struct staging *staging; /* may be NULL: then nothing that touches it works */
        const struct config *config;
        struct feed *feed;  /* NULL: it follows later */
        int64_t uid;        /* who asked */
        const char *reason; /* NULL: none given */
        /* Is it being worked on? czard's queue; NULL: nothing is. */
        bool (*is_busy)(void *arg, int64_t object_id);
        void (*note)(void *arg, const struct steward_note *note); /* may be NULL */
        void *arg;
};

/* "s3://bucket/key", or a pattern (fnmatch(3)) on keys. 0 or -EINVAL with a text. */
int steward_check_pattern(const char *pattern, struct error *e);
/* Every object that one of the patterns names goes to NEW, from any state, due at once. *ret_n: how many. */
int steward_resync(
        const struct steward *s, char *const *patterns, size_t n, uint64_t *ret_n, struct error *e);
/* Ids of what the patterns name, each once, by key. The caller frees. */
int steward_find(const struct steward *s, char *const *patterns, size_t n, int64_t **ret, size_t *ret_n,
        struct error *e);
/* While an admin's pause is in force nothing that is staged may go: -EPERM with a text. */
int steward_refuse_paused(const struct steward *s, const char *what, struct error *e);
/* czarctl verify found the object, "s3://bucket/key", missing or altered (why), staged with that ETag: it
 * becomes MISSING, unless it changed meanwhile. */
int steward_missing(
        const struct steward *s, const char *why, const char *etag, char *pattern, struct error *e);
/* The same of its day by course, whose SHA256SUMS has that SHA-256 (hex): it is split again, from the staged
 * file, where events_by_course asks for it. */
int steward_day_missing(
        const struct steward *s, const char *why, const char *sums, char *pattern, struct error *e);
/* Removes every staged copy, also replaced and half-built ones, and enters FORGOTTEN. reason must be set.
 * -EBUSY: it is being fetched. */
int steward_forget(const struct steward *s, int64_t id, struct error *e);
/* What keep_plan() found goes, when apply; else it is only noted. */
int steward_prune(const struct steward *s, const struct keep_item *item, bool apply, struct error *e);
/* Pins (date) or frees (NULL) `latest` of the organisation's snapshots of that category, and moves it. */
int steward_latest(
        const struct steward *s, const char *org, enum category c, const char *date, struct error *e);
/* The admin's pause, kept over restarts. text NULL: unpause. */
int steward_pause(const struct steward *s, const char *text, struct error *e);
/* The text of the pause in force, "" when there is none. */
int steward_paused(struct ledger *l, char *ret, size_t size, struct error *e);

/* Accepts the staging volume as it is: its .czard-id (made when missing) becomes the one we know; what is
 * there with the hash that the ledger knows becomes PUBLISHED, what was staged and is not there MISSING.
 * trust: also files of which no hash is known, as they are. */
struct steward_adopted {
        uint64_t adopted, missing, unknown;
};
int steward_adopt(const struct steward *s, bool trust, struct steward_adopted *ret, struct error *e);

/* --- what the files of this header share --- */

struct history steward_history(const struct steward *s);
void steward_tell(const struct steward *s, const char *what, const struct ledger_object *o, const char *path,
        const char *text, int64_t bytes);
bool steward_is_busy(const struct steward *s, const struct ledger_object *o);
/* `latest` of that organisation and category, by the rule in latest.h. 0 or -errno. */
int steward_move_latest(const struct steward *s, const char *org, enum category c, struct error *e);
