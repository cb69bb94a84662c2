/* SPDX-License-Identifier: Apache-2.0 */
/* What there is to say of each delivery: by the record of czard-deliver, and by what its next run would find.
 */

#include "deliver_facts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "look.h"
#include "rows.h"
#include "scratch.h"
#include "seal.h"
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

int deliver_unknown(const struct ctl *c, const char *name)
{
        _cleanup_strbuf_ struct strbuf names = {};
        config_name_deliveries(c->config, &names);
        return ctl_usage(c, "there is no [deliver %.64s] in the configuration, which has %s", name,
                names.err ? "others" : names.s);
}

static void count(struct deliver_fact *f)
{
        for (size_t i = 0; i < f->records->n; i++) {
                const struct delivery_record *d = &f->records->v[i];
                f->delivered += d->state != RECORD_BEGUN;
                f->out += d->state == RECORD_OUT;
                f->out_bytes += d->state == RECORD_OUT ? (uint64_t)d->size : 0;
                f->destroy += d->state == RECORD_DESTROY;
                f->last = MAX(f->last, d->time);
        }
}

static bool is_over(const struct config_delivery *d, const struct records *r)
{
        return due_is_over(d, r, (int64_t)time(NULL));
}

static const char *state_of(const struct config_delivery *d, const struct records *r)
{
        if (is_over(d, r))
                return r->revoked ? "revoked" : "over";
        return str_empty(r->stopped) ? "well" : "stands still";
}

/* Why it stands still, or is over; the caller frees. What is over and still lies there stands still, too. */
static char *reason_of(const struct deliver_fact *f)
{
        const struct records *r = f->records;
        const char *stopped = r->stopped ? r->stopped : "";
        if (!is_over(f->delivery, r) || f->out == 0)
                return strdup(r->revoked ? r->revoked : stopped);
        return str_printf("it %s%s, and %llu messages still lie in %s%s%s",
                r->revoked ? "was revoked: " : "is over (until)", r->revoked ? r->revoked : "",
                (unsigned long long)f->out, r->outbox ? r->outbox : f->delivery->path, *stopped ? ": " : "",
                stopped);
}

/* --- what its next run would find --- */

#define RUN_OVERDUE_SEC (25 * 3600) /* the service makes one a day at least */

/* What is due, and nobody hands out: no run comes through. */
static void look_at_runs(int state, struct deliver_fact *f, size_t due)
{
        struct stat st;
        char when[TIME_SIZE] = "";
        bool ran = state >= 0 && fstatat(state, "lock", &st, AT_SYMLINK_NOFOLLOW) == 0;
        if (ran && *f->records->outbox_id && st.st_mtime + RUN_OVERDUE_SEC > time(NULL))
                return;
        if (ran && *f->records->outbox_id)
                time_format(st.st_mtime, when);
        f->trouble = str_printf("%zu messages are due, and %s%s", due,
                *when ? "no run came through since " : "it was never run", when);
        f->fix = "systemctl enable --now czard-deliver, or: czarctl deliver run";
}

/* A key that is not there is said by the record only once there was a run. */
static void look_at_keys(const struct ctl *c, struct deliver_fact *f)
{
        char home[4096];
        struct error e = {};
        struct seal *seal = NULL;
        const char *slash = strrchr(c->config->path, '/');
        _cleanup_free_ char *keys = str_printf(
                "%.*srecipients.d", slash ? (int)(slash + 1 - c->config->path) : 0, c->config->path);
        if (*f->records->outbox_id || !keys || scratch_make(c, "recipients", home, &e) < 0)
                return;
        if (seal_new(home, keys, &f->delivery->recipients, &seal, &e) == -ENOKEY)
                f->trouble = strdup(e.text);
        seal_free(seal);
        scratch_remove(home);
}

/* The listed days are over, and some came when their archive had been made. */
static void look_at_late(struct deliver_fact *f, size_t late)
{
        if ((int64_t)f->delivery->dates.to >= (int64_t)time(NULL) / SEC_PER_DAY)
                return;
        f->trouble = str_printf("%zu days within its dates came after the archives were made", late);
        f->advice = str_printf("czarctl deliver run --again %s", f->delivery->name);
        f->fix = f->advice ? f->advice : f->fix;
}

