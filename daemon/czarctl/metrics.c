/* SPDX-License-Identifier: Apache-2.0 */
/* metrics: Prometheus text. Names and labels are in czarctl(1) and stay. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "days.h"
#include "deliver.h"
#include "facts.h"
#include "ledger_facts.h"
#include "ledger_report.h"
#include "ledger_split.h"
#include "name.h"
#include "owner.h"
#include "runs.h"
#include "staging.h"
#include "str.h"
#include "table.h"
#include "timespan.h"

/* Families must not be mixed: each is collected in a text of its own. */
enum family { OBJECTS, BYTES, PLAIN_BYTES, LAST_STAGED, NEWEST_DATE, MEMBERS_REJECTED, UNREADABLE, FAMILIES };

static const struct {
        const char *name, *help;
} families[FAMILIES] = {
        [OBJECTS] = {"czard_objects", "Objects by state."},
        [BYTES] = {"czard_object_bytes", "Bytes in S3 of the objects by state."},
        [PLAIN_BYTES] = {"czard_plaintext_bytes", "Bytes of staged plaintext, equal files counted each."},
        [LAST_STAGED] = {"czard_last_success_timestamp_seconds", "When something was staged last."},
        [NEWEST_DATE] = {"czard_newest_date_timestamp_seconds",
                "The greatest date of a staged file, at 00:00 UTC."},
        [MEMBERS_REJECTED] = {"czard_members_rejected",
                "Members that were rejected, of staged snapshots, by snapshot and cause."},
        [UNREADABLE] = {"czard_unreadable_entries",
                "Entries of listings that cannot be read, and are not fetched."},
};

struct metrics {
        struct strbuf text[FAMILIES];
};

static void label(struct strbuf *b, const char *name, const char *value)
{
        _cleanup_strbuf_ struct strbuf shown = {};
        name_add_shown(&shown, value);
        strbuf_printf(b, "%s=\"", name);
        for (const char *p = shown.s; p && *p; p++)
                if (*p == '\\' || *p == '"')
                        strbuf_printf(b, "\\%c", *p);
                else
                        strbuf_add_n(b, p, 1);
        strbuf_add(b, "\"");
}

static void labels(struct strbuf *b, const char *name, const struct report_row *row)
{
        strbuf_printf(b, "%s{", name);
        label(b, "org", row->text[0]);
        strbuf_add(b, ",");
        label(b, "category", category_name((enum category)row->number[1]));
        strbuf_add(b, ",");
        label(b, "site", row->text[2]);
}

static int on_count(const struct report_row *row, void *arg)
{
        struct metrics *m = arg;
        if (row->number[1] < 0 || row->number[1] >= CATEGORY_MAX)
                return 0;
        const int column[] = {[OBJECTS] = 4, [BYTES] = 5, [PLAIN_BYTES] = 6};
        for (enum family f = OBJECTS; f <= PLAIN_BYTES; f++) {
                labels(&m->text[f], families[f].name, row);
                strbuf_add(&m->text[f], ",");
                label(&m->text[f], "state", object_state_name((enum object_state)row->number[3]));
                strbuf_printf(&m->text[f], "} %lld\n", (long long)row->number[column[f]]);
        }
        return 0;
}

static int on_last(const struct report_row *row, void *arg)
{
        struct metrics *m = arg;
        int day;
        if (row->number[1] < 0 || row->number[1] >= CATEGORY_MAX)
                return 0;
        labels(&m->text[LAST_STAGED], families[LAST_STAGED].name, row);
        strbuf_printf(&m->text[LAST_STAGED], "} %lld\n", (long long)row->number[8]);
        if (date_parse(row->text[3], &day) < 0)
                return 0;
        labels(&m->text[NEWEST_DATE], families[NEWEST_DATE].name, row);
        strbuf_printf(&m->text[NEWEST_DATE], "} %lld\n", (long long)day * 86400);
        return 0;
}

struct by_course {
        uint64_t days, failed, bytes;
};

static int on_members_rejected(const struct report_row *row, void *arg)
{
        struct metrics *m = arg;
        struct strbuf *b = &m->text[MEMBERS_REJECTED];
        if (row->number[1] < 0 || row->number[1] >= CATEGORY_MAX)
                return 0;
        labels(b, families[MEMBERS_REJECTED].name, row);
        strbuf_add(b, ",");
        label(b, "date", row->text[3]);
        strbuf_add(b, ",");
        label(b, "cause", row->text[4]);
        strbuf_printf(b, "} %lld\n", (long long)row->number[5]);
        return 0;
}

static int on_unreadable(const struct report_row *row, void *arg)
{
        struct metrics *m = arg;
        if (row->number[1] < 0 || row->number[1] >= CATEGORY_MAX)
                return 0;
        labels(&m->text[UNREADABLE], families[UNREADABLE].name, row);
        strbuf_add(&m->text[UNREADABLE], ",");
        label(&m->text[UNREADABLE], "bucket", row->text[5]);
        strbuf_printf(&m->text[UNREADABLE], "} %lld\n", (long long)row->number[3]);
        return 0;
}

