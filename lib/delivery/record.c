/* SPDX-License-Identifier: Apache-2.0 */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
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

/* --- finding them --- */

struct place {
        const char *path; /* the record's */
        size_t at;
};

static int by_path(const void *a, const void *b)
{
        return strcmp(((const struct place *)a)->path, ((const struct place *)b)->path);
}

/* From now on that path is the last record. */
static int note_path(struct records *r)
{
        const struct place key = {.path = r->v[r->n - 1].path};
        struct place **found = key.path ? tsearch(&key, &r->by_path, by_path) : NULL;
        if (!found)
                return -ENOMEM;
        if (*found == &key) {
                struct place *p = malloc(sizeof(*p));
                if (!p) {
                        tdelete(&key, &r->by_path, by_path);
                        return -ENOMEM;
                }
                *found = p;
        }
        **found = (struct place){.path = key.path, .at = r->n - 1};
        return 0;
}

static struct record *find_path(const struct records *r, const char *path)
{
        const struct place key = {.path = path}, *const * found;
        found = (const struct place *const *)tfind(&key, &r->by_path, by_path);
        return found ? &r->v[(*found)->at] : NULL;
}

static int by_base(const void *a, const void *b)
{
        const struct record *x = *(struct record *const *)a, *y = *(struct record *const *)b;
        int c = strcmp(x->base, y->base);
        return c ? c : x < y ? -1 : x > y;
}

static int index_bases(struct records *r)
{
        r->by_base = calloc(r->n + 1, sizeof(struct record *));
        for (size_t i = 0; r->by_base && i < r->n; i++)
                r->by_base[i] = &r->v[i];
        if (r->by_base)
                qsort(r->by_base, r->n, sizeof(struct record *), by_base);
        return r->by_base ? 0 : -ENOMEM;
}

/* --- reading --- */

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
        return d->base && d->path && d->course && d->recipients && d->supersedes ? note_path(r) : -ENOMEM;
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
        struct record *d = find_path(r, path);
        if (!d)
                return 0;
        d->state = state;
        if (state == RECORD_OUT &&
                (!field(l, "time", time, sizeof(time)) || time_parse_rfc3339(time, &d->time) < 0))
                d->time = 0;
        if (state != RECORD_DESTROY)
                return 0;
        free(d->reason);
        d->reason = copy(l, "reason");
        return d->reason ? 0 : -ENOMEM;
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
        int r = 0;
        if (fstatat(state_fd, "audit.jsonl", &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
                r = audit_each(state_fd, on_line, ret, e);
        if (r == 0)
                r = index_bases(ret);
        return r == -ENOMEM ? error_set(e, CAUSE_IO, ENOMEM, "out of memory") : r;
}

void records_done(struct records *r)
{
        tdestroy(r->by_path, free);
        free(r->by_base);
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
        size_t low = 0, high = r->n; /* behind the last of that base */
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (strcmp(r->by_base[middle]->base, base) <= 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        for (; low > 0 && streq(r->by_base[low - 1]->base, base); low--)
                if (r->by_base[low - 1]->state != RECORD_BEGUN)
                        return r->by_base[low - 1];
        return NULL;
}

bool records_have(const struct records *r, const char *path)
{
        const struct record *d = find_path(r, path);
        return d && d->state != RECORD_BEGUN;
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
