/* SPDX-License-Identifier: Apache-2.0 */
/* deliver list: each delivery, what is in its outbox, why it stands still, what matches nothing, and what is
 * to be destroyed. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "deliver_facts.h"
#include "rows.h"
#include "str.h"
#include "timespan.h"

struct listing {
        const char *only; /* NULL: all */
        struct rows rows;
        struct strbuf below; /* lines below the table */
};

static void add_below(struct listing *l, const struct deliver_fact *f)
{
        const char *name = f->delivery->name;
        bool any = false;
        if (f->trouble)
                strbuf_printf(&l->below, "\n%s: %s\n", name, f->trouble);
        for (size_t i = 0; i < f->unmatched.n; i++)
                strbuf_printf(
                        &l->below, "%s%s: matches nothing: %s\n", i ? "" : "\n", name, f->unmatched.v[i]);
        for (size_t i = 0; i < f->records->n; i++) {
                const struct delivery_record *r = &f->records->v[i];
                if (r->state != RECORD_DESTROY)
                        continue;
                if (!any)
                        strbuf_printf(&l->below,
                                "\nplease-destroy, handed out by %s (tell the recipients):\n", name);
                any = true;
                strbuf_printf(&l->below, "  %s  (%s)\n", r->path, r->reason);
        }
}

static void add_json(struct json *j, const struct deliver_fact *f)
{
        json_strings(j, "recipients", &f->delivery->recipients);
        json_strings(j, "match_nothing", &f->unmatched);
        json_open(j, "please_destroy", '[');
        for (size_t i = 0; i < f->records->n; i++) {
                const struct delivery_record *r = &f->records->v[i];
                if (r->state == RECORD_DESTROY)
                        json_object(j, NULL,
                                FIELDS(F_TEXT("path", r->path), F_TEXT("sha256", r->sha256),
                                        F_TEXT("reason", r->reason)));
        }
        json_close(j, ']');
}

static void on_delivery(void *arg, const struct deliver_fact *f)
{
        struct listing *l = arg;
        const struct config_delivery *d = f->delivery;
        const char *reason = *f->reason ? f->reason : f->trouble;
        char until[DATE_SIZE] = "";
        if (l->only && !streq(l->only, d->name))
                return;
        if (!f->is_gone || f->records->until != INT_MAX)
                date_format(d->until, until);
        rows_begin_item(&l->rows,
                FIELDS(F_TEXT("name", d->name, .colour = BOLD), F_TEXT("org", d->org),
                        F_TEXT("purpose", d->purpose), F_TEXT("until", until),
                        F_TEXT("mode", d->mode == DELIVERY_ONCE ? "once" : "follow"), F_TEXT("path", d->path),
                        F_TEXT("state", f->state, .colour = streq(f->state, "well") ? GREEN : YELLOW),
                        F_TEXT("reason", reason), F_NUMBER("delivered", f->delivered),
                        F_NUMBER("in_outbox", f->out), F_BYTES("bytes", f->out_bytes),
                        F_TIME("last", f->last), F_CELL("why", reason ? reason : d->purpose)));
        if (l->rows.c->json) {
                add_json(&l->rows.json, f);
                rows_end_item(&l->rows);
        } else
                add_below(l, f);
}

int deliver_list(struct ctl *c, const char *name)
{
        struct listing l = {.only = name};
        struct error e = {};
        rows_open(&l.rows, c, "deliveries",
                "name|until|>in_outbox=IN OUTBOX|>bytes|last|state|why=PURPOSE OR REASON");
        int r = deliver_facts(c, on_delivery, &l, &e);
        if (r == 0)
                rows_end(&l.rows, "There is no [deliver NAME] section.");
        if (r == 0 && l.below.len)
                shown_print(stdout, "%s", l.below.s);
        strbuf_done(&l.below);
        return rows_finish(&l.rows, r, &e);
}
