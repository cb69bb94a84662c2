/* SPDX-License-Identifier: Apache-2.0 */
/* What happened to an object. Order: first the audit line, durable, then the ledger row (both by
 * lib/store/history.c), then the journal entry, so that a journal entry never speaks of what a crash could
 * take back, and a ledger row is never newer than the audit it could be rebuilt from. */
#include "record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cleanup.h"
#include "history.h"
#include "keep.h"
#include "key_command.h"
#include "ledger_facts.h"
#include "limits.h"
#include "macro.h"
#include "outcome.h"
#include "str.h"
#include "timespan.h"

#define ONCE_TRIES 5
#define ONCE_WAIT_SEC 61 /* a minute, rounded up when it was written down */
#define EXPIRED_QUIET_USEC (1 * USEC_PER_DAY)
#define RETRY_QUIET_USEC (1 * USEC_PER_MINUTE)
/* Of one cause so many entries in that time; the number of the others at most so often. */
#define FLOOD_ENTRIES 100
#define FLOOD_USEC (1 * USEC_PER_HOUR)
#define FLOOD_TELL_USEC (1 * USEC_PER_MINUTE)
#define SKEW_QUIET_USEC (1 * USEC_PER_HOUR)

/* Journal entries of one cause are limited: so many in a time, then how many more there were. */
struct floods {
        struct flood {
                uint64_t since_usec, told_usec, untold;
                unsigned said; /* since since_usec */
        } rejected[CAUSE_MAX], member_failed;
        bool flooded; /* one of these has something untold */
};

struct recorder {
        struct history on; /* ledger, audit, feed (NULL: not yet), and the configuration in force */
        struct pauses *pauses;
        bool once, incomplete;
        enum { TURN_CLOSED, TURN_PASSING, TURN_OPEN } turn;
        uint64_t staged; /* objects, since the start */
        unsigned losses;
        bool failed;               /* something of this turn could not be written: none of it counts */
        struct audit_mark members; /* before the lines of the archive that is being recorded */
        bool has_members;
        uint64_t skew_said_usec, expired_said_usec;
        unsigned key_failures; /* in a row */
        struct {
                uint64_t said_usec, suppressed;
        } retry[CAUSE_MAX]; /* `retry` entries are rate-limited by cause */
        struct floods floods;
        /* What somebody above is to do, until it is taken. */
        int64_t retry_at; /* seconds, 0: nothing */
        int64_t *relist;  /* ids */
        size_t n_relist;
};

/* --- how often it is said --- */

/* Was it said within that time? Else it is said now. */
static bool is_quiet(uint64_t *said_usec, uint64_t quiet_usec)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        if (*said_usec != 0 && now < *said_usec + quiet_usec)
                return true;
        *said_usec = now;
        return false;
}

static void tell_flood(struct flood *f, enum journal_event event, enum cause cause)
{
        uint64_t untold = f->untold;
        f->untold = 0;
        f->told_usec = now_usec(CLOCK_MONOTONIC);
        if (untold == 0)
                return;
        const struct journal_fields fields = {.cause = cause, .suppressed = &untold};
        if (event == EVENT_REJECTED)
                journal_event(event, &fields, "and %llu more rejected: %s; czarctl list --state REJECTED; %s",
                        (unsigned long long)untold, cause_name(cause), cause_advice(cause));
        else
                journal_event(event, &fields, "and %llu more tables that edX could not export",
                        (unsigned long long)untold);
}

/* At the end of a turn, of what has waited long enough; all of it at the end of everything. */
static void floods_tell(struct floods *v, bool all)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        bool left = false;
        for (unsigned i = 0; v->flooded && i <= CAUSE_MAX; i++) {
                struct flood *f = i < CAUSE_MAX ? &v->rejected[i] : &v->member_failed;
                if (all || now >= f->told_usec + FLOOD_TELL_USEC)
                        tell_flood(f, i < CAUSE_MAX ? EVENT_REJECTED : EVENT_MEMBER_FAILED,
                                i < CAUSE_MAX ? (enum cause)i : CAUSE_NONE);
                left |= f->untold > 0;
        }
        v->flooded = left;
}

