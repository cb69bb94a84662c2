/* SPDX-License-Identifier: Apache-2.0 */
/* report --html: one page to look at, from the ledger and the audit record. It names objects, courses and
 * tables, and nothing that is in them. */
#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "deliver.h"
#include "owner.h"
#include "runs.h"
#include "staging.h"
#include "str.h"
#include "table.h"
#include "timespan.h"

/* --- the head --- */

#define KEY_WARN_SEC (60 * 86400)

struct sums {
        int64_t staged, due, rejected, members, missing, plain;
        uint64_t unreadable;
};

static int on_count(const struct report_row *row, void *arg)
{
        struct sums *s = arg;
        switch ((enum object_state)row->number[3]) {
        case OBJECT_PUBLISHED:
                s->staged += row->number[4];
                s->plain += row->number[6];
                break;
        case OBJECT_NEW:
        case OBJECT_FETCHING:
        case OBJECT_DECRYPTING:
        case OBJECT_RETRY:
                s->due += row->number[4];
                break;
        case OBJECT_REJECTED:
                s->rejected += row->number[4];
                break;
        case OBJECT_MISSING:
                s->missing += row->number[4];
                break;
        case OBJECT_IGNORED:
        case OBJECT_GONE:
        case OBJECT_FORGOTTEN:
        case OBJECT_PRUNED:
        case OBJECT_STATE_MAX:
                break;
        }
        return 0;
}

static int on_members(const struct report_row *row, void *arg)
{
        struct sums *s = arg;
        s->members += row->number[5];
        return 0;
}

static void card(struct strbuf *b, const char *class, const char *value, const char *what)
{
        strbuf_printf(b, "<li><strong class=\"%s\">", class);
        page_text(b, value);
        strbuf_add(b, "</strong>");
        page_text(b, what);
        strbuf_add(b, "</li>\n");
}

static void point(struct strbuf *b, const char *text)
{
        strbuf_add(b, "<li>");
        page_text(b, text);
        strbuf_add(b, "</li>\n");
}

/* "5 files of universityx edge are late since 2026-11-16" */
static void say_late(struct html_report *r)
{
        for (size_t i = 0; i < r->days.habit.n; i++) {
                const struct habit_series *h = &r->days.habit.series[i];
                const struct habit_gap *g = days_late(&r->days, i);
                char from[11], text[256];
                if (!g || !days_is_wanted(r->c, h))
                        continue;
                snprintf(text, sizeof(text), "%u %s of %s, %s, %s late since %s", g->missing,
                        g->missing == 1 ? "file" : "files", h->org,
                        *h->site ? h->site : category_name(h->category), g->missing == 1 ? "is" : "are",
                        date_format(g->from, from));
                point(&r->b, text);
        }
}

static void on_delivery_still(void *arg, const struct deliver_fact *f)
{
        struct html_report *r = arg;
        _cleanup_free_ char *text =
                str_printf("the delivery %s stands still: %s", f->delivery->name, f->reason);
        if (f->stands_still && text)
                point(&r->b, text);
}

