/* SPDX-License-Identifier: Apache-2.0 */
/* deliver plan: what a run would hand out and take back, before anything is written; and what of the
 * configuration matches nothing. Done by the code of czard-deliver, from the staged tree and its record. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "deliver_facts.h"
#include "delivery_record.h"
#include "look.h"
#include "rows.h"
#include "str.h"

struct plan {
        struct ctl *c;
        const struct config_delivery *d;
        struct staging *staging;
        struct records records;
        struct delivery_look look;
        struct json *json;
        uint64_t bytes;
};

static uint64_t bytes_of(const struct plan *p, const struct due_item *item)
{
        uint64_t sum = 0, size;
        for (size_t i = 0; i < item->n; i++)
                if (staging_stat(p->staging, p->look.staged.v[item->first + i].path, &size, NULL, NULL) == 0)
                        sum += size;
        return sum;
}

static void plan_json(struct plan *p, const struct strv *courses)
{
        struct json *j = p->json;
        const struct delivery_staged *staged = &p->look.staged;
        const struct due *due = &p->look.due;
        json_open(j, NULL, '{');
        json_str(j, "name", p->d->name);
        json_open(j, "items", '[');
        for (size_t i = 0; i < due->n_items; i++) {
                const struct due_item *item = &due->items[i];
                json_open(j, NULL, '{');
                json_fields(
                        j, FIELDS(F_TEXT("path", item->path), F_TEXT("course", staged->v[item->first].course),
                                   F_TEXT("supersedes", item->supersedes ? item->supersedes->path : NULL),
                                   F_NUMBER("bytes", bytes_of(p, item))));
                json_open(j, "inputs", '[');
                for (size_t k = 0; k < item->n; k++)
                        json_str(j, NULL, staged->v[item->first + k].path);
                json_close(j, ']');
                json_close(j, '}');
        }
        json_close(j, ']');
        json_open(j, "leaves", '[');
        for (size_t i = 0; i < due->n_leave; i++)
                json_object(j, NULL,
                        FIELDS(F_TEXT("path", due->leave[i].record->path),
                                F_TEXT("reason", due->leave[i].reason)));
        json_close(j, ']');
        json_strings(j, "courses", courses);
        json_strings(j, "days", &staged->days);
        json_strings(j, "snapshots", &staged->snapshots);
        json_strings(j, "match_nothing", &staged->unmatched);
        json_strings(j, "held_back", &staged->held);
        json_fields(j, FIELDS(F_NUMBER("total_bytes", p->bytes), F_NUMBER("days_since", due->n_late),
                               F_NUMBER("waiting", due->n_waiting)));
        json_close(j, '}');
}

static void say_names(const char *what, const struct strv *v)
{
        for (size_t i = 0; i < v->n; i++) {
                fputs("  ", stdout);
                shown_colour(YELLOW, what);
                shown_print(stdout, " %s\n", v->v[i]);
        }
}

static void plan_table(struct plan *p, const struct strv *courses)
{
        char size[BYTES_SIZE];
        struct table *t = table_new("PATH|>FILES|>BYTES|NOTE");
        fputs(colour_on(BOLD), stdout);
        shown_print(stdout, "%s", p->d->name);
        fputs(colour_off(BOLD), stdout);
        shown_print(stdout,
                ": %zu courses, %zu days, %zu snapshots; due: %zu messages, %s; leave the outbox: %zu\n",
                courses->n, p->look.staged.days.n, p->look.staged.snapshots.n, p->look.due.n_items,
                bytes_text((int64_t)p->bytes, size), p->look.due.n_leave);
        if (p->records.revoked)
                puts("  it was revoked: nothing is delivered any more");
        else if (due_is_over(p->d, &p->records, (int64_t)time(NULL)))
                puts("  its last day (until) is over: nothing is delivered any more");
        if (p->look.due.n_waiting)
                shown_print(stdout, "  " LOOK_WAITS "\n", p->d->name);
        if (p->look.due.n_late)
                shown_print(stdout,
                        "  %zu days came after the archives were made: czarctl deliver run --again %s makes "
                        "them anew\n",
                        p->look.due.n_late, p->d->name);
        say_names("matches nothing:", &p->look.staged.unmatched);
        say_names("stays here, two courses have this name; list the full key of the one that is meant:",
                &p->look.staged.held_keys);
        for (size_t i = 0; i < p->look.due.n_items; i++) {
                const struct due_item *item = &p->look.due.items[i];
                table_cell(t, PLAIN, "%s", item->path);
                table_cell(t, PLAIN, "%zu", item->n);
                table_cell(t, PLAIN, "%s", bytes_text((int64_t)bytes_of(p, item), size));
                table_cell(t, DIM, "%s%s", item->supersedes ? "supersedes " : "",
                        item->supersedes ? item->supersedes->path : "");
        }
        for (size_t i = 0; i < p->look.due.n_leave; i++) {
                const struct due_leave *l = &p->look.due.leave[i];
                table_cell(t, PLAIN, "%s", l->record->path);
                table_cell(t, PLAIN, "%s", "");
                table_cell(t, PLAIN, "%s", "");
                table_cell(t, YELLOW, "leaves: %s", l->reason ? l->reason : "its time (keep) is over");
        }
        table_print(t);
}

static int look_at(struct plan *p, int state, struct error *e)
{
        p->records = (struct records){.delivery = p->d->name};
        int r = state >= 0 ? records_read(state, p->d->name, &p->records, e) : 0;
        const struct look_query q = {.delivery = p->d,
                .root = p->c->config->staging.path,
                .staging = p->staging,
                .records = &p->records,
                .now = (int64_t)time(NULL)};
        return r < 0 ? r : delivery_look(&q, &p->look, e);
}

static int plan_one(struct plan *p, int state)
{
        _cleanup_(strv_done) struct strv courses = {};
        struct error e = {};
        int r = look_at(p, state, &e);
        for (size_t i = 0; r == 0 && i < p->look.due.n_items; i++) {
                char form[COURSE_FORM_MAX];
                course_form(p->look.staged.v[p->look.due.items[i].first].course, form);
                p->bytes += bytes_of(p, &p->look.due.items[i]);
                r = *form ? strv_add(&courses, form) : 0;
        }
        strv_unique(&courses);
        if (r == 0 && p->json)
                plan_json(p, &courses);
        else if (r == 0)
                plan_table(p, &courses);
        look_done(&p->look);
        records_done(&p->records);
        return r < 0 ? ctl_fail(p->c, &e) : 0;
}

int deliver_plan(struct ctl *c, const char *name)
{
        _cleanup_json_ struct json j = {};
        struct staging *staging = NULL;
        struct error e = {};
        int status = ctl_refuse_partial(c);
        if (status)
                return status;
        _cleanup_close_ int state = deliver_state(c, &e);
        if (state < 0 && state != -ENOENT)
                return ctl_fail(c, &e);
        if (look_open(c->config->staging.path, &staging, &e) < 0)
                return ctl_fail(c, &e);
        if (c->json) {
                answer_open(&j);
                json_open(&j, "deliveries", '[');
        }
        for (size_t i = 0; status == 0 && i < c->config->n_deliveries; i++) {
                struct plan p = {.c = c,
                        .d = &c->config->deliveries[i],
                        .staging = staging,
                        .json = c->json ? &j : NULL};
                if (!name || streq(name, p.d->name))
                        status = plan_one(&p, state);
        }
        staging_free(staging);
        if (status || !c->json)
                return status;
        json_close(&j, ']');
        return answer_print(&j);
}
