/* SPDX-License-Identifier: Apache-2.0 */
#include "delivery_record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "courses.h"
#include "limits.h"
#include "macro.h"
#include "name.h"
#include "timespan.h"

#define VALUE_MOST 8192

struct record_line {
        const char *p;
        size_t len;
};

/* The value, "" when it is not there. */
static bool field(const struct record_line *l, const char *name, char *ret, size_t size)
{
        ret[0] = 0;
        return audit_field(l->p, l->len, name, ret, size) == 0;
}

static char *copy(const struct record_line *l, const char *name)
{
        char value[VALUE_MOST];
        field(l, name, value, sizeof(value));
        return strdup(value);
}

static int64_t number(const struct record_line *l, const char *name)
{
        char value[32];
        uint64_t v;
        return field(l, name, value, sizeof(value)) && parse_u64(value, INT64_MAX, &v) == 0 ? (int64_t)v : 0;
}

/* --- finding them --- */

struct place {
        char *path; /* a tree of name.h */
        size_t at;  /* of the newest record */
};

/* From now on that path is the last record. */
static int note_path(struct records *r)
{
        struct place *p = named_need(&r->by_path, r->v[r->n - 1].path, sizeof(*p));
        if (p)
                p->at = r->n - 1;
        return p ? 0 : -ENOMEM;
}

struct delivery_record *records_find(const struct records *r, const char *path)
{
        const struct place *p = named_find(&r->by_path, path);
        return p ? &r->v[p->at] : NULL;
}

static int by_id(const void *a, const void *b)
{
        const struct delivery_record *x = *(struct delivery_record *const *)a,
                                     *y = *(struct delivery_record *const *)b;
        int c = strcmp(x->id, y->id);
        return c ? c : x < y ? -1 : x > y;
}

/* --- reading --- */

/* What it is for, and how long, as far as the line says it. */
static int on_terms(struct records *r, const struct record_line *l)
{
        char until[16], purpose[VALUE_MOST];
        int day;
        if (field(l, "until", until, sizeof(until)) && date_parse(until, &day) == 0)
                r->until = day;
        if (!field(l, "purpose", purpose, sizeof(purpose)))
                return 0;
        free(r->purpose);
        r->purpose = strdup(purpose);
        return r->purpose ? 0 : -ENOMEM;
}

/* is_stray: it was found in the outbox, and what it is nobody knows; its id is its path, which no other has.
 */
static int add_record(struct records *r, const struct record_line *l, bool is_stray)
{
        if (ARRAY_ROOM(r->v, r->n) < 0)
                return -ENOMEM;
        struct delivery_record *d = &r->v[r->n++];
        *d = (struct delivery_record){.base = copy(l, is_stray ? "path" : "member"),
                .path = copy(l, "path"),
                .course = copy(l, "course"),
                .recipients = copy(l, "recipients"),
                .supersedes = copy(l, "supersedes"),
                .size = number(l, "size")};
        if (d->base && d->course)
                d->id = is_stray ? strdup(d->base) : item_id(d->base, d->course);
        field(l, "sha256", d->sha256, sizeof(d->sha256));
        field(l, "inputs", d->inputs_sha256, sizeof(d->inputs_sha256));
        return d->id && d->path && d->recipients && d->supersedes ? note_path(r) : -ENOMEM;
}

static int on_delivering(struct records *r, const struct record_line *l)
{
        return add_record(r, l, false);
}

static int on_input(struct records *r, const struct record_line *l)
{
        struct delivery_record *d = r->n ? &r->v[r->n - 1] : NULL;
        if (!d || d->state != RECORD_BEGUN)
                return 0;
        if (ARRAY_ROOM(d->inputs, d->n_inputs) < 0)
                return -ENOMEM;
        struct record_input *i = &d->inputs[d->n_inputs++];
        *i = (struct record_input){.path = copy(l, "path")};
        field(l, "sha256", i->sha256, sizeof(i->sha256));
        return i->path ? 0 : -ENOMEM;
}