static void say_problems(struct html_report *r, const struct sums *s)
{
        const struct facts *f = &r->facts;
        char text[640], when[40];
        if (f->last_poll == 0)
                point(&r->b, "czard has not listed everything yet");
        if (*f->paused || *f->pauses) {
                snprintf(text, sizeof(text), "fetching is paused: %s", *f->paused ? f->paused : f->pauses);
                point(&r->b, text);
        }
        if (s->rejected > 0) {
                snprintf(text, sizeof(text), "%lld %s refused, because %s cannot be trusted or read",
                        (long long)s->rejected, s->rejected == 1 ? "file was" : "files were",
                        s->rejected == 1 ? "it" : "they");
                point(&r->b, text);
        }
        if (s->members > 0) {
                snprintf(text, sizeof(text), "%lld %s refused, see their REJECTED files",
                        (long long)s->members,
                        s->members == 1 ? "member of a staged snapshot was"
                                        : "members of staged snapshots were");
                point(&r->b, text);
        }
        if (s->unreadable > 0) {
                snprintf(text, sizeof(text),
                        "%llu %s of edX's listings cannot be read, and what it is of is not staged",
                        (unsigned long long)s->unreadable, s->unreadable == 1 ? "entry" : "entries");
                point(&r->b, text);
        }
        if (s->missing > 0) {
                snprintf(text, sizeof(text), "%lld staged %s gone or altered", (long long)s->missing,
                        s->missing == 1 ? "file is" : "files are");
                point(&r->b, text);
        }
        if (r->days_not_split > 0) {
                snprintf(text, sizeof(text), "%llu %s of events could not be split by course",
                        (unsigned long long)r->days_not_split, r->days_not_split == 1 ? "day" : "days");
                point(&r->b, text);
        }
        say_late(r);
        (void)deliver_facts(r->c, on_delivery_still, r, NULL);
        if (facts_key_left(f) < KEY_WARN_SEC) {
                snprintf(text, sizeof(text), "the key that edX encrypts to %s %s",
                        facts_key_left(f) < 0 ? "expired" : "expires",
                        ago((int64_t)time(NULL) + facts_key_left(f), when));
                point(&r->b, text);
        }
}

/* The answer to "is all well?" before any number. */
static void add_verdict(struct html_report *r, const struct sums *s)
{
        struct strbuf page = r->b;
        r->b = (struct strbuf){};
        say_problems(r, s);
        struct strbuf points = r->b;
        r->b = page;
        if (points.len == 0 && !points.err)
                strbuf_add(&r->b,
                        "<section class=\"verdict\" aria-label=\"Is all well?\"><h2>All is well: what edX "
                        "delivered is here.</h2></section>\n");
        else
                strbuf_printf(&r->b,
                        "<section class=\"verdict look\" aria-label=\"Is all well?\"><h2>To look "
                        "at</h2><ul>\n%s"
                        "</ul></section>\n",
                        points.s ? points.s : "");
        strbuf_done(&points);
}

static void add_cards(struct html_report *r, const struct sums *s)
{
        struct staging *staging = NULL;
        char text[64], when[40];
        uint64_t bytes = 0;
        strbuf_add(&r->b, "<ul class=\"cards\" aria-label=\"In numbers\">\n");
        snprintf(text, sizeof(text), "%lld", (long long)s->staged);
        card(&r->b, "", text, "files and snapshots here");
        card(&r->b, "", bytes_text(s->plain, text), "decrypted");
        snprintf(text, sizeof(text), "%lld", (long long)s->due);
        card(&r->b, "", text, "still to come");
        snprintf(text, sizeof(text), "%lld", (long long)(s->rejected + s->members + s->missing));
        card(&r->b, s->rejected + s->members + s->missing ? "bad" : "", text, "refused, gone or altered");
        if (r->facts.last_poll)
                snprintf(text, sizeof(text), "%.10s", local_time(r->facts.last_poll, when));
        card(&r->b, "", r->facts.last_poll ? text : "never", "edX last asked for new data");
        if (staging_open_readonly(r->c->config->staging.path, &staging, NULL) >= 0 &&
                staging_free_bytes(staging, &bytes, NULL) >= 0)
                card(&r->b, bytes < r->c->config->staging.min_free ? "bad" : "",
                        bytes_text((int64_t)bytes, text), "free on the disk");
        staging_free(staging);
        strbuf_add(&r->b, "</ul>\n");
}

static void add_navigation(struct strbuf *b)
{
        static const char *const parts[][2] = {{"days", "Days of events"}, {"snapshots", "Snapshots"},
                {"changes", "What vanished"}, {"failures", "Failures"}, {"storage", "Storage"},
                {"expiry", "Keys"}};
        strbuf_add(b, "<nav aria-label=\"Sections\"><ul>");
        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                strbuf_printf(b, "<li><a href=\"#%s\">%s</a></li>", parts[i][0], parts[i][1]);
        strbuf_add(b, "</ul></nav><main id=\"main\">\n");
}

/* --- failures, storage, expiry --- */

