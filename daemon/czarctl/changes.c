/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that change state: resync, forget, prune, latest, pause, unpause, adopt. Each makes a request,
 * shows the rows that come back, and has a way to do the same without czard. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ask.h"
#include "keep.h"
#include "latest.h"
#include "ledger_rebuild.h"
#include "ledger_split.h"
#include "runs.h"
#include "table.h"
#include "timespan.h"

/* What came back, as table or JSON. */
struct changes {
        struct ctl *c;
        struct table *table;
        struct json json;
        uint64_t n, skipped;
        int64_t bytes;
        bool apply, trust;
        const char *org, *date;
        enum category category;
        struct steward_adopted adopted;
};

static void on_row(void *arg, const struct ask_row *row)
{
        struct changes *ch = arg;
        char size[32];
        bool skipped = streq(row->what, "skipped");
        ch->n += !skipped;
        ch->skipped += skipped;
        ch->bytes += !skipped && row->bytes > 0 ? row->bytes : 0;
        if (ch->c->json) {
                json_open(&ch->json, NULL, '{');
                json_str(&ch->json, "what", row->what);
                json_str(&ch->json, "bucket", *row->bucket ? row->bucket : NULL);
                json_str(&ch->json, "key", *row->key ? row->key : NULL);
                json_str(&ch->json, "path", *row->path ? row->path : NULL);
                json_str(&ch->json, "text", *row->text ? row->text : NULL);
                if (row->bytes >= 0)
                        json_i64(&ch->json, "bytes", row->bytes);
                else
                        json_null(&ch->json, "bytes");
                json_close(&ch->json, '}');
                return;
        }
        if (!ch->table)
                ch->table = table_new("WHAT|>BYTES|OBJECT OR PATH|NOTE");
        table_cell(ch->table, skipped ? YELLOW : PLAIN, "%s", row->what);
        table_cell(ch->table, PLAIN, "%s", bytes_text(row->bytes, size));
        table_cell(ch->table, PLAIN, "%s", *row->path ? row->path : row->key);
        table_cell(ch->table, DIM, "%s", row->text);
}

static void begin(struct changes *ch, struct ctl *c, const char *rows)
{
        *ch = (struct changes){.c = c};
        if (!c->json)
                return;
        answer_open(&ch->json);
        json_open(&ch->json, rows, '[');
}

/* Ends the answer; extra members of the JSON object may be added between. */
static void end_rows(struct changes *ch)
{
        if (ch->c->json)
                json_close(&ch->json, ']');
        else if (ch->table)
                table_print(ch->table);
        ch->table = NULL;
}

static int request(struct strv *r, const char *command)
{
        return strv_add(r, command);
}

static int add_value(struct strv *r, const char *name, const char *value)
{
        _cleanup_free_ char *s = str_printf("%s=%s", name, value);
        return s ? strv_add(r, s) : -ENOMEM;
}

static int add_arguments(struct strv *r, const struct ctl *c)
{
        int e = strv_add(r, "--");
        for (int i = 0; e == 0 && i < c->argc; i++)
                e = strv_add(r, c->argv[i]);
        return e;
}

static int check_patterns(const struct ctl *c)
{
        struct error e = {};
        for (int i = 0; i < c->argc; i++)
                if (steward_check_pattern(c->argv[i], &e) < 0)
                        return ctl_usage(c, "%s", e.text);
        return 0;
}

static int finish(struct changes *ch, int status, struct strv *r)
{
        strv_done(r);
        if (ch->c->json && status != CTL_CANNOT) {
                int p = answer_print(&ch->json);
                status = p ? p : status;
        }
        json_done(&ch->json);
        return status;
}

/* --reason: one line, for the audit record. */
static int check_reason(const struct ctl *c)
{
        const char *reason = ctl_flag(c, "reason");
        for (; reason && *reason; reason++)
                if ((unsigned char)*reason < 0x20 || *reason == 0x7f)
                        return ctl_usage(c, "--reason: expected one line of text");
        return 0;
}

