/* SPDX-License-Identifier: Apache-2.0 */
#include "noted.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "control_msg.h"
#include "history.h"
#include "journal.h"
#include "latest.h"
#include "ledger_facts.h"
#include "record.h"
#include "str.h"
#include "timespan.h"

/* --- the run --- */

/* "": there was no daemon. */
static void set_times(struct recorder *r, struct ledger *ledger, const char *started, const char *stopped)
{
        record_open(r);
        (void)ledger_meta_set(ledger, "daemon-started", started, NULL);
        (void)ledger_meta_set(ledger, "daemon-stopped", stopped, NULL);
        (void)record_flush(r);
}

void noted_start(struct recorder *r, struct ledger *ledger)
{
        char when[TIME_SIZE];
        set_times(r, ledger, time_format((int64_t)time(NULL), when), "");
}

static void note_stop(struct recorder *r, struct ledger *ledger)
{
        char when[TIME_SIZE], started[32] = "";
        (void)ledger_meta_get(ledger, "daemon-started", started, sizeof(started), NULL);
        set_times(r, ledger, started, time_format((int64_t)time(NULL), when));
}

void noted_audit(struct audit *audit, struct ledger *ledger, const struct config *config,
        const char *staging_id, const char *event)
{
        struct error e = {};
        struct audit_entry a = {.event = event,
                .config_sha256 = config->sha256,
                .staging_id = *staging_id ? staging_id : NULL,
                .size = -1,
                .mtime = -1,
                .uid = -1};
        if (audit_append(audit, &a, &e) < 0 || history_sync(ledger, audit, &e) < 0)
                journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_ERR, .cause = e.cause},
                        "audit.jsonl: %s", e.text);
}

void ending_fail(struct ending *n, const struct error *e, const char *advice)
{
        journal_event(EVENT_FAILED, &(struct journal_fields){.cause = e->cause}, "%s%s%s", e->text,
                *advice ? "; " : "", advice);
        if (n->status != STATUS_CANNOT)
                snprintf(n->failure, sizeof(n->failure), "%s", e->text);
        n->status = STATUS_CANNOT;
}

void ending_judge(struct ending *n, struct recorder *r, struct ledger *ledger, bool once, bool incomplete)
{
        struct ledger_filter left = {
                .states = BIT(OBJECT_RETRY) | BIT(OBJECT_FETCHING) | BIT(OBJECT_DECRYPTING)};
        struct error e = {};
        uint64_t count = 0, bytes;
        if (once && (ledger_count(ledger, &left, &count, &bytes, &e) < 0 || count > 0))
                incomplete = true;
        if (once && incomplete)
                n->status = MAX(n->status, STATUS_INCOMPLETE);
        if (!once)
                note_stop(r, ledger);
        else if (n->status == STATUS_WELL)
                set_times(r, ledger, "", ""); /* whoever goes over to --once does not want to hear of it */
}

void ending_note(const struct ending *n, struct ledger *ledger, bool stopped)
{
        const char *why = n->status == STATUS_CANNOT ? n->failure : stopped ? "it was stopped" : "";
        if (ledger)
                (void)ledger_meta_set(ledger, "ended-early", why, NULL);
}

/* --- its parts --- */

void noted_feed(struct recorder *r, struct ledger *ledger, const char *why)
{
        char known[TEXT_SIZE] = "";
        (void)ledger_meta_get(ledger, "feed-trouble", known, sizeof(known), NULL);
        if (streq(known, why))
                return;
        record_open(r);
        (void)ledger_meta_set(ledger, "feed-trouble", why, NULL);
}

void noted_pauses(struct recorder *r, struct ledger *ledger, const struct pauses *pauses,
        char noted[static NOTED_PAUSES_SIZE])
{
        char text[NOTED_PAUSES_SIZE];
        pauses_text(pauses, text, sizeof(text));
        if (streq(text, noted))
                return;
        snprintf(noted, NOTED_PAUSES_SIZE, "%s", text);
        if (pauses_now(pauses) & BIT(PAUSE_STATE))
                return;
        record_open(r);
        (void)ledger_meta_set(ledger, "pauses", text, NULL);
}