static int on_trouble(const struct report_row *row, void *arg)
{
        struct html_report *r = arg;
        enum cause cause = cause_from_name(row->text[1]);
        char head[160];
        snprintf(head, sizeof(head), "%lld %s (%s)", (long long)row->number[2],
                object_state_name((enum object_state)row->number[0]), row->text[1]);
        _cleanup_free_ char *text =
                str_printf("For example %s%s%s", row->text[3], *row->text[4] ? ": " : "", row->text[4]);
        page_note(&r->b, head, text ? text : "", cause == CAUSE_MAX ? "" : cause_advice(cause));
        return text ? 0 : -ENOMEM;
}

static int add_failures(struct html_report *r)
{
        page_heading(&r->b, 2, "failures", "Failures");
        size_t before = r->b.len;
        page_notes_open(&r->b);
        size_t head = r->b.len;
        int e = report_each(r->c->ledger, REPORT_TROUBLES, NULL, NULL, on_trouble, r, r->e);
        if (e == 0)
                e = report_not_split(r);
        bool none = r->b.len == head;
        page_notes_close(&r->b);
        if (none && !r->b.err) {
                r->b.len = before; /* no empty list */
                strbuf_add(&r->b, "<p>None.</p>\n");
        }
        return e;
}

static int on_storage(const struct report_row *row, void *arg)
{
        struct html_report *r = arg;
        char all[32], once[32];
        int64_t total = row->number[2], real = row->number[3];
        if (row->number[1] < 0 || row->number[1] >= CATEGORY_MAX)
                return 0;
        strbuf_add(&r->b, "<tr>");
        page_cell(&r->b, false, "%s", row->text[0]);
        page_cell(&r->b, false, "%s", category_name((enum category)row->number[1]));
        page_cell(&r->b, true, "%s", bytes_text(total, all));
        page_cell(&r->b, true, "%s", bytes_text(real, once));
        page_cell(&r->b, true, "%lld %%", total > 0 ? (long long)((total - real) * 100 / total) : 0);
        strbuf_add(&r->b, "</tr>\n");
        return 0;
}

static int add_storage(struct html_report *r)
{
        page_heading(&r->b, 2, "storage", "Storage");
        page_table_open(&r->b,
                "Decrypted bytes, and what equal members of snapshots save by sharing their storage",
                "Organisation|Category|>In all|>On disk|>Saved");
        int e = report_each(r->c->ledger, REPORT_STORAGE, NULL, NULL, on_storage, r, r->e);
        if (e == 0)
                e = report_by_course_storage(r);
        page_table_close(&r->b);
        return e;
}

static void add_expiry(struct html_report *r)
{
        char when[40], left[40];
        page_heading(&r->b, 2, "expiry", "Keys and credentials");
        page_table_open(&r->b, "What has a date", "What|Which|Date|In words");
        for (size_t i = 0; i < r->facts.n_keys; i++) {
                const struct fact_key *k = &r->facts.keys[i];
                strbuf_add(&r->b, "<tr>");
                page_cell(&r->b, false, "OpenPGP key");
                page_cell(&r->b, false, "%s", k->fingerprint);
                page_cell(&r->b, false, "%.10s", k->expires ? local_time(k->expires, when) : "no expiry");
                page_cell(&r->b, false, "%s%s", k->expires ? "expires " : "",
                        k->expires ? ago(k->expires, left) : "");
                strbuf_add(&r->b, "</tr>\n");
        }
        strbuf_add(&r->b, "<tr>");
        page_cell(&r->b, false, "S3 credentials");
        page_cell(&r->b, false, "%s", *r->facts.credentials ? r->facts.credentials : "-");
        page_cell(&r->b, false, "%.10s", local_time(r->facts.credentials_since, when));
        page_cell(&r->b, false, "stored %s", ago(r->facts.credentials_since, left));
        strbuf_add(&r->b, "</tr>\n");
        page_table_close(&r->b);
}