/* Of the record of that path, the newest. */
static int on_step(struct records *r, const struct record_line *l, enum record_state state)
{
        char path[VALUE_MOST], time[32];
        field(l, "path", path, sizeof(path));
        struct delivery_record *d = records_find(r, path);
        if (!d && state == RECORD_DESTROY && add_record(r, l, true) < 0)
                return -ENOMEM;
        d = d ? d : records_find(r, path);
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

static int keep_reason(char **to, const struct record_line *l)
{
        free(*to);
        *to = copy(l, "reason");
        return *to ? 0 : -ENOMEM;
}

static int on_outbox(struct records *r, const struct record_line *l)
{
        field(l, "staging_id", r->outbox_id, sizeof(r->outbox_id));
        free(r->outbox);
        r->outbox = copy(l, "path");
        return r->outbox ? 0 : -ENOMEM;
}

static int on_ending(struct records *r, const struct record_line *l)
{
        char reason[VALUE_MOST];
        return field(l, "reason", reason, sizeof(reason)) ? strv_add(&r->said, reason) : 0;
}

static int on_event(struct records *r, const struct record_line *l)
{
        static const struct {
                const char *event;
                int (*on)(struct records *r, const struct record_line *l);
        } events[] = {{"delivering", on_delivering}, {"input", on_input}, {"outbox", on_outbox},
                {"delivery-ending", on_ending}};
        char event[EVENT_SIZE];
        field(l, "event", event, sizeof(event));
        for (size_t i = 0; i < ELEMENTSOF(events); i++)
                if (streq(event, events[i].event))
                        return events[i].on(r, l);
        if (streq(event, "delivered"))
                return on_step(r, l, RECORD_OUT);
        if (streq(event, "expired") || streq(event, "superseded"))
                return on_step(r, l, RECORD_LEFT);
        if (streq(event, "please-destroy"))
                return on_step(r, l, RECORD_DESTROY);
        if (streq(event, "revoked"))
                return keep_reason(&r->revoked, l);
        return streq(event, "delivery-stopped") ? keep_reason(&r->stopped, l) : 0;
}

static int on_line(const char *p, size_t len, uint64_t n, void *arg)
{
        struct records *r = arg;
        const struct record_line l = {p, len};
        char delivery[VALUE_MOST];
        (void)n;
        if (!field(&l, "delivery", delivery, sizeof(delivery)) || !streq(delivery, r->delivery))
                return 0;
        int e = on_terms(r, &l);
        return e ? e : on_event(r, &l);
}

static int each_line(int state_fd, audit_line_fn *each, void *arg, struct error *e)
{
        struct stat st;
        int r = 0;
        if (fstatat(state_fd, "audit.jsonl", &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
                r = audit_each(state_fd, each, arg, e);
        return r == -ENOMEM ? error_set(e, CAUSE_IO, ENOMEM, "out of memory") : r;
}

int records_read(int state_fd, const char *delivery, struct records *ret, struct error *e)
{
        *ret = (struct records){.delivery = delivery, .until = INT_MAX};
        int r = each_line(state_fd, on_line, ret, e);
        if (r == 0 && !(ret->by_id = array_index(ret->v, ret->n, sizeof(*ret->v), by_id)))
                r = error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        return r;
}

static int on_name(const char *p, size_t len, uint64_t n, void *arg)
{
        struct strv *names = arg;
        const struct record_line l = {p, len};
        char delivery[VALUE_MOST];
        (void)n;
        return field(&l, "delivery", delivery, sizeof(delivery)) && !strv_has(names, delivery)
                       ? strv_add(names, delivery)
                       : 0;
}

int records_names(int state_fd, struct strv *ret, struct error *e)
{
        return each_line(state_fd, on_name, ret, e);
}

void records_done(struct records *r)
{
        named_free(&r->by_path, NULL);
        free(r->by_id);
        for (size_t i = 0; i < r->n; i++) {
                struct delivery_record *d = &r->v[i];
                for (size_t k = 0; k < d->n_inputs; k++)
                        free(d->inputs[k].path);
                free(d->inputs);
                free(d->base);
                free(d->id);
                free(d->path);
                free(d->course);
                free(d->recipients);
                free(d->supersedes);
                free(d->reason);
        }
        free(r->v);
        free(r->outbox);
        free(r->purpose);
        free(r->revoked);
        free(r->stopped);
        strv_done(&r->said);
        *r = (struct records){};
}

static int id_of(const void *id, const void *record)
{
        return strcmp(id, (*(struct delivery_record *const *)record)->id);
}

struct delivery_record *records_newest(const struct records *r, const char *id)
{
        struct delivery_record **found = r->n ? bsearch(id, r->by_id, r->n, sizeof(struct delivery_record *),
                                                        id_of)
                                              : NULL,
                               **end = r->by_id + r->n;
        while (found && found + 1 < end && streq(found[1]->id, id))
                found++;
        for (; found && found >= r->by_id && streq((*found)->id, id); found--)
                if ((*found)->state != RECORD_BEGUN)
                        return *found;
        return NULL;
}

/* ORG/CATEGORY/DATE/... */
int records_dates(const struct records *r, struct strv *ret)
{
        for (size_t i = 0; i < r->n; i++)
                for (size_t k = 0; k < r->v[i].n_inputs; k++) {
                        char category[CATEGORY_SIZE], date[DATE_SIZE];
                        if (sscanf(r->v[i].inputs[k].path, "%*[^/]/%31[^/]/%10[0-9-]/", category, date) ==
                                        2 &&
                                !streq(category, "events-by-course") && !strv_has(ret, date) &&
                                strv_add(ret, date) < 0)
                                return -ENOMEM;
                }
        strv_unique(ret);
        return 0;
}
