/* SPDX-License-Identifier: Apache-2.0 */
/* metrics: Prometheus text. Names and labels are in czarctl(1) and stay. */
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "deliver_facts.h"
#include "facts.h"
#include "ledger_facts.h"
#include "ledger_report.h"
#include "name.h"
#include "owner.h"
#include "rows.h"
#include "staging.h"
#include "str.h"
#include "timespan.h"

/* Samples of a family must not be mixed with others: each family is collected in a text of its own, and those
 * that have samples are printed in this order. */
static const struct {
        const char *name, *help;
} families[] = {
        {"czard_objects", "Objects by state."},
        {"czard_object_bytes", "Bytes in S3 of the objects by state."},
        {"czard_plaintext_bytes", "Bytes of staged plaintext, equal files counted each."},
        {"czard_last_success_timestamp_seconds", "When something was staged last."},
        {"czard_newest_date_timestamp_seconds", "The greatest date of a staged file, at 00:00 UTC."},
        {"czard_members_rejected", "Members that were rejected, of staged snapshots, by snapshot and cause."},
        {"czard_unreadable_entries", "Entries of listings that cannot be read, and are not fetched."},
        {"czard_late_files", "Files that should have come since the last one."},
        {"czard_up", "1 while czard runs."},
        {"czard_paused", "1 while fetching is paused, by an admin or by czard."},
        {"czard_feed_broken", "1 while the feed cannot be brought up to date."},
        {"czard_last_poll_timestamp_seconds", "When every prefix was listed last; 0: never."},
        {"czard_last_poll_duration_seconds", "How long the last poll took."},
        {"czard_last_transfer_duration_seconds",
                "How long the last file or snapshot took from its first request to its name."},
        {"czard_queue_objects", "Objects that are due or under way."},
        {"czard_queue_bytes", "Bytes that are still to be fetched of them."},
        {"czard_running_objects", "Objects under way."},
        {"czard_key_expiry_timestamp_seconds", "When the key expires; keys that never do are not listed."},
        {"czard_key_expiry_days", "Whole days until the first key expires; negative: it has."},
        {"czard_credentials_timestamp_seconds", "When the S3 credentials were stored."},
        {"czard_staging_free_bytes", "Bytes free on the staging volume."},
        {"czard_staging_min_free_bytes", "Below this fetching pauses."},
        {"czard_by_course_folders", "Days of events that are staged by course."},
        {"czard_by_course_failed", "Days of events that could not be split by course."},
        {"czard_by_course_bytes", "Bytes of the events that are staged by course."},
        {"czard_delivery_stands_still",
                "1 while a delivery does not hand out what is due, or take back what is over."},
        {"czard_delivery_match_nothing", "Patterns of courses and tables that match nothing."},
        {"czard_delivery_outbox_messages", "Messages in the outbox."},
        {"czard_delivery_outbox_bytes", "Bytes of these."},
        {"czard_delivery_please_destroy", "Messages that recipients are to destroy."},
        {"czard_delivery_unknown", "1 while deliveries cannot be looked at."},
        {"czard_build_info", "The version of czarctl."},
};

struct metrics {
        struct ctl *c;
        struct strbuf text[ELEMENTSOF(families)];
};

static void add_label(struct strbuf *b, const char *name, const char *value)
{
        _cleanup_strbuf_ struct strbuf shown = {};
        name_add_shown(&shown, value);
        strbuf_printf(b, "%s=\"", name);
        for (const char *p = shown.s; p && *p; p++)
                strbuf_printf(b, "%s%c", *p == '\\' || *p == '"' ? "\\" : "", *p);
        strbuf_add(b, "\"");
}

/* labels: their texts, NULL none. micros: of the value, behind its point. */
static void sample_part(
        struct metrics *m, const char *family, const struct ctl_field *labels, int64_t value, int micros)
{
        size_t k = 0;
        while (!streq(families[k].name, family))
                k++;
        struct strbuf *b = &m->text[k];
        strbuf_add(b, family);
        for (const struct ctl_field *l = labels; l && l->name; l++) {
                strbuf_add(b, l == labels ? "{" : ",");
                add_label(b, l->name, l->text);
        }
        strbuf_printf(b, "%s %lld", labels ? "}" : "", (long long)value);
        if (micros >= 0)
                strbuf_printf(b, ".%06d", micros);
        strbuf_add(b, "\n");
}

static void sample(struct metrics *m, const char *family, const struct ctl_field *labels, int64_t value)
{
        sample_part(m, family, labels, value, -1);
}

