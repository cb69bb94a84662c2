/* SPDX-License-Identifier: Apache-2.0 */
/* report: the data of one page to look at, from the ledger and the audit record; report.html says how it
 * looks. They name objects, courses and tables, and nothing that is in them. */
#include "report_data.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl.h"
#include "deliver_facts.h"
#include "owner.h"
#include "page.h"
#include "rows.h"
#include "staging.h"
#include "str.h"
#include "timespan.h"

/* --- what is to be looked at, and the numbers --- */

struct sums {
        int64_t of[OBJECT_STATE_MAX], plain, members;
};

static int sum_state(const struct report_row *row, void *arg)
{
        struct sums *s = arg;
        if (row->number[3] < 0 || row->number[3] >= OBJECT_STATE_MAX)
                return 0;
        s->of[row->number[3]] += row->number[4];
        s->plain += row->number[3] == OBJECT_PUBLISHED ? row->number[6] : 0;
        return 0;
}

static int sum_members(const struct report_row *row, void *arg)
{
        struct sums *s = arg;
        s->members += row->number[5];
        return 0;
}

static int add_numbers(struct report_data *r)
{
        struct sums s = {};
        uint64_t unreadable = 0;
        int e = report_each(r->c->ledger, REPORT_COUNTS, NULL, NULL, sum_state, &s, r->e);
        if (e == 0)
                e = report_each(r->c->ledger, REPORT_MEMBERS_REJECTED, NULL, NULL, sum_members, &s, r->e);
        if (e == 0)
                e = report_unreadable(r->c->ledger, &unreadable, r->e);
        const int64_t *n = s.of;
        int64_t bad = n[OBJECT_REJECTED] + s.members + n[OBJECT_MISSING];
        json_fields(&r->j,
                FIELDS(F_NUMBER("staged", n[OBJECT_PUBLISHED]), F_NUMBER("plain_bytes", s.plain),
                        F_NUMBER("due",
                                n[OBJECT_NEW] + n[OBJECT_FETCHING] + n[OBJECT_DECRYPTING] + n[OBJECT_RETRY]),
                        F_NUMBER("rejected", n[OBJECT_REJECTED]), F_NUMBER("members_rejected", s.members),
                        F_NUMBER("missing", n[OBJECT_MISSING]), F_NUMBER("unreadable", unreadable),
                        F_NUMBER("refused", bad)));
        r->look |= bad > 0 || unreadable > 0;
        return e;
}

static void add_late(struct report_data *r)
{
        json_open(&r->j, "late", '[');
        for (size_t i = 0; i < r->days.habit.n; i++) {
                const struct habit_series *h = &r->days.habit.series[i];
                const struct habit_gap *g = days_late(&r->days, i);
                char from[DATE_SIZE];
                if (!g || !days_is_wanted(r->c, h))
                        continue;
                json_object(&r->j, NULL,
                        FIELDS(F_TEXT("org", h->org),
                                F_TEXT("what", *h->site ? h->site : category_name(h->category)),
                                F_NUMBER("missing", g->missing), F_BOOL("one", g->missing == 1),
                                F_TEXT("from", date_format(g->from, from))));
                r->look = true;
        }
        json_close(&r->j, ']');
}

static void add_delivery(void *arg, const struct deliver_fact *f)
{
        struct report_data *r = arg;
        char until[DATE_SIZE] = "";
        if (f->delivery->until != INT_MAX)
                date_format(f->delivery->until, until);
        json_object(&r->j, NULL,
                FIELDS(F_TEXT("name", f->delivery->name), F_TEXT("purpose", f->delivery->purpose),
                        F_TEXT("until", until), F_TEXT("state", f->state),
                        F_BOOL("stands_still", f->why != NULL), F_TEXT("reason", f->why ? f->why : f->reason),
                        F_TEXT("match_nothing", f->unmatched.n ? f->unmatched.v[0] : NULL),
                        F_NUMBER("in_outbox", f->out), F_NUMBER("bytes", f->out_bytes),
                        F_NUMBER("please_destroy", f->destroy)));
        r->look |= f->why || f->unmatched.n;
}

static void add_deliveries(struct report_data *r)
{
        json_open(&r->j, "deliveries", '[');
        struct error e = {};
        bool unknown = deliver_facts(r->c, add_delivery, r, &e) < 0;
        json_close(&r->j, ']');
        json_str(&r->j, "deliveries_unknown", unknown ? e.text : NULL);
        r->look |= unknown;
}