bool record_may_say(struct recorder *r, enum journal_event event, enum cause cause)
{
        struct floods *v = &r->floods;
        struct flood *f = event == EVENT_REJECTED ? &v->rejected[cause] : &v->member_failed;
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        if (f->since_usec == 0 || now >= f->since_usec + FLOOD_USEC) {
                tell_flood(f, event, cause);
                *f = (struct flood){.since_usec = now, .told_usec = now};
        }
        if (f->said < FLOOD_ENTRIES) {
                f->said++;
                return true;
        }
        f->untold++;
        v->flooded = true;
        return false;
}

/* --- life --- */

struct recorder *record_new(struct ledger *ledger, struct audit *audit, struct pauses *pauses, bool once)
{
        struct recorder *r = calloc(1, sizeof(*r));
        if (r)
                *r = (struct recorder){
                        .on = {.ledger = ledger, .audit = audit, .uid = -1}, .pauses = pauses, .once = once};
        return r;
}

void record_configure(struct recorder *r, const struct config *config)
{
        r->on.config = config;
}

void record_set_feed(struct recorder *r, struct feed *feed)
{
        r->on.feed = feed;
}

struct recorder *record_free(struct recorder *r)
{
        if (!r)
                return NULL;
        record_flush(r);
        floods_tell(&r->floods, true);
        free(r->relist);
        free(r);
        return NULL;
}

void record_incomplete(struct recorder *r)
{
        r->incomplete = true;
}

bool record_is_incomplete(const struct recorder *r)
{
        return r->incomplete;
}

int64_t record_take_retry(struct recorder *r)
{
        int64_t at = r->retry_at;
        r->retry_at = 0;
        return at;
}

bool record_take_relist(struct recorder *r, int64_t *ret)
{
        if (r->n_relist == 0)
                return false;
        *ret = r->relist[--r->n_relist];
        return true;
}

bool record_tries_again(const struct recorder *r, const struct ledger_object *o)
{
        return !r->once || (o->attempts < ONCE_TRIES && o->next_try <= (int64_t)time(NULL) + ONCE_WAIT_SEC);
}

static void retry_at(struct recorder *r, int64_t when)
{
        if (r->retry_at == 0 || when < r->retry_at)
                r->retry_at = when;
}

/* Without memory for it, the next full listing tells. */
static void relist(struct recorder *r, int64_t id)
{
        if (ARRAY_ROOM(r->relist, r->n_relist) == 0)
                r->relist[r->n_relist++] = id;
}

/* Rows left in a working state are put back to NEW when the pause ends. */
void record_trouble(struct recorder *r, const struct error *e)
{
        r->failed = true;
        pauses_enter(r->pauses, PAUSE_STATE, e->cause == CAUSE_NONE ? CAUSE_IO : e->cause, e->text);
}

static void open_turn(struct recorder *r, bool passing)
{
        struct error e = {};
        if (r->turn == TURN_OPEN || (r->turn == TURN_PASSING && passing))
                return;
        if (r->turn == TURN_PASSING)
                (void)record_flush(r); /* trouble is told there */
        if ((passing ? ledger_begin_passing(r->on.ledger, &e) : ledger_begin(r->on.ledger, &e)) < 0)
                record_trouble(r, &e);
        else
                r->turn = passing ? TURN_PASSING : TURN_OPEN;
}

void record_open(struct recorder *r)
{
        open_turn(r, false);
}

int record_flush(struct recorder *r)
{
        struct error e = {};
        floods_tell(&r->floods, false);
        int err = r->failed ? -EIO : 0;
        if (r->turn != TURN_CLOSED && !r->failed) {
                err = history_sync(r->on.ledger, r->on.audit, &e);
                if (err == 0)
                        err = ledger_commit(r->on.ledger, &e);
                if (err < 0)
                        record_trouble(r, &e);
        }
        if (r->turn != TURN_CLOSED && err < 0)
                ledger_rollback(r->on.ledger); /* never newer than the audit, and never left open */
        r->losses += err < 0;
        r->turn = TURN_CLOSED;
        r->failed = false;
        return err;
}

static void save(struct recorder *r, const struct ledger_object *o)
{
        struct error e = {};
        record_open(r);
        int err = ledger_save(r->on.ledger, o, &e);
        if (err < 0 && err != -ENOENT)
                record_trouble(r, &e);
}