/* The first are the organisation, the category and the site; one without a name is none. */
#define LABELS_MOST 6

static int sample_row(struct metrics *m, const struct report_row *row, const char *family, int64_t value,
        const struct ctl_field *more)
{
        const char *category = report_category(row);
        struct ctl_field labels[LABELS_MOST] = {
                F_TEXT("org", row->text[0]), F_TEXT("category", category), F_TEXT("site", row->text[2])};
        for (size_t i = 0; more && more[i].name; i++)
                labels[3 + i] = more[i];
        if (category)
                sample(m, family, labels, value);
        return 0;
}

static int sample_count(const struct report_row *row, void *arg)
{
        const struct ctl_field *state =
                FIELDS(F_TEXT("state", object_state_name((enum object_state)row->number[3])));
        sample_row(arg, row, "czard_objects", row->number[4], state);
        sample_row(arg, row, "czard_object_bytes", row->number[5], state);
        return sample_row(arg, row, "czard_plaintext_bytes", row->number[6], state);
}

static int sample_last(const struct report_row *row, void *arg)
{
        int day;
        sample_row(arg, row, "czard_last_success_timestamp_seconds", row->number[8], NULL);
        if (date_parse(row->text[3], &day) == 0)
                sample_row(arg, row, "czard_newest_date_timestamp_seconds", day * SEC_PER_DAY, NULL);
        return 0;
}

static int sample_members_rejected(const struct report_row *row, void *arg)
{
        return sample_row(arg, row, "czard_members_rejected", row->number[5],
                FIELDS(F_TEXT("date", row->text[3]), F_TEXT("cause", row->text[4])));
}

static int sample_unreadable(const struct report_row *row, void *arg)
{
        return sample_row(
                arg, row, "czard_unreadable_entries", row->number[3], FIELDS(F_TEXT("bucket", row->text[5])));
}

static void sample_late(struct metrics *m, const struct days *days)
{
        for (size_t i = 0; i < days->habit.n; i++) {
                const struct habit_series *s = &days->habit.series[i];
                const struct habit_gap *g = days_late(days, i);
                if (days_is_wanted(m->c, s))
                        sample(m, "czard_late_files",
                                FIELDS(F_TEXT("org", s->org), F_TEXT("category", category_name(s->category)),
                                        F_TEXT("site", s->site)),
                                g ? g->missing : 0);
        }
}

static void sample_keys(struct metrics *m, const struct facts *f)
{
        int64_t left = facts_key_left(f);
        for (size_t i = 0; i < f->n_keys; i++)
                if (f->keys[i].expires)
                        sample(m, "czard_key_expiry_timestamp_seconds",
                                FIELDS(F_TEXT("fingerprint", f->keys[i].fingerprint)), f->keys[i].expires);
        if (left != INT64_MAX)
                sample(m, "czard_key_expiry_days", NULL,
                        left / SEC_PER_DAY - (left < 0 && left % SEC_PER_DAY ? 1 : 0));
}

/* How long it took, as czard noted it. */
static void sample_duration(
        struct metrics *m, const char *family, const char *what, const struct ctl_field *labels)
{
        uint64_t usec;
        if (ledger_took(m->c->ledger, what, &usec, NULL) >= 0 && usec > 0)
                sample_part(m, family, labels, (int64_t)(usec / USEC_PER_SEC), (int)(usec % USEC_PER_SEC));
}

struct by_course {
        uint64_t days, bytes;
};

static int count_split(const struct ledger_split *row, void *arg)
{
        struct by_course *n = arg;
        n->days += *row->path != 0;
        n->bytes += row->files_size;
        return 0;
}

static void sample_by_course(struct metrics *m)
{
        struct by_course n = {};
        uint64_t failed = 0;
        if (ledger_splits(m->c->ledger, count_split, &n, NULL) < 0 ||
                not_split(m->c, NULL, &failed, NULL) < 0)
                return;
        sample(m, "czard_by_course_folders", NULL, (int64_t)n.days);
        sample(m, "czard_by_course_failed", NULL, (int64_t)failed);
        sample(m, "czard_by_course_bytes", NULL, (int64_t)n.bytes);
}