/* What belongs to no object: polls, a pause, the disk. */
static void add_daemon(struct report_data *r)
{
        const struct facts *f = &r->facts;
        struct staging *staging = NULL;
        uint64_t bytes = 0, least = r->c->config->staging.min_free;
        const char *paused = *f->paused ? f->paused : f->pauses;
        json_fields(&r->j, FIELDS(F_TIME("last_poll", f->last_poll), F_NAME("paused", paused)));
        r->look |= f->last_poll == 0 || *paused;
        if (staging_open_readonly(r->c->config->staging.path, &staging, NULL) >= 0 &&
                staging_free_bytes(staging, &bytes, NULL) >= 0)
                json_object(&r->j, "disk",
                        FIELDS(F_NUMBER("free_bytes", bytes), F_BOOL("too_full", bytes < least)));
        staging_free(staging);
}

static void add_keys(struct report_data *r)
{
        const struct facts *f = &r->facts;
        int64_t left = facts_key_left(f);
        json_open(&r->j, "keys", '[');
        for (size_t i = 0; i < f->n_keys; i++)
                json_object(&r->j, NULL,
                        FIELDS(F_TEXT("fingerprint", f->keys[i].fingerprint),
                                F_TIME("expires", f->keys[i].expires)));
        json_close(&r->j, ']');
        bool soon = left < KEY_WARN_SEC;
        json_fields(&r->j, FIELDS(F_TIME("key_ends", soon ? (int64_t)time(NULL) + left : 0),
                                   F_BOOL("key_expired", left < 0)));
        json_object(&r->j, "credentials",
                FIELDS(F_NAME("source", f->credentials), F_TIME("since", f->credentials_since)));
        r->look |= soon;
}

/* --- days of events by course: those that could not be split, by cause, and what the others take --- */

static int add_not_split(struct report_data *r)
{
        uint64_t n = 0;
        int e = not_split(r->c, NULL, &n, r->e);
        json_u64(&r->j, "days_not_split", n);
        r->look |= n > 0;
        return e;
}

struct split_causes {
        struct {
                uint64_t n;
                char example[STAGED_PATH_SIZE], detail[DETAIL_SIZE];
        } of[CAUSE_MAX];
};

static int count_cause(void *arg, const struct ledger_split *row, const struct ledger_object *o)
{
        struct split_causes *c = arg;
        if (row->cause >= CAUSE_MAX)
                return 0;
        if (c->of[row->cause].n++ == 0) {
                snprintf(c->of[row->cause].example, STAGED_PATH_SIZE, "%s", o->path);
                snprintf(c->of[row->cause].detail, DETAIL_SIZE, "%s", row->detail);
        }
        return 0;
}

static int add_split_failures(struct report_data *r)
{
        _cleanup_free_ struct split_causes *c = calloc(1, sizeof(*c));
        int e = c ? not_split(r->c, count_cause, c, r->e) : -ENOMEM;
        for (enum cause cause = CAUSE_NONE; e == 0 && cause < CAUSE_MAX; cause++)
                if (c->of[cause].n > 0)
                        json_object(&r->j, NULL,
                                FIELDS(F_NUMBER("count", c->of[cause].n), F_TEXT("state", NULL),
                                        F_TEXT("cause", cause_name(cause)),
                                        F_TEXT("example", c->of[cause].example),
                                        F_TEXT("detail", c->of[cause].detail),
                                        F_TEXT("advice", not_split_advice(cause))));
        return e;
}

/* An item of the list of storage. */
static void add_storage_of(struct json *j, const char *org, const char *what, int64_t bytes, int64_t on_disk)
{
        int64_t saved = bytes > 0 ? (bytes - on_disk) * 100 / bytes : 0;
        json_object(j, NULL,
                FIELDS(F_TEXT("org", org), F_TEXT("category", what), F_NUMBER("bytes", bytes),
                        F_NUMBER("bytes_on_disk", on_disk), F_NUMBER("saved_percent", saved)));
}

struct taken {
        struct json *j;
        char org[ORG_SIZE]; /* rows come by path, so those of an organisation come together */
        uint64_t bytes;
};

static void add_taken(struct taken *t)
{
        int64_t bytes = (int64_t)MIN(t->bytes, (uint64_t)INT64_MAX);
        if (*t->org)
                add_storage_of(t->j, t->org, "events by course", bytes, bytes);
}

static int sum_taken(const struct ledger_split *row, void *arg)
{
        struct taken *t = arg;
        size_t n = strcspn(row->path, "/");
        if (n == 0 || n >= sizeof(t->org))
                return 0;
        if (strncmp(t->org, row->path, n) != 0 || t->org[n]) {
                add_taken(t);
                *t = (struct taken){.j = t->j};
                memcpy(t->org, row->path, n);
        }
        t->bytes += row->files_size;
        return 0;
}