void record_enter(struct recorder *r, struct ledger_object *o, enum object_state next)
{
        struct error e = {};
        /* Working states are begun anew after a crash of any kind: the disk is not waited for. */
        open_turn(r, next == OBJECT_FETCHING || next == OBJECT_DECRYPTING);
        int err = ledger_enter(r->on.ledger, o, next, &e);
        if (err == 0)
                return;
        /* -ENOENT: its row went with a turn that was undone; it is listed again. What is under way goes on
         * in any case, only the ledger is behind. */
        o->state = next;
        if (err != -ENOENT)
                record_trouble(r, &e);
}

unsigned record_losses(const struct recorder *r)
{
        return r->losses;
}

struct journal_fields object_fields(const struct ledger_object *o)
{
        return (struct journal_fields){
                .org = o->org,
                .category = category_name(o->category),
                .site = *o->site ? o->site : NULL,
                .date = *o->date ? o->date : NULL,
                .request = *o->request ? o->request : NULL,
                .bucket = o->bucket,
                .object = o->key,
                .etag = o->etag,
                .size = &o->size,
        };
}

void record_took(struct recorder *r, const char *what, uint64_t usec)
{
        record_open(r);
        ledger_set_took(r->on.ledger, what, usec, NULL);
}

uint64_t record_staged(const struct recorder *r)
{
        return r->staged;
}

int record_published(struct recorder *r, struct ledger_object *o, bool replaced, uint64_t duration_usec)
{
        struct error e = {};
        r->key_failures = 0;
        record_open(r);
        /* What the record does not tell has not arrived: it is fetched again. */
        if (r->failed) {
                record_no_members(r);
                return -EIO;
        }
        int err = history_staged(
                &r->on, replaced ? "replaced" : "published", o, r->has_members ? &r->members : NULL, &e);
        r->has_members = false;
        if (err < 0) {
                record_trouble(r, &e);
                return -EIO;
        }
        r->staged++;
        record_took(r, category_name(o->category), duration_usec);

        char hex[SHA256_HEX] = "", checks[256];
        if (o->has_sha256 && !o->is_zip)
                hex_encode(o->sha256, sizeof(o->sha256), hex);
        uint64_t plain = o->plain_size < 0 ? 0 : (uint64_t)o->plain_size;
        struct journal_fields f = object_fields(o);
        f.path = o->path;
        f.plain_size = &plain;
        f.sha256 = *hex ? hex : NULL;
        f.duration_usec = &duration_usec;
        f.fingerprint = *o->fingerprint ? o->fingerprint : NULL;
        journal_event(replaced ? EVENT_REPLACED : EVENT_PUBLISHED, &f, "%s %s (checked: %s)",
                replaced ? "replaced" : "published", o->path,
                checks_format(o->checks, checks, sizeof(checks)));
        return 0;
}

void record_members(struct recorder *r, const struct ledger_object *o)
{
        struct error e = {};
        r->has_members = true;
        if (history_members(&r->on, o, &r->members, &e) < 0)
                record_trouble(r, &e);
}

void record_no_members(struct recorder *r)
{
        if (r->has_members)
                audit_take_back(r->on.audit, &r->members);
        r->has_members = false;
}

void record_member(struct recorder *r, const struct ledger_object *o, const struct ledger_member *m)
{
        struct error e = {};
        if (history_member(&r->on, o, m, &e) < 0)
                record_trouble(r, &e);
}

void record_say_missing(const struct journal_fields *f, const char *why)
{
        journal_event(EVENT_MISSING, f,
                "%s is %s; it is not fetched again by itself: put it back, or czarctl resync, adopt or "
                "forget it",
                f->path, why);
}

/* The fields of an object that is missing at path, of which `told` says whether that could be recorded. What
 * could not be the next look says. */
static bool is_told(struct recorder *r, int told, const struct error *e, const struct ledger_object *o,
        const char *path, struct journal_fields *ret)
{
        *ret = object_fields(o);
        ret->path = path;
        if (told < 0)
                record_trouble(r, e);
        return told >= 0;
}

