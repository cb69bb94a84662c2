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
#include "ctl.h"
#include "keep.h"
#include "latest.h"
#include "ledger_facts.h"
#include "ledger_rebuild.h"
#include "rows.h"
#include "timespan.h"

/* A request, and what came back. */
struct changes {
        struct ctl *c;
        struct rows rows;
        struct strv request;
        struct ask_spec spec;
        int err; /* of the request */
        uint64_t n;
        int64_t bytes;
        bool apply, trust;
        const char *org, *date;
        enum category category;
        struct steward_adopted adopted;
};

static void on_row(void *arg, const struct ask_row *row)
{
        struct changes *ch = arg;
        bool skipped = streq(row->what, "skipped");
        ch->n += !skipped;
        ch->bytes += !skipped && row->bytes > 0 ? row->bytes : 0;
        rows_add(&ch->rows,
                FIELDS(F_TEXT("what", row->what, .colour = skipped ? YELLOW : PLAIN),
                        F_NAME("bucket", row->bucket), F_NAME("key", row->key), F_NAME("path", row->path),
                        F_NAME("text", row->text, .colour = DIM), F_BYTES("bytes", row->bytes),
                        F_CELL("object", *row->path ? row->path : row->key)));
}

static void add_word(struct changes *ch, const char *word)
{
        ch->err = ch->err ? ch->err : strv_add(&ch->request, word);
}

static void add_value(struct changes *ch, const char *name, const char *value)
{
        _cleanup_free_ char *word = str_printf("%s=%s", name, value);
        ch->err = word ? ch->err : -ENOMEM;
        add_word(ch, word ? word : "");
}

static void add_arguments(struct changes *ch)
{
        add_word(ch, "--");
        for (int i = 0; i < ch->c->argc; i++)
                add_word(ch, ch->c->argv[i]);
}

/* The request is called as the command is. */
static void begin(struct changes *ch, struct ctl *c, const char *list, const char *columns)
{
        *ch = (struct changes){.c = c, .spec = {.request = &ch->request, .row = on_row, .arg = ch}};
        rows_open(&ch->rows, c, list, columns);
        add_word(ch, c->command->name);
}

#define CHANGE_COLUMNS "what|>bytes|object=OBJECT OR PATH|text=NOTE"

static int ask_for(struct changes *ch)
{
        return ch->err ? ctl_fail_text("out of memory") : ask(ch->c, &ch->spec);
}

static int check_patterns(const struct ctl *c)
{
        struct error e = {};
        for (int i = 0; i < c->argc; i++)
                if (steward_check_pattern(c->argv[i], &e) < 0)
                        return ctl_usage(c, "%s", e.text);
        return 0;
}

