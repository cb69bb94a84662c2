/* SPDX-License-Identifier: Apache-2.0 */
/* What happened to an object: the ledger, the audit record and the journal, in one place and in one order.
 * Ledger writes of one turn of the loop are one transaction; working states alone do not wait for the disk.
 */
#pragma once

#include "audit.h"
#include "config.h"
#include "feed.h"
#include "journal.h"
#include "ledger.h"
#include "ledger_facts.h"
#include "pauses.h"

struct recorder;

/* All borrowed for ever. once: czard --once. NULL: out of memory. */
struct recorder *record_new(struct ledger *ledger, struct audit *audit, struct pauses *pauses, bool once);
/* The configuration in force; borrowed until the next call. */
void record_configure(struct recorder *r, const struct config *config);
/* The feed follows what is recorded from now on; borrowed. */
void record_set_feed(struct recorder *r, struct feed *feed);
struct recorder *record_free(struct recorder *r);
/* Makes all that was recorded durable. Called before the loop sleeps. When something could not be written,
 * nothing of this turn counts: the ledger is as it was before, fetching pauses, and it returns -errno. */
int record_flush(struct recorder *r);
/* How often a turn was undone: what was written to the ledger since it was last asked may be lost. */
unsigned record_losses(const struct recorder *r);
/* Opens the turn's transaction if it is not. Everyone who writes to the ledger calls this first. */
void record_open(struct recorder *r);

/* Our own state cannot be written, or read: this turn does not count, and nothing new is started until it
 * can.
 */
void record_trouble(struct recorder *r, const struct error *e);

/* May an entry of that cause be written, REJECTED or MEMBER_FAILED? Whatever a server or a helper sends, of
 * one cause there are at most 100 in an hour; the others are counted, and their number is told once a minute.
 */
bool record_may_say(struct recorder *r, enum journal_event event, enum cause cause);

/* The journal fields of an object; texts borrowed from o. */
struct journal_fields object_fields(const struct ledger_object *o);

/* Changes the state, in the ledger only. */
void record_enter(struct recorder *r, struct ledger_object *o, enum object_state next);
/* For metrics: how long the last poll, or the last object of a category (by its name), took. Nothing
 * else goes by it. */
void record_took(struct recorder *r, const char *what, uint64_t usec);
/* How many objects were staged since the start. */
uint64_t record_staged(const struct recorder *r);
/* o is staged (path, plain_size, sha256, checks, fingerprint filled). -errno: that could not be recorded. */
int record_published(struct recorder *r, struct ledger_object *o, bool replaced, uint64_t duration_usec);
/* An object could not be finished: what outcome_of() says (RETRY, REJECTED, a pause, ...). */
void record_failed(struct recorder *r, struct ledger_object *o, enum cause cause, const char *detail,
        uint64_t retry_after_usec);
/* Not a failure: the object waits, with this cause, and is looked at again after delay_usec (with --once: in
 * the next run). The caller says so. */
void record_wait(struct recorder *r, struct ledger_object *o, enum cause cause, const char *detail,
        uint64_t delay_usec);
/* S3 had no answer but 404 for o, which waits (RETRY), and it was listed again: it is not there any more. */
void record_gone(struct recorder *r, struct ledger_object *o);
/* ... or it is listed still, and stays in RETRY. */
void record_lost(struct recorder *r, struct ledger_object *o);
/* Of what is kept of o (see ledger_is_kept()) it is said once. */
void record_missing(struct recorder *r, struct ledger_object *o, const char *why);
/* The journal entry of it; fields and path filled. */
void record_say_missing(const struct journal_fields *f, const char *why);
/* The day by course of o at path is not as it was staged; by `rule`, that of its organisation now, it is
 * split again. */
void record_day_missing(struct recorder *r, const struct ledger_object *o, const char *path, const char *why,
        enum event_rule rule);
/* The journal entry of it; fields and path filled. */
void record_say_day_missing(const struct journal_fields *f, const char *why, enum event_rule rule);
/* The events of o, a staged file, are staged by course. -errno: that could not be recorded. */
int record_day(struct recorder *r, const struct ledger_object *o, const struct ledger_split *made);
/* The members of o follow, each by record_member(), then record_published(): only together do they count. If
 * that is not to come: record_no_members(). */
void record_members(struct recorder *r, const struct ledger_object *o);
void record_no_members(struct recorder *r);
/* One member, in audit and debug journal. */
void record_member(struct recorder *r, const struct ledger_object *o, const struct ledger_member *m);

/* A bucket's credentials were refused: it is left alone (pauses_refuse_bucket()). */
void record_credentials_refused(
        struct recorder *r, enum cause cause, const char *bucket, const char *key_id, const char *detail);
/* A key that has expired but decrypts; at most once a day. */
void record_key_expired(struct recorder *r, const char *org, const char *fingerprint);
/* A server clock that is off, at most once an hour. */
void record_skew(struct recorder *r, int64_t sec);

/* Something that was due in this run did not get there: exit status 1 of --once. */
void record_incomplete(struct recorder *r);
bool record_is_incomplete(const struct recorder *r);
/* Is there another try of this object in RETRY? Not with --once after the last one, or when it is to wait for
 * longer than such a run does. */
bool record_tries_again(const struct recorder *r, const struct ledger_object *o);

/* What follows from what was recorded, for whoever stands above; each is told once.
 * When the next object in RETRY is due (seconds), 0: none was recorded since. */
int64_t record_take_retry(struct recorder *r);
/* An object whose key is to be listed again; false: none. */
bool record_take_relist(struct recorder *r, int64_t *ret);
