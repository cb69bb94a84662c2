/* SPDX-License-Identifier: Apache-2.0 */
/* The feed: ORG/CHANGES.jsonl in the staging directory, what changed there, for whoever uses the files.
 *
 * It is a function of the audit record and of nothing else: the record is read from the line after the last
 * one that was followed, what is staged is kept in mind in tables of the ledger, and each event gives its
 * lines. So it does not matter whether that happens right after the event, at the start after a crash, or
 * years later because the file was lost: the lines are the same, with the same numbers. */
#pragma once

#include "audit.h"
#include "ledger.h"
#include "staging.h"
#include "timespan.h"

struct feed;

/* All borrowed. Reads and writes nothing yet. */
int feed_new(struct ledger *l, struct audit *a, struct staging *s, int state_fd, struct feed **ret,
        struct error *e);
/* A feed of years takes minutes to be made again: on_piece is called again and again meanwhile. It may not
 * call the feed. */
#define FEED_PIECE 10000 /* lines of the record */
void feed_each_piece(struct feed *f, void (*on_piece)(void *arg), void *arg);
/* Once, before anything is appended to the audit record that the feed is to tell: a feed that is not there
 * any more, or ends before what it had, is made again from the whole record, and renamed into its place; what
 * it has and the record does not know is entered there ("told"). What a crash tore is cut off. 0 or -errno;
 * when it was done it does nothing. Where the first parts of the record are not there nothing can be made
 * again: 0, and the feed stays as it is, until they are. */
int feed_check(struct feed *f, struct error *e);
/* Writes, durably, what the durable lines of the audit record say since the last time; a feed that was lost
 * meanwhile is made again. Part of the caller's transaction; after an error the lines are written by the next
 * call, or by that of the next start. */
int feed_follow(struct feed *f, struct error *e);
/* Between events, as none may come for long: is the feed still there? What was lost of it, or cut off its
 * end, is made again: 1. Else 0 or -errno, -ENODATA: the record is not whole. */
int feed_look(struct feed *f, struct error *e);
/* Has the feed told that the object is missing, and not yet that it is back? 1, 0 or -errno. */
int feed_says_missing(struct ledger *l, const struct ledger_object *o, struct error *e);
/* The record was cut or written anew: it will be followed from its first line again. */
int feed_start_over(struct ledger *l, struct error *e);
/* The feeds against the audit record, from which they are made once more, in memory; changes nothing, and may
 * be done beside a running czard. Each is told; what: "missing" or "altered", and text: how, and what to do;
 * NULL: it is well. 0; -ENODATA: the first lines of the record were moved elsewhere; or -errno, when it
 * cannot be read. */
typedef void feed_verify_fn(void *arg, const char *path, const char *what, const char *text);
int feed_verify(struct staging *s, int state_fd, feed_verify_fn *each, void *arg, struct error *e);
/* The date that `latest` names, "": none. The next snapshot is compared with that one; its line in the audit
 * record says so. */
void feed_latest(const struct feed *f, const char *org, enum category c, char ret[DATE_SIZE]);
struct feed *feed_free(struct feed *f);
