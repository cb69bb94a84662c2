/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots over time, and each of the newest against the one before it: courses and tables that vanished or
 * shrank by more than half. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "macro.h"
#include "report_data.h"
#include "rows.h"
#include "str.h"

#define SNAPSHOTS_DRAWN 80 /* of each organisation and category */
#define SNAPSHOTS_SHOWN 8
#define SNAPSHOTS_MORE 250 /* behind "older ones" */
#define CHANGES_SHOWN 12
#define NAMES_SHOWN 12

struct report_snapshot {
        char id[24], date[DATE_SIZE], org[ORG_SIZE];
        enum category category;
        int64_t rejected, plain, members, size;
};

struct walk {
        struct report_snapshot *v;
        size_t n;
};

static int take_snapshot(const struct report_row *row, void *arg)
{
        struct walk *w = arg;
        if (ARRAY_ROOM(w->v, w->n) < 0)
                return -ENOMEM;
        struct report_snapshot *s = &w->v[w->n++];
        *s = (struct report_snapshot){.category = (enum category)row->number[4],
                .rejected = row->number[5],
                .plain = row->number[6],
                .members = row->number[7],
                .size = row->number[8]};
        snprintf(s->id, sizeof(s->id), "%s", row->text[0]);
        snprintf(s->date, sizeof(s->date), "%s", row->text[2]);
        snprintf(s->org, sizeof(s->org), "%s", row->text[3]);
        return 0;
}

/* --- what is not there any more --- */

struct lost {
        size_t n[2]; /* shrank, vanished */
        struct json names[2];
};

static int note_lost(const struct report_row *row, void *arg)
{
        struct lost *l = arg;
        bool vanished = row->number[2];
        _cleanup_free_ char *name =
                str_printf("%s%s%s", row->text[1], *row->text[1] ? " " : "", row->text[0]);
        if (l->n[vanished]++ < NAMES_SHOWN)
                json_str(&l->names[vanished], NULL, name);
        return 0;
}

static int add_change(
        struct report_data *r, const struct report_snapshot *now, const struct report_snapshot *before)
{
        static const char *const what[] = {"shrank by more than half", "vanished"};
        struct lost l = {};
        struct json *j = &r->j;
        int e = report_each(r->c->ledger, REPORT_LOST, now->id, before->id, note_lost, &l, r->e);
        for (int i = 1; i >= 0; i--) {
                if (l.n[i] > 0) {
                        json_open(j, NULL, '{');
                        json_fields(j, FIELDS(F_TEXT("org", now->org), F_TEXT("date", now->date),
                                               F_NUMBER("tables", l.n[i]), F_TEXT("what", what[i]),
                                               F_BOOL("more", l.n[i] > NAMES_SHOWN)));
                        json_open(j, "names", '[');
                        strbuf_add(&j->out, l.names[i].out.s ? l.names[i].out.s : "");
                        json_close(j, ']');
                        json_close(j, '}');
                }
                json_done(&l.names[i]);
        }
        return e;
}

/* --- the lists --- */

static bool same_group(const struct report_snapshot *a, const struct report_snapshot *b)
{
        return a->category == b->category && streq(a->org, b->org);
}

static void add_snapshot(struct json *j, const char *name, const struct report_snapshot *s)
{
        json_object(j, name,
                FIELDS(F_TEXT("date", s->date), F_NUMBER("bytes", s->size),
                        F_NUMBER("plain_bytes", MAX(s->plain, (int64_t)0)), F_NUMBER("members", s->members),
                        F_NUMBER("rejected", s->rejected)));
}

static void add_rows(
        struct json *j, const char *title, const struct report_snapshot *v, size_t n, size_t older)
{
        json_open(j, NULL, '{');
        json_fields(j, FIELDS(F_TEXT("title", title), F_NUMBER("older", older)));
        json_open(j, "rows", '[');
        for (size_t i = 0; i < n; i++)
                add_snapshot(j, NULL, &v[i]);
        json_close(j, ']');
        json_close(j, '}');
}

/* Of one organisation and category, the newest first. */
static void add_snapshots(struct json *j, const struct report_snapshot *v, size_t n)
{
        size_t drawn = MIN(n, (size_t)SNAPSHOTS_DRAWN);
        int64_t most = 1;
        json_open(j, NULL, '{');
        json_fields(j, FIELDS(F_TEXT("org", v->org), F_TEXT("category", category_name(v->category)),
                               F_NUMBER("n", n)));
        add_snapshot(j, "first", &v[drawn - 1]);
        add_snapshot(j, "last", v);
        json_open(j, "bars", '[');
        for (size_t i = drawn; i-- > 0;) {
                add_snapshot(j, NULL, &v[i]);
                most = MAX(most, v[i].plain);
        }
        json_close(j, ']');
        json_i64(j, "most", most);
        json_open(j, "tables", '[');
        add_rows(j, "The newest of", v, MIN(n, (size_t)SNAPSHOTS_SHOWN), 0);
        if (n > SNAPSHOTS_SHOWN)
                add_rows(j, "Older ones of", v + SNAPSHOTS_SHOWN,
                        MIN(n - SNAPSHOTS_SHOWN, (size_t)SNAPSHOTS_MORE), n - SNAPSHOTS_SHOWN);
        json_close(j, ']');
        json_close(j, '}');
}

int report_snapshots(struct report_data *r)
{
        struct walk w = {};
        int e = report_each(r->c->ledger, REPORT_SNAPSHOTS, NULL, NULL, take_snapshot, &w, r->e);
        json_open(&r->j, "snapshots", '[');
        for (size_t i = 0, k; e == 0 && i < w.n; i = k) {
                for (k = i; k < w.n && same_group(&w.v[i], &w.v[k]); k++)
                        ;
                add_snapshots(&r->j, &w.v[i], k - i);
        }
        json_close(&r->j, ']');
        json_open(&r->j, "changes", '[');
        for (size_t i = 0, shown = 0; e == 0 && i + 1 < w.n; i++) {
                shown = i > 0 && same_group(&w.v[i - 1], &w.v[i]) ? shown + 1 : 0;
                if (same_group(&w.v[i], &w.v[i + 1]) && shown < CHANGES_SHOWN)
                        e = add_change(r, &w.v[i], &w.v[i + 1]);
        }
        json_close(&r->j, ']');
        free(w.v);
        return e;
}