/* --- resync --- */

static int resync_offline(void *arg, const struct steward *s, struct error *e)
{
        struct changes *ch = arg;
        uint64_t n;
        return steward_resync(s, ch->c->argv, (size_t)ch->c->argc, &n, e);
}

int run_resync(struct ctl *c)
{
        struct changes ch;
        struct strv r = {};
        bool wait = ctl_flag(c, "wait");
        if (check_patterns(c))
                return CTL_USAGE;
        if (request(&r, "resync") < 0 || (wait && add_value(&r, "wait", "1") < 0) || add_arguments(&r, c) < 0)
                return ctl_fail_text("out of memory");
        begin(&ch, c, "objects");
        struct ask_spec spec = {.request = &r, .row = on_row, .arg = &ch};
        spec.offline = c->argc > 0 && !wait ? resync_offline : NULL;
        int status = ask(c, &spec);
        end_rows(&ch);
        if (c->json) {
                json_str(&ch.json, "text", *spec.text ? spec.text : NULL);
                json_bool(&ch.json, "complete", status == CTL_WELL);
        } else if (status != CTL_CANNOT) {
                if (*spec.text)
                        shown_print(stdout, "%s%s\n", spec.text,
                                status == CTL_FOUND
                                        ? "; czarctl status says what is the matter and what to do"
                                        : "");
                else if (c->argc > 0 && !spec.asked)
                        puts("czard does not run: it fetches them when it is started");
        }
        return finish(&ch, status, &r);
}

/* --- forget --- */

static int forget_offline(void *arg, const struct steward *s, struct error *e)
{
        struct changes *ch = arg;
        _cleanup_free_ int64_t *ids = NULL;
        size_t n = 0;
        int r = steward_refuse_paused(s, "forget", e);
        if (r == 0)
                r = steward_find(s, ch->c->argv, (size_t)ch->c->argc, &ids, &n, e);
        for (size_t i = 0; r == 0 && i < n; i++)
                r = steward_forget(s, ids[i], e);
        return r;
}

static void print_record_head(const struct ctl *c, const char *reason)
{
        char when[40], host[256] = "";
        const struct passwd *pw = getpwuid(c->caller);
        gethostname(host, sizeof(host) - 1);
        shown_print(stdout, "Record of removal\n\n");
        shown_print(stdout, "  when    %s\n", local_time((int64_t)time(NULL), when));
        shown_print(stdout, "  host    %s\n", host);
        shown_print(stdout, "  by      %s (uid %u)\n", pw ? pw->pw_name : "?", (unsigned)c->caller);
        shown_print(stdout, "  reason  %s\n\n", reason);
}

int run_forget(struct ctl *c)
{
        struct changes ch;
        struct strv r = {};
        const char *reason = ctl_flag(c, "reason");
        if (str_empty(reason))
                return ctl_usage(c, "--reason TEXT is needed: it stays in the audit record");
        if (check_reason(c) || check_patterns(c))
                return CTL_USAGE;
        if (request(&r, "forget") < 0 || add_value(&r, "reason", reason) < 0 || add_arguments(&r, c) < 0)
                return ctl_fail_text("out of memory");
        begin(&ch, c, "objects");
        struct ask_spec spec = {
                .request = &r, .row = on_row, .offline = forget_offline, .need_staging = true, .arg = &ch};
        int status = ask(c, &spec);
        if (!c->json && ch.n > 0)
                print_record_head(c, reason);
        end_rows(&ch);
        if (c->json)
                json_str(&ch.json, "reason", reason);
        else if (status == CTL_WELL && ch.n > 0)
                puts("\nEvery staged copy of these is gone; they are not fetched again unless resync names "
                     "them.\n"
                     "The entries are in the audit record (czarctl audit). Backups and what researchers "
                     "copied\n"
                     "are not czard's to remove.");
        return finish(&ch, status, &r);
}

/* --- prune --- */