static int add_split_storage(struct report_data *r)
{
        struct taken t = {.j = &r->j};
        int e = ledger_splits(r->c->ledger, sum_taken, &t, r->e);
        add_taken(&t);
        return e;
}

/* --- failures and storage --- */

static int add_failure(const struct report_row *row, void *arg)
{
        struct report_data *r = arg;
        enum cause cause = cause_from_name(row->text[1]);
        json_object(&r->j, NULL,
                FIELDS(F_NUMBER("count", row->number[2]),
                        F_TEXT("state", object_state_name((enum object_state)row->number[0])),
                        F_TEXT("cause", row->text[1]), F_TEXT("example", row->text[3]),
                        F_TEXT("detail", row->text[4]),
                        F_TEXT("advice", cause == CAUSE_MAX ? "" : cause_advice(cause))));
        return 0;
}

static int add_failures(struct report_data *r)
{
        json_open(&r->j, "failures", '[');
        int e = report_each(r->c->ledger, REPORT_TROUBLES, NULL, NULL, add_failure, r, r->e);
        if (e == 0)
                e = add_split_failures(r);
        json_close(&r->j, ']');
        return e;
}

static int add_category(const struct report_row *row, void *arg)
{
        struct report_data *r = arg;
        const char *category = report_category(row);
        if (category)
                add_storage_of(&r->j, row->text[0], category, row->number[2], row->number[3]);
        return 0;
}

static int add_storage(struct report_data *r)
{
        json_open(&r->j, "storage", '[');
        int e = report_each(r->c->ledger, REPORT_STORAGE, NULL, NULL, add_category, r, r->e);
        if (e == 0)
                e = add_split_storage(r);
        json_close(&r->j, ']');
        return e;
}

/* --- the command --- */

static void add_head(struct report_data *r)
{
        char host[128] = "";
        (void)gethostname(host, sizeof(host) - 1);
        json_fields(&r->j, FIELDS(F_TEXT("czarctl", CZARD_VERSION), F_TIME("made", (int64_t)time(NULL)),
                                   F_TEXT("host", host)));
        json_open(&r->j, "orgs", '[');
        for (size_t i = 0; !r->c->config_is_partial && i < r->c->config->n_packages; i++)
                json_str(&r->j, NULL, r->c->config->packages[i].spec.org);
        json_close(&r->j, ']');
}

static int add_all(struct report_data *r)
{
        static int (*const parts[])(struct report_data *) = {
                add_numbers, add_not_split, report_days, report_snapshots, add_failures, add_storage};
        int e = days_read(r->c, &r->days, r->e);
        add_head(r);
        for (size_t i = 0; e == 0 && i < ELEMENTSOF(parts); i++)
                e = parts[i](r);
        add_daemon(r);
        add_late(r);
        add_deliveries(r);
        add_keys(r);
        json_bool(&r->j, "ok", !r->look);
        return e;
}

/* The text of report.html, in the program. */
extern const char report_template[];
__asm__(".pushsection .rodata\n.globl report_template\n.hidden report_template\nreport_template:\n"
        ".incbin \"" REPORT_TEMPLATE "\"\n.byte 0\n.popsection");

int prepare_report(struct ctl *c)
{
        const char *file = ctl_flag(c, "html");
        if (c->json && !file)
                return 0;
        if (str_empty(file))
                return ctl_usage(c, "--html FILE is needed");
        return owner_output(c, file, OUTPUT_REPLACE, 0644, NULL);
}

static int put_page(struct report_data *r, char where[TEXT_SIZE])
{
        _cleanup_strbuf_ struct strbuf page = {};
        json_close(&r->j, '}');
        int e = r->j.out.err ? -ENOMEM : page_fill(&page, report_template, r->j.out.s, r->e);
        return e < 0 ? e : owner_put(r->c, 0, page.s, page.len, where, r->e);
}

int run_report(struct ctl *c)
{
        struct error e = {};
        struct report_data r = {.c = c, .e = &e};
        char where[TEXT_SIZE];
        int status = facts_read(c, true, &r.facts);
        if (status)
                return status;
        answer_open(&r.j);
        int result = add_all(&r);
        if (result == 0 && c->json && !ctl_flag(c, "html"))
                status = answer_print(&r.j);
        else if (result == 0 && (result = put_page(&r, where)) == 0)
                shown_print(stdout, "%s\n", where);
        json_done(&r.j);
        days_done(&r.days);
        return result == 0 ? status : ctl_fail(&e);
}
