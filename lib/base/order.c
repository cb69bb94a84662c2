/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of a bounded size are sorted in memory, of which only the numbers stay, in their order. Then each
 * part has its first name read, and the least of them is the next. */
#include "order.h"

#include <stdlib.h>

#include "cleanup.h"

/* Both bound a part; names of edX have about 100 bytes. */
#define PART_NAMES 4096
#define PART_BYTES (512 * KIB)

/* What is left of a part to be merged. */
struct part {
        size_t at, end;     /* in order.v */
        struct strbuf name; /* of the one at `at` */
};

struct order {
        order_name_fn *name;
        void *arg;
        uint32_t *v; /* the numbers, part by part */
        struct part *parts;
        size_t n_parts;
        struct part *last; /* its name was handed out */
};

static int no_memory(struct error *e)
{
        return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
}

/* --- one part, in memory --- */

struct entry {
        size_t at; /* of its name in text */
        uint32_t number;
};

struct gathered {
        struct strbuf text;
        struct entry *v;
        size_t n;
};

static void gathered_done(struct gathered *g)
{
        strbuf_done(&g->text);
        free(g->v);
}

static int by_name(const void *a, const void *b, void *text)
{
        const struct entry *x = a, *y = b;
        int c = strcmp((const char *)text + x->at, (const char *)text + y->at);
        return c ? c : x->number < y->number ? -1 : x->number > y->number;
}

/* Names from *next on, as many as make a part. */
static int gather(struct order *o, struct gathered *g, size_t *next, size_t n, struct error *e)
{
        g->n = g->text.len = 0;
        for (; *next < n && g->n < PART_NAMES && g->text.len < PART_BYTES; ++*next) {
                size_t at = g->text.len;
                int r = o->name(o->arg, *next, &g->text, e);
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                strbuf_add_n(&g->text, "", 1);
                if (g->text.err)
                        return no_memory(e);
                g->v[g->n++] = (struct entry){.at = at, .number = (uint32_t)*next};
        }
        if (g->n > 0)
                qsort_r(g->v, g->n, sizeof(g->v[0]), by_name, g->text.s);
        return 0;
}

static int add_part(struct order *o, const struct gathered *g, struct error *e)
{
        size_t at = o->n_parts ? o->parts[o->n_parts - 1].end : 0;
        struct part *parts = reallocarray(o->parts, o->n_parts + 1, sizeof(*parts));
        if (!parts)
                return no_memory(e);
        o->parts = parts;
        o->parts[o->n_parts++] = (struct part){.at = at, .end = at + g->n};
        for (size_t i = 0; i < g->n; i++)
                o->v[at + i] = g->v[i].number;
        return 0;
}

static int make_parts(struct order *o, size_t n, struct error *e)
{
        _cleanup_(gathered_done) struct gathered g = {.v = calloc(PART_NAMES, sizeof(*g.v))};
        if (!g.v)
                return no_memory(e);
        for (size_t next = 0; next < n;) {
                int r = gather(o, &g, &next, n, e);
                if (r == 0 && g.n > 0)
                        r = add_part(o, &g, e);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- merging --- */

static int read_name(struct order *o, struct part *p, struct error *e)
{
        p->name.len = 0;
        if (p->at == p->end)
                return 0;
        int r = o->name(o->arg, o->v[p->at], &p->name, e);
        strbuf_add_n(&p->name, "", 1);
        return r >= 0 && p->name.err ? no_memory(e) : MIN(r, 0);
}

int order_next(struct order *o, size_t *ret, const char **ret_name, struct error *e)
{
        struct part *least = NULL;
        if (o->last) {
                o->last->at++;
                int r = read_name(o, o->last, e);
                if (r < 0)
                        return r;
        }
        /* earlier parts have the lower numbers */
        for (size_t i = 0; i < o->n_parts; i++) {
                struct part *p = &o->parts[i];
                if (p->at < p->end && (!least || strcmp(p->name.s, least->name.s) < 0))
                        least = p;
        }
        o->last = least;
        if (!least)
                return 0;
        *ret = o->v[least->at];
        *ret_name = least->name.s;
        return 1;
}

/* --- */

int order_new(size_t n, order_name_fn *name, void *arg, struct order **ret, struct error *e)
{
        if (n > UINT32_MAX)
                return error_set(e, CAUSE_LIMIT, EOVERFLOW, "too many to be put in order");
        _cleanup_(cleanup_order) struct order *o = calloc(1, sizeof(*o));
        if (!o)
                return no_memory(e);
        o->name = name;
        o->arg = arg;
        o->v = calloc(n + 1, sizeof(*o->v));
        if (!o->v)
                return no_memory(e);
        int r = make_parts(o, n, e);
        for (size_t i = 0; r == 0 && i < o->n_parts; i++)
                r = read_name(o, &o->parts[i], e);
        if (r < 0)
                return r;
        *ret = take_ptr(&o);
        return 0;
}

struct order *order_free(struct order *o)
{
        if (!o)
                return NULL;
        for (size_t i = 0; i < o->n_parts; i++)
                strbuf_done(&o->parts[i].name);
        free(o->parts);
        free(o->v);
        free(o);
        return NULL;
}