static int prune_offline(void *arg, const struct steward *s, struct error *e)
{
        struct changes *ch = arg;
        _cleanup_keep_list_ struct keep_list list = {};
        int r = steward_refuse_paused(s, "prune", e);
        if (r == 0)
                r = keep_plan(s->ledger, s->staging, s->config, (int64_t)time(NULL), &list, e);
        for (size_t i = 0; r == 0 && i < list.n; i++)
                r = steward_prune(s, &list.items[i], ch->apply, e);
        return r;
}

/* Only looking needs no lock and no czard. */
static int prune_show(struct ctl *c, struct changes *ch)
{
        _cleanup_keep_list_ struct keep_list list = {};
        struct staging *staging = NULL;
        struct error e = {};
        int r = ctl_open_ledger(c);
        if (r)
                return r;
        r = staging_open_readonly(c->config->staging.path, &staging, &e);
        if (r >= 0)
                r = keep_plan(c->ledger, staging, c->config, (int64_t)time(NULL), &list, &e);
        staging_free(staging);
        if (r < 0)
                return ctl_fail(c, &e);
        static const char *const why[] = {[KEEP_EVENTS] = "keep_days",
                [KEEP_SNAPSHOT] = "keep_snapshots",
                [KEEP_REPLACED] = "keep_replaced",
                [KEEP_BY_COURSE] = "events_by_course is none"};
        for (size_t i = 0; i < list.n; i++) {
                const struct keep_item *item = &list.items[i];
                struct ledger_object o = {};
                struct ledger_split day;
                if (item->object_id)
                        ledger_get(c->ledger, item->object_id, &o, &e);
                struct ask_row row = {.what = "would go",
                        .bucket = o.bucket,
                        .key = o.key,
                        .path = item->path,
                        .text = why[item->kind],
                        .bytes = item->bytes};
                on_row(ch, &row);
                if (item->kind != KEEP_EVENTS || ledger_split_get(c->ledger, o.id, &day, NULL) < 0 ||
                        !*day.path)
                        continue;
                row.path = day.path; /* it goes with its file */
                row.bytes = (int64_t)day.files_size;
                on_row(ch, &row);
        }
        return 0;
}

int run_prune(struct ctl *c)
{
        struct changes ch;
        struct strv r = {};
        char size[32];
        if (c->config_is_partial)
                return ctl_fail_text(
                        "the configuration has errors, and prune goes by it: %s", c->config_error);
        begin(&ch, c, "items");
        ch.apply = ctl_flag(c, "apply");
        int status = 0;
        if (ch.apply) {
                if (request(&r, "prune") < 0)
                        return ctl_fail_text("out of memory");
                struct ask_spec spec = {.request = &r,
                        .row = on_row,
                        .offline = prune_offline,
                        .need_staging = true,
                        .arg = &ch};
                status = ask(c, &spec);
        } else {
                status = prune_show(c, &ch);
        }
        end_rows(&ch);
        if (c->json) {
                json_bool(&ch.json, "applied", ch.apply);
                json_i64(&ch.json, "total_bytes", ch.bytes);
        } else if (status != CTL_CANNOT) {
                bytes_text(ch.bytes, size);
                if (ch.n == 0)
                        puts("nothing to prune");
                else
                        shown_print(stdout, "%llu %s, %s by name%s\n", (unsigned long long)ch.n,
                                ch.apply ? "removed" : "would be removed", size,
                                ch.apply ? "" : "; do it with: czarctl prune --apply");
        }
        return finish(&ch, status, &r);
}

/* --- latest --- */

static int latest_offline(void *arg, const struct steward *s, struct error *e)
{
        const struct changes *ch = arg;
        return steward_latest(s, ch->org, ch->category, ch->date, e);
}

