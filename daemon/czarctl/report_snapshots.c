/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots over time, and each of the newest against the one before it: courses and tables that vanished or
 * shrank by more than half. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "table.h"

#define SNAPSHOTS_DRAWN 80 /* of each organisation and category */
#define SNAPSHOTS_SHOWN 8
#define SNAPSHOTS_MORE 250 /* behind "older ones" */
#define CHANGES_SHOWN 12
#define NAMES_SHOWN 12

struct snapshot {
        char id[24], date[11], org[64];
        enum category category;
        int64_t rejected, plain, members, size;
};

/* Tables of courses, by table and course. */
struct part {
        char *table, *course;
        int64_t bytes;
};
struct parts {
        struct part *v;
        size_t n, size;
};

struct walk {
        struct html_report *r;
        struct snapshot *v;
        size_t n, size;
};

static int on_snapshot(const struct report_row *row, void *arg)
{
        struct walk *w = arg;
        if (w->n == w->size) {
                size_t size = w->size ? 2 * w->size : 64;
                struct snapshot *v = reallocarray(w->v, size, sizeof(*v));
                if (!v)
                        return -ENOMEM;
                w->v = v;
                w->size = size;
        }
        struct snapshot *s = &w->v[w->n++];
        *s = (struct snapshot){.category = (enum category)row->number[4],
                .rejected = row->number[5],
                .plain = row->number[6],
                .members = row->number[7],
                .size = row->number[8]};
        snprintf(s->id, sizeof(s->id), "%s", row->text[0]);
        snprintf(s->date, sizeof(s->date), "%s", row->text[2]);
        snprintf(s->org, sizeof(s->org), "%s", row->text[3]);
        return 0;
}

/* --- parts --- */

static void parts_done(struct parts *p)
{
        for (size_t i = 0; i < p->n; i++) {
                free(p->v[i].table);
                free(p->v[i].course);
        }
        free(p->v);
        *p = (struct parts){};
}

static int on_part(const struct report_row *row, void *arg)
{
        struct parts *p = arg;
        if (p->n == p->size) {
                size_t size = p->size ? 2 * p->size : 256;
                struct part *v = reallocarray(p->v, size, sizeof(*v));
                if (!v)
                        return -ENOMEM;
                p->v = v;
                p->size = size;
        }
        struct part *x = &p->v[p->n];
        *x = (struct part){
                .table = strdup(row->text[0]), .course = strdup(row->text[1]), .bytes = row->number[2]};
        p->n++;
        return x->table && x->course ? 0 : -ENOMEM;
}

static int compare(const struct part *a, const struct part *b)
{
        int r = strcmp(a->table, b->table);
        return r ? r : strcmp(a->course, b->course);
}

struct changes {
        size_t n[2]; /* vanished, shrank */
        struct strbuf names[2];
};

static void note(struct changes *c, int what, const struct part *p)
{
        struct strbuf *b = &c->names[what];
        if (c->n[what]++ < NAMES_SHOWN)
                strbuf_printf(b, "%s%s%s%s", b->len ? ", " : "", p->course, *p->course ? " " : "", p->table);
}

static void compare_parts(const struct parts *now, const struct parts *before, struct changes *c)
{
        size_t i = 0;
        for (size_t k = 0; k < before->n; k++) {
                while (i < now->n && compare(&now->v[i], &before->v[k]) < 0)
                        i++;
                bool found = i < now->n && compare(&now->v[i], &before->v[k]) == 0;
                if (!found)
                        note(c, 0, &before->v[k]);
                else if (now->v[i].bytes * 2 < before->v[k].bytes)
                        note(c, 1, &before->v[k]);
        }
}

static int show_change(struct html_report *r, const struct snapshot *now, const struct snapshot *before)
{
        struct parts a = {}, b = {};
        struct changes c = {};
        static const char *const what[] = {"vanished", "shrank by more than half"};
        int e = report_each(r->c->ledger, REPORT_TABLES, now->id, NULL, on_part, &a, r->e);
        if (e == 0)
                e = report_each(r->c->ledger, REPORT_TABLES, before->id, NULL, on_part, &b, r->e);
        if (e == 0)
                compare_parts(&a, &b, &c);
        for (int i = 0; i < 2; i++) {
                if (c.n[i] > 0) {
                        char head[160];
                        snprintf(head, sizeof(head), "%s %s: %zu %s %s", now->org, now->date, c.n[i],
                                c.n[i] == 1 ? "table" : "tables", what[i]);
                        if (c.n[i] > NAMES_SHOWN)
                                strbuf_add(&c.names[i], ", …");
                        page_note(&r->b, head, c.names[i].s ? c.names[i].s : "", "");
                }
                strbuf_done(&c.names[i]);
        }
        parts_done(&a);
        parts_done(&b);
        return e;
}

