/* SPDX-License-Identifier: Apache-2.0 */
/* report --html: one page to look at, from the ledger and the audit record. It names objects, courses and
 * tables, and nothing that is in them. */
#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "owner.h"
#include "runs.h"
#include "staging.h"
#include "table.h"

/* --- the head --- */

struct sums {
        int64_t staged, due, bad, plain;
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
        case OBJECT_MISSING:
                s->bad += row->number[4];
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

static void card(struct strbuf *b, const char *class, const char *value, const char *what)
{
        strbuf_printf(b, "<li><strong class=\"%s\">", class);
        page_text(b, value);
        strbuf_add(b, "</strong>");
        page_text(b, what);
        strbuf_add(b, "</li>\n");
}

static int add_cards(struct html_report *r)
{
        struct sums s = {};
        struct staging *staging = NULL;
        char text[64];
        uint64_t bytes = 0;
        int e = report_each(r->c->ledger, REPORT_COUNTS, NULL, NULL, on_count, &s, r->e);
        strbuf_add(&r->b, "<ul class=\"cards\">\n");
        snprintf(text, sizeof(text), "%lld", (long long)s.staged);
        card(&r->b, "", text, "objects staged");
        card(&r->b, "", bytes_text(s.plain, text), "decrypted");
        snprintf(text, sizeof(text), "%lld", (long long)s.due);
        card(&r->b, "", text, "due or tried again");
        snprintf(text, sizeof(text), "%lld", (long long)s.bad);
        card(&r->b, s.bad ? "bad" : "good", text, "rejected or missing");
        card(&r->b, "", ago(r->facts.last_poll, text), "last complete poll");
        if (staging_open_readonly(r->c->config->staging.path, &staging, NULL) >= 0 &&
                staging_free_bytes(staging, &bytes, NULL) >= 0)
                card(&r->b, bytes < r->c->config->staging.min_free ? "bad" : "",
                        bytes_text((int64_t)bytes, text), "free on the staging volume");
        staging_free(staging);
        strbuf_add(&r->b, "</ul>\n");
        return e;
}

static void add_navigation(struct strbuf *b)
{
        static const char *const parts[][2] = {{"days", "Days"}, {"snapshots", "Snapshots"},
                {"changes", "Changes"}, {"failures", "Failures"}, {"storage", "Storage"},
                {"expiry", "Expiry"}};
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
        strbuf_add(&r->b, "<tr>");
        page_cell(&r->b, false, "%s", object_state_name((enum object_state)row->number[0]));
        page_cell(&r->b, false, "%s", row->text[1]);
        page_cell(&r->b, true, "%lld", (long long)row->number[2]);
        page_cell(&r->b, false, "%s", row->text[3]);
        page_cell(&r->b, false, "%s", row->text[4]);
        page_cell(&r->b, false, "%s", cause == CAUSE_MAX ? "" : cause_advice(cause));
        strbuf_add(&r->b, "</tr>\n");
        return 0;
}

static int add_failures(struct html_report *r)
{
        page_heading(&r->b, 2, "failures", "Failures");
        page_table_open(&r->b, "By state and cause, with one example each",
                "State|Cause|>How many|For example|What was found|What to do");
        size_t before = r->b.len;
        int e = report_each(r->c->ledger, REPORT_TROUBLES, NULL, NULL, on_trouble, r, r->e);
        if (r->b.len == before)
                strbuf_add(&r->b, "<tr><td colspan=\"6\">None.</td></tr>");
        page_table_close(&r->b);
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
                "Organisation|Category|>By name|>Equal ones once|>Saved");
        int e = report_each(r->c->ledger, REPORT_STORAGE, NULL, NULL, on_storage, r, r->e);
        page_table_close(&r->b);
        return e;
}

static void add_expiry(struct html_report *r)
{
        char when[40], left[40];
        page_heading(&r->b, 2, "expiry", "Keys and credentials");
        page_table_open(&r->b, "What has a date", "What|Which|Date|");
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

/* --- the page --- */

static int make_page(struct html_report *r)
{
        char when[40], host[128] = "", subtitle[256];
        gethostname(host, sizeof(host) - 1);
        snprintf(subtitle, sizeof(subtitle), "%s, %s", host, local_time((int64_t)time(NULL), when));
        int e = report_read_days(r);
        if (e < 0)
                return e;
        page_open(&r->b, "edX data package", subtitle);
        add_navigation(&r->b);
        e = add_cards(r);
        report_days(r);
        if (e == 0)
                e = report_snapshots(r);
        if (e == 0)
                e = add_failures(r);
        if (e == 0)
                e = add_storage(r);
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
        days_done(&r.days);
        if (result < 0)
                return e.cause ? ctl_fail(c, &e) : ctl_fail_text("out of memory");
        printf("%s\n", where);
        return 0;
}
