/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs say: to the journal when $JOURNAL_STREAM names our stderr, else to stderr as
 * "LEVEL MESSAGE NAME=VALUE ...". The table of events is in czard(8), JOURNAL, too; each MESSAGE_ID is
 * explained in systemd/czard.catalog. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

#include "error.h"

/* id, CZARD_EVENT, default priority, MESSAGE_ID (fixed for ever) */
#define JOURNAL_EVENTS(X)                                                                                    \
        X(STARTED, "started", LOG_NOTICE, "9f4193b7cf9c45af89ac190ffeead9c8")                                \
        X(READY, "ready", LOG_NOTICE, "7d52a1dc38fb439992dcf7f55029afec")                                    \
        X(STOPPING, "stopping", LOG_NOTICE, "bb2be3a2f5b248328649c15e0d3fb846")                              \
        X(STOPPED, "stopped", LOG_NOTICE, "4e726034df7644cfa1f2aaca9cedf3a8")                                \
        X(RELOADED, "reloaded", LOG_NOTICE, "caed42b701294919b61aef0b16eafa56")                              \
        X(RELOAD_REFUSED, "reload-refused", LOG_ERR, "77368800a2a24819b64132f9b4e6e69f")                     \
        X(POLL_DONE, "poll-done", LOG_INFO, "c7776d19e1ee43a1bf08c4595179ea3c")                              \
        X(PUBLISHED, "published", LOG_INFO, "3c8447a949414861adaa27ec5b7ba36b")                              \
        X(REPLACED, "replaced", LOG_INFO, "fe70edf2333b44bb924e8efb88c472d6")                                \
        X(PRUNED, "pruned", LOG_INFO, "7e6bc8fc73c3490badc6108a68e0c745")                                    \
        X(FORGOTTEN, "forgotten", LOG_INFO, "e1a57797bd584dd9af30210a000bba5a")                              \
        X(DAY_COMPLETE, "day-complete", LOG_INFO, "4b0d51c9a7de4e0f9d1c8a7745b26e3a")                        \
        X(DAY_FAILED, "day-failed", LOG_WARNING, "d6a0c8d3f1b24cf6a4f1e9602b7c5d18")                         \
        X(MEMBER_FAILED, "member-failed-at-source", LOG_WARNING, "fdbb4565e6f741cab1ca52bc376ac5ee")         \
        X(RETRY, "retry", LOG_WARNING, "c934d4d976db4711ae4228633d8c444a")                                   \
        X(REJECTED, "rejected", LOG_ERR, "884aa5fb9c704ad1a3641830a5991118")                                 \
        X(MISSING, "missing", LOG_WARNING, "dc20bc8b67424832b10620fb10ad8e64")                               \
        X(SNAPSHOT_CHANGED, "snapshot-changed", LOG_NOTICE, "a93f4cd56e194c9c9d4a5cdcccb58c32")              \
        X(PAUSED, "paused", LOG_ERR, "dd87b5aa79fa44449370493a001b6df6")                                     \
        X(RESUMED, "resumed", LOG_NOTICE, "74574bdda5be4eccb33b27b4d69aeeb6")                                \
        X(CREDENTIALS_REFUSED, "credentials-refused", LOG_ERR, "fcef487c86a44c1faf10098cc86bf778")           \
        X(LATE, "late", LOG_WARNING, "be93e8f9320a478197508374e8d7e867")                                     \
        X(KEY_EXPIRING, "key-expiring", LOG_WARNING, "11848de88fbb4141b2c7d7392556ede4")                     \
        X(CLOCK_SKEW, "clock-skew", LOG_WARNING, "6fab199a424c4c5786f7b7b32c3582fd")                         \
        X(HELPER_DIED, "helper-died", LOG_WARNING, "22f8de8454864cdc9568eca781dd16d3")                       \
        X(HELPER_KILLED, "helper-killed", LOG_WARNING, "567565f882a44bb5bf65e1e886845843")                   \
        X(STALLED, "stalled", LOG_WARNING, "4592494c7fe2479586180990aaa2011d")                               \
        X(DELIVERED, "delivered", LOG_INFO, "8d1f0c8a6f0e4b8f9a3a2d0f5c7be641")                              \
        X(DELIVERY_STOPPED, "delivery-stopped", LOG_ERR, "2c4c7d0a9b7f4b0e8a55d1b8e03f6a97")                 \
        X(DELIVERY_ENDING, "delivery-ending", LOG_WARNING, "b5a3e5f4d1c2476c9f7e60a1d4b28c3f")               \
        X(PLEASE_DESTROY, "please-destroy", LOG_WARNING, "f07d2a5be93c4e1c8b6d417c2f9ea850")                 \
        X(STATUS, "status", LOG_NOTICE, "01472526de754f10b4cc47cc9b079a38")                                  \
        X(AUDIT_CUT, "audit-cut", LOG_ERR, "3be123f4bd8e4f188f800453464b9f39")                               \
        X(FAILED, "failed", LOG_ERR, "e440818d65554f4ba36824f2c4918c11") /* cannot start or go on */         \
        X(NOTE, "note", LOG_NOTICE,                                                                          \
                "89b8607ed6c74481aecd7d0323132c91") /* start-up facts: which credential won, ... */

enum journal_event {
#define X(id, name, prio, message_id) EVENT_##id,
        JOURNAL_EVENTS(X)
#undef X
                EVENT_MAX
};

/* NULL, 0 and (for numbers that may be 0) the absence of the bit mean "does not apply". Strings are borrowed.
 */
struct journal_fields {
        int priority; /* 0: the event's default; else LOG_ERR ... LOG_DEBUG */
        const char *org, *category, *site, *date, *bucket, *object, *etag;
        const uint64_t *size, *plain_size, *duration_usec, *suppressed; /* borrowed numbers */
        const char *sha256, *path, *member, *course, *table, *request;
        enum cause cause;
        unsigned attempt;
        const char *access_key_id, *fingerprint;
        const char *delivery, *recipients;
};

/* Set in the environment of czard and its helpers: stderr is a terminal, lines are for people. */
#define JOURNAL_FOR_PEOPLE "CZARD_FOR_PEOPLE"
/* Chooses journal or stderr. */
void journal_open(void);
/* At a terminal: what stands below the lines from now on; "": nothing. Else nothing happens. */
void journal_progress(const char *text);
/* Shows a line that somebody else wrote, on stderr. */
void journal_line(const char *text);
/* From now on each entry ends with this CZARD_AUDIT_HEAD, as it is then (borrowed); NULL or "": without. */
void journal_audit_head(const char *head);
/* Entries less urgent than this are dropped. */
void journal_level(int level);
/* One entry, one line. f may be NULL. Characters that a terminal obeys, in the message and in values, are
 * escaped. */
void journal_event(enum journal_event event, const struct journal_fields *f, const char *format, ...)
        _printf_(3, 4);
/* Debug text without an event. */
void journal_debug(const char *format, ...) _printf_(1, 2);