static void look_at_staged(const struct ctl *c, int state, struct deliver_fact *f)
{
        struct error e = {};
        struct staging *staging = NULL;
        struct delivery_look l = {};
        if (look_open(c->config->staging.path, &staging, &e) < 0) {
                f->trouble = f->trouble ? f->trouble : strdup(e.text);
                return;
        }
        const struct look_query q = {.delivery = f->delivery,
                .root = c->config->staging.path,
                .staging = staging,
                .records = f->records,
                .now = (int64_t)time(NULL)};
        int r = delivery_look(&q, &l, &e);
        if (r == 0) {
                f->unmatched = l.staged.unmatched;
                l.staged.unmatched = (struct strv){};
                if (l.due.n_items > 0 && !f->trouble && !f->stands_still)
                        look_at_runs(state, f, l.due.n_items);
                if (l.due.n_waiting > 0 && !f->trouble && !f->stands_still)
                        f->trouble = str_printf(LOOK_WAITS, f->delivery->name);
                if (l.due.n_late > 0 && !f->trouble && !f->stands_still)
                        look_at_late(f, l.due.n_late);
        } else if (!f->trouble)
                f->trouble = strdup(e.text);
        look_done(&l);
        staging_free(staging);
}

static void look_ahead(const struct ctl *c, int state, struct deliver_fact *f)
{
        if (is_over(f->delivery, f->records))
                return;
        look_at_keys(c, f);
        look_at_staged(c, state, f);
        if (f->trouble && !f->stands_still)
                f->state = "stands still";
}

/* --- all of them --- */

struct teller {
        const struct ctl *c;
        int state;
        deliver_fact_fn *each;
        void *arg;
};

static int tell_one(const struct teller *t, const struct config_delivery *d, struct error *e)
{
        struct records records = {.delivery = d->name};
        int r = t->state >= 0 ? records_read(t->state, d->name, &records, e) : 0;
        const char *state = state_of(d, &records);
        struct deliver_fact f = {.delivery = d,
                .records = &records,
                .state = state,
                .fix = "mend that, then: czarctl deliver run"};
        count(&f);
        _cleanup_free_ char *reason = reason_of(&f);
        f.reason = reason ? reason : "";
        f.stands_still = streq(state, "stands still") || (is_over(d, &records) && f.out > 0);
        if (r == 0)
                look_ahead(t->c, t->state, &f);
        f.why = f.stands_still ? f.reason : f.trouble;
        if (r == 0)
                t->each(t->arg, &f);
        strv_done(&f.unmatched);
        free(f.trouble);
        free(f.advice);
        records_done(&records);
        return r;
}

/* One that has no section any more: it is told as long as something of it lies in its outbox. */
static int tell_gone(const struct teller *t, const char *name, struct error *e)
{
        static char none[] = "";
        struct records records = {};
        _cleanup_free_ char *copy = strdup(name), *reason = NULL, *fix = NULL;
        int r = copy ? records_read(t->state, name, &records, e) : -ENOMEM;
        const struct config_delivery d = {.name = copy,
                .org = none,
                .purpose = records.purpose ? records.purpose : none,
                .path = records.outbox ? records.outbox : none,
                .until = records.until};
        struct deliver_fact f = {.delivery = &d,
                .records = &records,
                .is_gone = true,
                .stands_still = true,
                .state = "no section"};
        if (r == 0)
                count(&f);
        if (r == 0 && f.out > 0) {
                reason = str_printf(
                        "it has no section any more, and %llu messages lie in %s, which nothing takes "
                        "back by itself",
                        (unsigned long long)f.out, d.path);
                fix = str_printf(
                        "give it its section back, or: czarctl deliver revoke %s --reason TEXT", name);
                f.reason = f.why = reason;
                f.fix = fix;
                if (reason && fix)
                        t->each(t->arg, &f);
                else
                        r = -ENOMEM;
        }
        records_done(&records);
        return r;
}

int deliver_facts(const struct ctl *c, deliver_fact_fn *each, void *arg, struct error *e)
{
        _cleanup_(strv_done) struct strv names = {};
        struct error none = {};
        _cleanup_close_ int state = deliver_state(c, &none);
        const struct teller t = {.c = c, .state = state, .each = each, .arg = arg};
        int r = state == -ENOENT || c->config->n_deliveries == 0 ? 0 : MIN(state, 0);
        if (r < 0)
                *e = none;
        for (size_t i = 0; r == 0 && i < c->config->n_deliveries; i++)
                r = tell_one(&t, &c->config->deliveries[i], e);
        if (r == 0 && state >= 0)
                r = records_names(state, &names, e);
        for (size_t i = 0; r == 0 && i < names.n; i++)
                if (!config_find_delivery(c->config, names.v[i]))
                        r = tell_gone(&t, names.v[i], e);
        return r;
}

/* --- deliver list --- */

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