void record_missing(struct recorder *r, struct ledger_object *o, const char *why)
{
        struct error e = {};
        struct journal_fields f;
        int told = ledger_is_kept(o) ? feed_says_missing(r->on.ledger, o, &e) : 0;
        if (told > 0)
                return;
        record_open(r);
        if (told == 0)
                told = history_missing(&r->on, o, why, &e);
        if (is_told(r, told, &e, o, o->path, &f))
                record_say_missing(&f, why);
}

void record_say_day_missing(const struct journal_fields *f, const char *why, enum event_rule rule)
{
        journal_event(EVENT_MISSING, f, "%s is %s; %s", f->path, why,
                rule == EVENT_RULE_NONE ? "it is not made again, as events_by_course is none"
                                        : "it is made again from the staged file of that day");
}

void record_day_missing(struct recorder *r, const struct ledger_object *o, const char *path, const char *why,
        enum event_rule rule)
{
        struct error e = {};
        struct journal_fields f;
        record_open(r);
        if (is_told(r, history_day_missing(&r->on, o, path, why, &e), &e, o, path, &f))
                record_say_day_missing(&f, why, rule);
}

int record_day(struct recorder *r, const struct ledger_object *o, const struct ledger_split *made)
{
        struct error e = {};
        record_open(r);
        if (r->failed)
                return -EIO; /* it is split again */
        int err = history_day(&r->on, o, made, &e);
        if (err < 0)
                record_trouble(r, &e);
        return err;
}

/* --- failures --- */

static void say_retry(struct recorder *r, const struct ledger_object *o, uint64_t delay_usec)
{
        if (is_quiet(&r->retry[o->cause].said_usec, RETRY_QUIET_USEC)) {
                r->retry[o->cause].suppressed++;
                return;
        }
        char span[SPAN_SIZE];
        bool again = record_tries_again(r, o);
        uint64_t suppressed = r->retry[o->cause].suppressed;
        struct journal_fields f = object_fields(o);
        f.cause = o->cause;
        f.attempt = o->attempts;
        f.suppressed = &suppressed;
        char room[KEY_COMMAND_SIZE];
        const char *advice = key_advice_of(r->on.config, o->org, o->cause, room);
        journal_event(EVENT_RETRY, &f, "%s: %s; %s%s%s%s", o->key, o->detail,
                again ? "tried again in " : "not tried again in this run",
                again ? timespan_format(delay_usec, span, sizeof(span)) : "", *advice ? "; " : "", advice);
        r->retry[o->cause].suppressed = 0;
}

void record_wait(struct recorder *r, struct ledger_object *o, enum cause cause, const char *detail,
        uint64_t delay_usec)
{
        o->cause = cause;
        snprintf(o->detail, sizeof(o->detail), "%s", detail);
        r->incomplete = true;
        if (r->once) {
                record_enter(r, o, OBJECT_NEW); /* not in this run any more */
                return;
        }
        o->next_try = (int64_t)((now_usec(CLOCK_REALTIME) + delay_usec + USEC_PER_SEC - 1) / USEC_PER_SEC);
        record_enter(r, o, OBJECT_RETRY);
        retry_at(r, o->next_try);
}

static void say_rejected(
        struct recorder *r, const struct ledger_object *o, const struct outcome_decision *out)
{
        char span[SPAN_SIZE];
        if (!record_may_say(r, EVENT_REJECTED, o->cause))
                return;
        struct journal_fields f = object_fields(o);
        f.cause = o->cause;
        f.attempt = o->attempts;
        journal_event(EVENT_REJECTED, &f, "%s rejected: %s (%s)%s%s; %s", o->key, cause_name(o->cause),
                o->detail, out->at ? "; tried once more in " : "",
                out->at ? timespan_format(out->delay_usec, span, sizeof(span)) : "", cause_advice(o->cause));
}

static void audit_rejected(struct recorder *r, const struct ledger_object *o)
{
        struct error e = {};
        if (history_rejected(&r->on, o, &e) < 0)
                record_trouble(r, &e);
}

void record_credentials_refused(
        struct recorder *r, enum cause cause, const char *bucket, const char *key_id, const char *detail)
{
        r->incomplete = true;
        pauses_refuse_bucket(r->pauses, cause, bucket, key_id, detail);
}