static int show_latest(struct ctl *c, struct changes *ch, const char *org)
{
        static const enum category kinds[] = {CATEGORY_DATABASE, CATEGORY_EMAIL_OPT_IN};
        struct staging *staging = NULL;
        struct error e = {};
        int r = ctl_open_ledger(c);
        if (r)
                return r;
        if (staging_open_readonly(c->config->staging.path, &staging, &e) < 0)
                return ctl_fail(c, &e);
        bool known = false; /* an organisation that has neither a section nor a snapshot is a mistake */
        for (size_t i = 0; i < c->config->n_packages; i++)
                known |= streq(c->config->packages[i].spec.org, org);
        struct table *t = c->json ? NULL : table_new("CATEGORY|LATEST|CHOSEN BY|SHOULD BE|NOTE");
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                _cleanup_(strv_done) struct strv missed = {};
                char now[64], date[11] = "", dir[256];
                bool pinned = false;
                snprintf(dir, sizeof(dir), "%s/%s", org, category_name(kinds[i]));
                staging_read_latest(staging, dir, now, sizeof(now));
                if (latest_choose(c->ledger, org, kinds[i], date, &pinned, &e) < 0 ||
                        (*date && !pinned &&
                                latest_unmatched(c->ledger, c->config, org, kinds[i], date, &missed, &e) < 0))
                        break;
                known |= *now || *date;
                if (c->json) {
                        json_open(&ch->json, NULL, '{');
                        json_str(&ch->json, "category", category_name(kinds[i]));
                        json_str(&ch->json, "latest", *now ? now : NULL);
                        json_bool(&ch->json, "pinned", pinned);
                        json_str(&ch->json, "choice", *date ? date : NULL);
                        json_open(&ch->json, "unmatched", '[');
                        for (size_t k = 0; k < missed.n; k++)
                                json_str(&ch->json, NULL, missed.v[k]);
                        json_close(&ch->json, ']');
                        json_close(&ch->json, '}');
                } else {
                        table_cell(t, PLAIN, "%s", category_name(kinds[i]));
                        table_cell(t, PLAIN, "%s", *now ? now : "-");
                        table_cell(t, pinned ? YELLOW : PLAIN, "%s", pinned ? "an admin" : "czard");
                        table_cell(t, streq(now, date) ? PLAIN : YELLOW, "%s", *date ? date : "-");
                        table_cell(t, YELLOW, "%s%s", missed.n ? missed.v[0] : "",
                                missed.n ? " matches nothing there: it does not move" : "");
                }
        }
        staging_free(staging);
        if (t && known)
                table_print(t);
        else
                table_free(t);
        if (!e.cause && !known)
                return ctl_fail_text("nothing is known of an organisation '%s'; see czarctl list", org);
        return e.cause ? ctl_fail(c, &e) : 0;
}

int run_latest(struct ctl *c)
{
        struct changes ch;
        struct strv r = {};
        const char *org = c->argv[0], *what = c->argc > 1 ? c->argv[1] : NULL,
                   *category = ctl_flag(c, "category");
        int day, status = 0;
        begin(&ch, c, "latest");
        ch.org = org;
        ch.category = category ? category_from_name(category) : CATEGORY_DATABASE;
        if (ch.category != CATEGORY_DATABASE && ch.category != CATEGORY_EMAIL_OPT_IN)
                return ctl_usage(c, "--category: expected database or email-opt-in");
        if (what && !streq(what, "auto") && (strlen(what) != 10 || date_parse(what, &day) < 0))
                return ctl_usage(c, "expected a date as YYYY-MM-DD, or auto, not '%.32s'", what);
        if (what) {
                ch.date = streq(what, "auto") ? NULL : what;
                if (request(&r, "latest") < 0 || add_value(&r, "org", org) < 0 ||
                        add_value(&r, "category", category_name(ch.category)) < 0 ||
                        add_value(&r, "date", ch.date ? ch.date : "") < 0)
                        return ctl_fail_text("out of memory");
                struct ask_spec spec = {
                        .request = &r, .offline = latest_offline, .need_staging = true, .arg = &ch};
                status = ask(c, &spec);
        }
        struct error denied = {};
        bool look = ctl_open_state(c, &denied) == 0 || denied.err != EACCES;
        if (status == 0 && (look || !what))
                status = show_latest(c, &ch, org);
        else if (status == 0 && !c->json) /* a member of czard-admin */
                shown_print(stdout, "done: latest of %s, %s, %s\n", org, category_name(ch.category),
                        ch.date ? ch.date : "is czard's choice again");
        end_rows(&ch);
        if (c->json)
                json_str(&ch.json, "org", org);
        return finish(&ch, status, &r);
}

