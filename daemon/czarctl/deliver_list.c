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
#include "str.h"
#include "table.h"
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

static void list_json(struct json *j, const struct config_delivery *d, const struct records *r)
{
        const struct counts n = count(r);
        char until[11];
        json_open(j, NULL, '{');
        json_str(j, "name", d->name);
        json_str(j, "org", d->org);
        json_str(j, "purpose", d->purpose);
        json_str(j, "until", date_format(d->until, until));
        json_str(j, "mode", d->mode == DELIVERY_ONCE ? "once" : "follow");
        json_str(j, "path", d->path);
        json_open(j, "recipients", '[');
        for (size_t i = 0; i < d->recipients.n; i++)
                json_str(j, NULL, d->recipients.v[i]);
        json_close(j, ']');
        json_str(j, "state", state_of(d, r));
        json_str(j, "reason", r->revoked ? r->revoked : str_empty(r->stopped) ? NULL : r->stopped);
        json_u64(j, "delivered", n.delivered);
        json_u64(j, "in_outbox", n.out);
        json_u64(j, "bytes", n.out_bytes);
        json_open(j, "please_destroy", '[');
        for (size_t i = 0; i < r->n; i++) {
                if (r->v[i].state != RECORD_DESTROY)
                        continue;
                json_open(j, NULL, '{');
                json_str(j, "path", r->v[i].path);
                json_str(j, "sha256", r->v[i].sha256);
                json_str(j, "reason", r->v[i].reason);
                json_close(j, '}');
        }
        json_close(j, ']');
        json_close(j, '}');
}

static void list_row(struct table *t, const struct config_delivery *d, const struct records *r)
{
        const struct counts n = count(r);
        const char *state = state_of(d, r);
        char until[11], size[32], when[40];
        table_cell(t, BOLD, "%s", d->name);
        table_cell(t, PLAIN, "%s", date_format(d->until, until));
        table_cell(t, PLAIN, "%llu", (unsigned long long)n.out);
        table_cell(t, PLAIN, "%s", bytes_text((int64_t)n.out_bytes, size));
        table_cell(t, PLAIN, "%s", n.last ? local_time(n.last, when) : "-");
        table_cell(t, streq(state, "well") ? GREEN : YELLOW, "%s", state);
        table_cell(t, PLAIN, "%s", r->revoked ? r->revoked : str_empty(r->stopped) ? d->purpose : r->stopped);
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
        _cleanup_json_ struct json j = {};
        struct error e = {};
        _cleanup_close_ int state = deliver_state(c, &e);
        if (state < 0 && state != -ENOENT)
                return ctl_fail(c, &e);
        struct table *t =
                c->json ? NULL : table_new("NAME|UNTIL|>IN OUTBOX|>BYTES|LAST|STATE|PURPOSE OR REASON");
        if (c->json) {
                answer_open(&j);
                json_open(&j, "deliveries", '[');
        }
        /* the table first, then what is to be destroyed */
        for (int pass = 0; pass < (c->json ? 1 : 2); pass++) {
                for (size_t i = 0; i < c->config->n_deliveries; i++) {
                        const struct config_delivery *d = &c->config->deliveries[i];
                        struct records r = {};
                        if (state >= 0 && records_read(state, d->name, &r, &e) < 0) {
                                records_done(&r);
                                table_free(t);
                                return ctl_fail(c, &e);
                        }
                        if (c->json)
                                list_json(&j, d, &r);
                        else if (pass == 0)
                                list_row(t, d, &r);
                        else
                                list_destroy(d, &r);
                        records_done(&r);
                }
                if (t && !table_print(t))
                        puts("There is no [deliver NAME] section.");
                t = NULL;
        }
        if (!c->json)
                return CTL_WELL;
        json_close(&j, ']');
        return answer_print(&j);
}