void noted_keys(struct recorder *r, struct ledger *ledger, const struct proto_ready *ready,
        const char *homedir, bool first)
{
        struct error e = {};
        record_open(r);
        int err = first ? ledger_keys_clear(ledger, &e) : 0;
        for (size_t i = 0; err == 0 && i < ready->n_keys; i++) {
                struct ledger_key k = {.created = (int64_t)ready->keys[i].created,
                        .expires = (int64_t)ready->keys[i].expires};
                snprintf(k.fingerprint, sizeof(k.fingerprint), "%s", ready->keys[i].fingerprint);
                str_visible(ready->keys[i].user_id, k.user_id, 256);
                snprintf(k.homedir, sizeof(k.homedir), "%s", homedir);
                err = ledger_key_add(ledger, &k, &e);
        }
        if (err < 0)
                record_trouble(r, &e);
}

/* --- staging --- */

static void say_unmatched(const struct config *config, const char *org, const struct strv *missed)
{
        const struct config_package *p = config_find_package(config, org);
        for (size_t i = 0; p && i < missed->n; i++)
                journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING, .org = org},
                        "[package %s] %s matches nothing in the snapshot that latest would name; it does not "
                        "move. Correct it as the names of files have it (upper and lower case count), then: "
                        "systemctl reload czard",
                        p->name, missed->v[i]);
}

void latest_point(const struct config *config, struct ledger *ledger, struct staging *staging,
        struct recorder *record, const char *org, enum category c)
{
        _cleanup_(strv_done) struct strv missed = {};
        struct error e = {};
        int r = latest_move(ledger, staging, config, org, c, &missed, &e);
        say_unmatched(config, org, &missed);
        if (r < 0 && r != -ENOENT) /* a folder that is not there is MISSING, and told as that */
                record_incomplete(record);
        if (r < 0)
                journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING, .cause = e.cause},
                        "latest of %s/%s: %s", org, category_name(c), e.text);
}

void latest_point_all(
        const struct config *config, struct ledger *ledger, struct staging *staging, struct recorder *record)
{
        for (size_t i = 0; i < config->n_packages; i++) {
                const char *org = config->packages[i].spec.org;
                latest_point(config, ledger, staging, record, org, CATEGORY_DATABASE);
                latest_point(config, ledger, staging, record, org, CATEGORY_EMAIL_OPT_IN);
        }
}

static void say_leftover(const char *path, const struct error *why)
{
        journal_event(EVENT_NOTE,
                &(struct journal_fields){.priority = LOG_WARNING, .cause = why->cause, .path = path},
                "%s is staged under another path now, but could not be removed there: %s; it is tried again "
                "at the next start",
                path, why->text);
}

void leftover_note(struct recorder *r, struct ledger *ledger, const struct ledger_object *o, const char *path,
        const char *keep_as, const struct error *why)
{
        struct ledger_leftover l = {.object_id = o->id};
        struct error e = {};
        say_leftover(path, why);
        snprintf(l.path, sizeof(l.path), "%s", path);
        snprintf(l.keep_as, sizeof(l.keep_as), "%s", keep_as);
        record_open(r);
        if (ledger_leftover_add(ledger, &l, &e) < 0)
                record_trouble(r, &e);
}

static int is_at(struct ledger_object *o, void *arg)
{
        return streq(o->path, (const char *)arg);
}

void leftover_clear(struct recorder *r, struct ledger *ledger, struct staging *staging)
{
        const struct ledger_filter all = {};
        struct ledger_leftover l = {};
        char after[sizeof(l.path)] = "";
        struct error e = {};
        int err;
        record_open(r);
        while ((err = ledger_leftover_next(ledger, after, &l, &e)) == 1) {
                struct error why = {};
                memcpy(after, l.path, sizeof(after));
                err = ledger_each(ledger, &all, is_at, l.path, &e);
                /* 1: it is of use again */
                if (err == 0 && staging_retire(staging, l.path, l.keep_as, &why) < 0)
                        say_leftover(l.path, &why);
                else if (err >= 0)
                        err = ledger_leftover_remove(ledger, l.path, &e);
                if (err < 0)
                        break;
        }
        if (err < 0)
                record_trouble(r, &e);
        (void)record_flush(r);
}
