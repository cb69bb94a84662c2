/* SPDX-License-Identifier: Apache-2.0 */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "timespan.h"

#define VALUE_MOST 8192

struct line {
        const char *p;
        size_t len;
};

/* The value, "" when it is not there. */
static bool field(const struct line *l, const char *name, char *ret, size_t size)
{
        ret[0] = 0;
        return audit_field(l->p, l->len, name, ret, size) == 0;
}

static char *copy(const struct line *l, const char *name)
{
        char value[VALUE_MOST];
        field(l, name, value, sizeof(value));
        return strdup(value);
}

static int64_t number(const struct line *l, const char *name)
{
        char value[32];
        uint64_t v;
        return field(l, name, value, sizeof(value)) && parse_u64(value, INT64_MAX, &v) == 0 ? (int64_t)v : 0;
}

static int on_delivering(struct records *r, const struct line *l)
{
        if (r->n == r->size) {
                size_t size = r->size ? 2 * r->size : 64;
                void *v = reallocarray(r->v, size, sizeof(*r->v));
                if (!v)
                        return -ENOMEM;
                r->v = v;
                r->size = size;
        }
        struct record *d = &r->v[r->n++];
        *d = (struct record){.base = copy(l, "member"),
                .path = copy(l, "path"),
                .course = copy(l, "course"),
                .recipients = copy(l, "recipients"),
                .supersedes = copy(l, "supersedes"),
                .size = number(l, "size")};
        field(l, "sha256", d->sha256, sizeof(d->sha256));
        field(l, "inputs", d->inputs_sha256, sizeof(d->inputs_sha256));
        return d->base && d->path && d->course && d->recipients && d->supersedes ? 0 : -ENOMEM;
}

static int on_input(struct records *r, const struct line *l)
{
        struct record *d = r->n ? &r->v[r->n - 1] : NULL;
        if (!d || d->state != RECORD_BEGUN)
                return 0;
        void *v = (d->n_inputs & (d->n_inputs + 1)) == 0
                          ? reallocarray(d->inputs, 2 * d->n_inputs + 2, sizeof(*d->inputs))
                          : d->inputs;
        if (!v)
                return -ENOMEM;
        d->inputs = v;
        struct record_input *i = &d->inputs[d->n_inputs++];
        *i = (struct record_input){.path = copy(l, "path")};
        field(l, "sha256", i->sha256, sizeof(i->sha256));
        return i->path ? 0 : -ENOMEM;
}

/* Of the record of that path, the newest. */
static int on_step(struct records *r, const struct line *l, enum record_state state)
{
        char path[VALUE_MOST], time[32];
        field(l, "path", path, sizeof(path));
        for (size_t i = r->n; i-- > 0;) {
                struct record *d = &r->v[i];
                if (!streq(d->path, path))
                        continue;
                d->state = state;
                if (state == RECORD_OUT &&
                        (!field(l, "time", time, sizeof(time)) || time_parse_rfc3339(time, &d->time) < 0))
                        d->time = 0;
                if (state == RECORD_DESTROY) {
                        free(d->reason);
                        d->reason = copy(l, "reason");
                        return d->reason ? 0 : -ENOMEM;
                }
                break;
        }
        return 0;
}

static int keep_reason(char **to, const struct line *l)
{
        free(*to);
        *to = copy(l, "reason");
        return *to ? 0 : -ENOMEM;
}

static int on_line(const char *p, size_t len, uint64_t n, void *arg)
{
        struct records *r = arg;
        const struct line l = {p, len};
        char delivery[256], event[64], reason[VALUE_MOST];
        (void)n;
        if (!field(&l, "delivery", delivery, sizeof(delivery)) || !streq(delivery, r->delivery))
                return 0;
        field(&l, "event", event, sizeof(event));
        if (streq(event, "delivering"))
                return on_delivering(r, &l);
        if (streq(event, "input"))
                return on_input(r, &l);
        if (streq(event, "delivered"))
                return on_step(r, &l, RECORD_OUT);
        if (streq(event, "expired") || streq(event, "superseded"))
                return on_step(r, &l, RECORD_LEFT);
        if (streq(event, "please-destroy"))
                return on_step(r, &l, RECORD_DESTROY);
        if (streq(event, "revoked"))
                return keep_reason(&r->revoked, &l);
        if (streq(event, "delivery-stopped"))
                return keep_reason(&r->stopped, &l);
        if (streq(event, "delivery-ending"))
                return field(&l, "reason", reason, sizeof(reason)) ? strv_add(&r->said, reason) : 0;
        if (streq(event, "outbox"))
                field(&l, "staging_id", r->outbox_id, sizeof(r->outbox_id));
        return 0;
}

int records_read(int state_fd, const char *delivery, struct records *ret, struct error *e)
{
        struct stat st;
        *ret = (struct records){.delivery = delivery};
        if (fstatat(state_fd, "audit.jsonl", &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
                return 0;
        int r = audit_each(state_fd, on_line, ret, e);
        if (r == -ENOMEM)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        return r;
}

void records_done(struct records *r)
{
        for (size_t i = 0; i < r->n; i++) {
                struct record *d = &r->v[i];
                for (size_t k = 0; k < d->n_inputs; k++)
                        free(d->inputs[k].path);
                free(d->inputs);
                free(d->base);
                free(d->path);
                free(d->course);
                free(d->recipients);
                free(d->supersedes);
                free(d->reason);
        }
        free(r->v);
        free(r->revoked);
        free(r->stopped);
        strv_done(&r->said);
        *r = (struct records){};
}

struct record *records_newest(const struct records *r, const char *base)
{
        for (size_t i = r->n; i-- > 0;)
                if (r->v[i].state != RECORD_BEGUN && streq(r->v[i].base, base))
                        return &r->v[i];
        return NULL;
}

int records_dates(const struct records *r, struct strv *ret)
{
        for (size_t i = 0; i < r->n; i++) {
                const char *date = strstr(r->v[i].base, "/state/");
                if (date && strv_add_n(ret, date + strlen("/state/"), strlen("YYYY-MM-DD")) < 0)
                        return -ENOMEM;
        }
        strv_unique(ret);
        return 0;
}