static void do_also(struct recorder *r, const struct ledger_object *o, unsigned also)
{
        static const struct {
                enum outcome_also bit;
                enum pause pause;
        } pauses[] = {{OUTCOME_PAUSE_KEY, PAUSE_KEY}, {OUTCOME_PAUSE_SPACE, PAUSE_SPACE},
                {OUTCOME_PAUSE_STAGING, PAUSE_STAGING}};
        if (also & OUTCOME_RELIST)
                relist(r, o->id);
        if (also & OUTCOME_BLOCK_BUCKET)
                record_credentials_refused(r, o->cause, o->bucket, "", o->detail);
        for (size_t i = 0; i < ELEMENTSOF(pauses); i++)
                if (also & pauses[i].bit)
                        pauses_enter(r->pauses, pauses[i].pause, o->cause, o->detail);
}

void record_failed(struct recorder *r, struct ledger_object *o, enum cause cause, const char *detail,
        uint64_t retry_after_usec)
{
        const struct outcome_case c = {
                .cause = cause,
                .tries = o->attempts,
                .refusals = o->refusals,
                .keys = r->key_failures,
                .once = r->once,
                .now_usec = now_usec(CLOCK_REALTIME),
                .retry_after_usec = retry_after_usec,
                .random = retry_random(),
        };
        struct outcome_decision out = outcome_of(&c);
        r->key_failures += cause_remedy(cause) == REMEDY_STOP_KEY;
        o->cause = out.forget ? CAUSE_NONE : cause;
        snprintf(o->detail, sizeof(o->detail), "%s", out.forget ? "" : detail);
        o->attempts = out.tries;
        o->refusals = out.refusals;
        o->next_try = out.at;
        if (out.next == OBJECT_REJECTED) {
                audit_rejected(r, o);
                r->incomplete = true;
        }
        record_enter(r, o, out.next);
        if (out.next == OBJECT_REJECTED)
                say_rejected(r, o, &out);
        else if (out.next == OBJECT_RETRY && cause != CAUSE_GONE) /* of that the listing tells more */
                say_retry(r, o, out.delay_usec);
        if (out.next == OBJECT_RETRY && record_tries_again(r, o))
                retry_at(r, o->next_try);
        do_also(r, o, out.also);
}

void record_gone(struct recorder *r, struct ledger_object *o)
{
        o->next_try = 0;
        record_enter(r, o, OBJECT_GONE);
        journal_event(EVENT_NOTE, &(struct journal_fields){.object = o->key, .cause = CAUSE_GONE},
                "%s is not there any more; what is staged stays", o->key);
}

void record_lost(struct recorder *r, struct ledger_object *o)
{
        int64_t now = (int64_t)time(NULL);
        o->cause = CAUSE_LOST;
        save(r, o);
        say_retry(r, o, (uint64_t)MAX(o->next_try - now, 0) * USEC_PER_SEC);
}

/* --- said now and then --- */

void record_skew(struct recorder *r, int64_t sec)
{
        if (is_quiet(&r->skew_said_usec, SKEW_QUIET_USEC))
                return;
        journal_event(EVENT_CLOCK_SKEW, &(struct journal_fields){.cause = CAUSE_SKEW},
                "this machine's clock is %lld s %s the clock of S3; %s", (long long)(sec < 0 ? -sec : sec),
                sec > 0 ? "behind" : "ahead of", cause_advice(CAUSE_SKEW));
}

void record_key_expired(struct recorder *r, const char *org, const char *fingerprint)
{
        if (is_quiet(&r->expired_said_usec, EXPIRED_QUIET_USEC))
                return;
        const struct config_package *p = config_find_package(r->on.config, org);
        char command[KEY_COMMAND_SIZE];
        journal_event(EVENT_KEY_EXPIRING, &(struct journal_fields){.fingerprint = fingerprint},
                "the key %s has expired; it still decrypts, but edX will not encrypt to it: extend it "
                "(%s) and send the new public key to edX",
                fingerprint,
                key_command(r->on.config, p ? p->homedir : NULL, "key extend", fingerprint, command));
}
