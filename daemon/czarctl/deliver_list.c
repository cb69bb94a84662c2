/* SPDX-License-Identifier: Apache-2.0 */
/* deliver list: each delivery, what is in its outbox, why it stands still, and what is to be destroyed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "deliver.h"
#include "due.h"
#include "record.h"
#include "rows.h"
#include "str.h"
#include "timespan.h"

int deliver_state(const struct ctl *c, struct error *e)
{
        _cleanup_free_ char *path = str_printf("%s-deliver", c->config->state_dir);
        int fd = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        if (!path || fd < 0)
                return error_set(
                        e, CAUSE_IO, path ? errno : ENOMEM, "%s: %s", path ? path : "", strerror(errno));
        return fd;
}

struct counts {
        uint64_t out, out_bytes, delivered, destroy;
        int64_t last;
};

static struct counts count(const struct records *r)
{
        struct counts n = {};
        for (size_t i = 0; i < r->n; i++) {
                const struct record *d = &r->v[i];
                n.delivered += d->state != RECORD_BEGUN;
                n.out += d->state == RECORD_OUT;
                n.out_bytes += d->state == RECORD_OUT ? (uint64_t)d->size : 0;
                n.destroy += d->state == RECORD_DESTROY;
                n.last = MAX(n.last, d->time);
        }
        return n;
}

static const char *state_of(const struct config_delivery *d, const struct records *r)
{
        if (r->revoked)
                return "revoked";
        if (due_is_over(d, (int64_t)time(NULL)))
                return "over";
        return str_empty(r->stopped) ? "well" : "stands still";
}

int deliver_facts(const struct ctl *c, deliver_fact_fn *each, void *arg, struct error *e)
{
        if (c->config->n_deliveries == 0)
                return 0;
        _cleanup_close_ int state = deliver_state(c, e);
        int r = state == -ENOENT ? 0 : MIN(state, 0);
        for (size_t i = 0; r == 0 && i < c->config->n_deliveries; i++) {
                const struct config_delivery *d = &c->config->deliveries[i];
                struct records records = {};
                r = state >= 0 ? records_read(state, d->name, &records, e) : 0;
                const struct counts n = count(&records);
                const struct deliver_fact f = {.delivery = d,
                        .state = state_of(d, &records),
                        .stands_still = streq(state_of(d, &records), "stands still"),
                        .reason = records.stopped ? records.stopped : "",
                        .out = n.out,
                        .out_bytes = n.out_bytes,
                        .destroy = n.destroy};
                if (r == 0)
                        each(arg, &f);
                records_done(&records);
        }
        return r;
}

static void list_row(struct rows *rows, const struct config_delivery *d, const struct records *r)
{
        const struct counts n = count(r);
        const char *state = state_of(d, r);
        const char *reason = r->revoked ? r->revoked : str_empty(r->stopped) ? NULL : r->stopped;
        char until[11];
        rows_begin_item(rows,
                FIELDS(F_TEXT("name", d->name, .colour = BOLD), F_TEXT("org", d->org),
                        F_TEXT("purpose", d->purpose), F_TEXT("until", date_format(d->until, until)),
                        F_TEXT("mode", d->mode == DELIVERY_ONCE ? "once" : "follow"), F_TEXT("path", d->path),
                        F_TEXT("state", state, .colour = streq(state, "well") ? GREEN : YELLOW),
                        F_TEXT("reason", reason), F_NUMBER("delivered", n.delivered),
                        F_NUMBER("in_outbox", n.out), F_BYTES("bytes", n.out_bytes), F_TIME("last", n.last),
                        F_CELL("why", reason ? reason : d->purpose)));
        if (!rows->c->json)
                return;
        json_strings(&rows->json, "recipients", &d->recipients);
        json_open(&rows->json, "please_destroy", '[');
        for (size_t i = 0; i < r->n; i++)
                if (r->v[i].state == RECORD_DESTROY)
                        json_object(&rows->json, NULL,
                                FIELDS(F_TEXT("path", r->v[i].path), F_TEXT("sha256", r->v[i].sha256),
                                        F_TEXT("reason", r->v[i].reason)));
        json_close(&rows->json, ']');
        rows_end_item(rows);
}

static void list_destroy(const struct config_delivery *d, const struct records *r)
{
        bool any = false;
        for (size_t i = 0; i < r->n; i++) {
                if (r->v[i].state != RECORD_DESTROY)
                        continue;
                if (!any)
                        shown_print(stdout, "\nplease-destroy, handed out by %s (tell the recipients):\n",
                                d->name);
                any = true;
                shown_print(stdout, "  %s  (%s)\n", r->v[i].path, r->v[i].reason);
        }
}

int deliver_list(struct ctl *c)
{
        struct rows rows;
        struct error e = {};
        _cleanup_close_ int state = deliver_state(c, &e);
        int result = state == -ENOENT ? 0 : MIN(state, 0);
        rows_open(&rows, c, "deliveries",
                "name|until|>in_outbox=IN OUTBOX|>bytes|last|state|why=PURPOSE OR REASON");
        /* the table first, then what is to be destroyed */
        for (int pass = 0; result == 0 && pass < 2; pass++) {
                for (size_t i = 0; result == 0 && i < c->config->n_deliveries; i++) {
                        const struct config_delivery *d = &c->config->deliveries[i];
                        struct records r = {};
                        result = state >= 0 ? records_read(state, d->name, &r, &e) : 0;
                        if (result == 0 && pass == 0)
                                list_row(&rows, d, &r);
                        else if (result == 0 && !c->json)
                                list_destroy(d, &r);
                        records_done(&r);
                }
                if (result == 0 && pass == 0)
                        rows_end(&rows, "There is no [deliver NAME] section.");
        }
        return rows_finish(&rows, result, &e);
}