/* --- pause --- */

static int pause_offline(void *arg, const struct steward *s, struct error *e)
{
        const struct changes *ch = arg;
        return steward_pause(s, ch->date, e);
}

static int set_pause(struct ctl *c, const char *text)
{
        struct changes ch;
        struct strv r = {};
        const char *reason = ctl_flag(c, "reason");
        if (check_reason(c))
                return CTL_USAGE;
        begin(&ch, c, "objects");
        ch.date = text;
        if (request(&r, text ? "pause" : "unpause") < 0 || (text && add_value(&r, "text", text) < 0) ||
                (reason && add_value(&r, "reason", reason) < 0))
                return ctl_fail_text("out of memory");
        struct ask_spec spec = {.request = &r, .offline = pause_offline, .arg = &ch};
        int status = ask(c, &spec);
        end_rows(&ch);
        if (c->json)
                json_bool(&ch.json, "paused", text);
        else if (status == 0)
                puts(text ? "paused: nothing is fetched, pruned or forgotten until czarctl unpause, also "
                            "after a restart; "
                            "polling goes on"
                          : "not paused");
        return finish(&ch, status, &r);
}

int run_pause(struct ctl *c)
{
        const char *reason = ctl_flag(c, "reason");
        return set_pause(c, str_empty(reason) ? "no reason given" : reason);
}

int run_unpause(struct ctl *c)
{
        return set_pause(c, NULL);
}

/* --- adopt --- */

/* A ledger that was lost is made again first, as czard does when it starts: with the id of a volume in it, it
 * is taken for whole, and what was forgotten would be fetched again. */
static int remake_lost_ledger(const struct ctl *c, const struct steward *s, struct error *e)
{
        struct ledger_rebuilt done;
        int r = ledger_is_lost(s->ledger, s->audit, e);
        return r == 1 ? ledger_rebuild(s->ledger, c->state_fd, c->config->limits.max_name, &done, e) : r;
}

static int adopt_offline(void *arg, const struct steward *s, struct error *e)
{
        struct changes *ch = arg;
        int r = remake_lost_ledger(ch->c, s, e);
        return r < 0 ? r : steward_adopt(s, ch->trust, &ch->adopted, e);
}

int run_adopt(struct ctl *c)
{
        struct changes ch;
        struct strv r = {};
        if (c->config_is_partial)
                return ctl_fail_text("the configuration has errors: %s", c->config_error);
        if (ctl_daemon_pid(c) > 0)
                return ctl_fail_text(
                        "adopt reads the whole staging disk, and czard must not write to it meanwhile: "
                        "systemctl stop czard first");
        begin(&ch, c, "objects");
        ch.trust = ctl_flag(c, "trust");
        if (request(&r, "adopt") < 0)
                return ctl_fail_text("out of memory");
        struct ask_spec spec = {.request = &r,
                .row = on_row,
                .offline = adopt_offline,
                .need_staging = true,
                .any_volume = true,
                .arg = &ch};
        int status = ask(c, &spec);
        end_rows(&ch);
        if (c->json) {
                json_u64(&ch.json, "adopted", ch.adopted.adopted);
                json_u64(&ch.json, "missing", ch.adopted.missing);
                json_u64(&ch.json, "unknown", ch.adopted.unknown);
        } else if (status == 0) {
                shown_print(stdout,
                        "%llu adopted, %llu missing, %llu of which nothing is known; the staging disk is "
                        "accepted\n",
                        (unsigned long long)ch.adopted.adopted, (unsigned long long)ch.adopted.missing,
                        (unsigned long long)ch.adopted.unknown);
        }
        return finish(&ch, status, &r);
}