static void head(struct strbuf *b, const char *name, const char *help, const char *type)
{
        strbuf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void gauge(struct strbuf *b, const char *name, const char *help, int64_t value)
{
        head(b, name, help, "gauge");
        strbuf_printf(b, "%s %lld\n", name, (long long)value);
}

static void add_keys(struct strbuf *b, const struct facts *f)
{
        static const char name[] = "czard_key_expiry_timestamp_seconds";
        bool any = false;
        for (size_t i = 0; i < f->n_keys; i++) {
                if (f->keys[i].expires == 0)
                        continue;
                if (!any)
                        head(b, name, "When the key expires; keys that never do are not listed.", "gauge");
                any = true;
                strbuf_printf(b, "%s{", name);
                label(b, "fingerprint", f->keys[i].fingerprint);
                strbuf_printf(b, "} %lld\n", (long long)f->keys[i].expires);
        }
        int64_t left = facts_key_left(f);
        if (left != INT64_MAX)
                gauge(b, "czard_key_expiry_days", "Whole days until the first key expires; negative: it has.",
                        left / 86400 - (left < 0 && left % 86400 ? 1 : 0));
}

static void add_late(const struct ctl *c, struct strbuf *b, const struct days *days)
{
        bool any = false;
        for (size_t i = 0; i < days->habit.n; i++) {
                const struct habit_series *s = &days->habit.series[i];
                const struct habit_gap *g = days_late(days, i);
                struct report_row row = {.text = {s->org, "", s->site}, .number = {0, s->category}};
                if (!days_is_wanted(c, s))
                        continue;
                if (!any)
                        head(b, "czard_late_files", "Files that should have come since the last one.",
                                "gauge");
                any = true;
                labels(b, "czard_late_files", &row);
                strbuf_printf(b, "} %u\n", g ? g->missing : 0);
        }
}

/* How long it took, as czard noted it, in the form of Prometheus. */
static bool add_seconds(const struct ctl *c, struct strbuf *b, const char *name, const char *label_value)
{
        uint64_t usec;
        if (ledger_took(c->ledger, label_value ? label_value : "poll", &usec, NULL) < 0 || usec == 0)
                return false;
        strbuf_add(b, name);
        if (label_value) {
                strbuf_add(b, "{");
                label(b, "category", label_value);
                strbuf_add(b, "}");
        }
        strbuf_printf(b, " %llu.%06llu\n", (unsigned long long)(usec / USEC_PER_SEC),
                (unsigned long long)(usec % USEC_PER_SEC));
        return true;
}

static void add_durations(const struct ctl *c, struct strbuf *b)
{
        static const char poll[] = "czard_last_poll_duration_seconds",
                          transfer[] = "czard_last_transfer_duration_seconds";
        _cleanup_strbuf_ struct strbuf values = {};
        if (add_seconds(c, &values, poll, NULL)) {
                head(b, poll, "How long the last poll took.", "gauge");
                strbuf_add(b, values.s);
                values.len = 0;
        }
        bool any = false;
        for (enum category k = 0; k < CATEGORY_MAX; k++)
                any |= add_seconds(c, &values, transfer, category_name(k));
        if (any) {
                head(b, transfer,
                        "How long the last file or snapshot took from its first request to its name.",
                        "gauge");
                strbuf_add(b, values.s);
        }
}

static int on_split(const struct ledger_split *row, void *arg)
{
        struct by_course *n = arg;
        n->days += *row->path != 0;
        n->failed += row->cause != CAUSE_NONE;
        n->bytes += row->files_size;
        return 0;
}

static void add_by_course(struct ctl *c, struct strbuf *b)
{
        struct by_course n = {};
        if (ledger_splits(c->ledger, on_split, &n, NULL) < 0)
                return;
        gauge(b, "czard_by_course_folders", "Days of events that are staged by course.", (int64_t)n.days);
        gauge(b, "czard_by_course_failed", "Days of events that could not be split by course.",
                (int64_t)n.failed);
        gauge(b, "czard_by_course_bytes", "Bytes of the events that are staged by course.", (int64_t)n.bytes);
}

enum { DELIVERY_STILL, DELIVERY_MESSAGES, DELIVERY_BYTES, DELIVERY_DESTROY, DELIVERY_FAMILIES };
struct deliveries {
        struct strbuf text[DELIVERY_FAMILIES];
};
static const struct {
        const char *name, *help;
} delivery_families[] = {
        [DELIVERY_STILL] = {"czard_delivery_stands_still", "1 while a delivery cannot hand out what is due."},
        [DELIVERY_MESSAGES] = {"czard_delivery_outbox_messages", "Messages in the outbox."},
        [DELIVERY_BYTES] = {"czard_delivery_outbox_bytes", "Bytes of these."},
        [DELIVERY_DESTROY] = {"czard_delivery_please_destroy", "Messages that recipients are to destroy."},
};

static void on_delivery(void *arg, const struct deliver_fact *f)
{
        struct deliveries *d = arg;
        const uint64_t values[] = {[DELIVERY_STILL] = f->stands_still,
                [DELIVERY_MESSAGES] = f->out,
                [DELIVERY_BYTES] = f->out_bytes,
                [DELIVERY_DESTROY] = f->destroy};
        for (size_t i = 0; i < DELIVERY_FAMILIES; i++) {
                strbuf_printf(&d->text[i], "%s{", delivery_families[i].name);
                label(&d->text[i], "delivery", f->delivery->name);
                strbuf_printf(&d->text[i], "} %llu\n", (unsigned long long)values[i]);
        }
}

static void add_deliveries(const struct ctl *c, struct strbuf *b)
{
        struct deliveries d = {};
        (void)deliver_facts(c, on_delivery, &d, NULL);
        for (size_t i = 0; i < DELIVERY_FAMILIES; i++) {
                if (d.text[i].len > 0) {
                        head(b, delivery_families[i].name, delivery_families[i].help, "gauge");
                        strbuf_add(b, d.text[i].s);
                }
                strbuf_done(&d.text[i]);
        }
}

static void add_facts(struct ctl *c, struct strbuf *b, const struct facts *f)
{
        struct staging *s = NULL;
        uint64_t bytes;
        gauge(b, "czard_up", "1 while czard runs.", f->daemon > 0);
        gauge(b, "czard_paused", "1 while fetching is paused, by an admin or by czard.",
                *f->paused || *f->pauses);
        gauge(b, "czard_last_poll_timestamp_seconds", "When every prefix was listed last; 0: never.",
                f->last_poll);
        add_durations(c, b);
        if (f->live) {
                gauge(b, "czard_queue_objects", "Objects that are due or under way.", (int64_t)f->due);
                gauge(b, "czard_queue_bytes", "Bytes that are still to be fetched of them.",
                        (int64_t)f->due_bytes);
                gauge(b, "czard_running_objects", "Objects under way.", (int64_t)f->running);
        }
        add_keys(b, f);
        if (f->credentials_since)
                gauge(b, "czard_credentials_timestamp_seconds", "When the S3 credentials were stored.",
                        f->credentials_since);
        if (staging_open_readonly(c->config->staging.path, &s, NULL) >= 0 &&
                staging_free_bytes(s, &bytes, NULL) >= 0)
                gauge(b, "czard_staging_free_bytes", "Bytes free on the staging volume.", (int64_t)bytes);
        staging_free(s);
        gauge(b, "czard_staging_min_free_bytes", "Below this fetching pauses.",
                (int64_t)MIN(c->config->staging.min_free, (uint64_t)INT64_MAX));
        add_by_course(c, b);
        add_deliveries(c, b);
        head(b, "czard_build_info", "The version of czarctl.", "gauge");
        strbuf_add(b, "czard_build_info{version=\"" CZARD_VERSION "\"} 1\n");
}

int prepare_metrics(struct ctl *c)
{
        const char *file = ctl_flag(c, "output");
        if (file && owner_output(c, file, OUTPUT_REPLACE, 0644) < 0)
                return ctl_fail_text("out of memory");
        return 0;
}

int run_metrics(struct ctl *c)
{
        struct metrics m = {};
        _cleanup_days_ struct days days = {};
        struct facts f;
        struct error e = {};
        if (c->json)
                return ctl_usage(c, "metrics are Prometheus text; status --json says the same");
        int status = facts_read(c, true, &f);
        if (status)
                return status;
        int r = report_each(c->ledger, REPORT_COUNTS, NULL, NULL, on_count, &m, &e);
        if (r == 0)
                r = report_each(c->ledger, REPORT_LAST, NULL, NULL, on_last, &m, &e);
        if (r == 0)
                r = report_each(c->ledger, REPORT_MEMBERS_REJECTED, NULL, NULL, on_members_rejected, &m, &e);
        if (r == 0)
                r = report_each(c->ledger, REPORT_UNREADABLE, NULL, NULL, on_unreadable, &m, &e);
        if (r == 0)
                r = days_read(c, &days, &e);
        _cleanup_strbuf_ struct strbuf b = {};
        for (enum family k = 0; k < FAMILIES; k++) {
                if (m.text[k].len > 0) {
                        head(&b, families[k].name, families[k].help, "gauge");
                        strbuf_add(&b, m.text[k].s);
                }
                strbuf_done(&m.text[k]);
        }
        add_late(c, &b, &days);
        add_facts(c, &b, &f);
        strbuf_add(&b, "# EOF\n");
        if (r == 0 && b.err)
                r = error_set(&e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        char where[512];
        if (r == 0 && ctl_flag(c, "output"))
                r = owner_put(c, 0, b.s, b.len, where, &e);
        else if (r == 0)
                fputs(b.s, stdout);
        return r == 0 ? 0 : e.cause ? ctl_fail(c, &e) : ctl_fail_text("out of memory");
}