static void sample_delivery(void *arg, const struct deliver_fact *f)
{
        const struct ctl_field *labels = FIELDS(F_TEXT("delivery", f->delivery->name));
        sample(arg, "czard_delivery_stands_still", labels, f->why != NULL);
        sample(arg, "czard_delivery_match_nothing", labels, (int64_t)f->unmatched.n);
        sample(arg, "czard_delivery_outbox_messages", labels, (int64_t)f->out);
        sample(arg, "czard_delivery_outbox_bytes", labels, (int64_t)f->out_bytes);
        sample(arg, "czard_delivery_please_destroy", labels, (int64_t)f->destroy);
}

static void sample_facts(struct metrics *m, const struct facts *f)
{
        struct staging *s = NULL;
        uint64_t bytes;
        sample(m, "czard_up", NULL, f->daemon > 0);
        sample(m, "czard_paused", NULL, *f->paused || *f->pauses);
        sample(m, "czard_feed_broken", NULL, *f->feed != 0);
        sample(m, "czard_last_poll_timestamp_seconds", NULL, f->last_poll);
        sample_duration(m, "czard_last_poll_duration_seconds", "poll", NULL);
        for (enum category k = 0; k < CATEGORY_MAX; k++)
                sample_duration(m, "czard_last_transfer_duration_seconds", category_name(k),
                        FIELDS(F_TEXT("category", category_name(k))));
        if (f->live) {
                sample(m, "czard_queue_objects", NULL, (int64_t)f->due);
                sample(m, "czard_queue_bytes", NULL, (int64_t)f->due_bytes);
                sample(m, "czard_running_objects", NULL, (int64_t)f->running);
        }
        sample_keys(m, f);
        if (f->credentials_since)
                sample(m, "czard_credentials_timestamp_seconds", NULL, f->credentials_since);
        if (staging_open_readonly(m->c->config->staging.path, &s, NULL) >= 0 &&
                staging_free_bytes(s, &bytes, NULL) >= 0)
                sample(m, "czard_staging_free_bytes", NULL, (int64_t)bytes);
        staging_free(s);
        sample(m, "czard_staging_min_free_bytes", NULL,
                (int64_t)MIN(m->c->config->staging.min_free, (uint64_t)INT64_MAX));
        sample_by_course(m);
        int r = deliver_facts(m->c, sample_delivery, m, &(struct error){});
        sample(m, "czard_delivery_unknown", NULL, r < 0);
        sample(m, "czard_build_info", FIELDS(F_TEXT("version", CZARD_VERSION)), 1);
}

int prepare_metrics(struct ctl *c)
{
        const char *file = ctl_flag(c, "output");
        return file ? owner_output(c, file, OUTPUT_REPLACE, 0644, NULL) : 0;
}

/* What was collected, in *ret. 0 or -errno. */
static int print_families(struct metrics *m, struct strbuf *ret)
{
        for (size_t k = 0; k < ELEMENTSOF(families); k++) {
                if (m->text[k].len > 0)
                        strbuf_printf(ret, "# HELP %s %s\n# TYPE %s gauge\n%s", families[k].name,
                                families[k].help, families[k].name, m->text[k].s);
                if (m->text[k].err)
                        ret->err = m->text[k].err;
                strbuf_done(&m->text[k]);
        }
        strbuf_add(ret, "# EOF\n");
        return ret->err;
}

static const struct {
        enum report report;
        report_fn *each;
} reports[] = {{REPORT_COUNTS, sample_count}, {REPORT_LAST, sample_last},
        {REPORT_MEMBERS_REJECTED, sample_members_rejected}, {REPORT_UNREADABLE, sample_unreadable}};

int run_metrics(struct ctl *c)
{
        struct metrics m = {.c = c};
        _cleanup_days_ struct days days = {};
        _cleanup_strbuf_ struct strbuf text = {};
        struct facts f;
        struct error e = {};
        if (c->json)
                return ctl_usage(c, "metrics are Prometheus text; status --json says the same");
        int status = facts_read(c, true, &f);
        if (status)
                return status;
        int r = 0;
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(reports); i++)
                r = report_each(c->ledger, reports[i].report, NULL, NULL, reports[i].each, &m, &e);
        if (r == 0)
                r = days_read(c, &days, &e);
        sample_late(&m, &days);
        sample_facts(&m, &f);
        int printed = print_families(&m, &text);
        char where[TEXT_SIZE];
        if (r == 0)
                r = printed;
        if (r == 0 && ctl_flag(c, "output"))
                r = owner_put(c, 0, text.s, text.len, where, &e);
        else if (r == 0)
                fputs(text.s, stdout);
        return r == 0 ? 0 : ctl_fail(&e);
}
