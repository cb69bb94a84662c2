/* SPDX-License-Identifier: Apache-2.0 */
/* Days of events that are staged by course, and those that could not be split. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "ledger_split.h"
#include "report.h"
#include "table.h"

static int on_failed(const struct ledger_split *row, void *arg)
{
        struct html_report *r = arg;
        if (row->cause != CAUSE_NONE)
                r->days_not_split++;
        return 0;
}

int report_read_by_course(struct html_report *r)
{
        return ledger_splits(r->c->ledger, on_failed, r, r->e);
}

/* --- those that could not be split, by cause --- */

struct causes {
        struct html_report *r;
        struct {
                uint64_t n;
                int64_t example; /* its object */
                char detail[512];
        } of[CAUSE_MAX];
};

static int on_cause(const struct ledger_split *row, void *arg)
{
        struct causes *c = arg;
        if (row->cause == CAUSE_NONE || row->cause >= CAUSE_MAX)
                return 0;
        if (c->of[row->cause].n++ == 0) {
                c->of[row->cause].example = row->object_id;
                snprintf(c->of[row->cause].detail, sizeof(c->of[row->cause].detail), "%s", row->detail);
        }
        return 0;
}

static int note_cause(struct causes *c, enum cause cause)
{
        struct ledger_object o;
        char head[160];
        uint64_t n = c->of[cause].n;
        int r = ledger_get(c->r->c->ledger, c->of[cause].example, &o, c->r->e);
        if (r < 0)
                return r;
        snprintf(head, sizeof(head), "%llu day%s of events not split by course (%s)", (unsigned long long)n,
                n == 1 ? "" : "s", cause_name(cause));
        _cleanup_free_ char *text = str_printf("For example %s: %s", o.path, c->of[cause].detail);
        page_note(&c->r->b, head, text ? text : "", cause_advice(cause));
        return text ? 0 : -ENOMEM;
}

int report_not_split(struct html_report *r)
{
        _cleanup_free_ struct causes *c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->r = r;
        int e = ledger_splits(r->c->ledger, on_cause, c, r->e);
        for (enum cause cause = CAUSE_NONE; e == 0 && cause < CAUSE_MAX; cause++)
                e = c->of[cause].n ? note_cause(c, cause) : 0;
        return e;
}

/* --- what they take --- */

struct taken {
        struct html_report *r;
        char org[64]; /* rows come by path, so those of an organisation come together */
        uint64_t bytes;
};

static void add_row(struct taken *t)
{
        char text[32];
        if (!*t->org)
                return;
        bytes_text((int64_t)MIN(t->bytes, (uint64_t)INT64_MAX), text);
        strbuf_add(&t->r->b, "<tr>");
        page_cell(&t->r->b, false, "%s", t->org);
        page_cell(&t->r->b, false, "events by course");
        page_cell(&t->r->b, true, "%s", text);
        page_cell(&t->r->b, true, "%s", text);
        page_cell(&t->r->b, true, "0 %%");
        strbuf_add(&t->r->b, "</tr>\n");
}

static int on_taken(const struct ledger_split *row, void *arg)
{
        struct taken *t = arg;
        size_t n = strcspn(row->path, "/");
        if (n == 0 || n >= sizeof(t->org))
                return 0;
        if (strncmp(t->org, row->path, n) != 0 || t->org[n]) {
                add_row(t);
                *t = (struct taken){.r = t->r};
                memcpy(t->org, row->path, n);
        }
        t->bytes += row->files_size;
        return 0;
}

int report_by_course_storage(struct html_report *r)
{
        struct taken t = {.r = r};
        int e = ledger_splits(r->c->ledger, on_taken, &t, r->e);
        add_row(&t);
        return e;
}