static void on_delivery_row(void *arg, const struct deliver_fact *f)
{
        struct html_report *r = arg;
        char until[11], size[32];
        strbuf_add(&r->b, "<tr>");
        page_cell(&r->b, false, "%s", f->delivery->name);
        page_cell(&r->b, false, "%s", f->delivery->purpose);
        page_cell(&r->b, false, "%s", date_format(f->delivery->until, until));
        page_cell(&r->b, false, "%s", f->state);
        page_cell(&r->b, true, "%llu", (unsigned long long)f->out);
        page_cell(&r->b, true, "%s", bytes_text((int64_t)f->out_bytes, size));
        page_cell(&r->b, true, "%llu", (unsigned long long)f->destroy);
        strbuf_add(&r->b, "</tr>\n");
}

/* Only where there are any. */
static void add_deliveries(struct html_report *r)
{
        if (r->c->config->n_deliveries == 0)
                return;
        page_heading(&r->b, 2, "deliveries", "Deliveries");
        page_table_open(&r->b, "What is handed out, for what, and until when",
                "Name|Purpose|Until|State|>In the outbox|>Bytes|>To be destroyed");
        (void)deliver_facts(r->c, on_delivery_row, r, NULL);
        page_table_close(&r->b);
}

/* --- the page --- */

static int make_page(struct html_report *r)
{
        char when[40], host[128] = "", orgs[256] = "", subtitle[512];
        struct sums sums = {};
        gethostname(host, sizeof(host) - 1);
        for (size_t i = 0; !r->c->config_is_partial && i < r->c->config->n_packages; i++) {
                size_t len = strlen(orgs);
                snprintf(orgs + len, sizeof(orgs) - len, "%s, ", r->c->config->packages[i].spec.org);
        }
        snprintf(subtitle, sizeof(subtitle), "%sas of %s on %s", orgs, local_time((int64_t)time(NULL), when),
                host);
        int e = report_read_days(r);
        if (e == 0)
                e = report_read_by_course(r);
        if (e == 0)
                e = report_each(r->c->ledger, REPORT_COUNTS, NULL, NULL, on_count, &sums, r->e);
        if (e == 0)
                e = report_each(r->c->ledger, REPORT_MEMBERS_REJECTED, NULL, NULL, on_members, &sums, r->e);
        if (e == 0)
                e = report_unreadable(r->c->ledger, &sums.unreadable, r->e);
        if (e < 0)
                return e;
        page_open(&r->b, "edX data package", subtitle);
        add_navigation(&r->b);
        add_verdict(r, &sums);
        add_cards(r, &sums);
        report_days(r);
        if (e == 0)
                e = report_snapshots(r);
        if (e == 0)
                e = add_failures(r);
        if (e == 0)
                e = add_storage(r);
        add_deliveries(r);
        add_expiry(r);
        page_close(&r->b, "Made by czarctl report " CZARD_VERSION ". Holds no learner data.");
        return e == 0 && r->b.err ? -ENOMEM : e;
}

int prepare_report(struct ctl *c)
{
        const char *file = ctl_flag(c, "html");
        if (str_empty(file))
                return ctl_usage(c, "--html FILE is needed");
        return owner_output(c, file, OUTPUT_REPLACE, 0644) < 0 ? ctl_fail_text("out of memory") : 0;
}

int run_report(struct ctl *c)
{
        struct error e = {};
        struct html_report r = {.c = c, .e = &e};
        char where[512];
        if (c->json)
                return ctl_usage(c, "a report is HTML; status, list and gaps say it in JSON");
        int status = facts_read(c, true, &r.facts);
        if (status)
                return status;
        int result = make_page(&r);
        if (result == 0)
                result = owner_put(c, 0, r.b.s, r.b.len, where, &e);
        strbuf_done(&r.b);
        strv_done(&r.replaced);
        strv_done(&r.unstaged);
        strv_done(&r.left_out);
        days_done(&r.days);
        if (result < 0)
                return e.cause ? ctl_fail(c, &e) : ctl_fail_text("out of memory");
        shown_print(stdout, "%s\n", where);
        return 0;
}
