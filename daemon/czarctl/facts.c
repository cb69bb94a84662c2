/* SPDX-License-Identifier: Apache-2.0 */
/* Facts come from the ledger, where czard leaves them, so that they are there also while it is stopped. */
#include "facts.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "ask.h"
#include "control_msg.h"
#include "credstore.h"
#include "keyring.h"
#include "ledger_facts.h"
#include "timespan.h"

static int64_t time_fact(struct ctl *c, const char *name)
{
        char text[64];
        int64_t sec = 0;
        if (ledger_meta_get(c->ledger, name, text, sizeof(text), NULL) < 0 || !*text ||
                time_parse_rfc3339(text, &sec) < 0)
                return 0;
        return sec;
}

/* Before czard has run for the first time. */
static void read_homedir(const struct ctl *c, struct facts *f)
{
        _cleanup_keyring_ struct keyring ring = {};
        struct error ignored = {};
        (void)keyring_read(c->config->openpgp.homedir, &ring, &ignored);
        for (size_t i = 0; i < ring.n && f->n_keys < FACT_KEYS; i++)
                f->keys[f->n_keys++] = ring.keys[i].fact;
}

static void read_keys(struct ctl *c, struct facts *f)
{
        struct ledger_key known[FACT_KEYS];
        size_t n = 0;
        (void)ledger_keys(c->ledger, known, FACT_KEYS, &n, NULL);
        for (size_t i = 0; i < n; i++) {
                struct fact_key *k = &f->keys[f->n_keys++];
                *k = (struct fact_key){.created = known[i].created, .expires = known[i].expires};
                snprintf(k->fingerprint, sizeof(k->fingerprint), "%s", known[i].fingerprint);
                snprintf(k->user_id, sizeof(k->user_id), "%s", known[i].user_id);
                snprintf(k->homedir, sizeof(k->homedir), "%s", known[i].homedir);
        }
        if (f->n_keys == 0)
                read_homedir(c, f);
}

static void read_credentials(const struct ctl *c, struct facts *f)
{
        struct stat st;
        const char *path = c->config->s3.credentials;
        if (c->stored_s3_since) {
                f->credentials_since = c->stored_s3_since;
                snprintf(f->credentials, sizeof(f->credentials), "%s/czard.s3",
                        c->stored_s3_encrypted ? CREDSTORE_ENCRYPTED : CREDSTORE);
        } else if (path) {
                snprintf(f->credentials, sizeof(f->credentials), "%s", path);
                if (stat(path, &st) == 0)
                        f->credentials_since = st.st_mtime;
        }
}

static void on_live(void *arg, const struct ask_row *row)
{
        struct facts *f = arg;
        if (streq(row->what, "next-poll"))
                f->next_poll = row->bytes < 0 ? 0 : (int64_t)time(NULL) + row->bytes;
        else if (streq(row->what, "running"))
                f->running = (uint64_t)row->bytes;
        else if (streq(row->what, "due"))
                f->due = (uint64_t)row->bytes;
        else if (streq(row->what, "due-bytes"))
                f->due_bytes = (uint64_t)row->bytes;
        else if (streq(row->what, "rate"))
                f->rate = (uint64_t)row->bytes;
        else if (streq(row->what, "pause"))
                snprintf(f->pauses + strlen(f->pauses), sizeof(f->pauses) - strlen(f->pauses), "%s%s",
                        *f->pauses ? ", " : "", row->text);
        else if (streq(row->what, "pause-reasons"))
                snprintf(f->pause_reasons, sizeof(f->pause_reasons), "%s", row->text);
}

static void ask_live(struct ctl *c, struct facts *f)
{
        struct strv r = {};
        struct error e = {};
        struct ask_spec spec = {.request = &r, .row = on_live, .arg = f};
        if (strv_add(&r, "status") == 0)
                f->live = ask_daemon(c, &spec, &e) == 0;
        strv_done(&r);
}

/* Only the installed configuration is the unit's. */
static bool is_enabled(const struct ctl *c)
{
        struct stat st;
        return streq(c->config_path, CONFIG_DEFAULT_PATH) &&
               lstat("/etc/systemd/system/multi-user.target.wants/czard.service", &st) == 0;
}

int facts_read(struct ctl *c, bool live, struct facts *ret)
{
        struct facts f = {};
        int r = ctl_open_ledger(c);
        if (r)
                return r;
        f.daemon = ctl_daemon_pid(c);
        f.last_poll = time_fact(c, "last-poll");
        f.last_poll_incomplete = time_fact(c, "last-poll-incomplete");
        f.started_at = time_fact(c, "daemon-started");
        f.stopped_at = time_fact(c, "daemon-stopped");
        f.enabled = is_enabled(c);
        ledger_meta_get(c->ledger, "pauses", f.last_pause, sizeof(f.last_pause), NULL);
        ledger_meta_get(c->ledger, "feed-trouble", f.feed, sizeof(f.feed), NULL);
        ledger_meta_get(c->ledger, "ended-early", f.ended_early, sizeof(f.ended_early), NULL);
        ledger_meta_get(c->ledger, "paused", f.paused, sizeof(f.paused), NULL);
        read_keys(c, &f);
        read_credentials(c, &f);
        if (live && f.daemon > 0)
                ask_live(c, &f);
        *ret = f;
        return 0;
}

int64_t facts_key_left(const struct facts *f)
{
        int64_t least = INT64_MAX, now = (int64_t)time(NULL);
        for (size_t i = 0; i < f->n_keys; i++)
                if (f->keys[i].expires != 0)
                        least = MIN(least, f->keys[i].expires - now);
        return least;
}