/* --- the sections --- */

static bool same_group(const struct snapshot *a, const struct snapshot *b)
{
        return a->category == b->category && streq(a->org, b->org);
}

static void draw_group(struct html_report *r, const struct snapshot *v, size_t n)
{
        struct page_bar bars[SNAPSHOTS_DRAWN];
        char size[32], from[32], label[256];
        n = MIN(n, ELEMENTSOF(bars));
        for (size_t i = 0; i < n; i++) {
                const struct snapshot *s = &v[n - 1 - i];
                bars[i] = (struct page_bar){.value = s->plain, .bad = s->rejected > 0};
                snprintf(bars[i].title, sizeof(bars[i].title), "%s: %s, %lld members, %lld rejected", s->date,
                        bytes_text(s->plain, size), (long long)s->members, (long long)s->rejected);
        }
        snprintf(label, sizeof(label), "Decrypted size, from %s on %s to %s on %s",
                bytes_text(v[n - 1].plain, from), v[n - 1].date, bytes_text(v->plain, size), v->date);
        strbuf_add(&r->b, "<p class=\"soft small\">");
        page_text(&r->b, label);
        strbuf_add(&r->b, "; in red: members were rejected.</p>\n");
        page_chart(&r->b, bars, n, label);
}

static void show_rows(struct html_report *r, const char *title, const struct snapshot *v, size_t n)
{
        char size[32], plain[32];
        page_table_open(&r->b, title, "Date|>Archive|>Decrypted|>Members|>Rejected");
        for (size_t i = 0; i < n; i++) {
                strbuf_add(&r->b, "<tr>");
                page_cell(&r->b, false, "%s", v[i].date);
                page_cell(&r->b, true, "%s", bytes_text(v[i].size, size));
                page_cell(&r->b, true, "%s", bytes_text(v[i].plain, plain));
                page_cell(&r->b, true, "%lld", (long long)v[i].members);
                page_cell(&r->b, true, "%lld", (long long)v[i].rejected);
                strbuf_add(&r->b, "</tr>\n");
        }
        page_table_close(&r->b);
}

static void show_group(struct html_report *r, const struct snapshot *v, size_t n)
{
        char title[160];
        snprintf(title, sizeof(title), "%s, %s: %zu %s", v->org, category_name(v->category), n,
                n == 1 ? "snapshot" : "snapshots");
        page_heading(&r->b, 3, NULL, title);
        draw_group(r, v, n);
        snprintf(title, sizeof(title), "The newest of %s, %s", v->org, category_name(v->category));
        show_rows(r, title, v, MIN(n, (size_t)SNAPSHOTS_SHOWN));
        if (n <= SNAPSHOTS_SHOWN)
                return;
        snprintf(title, sizeof(title), "Older ones of %s, %s", v->org, category_name(v->category));
        strbuf_printf(&r->b, "<details><summary>%zu older ones</summary>\n", n - SNAPSHOTS_SHOWN);
        show_rows(r, title, v + SNAPSHOTS_SHOWN, MIN(n - SNAPSHOTS_SHOWN, (size_t)SNAPSHOTS_MORE));
        strbuf_add(&r->b, "</details>\n");
}

int report_snapshots(struct html_report *r)
{
        struct walk w = {.r = r};
        int e = report_each(r->c->ledger, REPORT_SNAPSHOTS, NULL, NULL, on_snapshot, &w, r->e);
        page_heading(&r->b, 2, "snapshots", "Snapshots");
        for (size_t i = 0, k; e == 0 && i < w.n; i = k) {
                for (k = i; k < w.n && same_group(&w.v[i], &w.v[k]); k++)
                        ;
                show_group(r, &w.v[i], k - i);
        }
        if (w.n == 0)
                strbuf_add(&r->b, "<p>None is staged.</p>");
        page_heading(&r->b, 2, "changes", "What vanished or shrank");
        strbuf_add(&r->b, "<p class=\"soft\">Each of the newest snapshots against the one before it.</p>\n");
        size_t before = r->b.len;
        page_notes_open(&r->b);
        size_t head = r->b.len;
        for (size_t i = 0, shown = 0; e == 0 && i + 1 < w.n; i++) {
                shown = i > 0 && same_group(&w.v[i - 1], &w.v[i]) ? shown + 1 : 0;
                if (same_group(&w.v[i], &w.v[i + 1]) && shown < CHANGES_SHOWN)
                        e = show_change(r, &w.v[i], &w.v[i + 1]);
        }
        bool none = r->b.len == head;
        page_notes_close(&r->b);
        if (none && !r->b.err) {
                r->b.len = before; /* no empty list */
                strbuf_add(&r->b, "<p>Nothing did.</p>\n");
        }
        free(w.v);
        return e;
}