static int finish(struct changes *ch, int status)
{
        if (ch->c->json && status != CTL_CANNOT) {
                int p = answer_print(&ch->rows.json);
                status = p ? p : status;
        }
        rows_drop(&ch->rows);
        strv_done(&ch->request);
        return status;
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
        bool wait = ctl_flag(c, "wait");
        if (check_patterns(c))
                return CTL_USAGE;
        begin(&ch, c, "objects", CHANGE_COLUMNS);
        if (wait)
                add_value(&ch, "wait", "1");
        add_arguments(&ch);
        ch.spec.offline = c->argc > 0 && !wait ? resync_offline : NULL;
        int status = ask_for(&ch);
        const char *text = *ch.spec.text ? ch.spec.text : NULL;
        rows_end(&ch.rows, NULL);
        if (c->json)
                json_fields(
                        &ch.rows.json, FIELDS(F_TEXT("text", text), F_BOOL("complete", status == CTL_WELL)));
        else if (status != CTL_CANNOT && text)
                shown_print(stdout, "%s%s\n", text,
                        status == CTL_FOUND ? "; czarctl status says what is the matter and what to do" : "");
        else if (status != CTL_CANNOT && c->argc > 0 && !ch.spec.asked)
                puts("czard does not run: it fetches them when it is started");
        return finish(&ch, status);
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
        char when[WHEN_SIZE], host[HOST_SIZE] = "";
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
        const char *reason = ctl_flag(c, "reason");
        if (str_empty(reason))
                return ctl_usage(c, "--reason TEXT is needed: it stays in the audit record");
        if (ctl_line_flag(c, "reason") || check_patterns(c))
                return CTL_USAGE;
        begin(&ch, c, "objects", CHANGE_COLUMNS);
        add_value(&ch, "reason", reason);
        add_arguments(&ch);
        ch.spec.offline = forget_offline;
        ch.spec.need_staging = true;
        int status = ask_for(&ch);
        if (!c->json && ch.n > 0)
                print_record_head(c, reason);
        rows_end(&ch.rows, NULL);
        if (c->json)
                json_str(&ch.rows.json, "reason", reason);
        else if (status == CTL_WELL && ch.n > 0)
                puts("\nEvery staged copy of these is gone; they are not fetched again unless resync names "
                     "them.\n"
                     "The entries are in the audit record (czarctl audit). Backups and what researchers "
                     "copied\n"
                     "are not czard's to remove.");
        return finish(&ch, status);
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
                return ctl_fail(&e);
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
        char size[BYTES_SIZE];
        begin(&ch, c, "items", CHANGE_COLUMNS);
        ch.apply = ctl_flag(c, "apply");
        ch.spec.offline = prune_offline;
        ch.spec.need_staging = true;
        int status = ch.apply ? ask_for(&ch) : prune_show(c, &ch);
        rows_end(&ch.rows, NULL);
        if (c->json)
                json_fields(&ch.rows.json,
                        FIELDS(F_BOOL("applied", ch.apply), F_NUMBER("total_bytes", ch.bytes)));
        else if (status != CTL_CANNOT && ch.n == 0)
                puts("nothing to prune");
        else if (status != CTL_CANNOT)
                shown_print(stdout, "%llu %s, %s by name%s\n", (unsigned long long)ch.n,
                        ch.apply ? "removed" : "would be removed", bytes_text(ch.bytes, size),
                        ch.apply ? "" : "; do it with: czarctl prune --apply");
        return finish(&ch, status);
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
                return ctl_fail(&e);
        bool known = false; /* an organisation that has neither a section nor a snapshot is a mistake */
        for (size_t i = 0; i < c->config->n_packages; i++)
                known |= streq(c->config->packages[i].spec.org, org);
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                _cleanup_(strv_done) struct strv missed = {};
                _cleanup_free_ char *note = NULL;
                char now[64], date[DATE_SIZE] = "", dir[256];
                bool pinned = false;
                snprintf(dir, sizeof(dir), "%s/%s", org, category_name(kinds[i]));
                staging_read_latest(staging, dir, now, sizeof(now));
                if (latest_choose(c->ledger, org, kinds[i], date, &pinned, &e) < 0 ||
                        (*date && !pinned &&
                                latest_unmatched(c->ledger, c->config, org, kinds[i], date, &missed, &e) < 0))
                        break;
                known |= *now || *date;
                if (missed.n)
                        note = str_printf("%s matches nothing there: it does not move", missed.v[0]);
                rows_begin_item(&ch->rows,
                        FIELDS(F_TEXT("category", category_name(kinds[i])), F_NAME("latest", now),
                                F_BOOL("pinned", pinned),
                                F_NAME("choice", date, .colour = streq(now, date) ? PLAIN : YELLOW),
                                F_CELL("chosen", pinned ? "an admin" : "czard",
                                        .colour = pinned ? YELLOW : PLAIN),
                                F_CELL("note", note, .colour = YELLOW)));
                if (c->json)
                        json_strings(&ch->rows.json, "unmatched", &missed);
                rows_end_item(&ch->rows);
        }
        staging_free(staging);
        if (known)
                rows_end(&ch->rows, NULL);
        else if (!e.cause)
                return ctl_fail_text("nothing is known of an organisation '%s'; see czarctl list", org);
        return e.cause ? ctl_fail(&e) : 0;
}

