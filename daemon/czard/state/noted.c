/* SPDX-License-Identifier: Apache-2.0 */
#include "noted.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "history.h"
#include "ledger_facts.h"
#include "str.h"
#include "timespan.h"

void noted_run(struct recorder *r, struct ledger *ledger, const char *started, const char *stopped)
{
        record_open(r);
        (void)ledger_meta_set(ledger, "daemon-started", started, NULL);
        (void)ledger_meta_set(ledger, "daemon-stopped", stopped, NULL);
        (void)record_flush(r);
}

void noted_stop(struct recorder *r, struct ledger *ledger)
{
        char when[TIME_SIZE], started[32] = "";
        (void)ledger_meta_get(ledger, "daemon-started", started, sizeof(started), NULL);
        noted_run(r, ledger, started, time_format((int64_t)time(NULL), when));
}

void noted_feed(struct recorder *r, struct ledger *ledger, const char *why)
{
        char known[TEXT_SIZE] = "";
        (void)ledger_meta_get(ledger, "feed-trouble", known, sizeof(known), NULL);
        if (streq(known, why))
                return;
        record_open(r);
        (void)ledger_meta_set(ledger, "feed-trouble", why, NULL);
}

void noted_end(struct ledger *ledger, const char *why)
{
        (void)ledger_meta_set(ledger, "ended-early", why, NULL);
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