int run_latest(struct ctl *c)
{
        struct changes ch;
        const char *org = c->argv[0], *what = c->argc > 1 ? c->argv[1] : NULL,
                   *name = ctl_flag(c, "category");
        enum category category = name ? category_from_name(name) : CATEGORY_DATABASE;
        int day, status = 0;
        if (category != CATEGORY_DATABASE && category != CATEGORY_EMAIL_OPT_IN)
                return ctl_usage(c, "--category: expected database or email-opt-in");
        if (what && !streq(what, "auto") && date_parse_whole(what, &day) < 0)
                return ctl_usage(c, "expected a date as YYYY-MM-DD, or auto, not '%.32s'", what);
        begin(&ch, c, "latest", "category|latest|chosen=CHOSEN BY|choice=SHOULD BE|note");
        ch.org = org;
        ch.category = category;
        ch.date = what && !streq(what, "auto") ? what : NULL;
        add_value(&ch, "org", org);
        add_value(&ch, "category", category_name(category));
        add_value(&ch, "date", ch.date ? ch.date : "");
        ch.spec.offline = latest_offline;
        ch.spec.need_staging = true;
        ch.spec.row = NULL;
        if (what)
                status = ask_for(&ch);
        struct error denied = {};
        bool look = !what || ctl_open_state(c, &denied) == 0 || denied.err != EACCES;
        if (status == 0 && look) {
                status = show_latest(c, &ch, org);
        } else { /* a member of czard-admin, or refused */
                rows_end(&ch.rows, NULL);
                if (status == 0 && !c->json)
                        shown_print(stdout, "done: latest of %s, %s, %s\n", org, category_name(category),
                                ch.date ? ch.date : "is czard's choice again");
        }
        if (c->json)
                json_str(&ch.rows.json, "org", org);
        return finish(&ch, status);
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
        const char *reason = ctl_flag(c, "reason");
        if (ctl_line_flag(c, "reason"))
                return CTL_USAGE;
        begin(&ch, c, "objects", CHANGE_COLUMNS);
        ch.date = text;
        if (text)
                add_value(&ch, "text", text);
        if (reason)
                add_value(&ch, "reason", reason);
        ch.spec.offline = pause_offline;
        int status = ask_for(&ch);
        rows_end(&ch.rows, NULL);
        if (c->json)
                json_bool(&ch.rows.json, "paused", text);
        else if (status == 0)
                puts(text ? "paused: nothing is fetched, pruned or forgotten until czarctl unpause, also "
                            "after a restart; "
                            "polling goes on"
                          : "not paused");
        return finish(&ch, status);
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
        if (ctl_daemon_pid(c) > 0)
                return ctl_fail_text(
                        "adopt reads the whole staging disk, and czard must not write to it meanwhile: "
                        "systemctl stop czard first");
        begin(&ch, c, "objects", CHANGE_COLUMNS);
        ch.trust = ctl_flag(c, "trust");
        ch.spec.offline = adopt_offline;
        ch.spec.need_staging = ch.spec.any_volume = true;
        int status = ask_for(&ch);
        const struct steward_adopted *a = &ch.adopted;
        rows_end(&ch.rows, NULL);
        if (c->json)
                json_fields(&ch.rows.json,
                        FIELDS(F_NUMBER("adopted", a->adopted), F_NUMBER("missing", a->missing),
                                F_NUMBER("unknown", a->unknown)));
        else if (status == 0)
                shown_print(stdout,
                        "%llu adopted, %llu missing, %llu of which nothing is known; the staging disk is "
                        "accepted\n",
                        (unsigned long long)a->adopted, (unsigned long long)a->missing,
                        (unsigned long long)a->unknown);
        return finish(&ch, status);
}
