/* SPDX-License-Identifier: Apache-2.0 */
/* The filler of page.h. SQLite reads the JSON; its nodes lie in one array, each before all that is in it. */
#include "page.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "macro.h"
#include "name.h"
#include "shown.h"
#include "timespan.h"

#define DEPTH_MAX 16    /* of the JSON, and of sections in each other */
#define CALENDAR_DAY 10 /* how far days are apart in a calendar; a column is a week */

/* --- the data --- */

struct node {
        char *key;   /* NULL in arrays */
        char *value; /* NULL: null, or an object or array */
        bool array;
        size_t end; /* of what is in it */
};
struct nodes {
        struct node *v;
        size_t n;
};

static void nodes_done(struct nodes *t)
{
        for (size_t i = 0; i < t->n; i++) {
                free(t->v[i].key);
                free(t->v[i].value);
        }
        free(t->v);
}

static char *column_text(sqlite3_stmt *s, int column)
{
        const char *text = (const char *)sqlite3_column_text(s, column);
        return text ? strdup(text) : NULL;
}

/* Rows come with what is in each behind it. */
static int read_rows(sqlite3_stmt *s, struct nodes *t)
{
        int64_t ids[DEPTH_MAX];
        size_t open[DEPTH_MAX], depth = 0;
        int r;
        while ((r = sqlite3_step(s)) == SQLITE_ROW) {
                for (; depth > 0 && ids[depth - 1] != sqlite3_column_int64(s, 1); depth--)
                        t->v[open[depth - 1]].end = t->n;
                if (ARRAY_ROOM(t->v, t->n) < 0)
                        return -ENOMEM;
                if (depth == DEPTH_MAX)
                        return -E2BIG;
                ids[depth] = sqlite3_column_int64(s, 0);
                open[depth++] = t->n;
                const char *type = (const char *)sqlite3_column_text(s, 4);
                t->v[t->n++] = (struct node){
                        .key = column_text(s, 2), .value = column_text(s, 3), .array = streq(type, "array")};
                const struct node *x = &t->v[t->n - 1];
                if ((!x->key && sqlite3_column_type(s, 2) != SQLITE_NULL) ||
                        (!x->value && sqlite3_column_type(s, 3) != SQLITE_NULL))
                        return -ENOMEM;
        }
        while (depth > 0)
                t->v[open[--depth]].end = t->n;
        return r == SQLITE_DONE ? 0 : -EBADMSG;
}

static int read_json(const char *json, struct nodes *ret, struct error *e)
{
        sqlite3 *db = NULL;
        sqlite3_stmt *s = NULL;
        int r = -ENOMEM;
        if (sqlite3_open(":memory:", &db) == SQLITE_OK &&
                sqlite3_prepare_v2(db,
                        "SELECT id, parent, CASE WHEN typeof(key) = 'text' THEN key END, atom, type FROM "
                        "json_tree(?1)",
                        -1, &s, NULL) == SQLITE_OK &&
                sqlite3_bind_text(s, 1, json, -1, SQLITE_STATIC) == SQLITE_OK)
                r = read_rows(s, ret);
        if (r < 0)
                error_set(e, CAUSE_INTERNAL, -r, "reading the data of the page: %s",
                        db ? sqlite3_errmsg(db) : strerror(-r));
        sqlite3_finalize(s);
        sqlite3_close(db);
        return r;
}

/* --- one value --- */

/* The objects and items that we are in, from the outermost. */
struct place {
        const struct nodes *nodes;
        size_t in[DEPTH_MAX], depth;
        struct strbuf *out;
};

static const struct node *find(const struct place *p, const char *name, size_t n)
{
        const struct node *v = p->nodes->v;
        if (n == 1 && *name == '.')
                return &v[p->in[p->depth - 1]];
        for (size_t d = p->depth; d-- > 0;)
                for (size_t i = p->in[d] + 1; i < v[p->in[d]].end; i = v[i].end)
                        if (v[i].key && name_equals(name, n, v[i].key))
                                return &v[i];
        return NULL;
}

static bool is_said(const struct nodes *t, const struct node *x)
{
        if (!x || !x->value)
                return x && x->end > (size_t)(x - t->v) + 1;
        return *x->value && !streq(x->value, "0");
}

static void add_text(struct strbuf *b, const char *s)
{
        static const char special[] = "&<>\"'";
        static const char *const escaped[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
        while (*s) {
                char escape[5];
                size_t n;
                const char *from = name_shown_next(&s, escape, &n), *at = strchr(special, *from);
                if (at)
                        strbuf_add(b, escaped[at - special]);
                else
                        strbuf_add_n(b, from, n);
        }
}

/* form: what stands behind the first '|' */
static void add_formed(struct strbuf *b, const char *value, const char *form, size_t n)
{
        const char *many = memchr(form, '|', n);
        char text[64], when[WHEN_SIZE];
        int64_t number = atoll(value), sec = 0;
        if (many) {
                bool one = number == 1;
                strbuf_printf(b, "%s ", value);
                strbuf_add_n(b, one ? form : many + 1,
                        one ? (size_t)(many - form) : n - (size_t)(many + 1 - form));
                return;
        }
        (void)time_parse_rfc3339(value, &sec);
        if (name_equals(form, n, "bytes"))
                bytes_text(number, text);
        else if (name_equals(form, n, "time"))
                local_time(sec, text);
        else if (name_equals(form, n, "day"))
                snprintf(text, sizeof(text), "%.10s", local_time(sec, when));
        else if (name_equals(form, n, "ago"))
                ago(sec, text);
        else if (name_equals(form, n, "column"))
                snprintf(text, sizeof(text), "%d", (int)number / 7 * CALENDAR_DAY);
        else
                snprintf(text, sizeof(text), "%d", (int)number % 7 * CALENDAR_DAY);
        add_text(b, text);
}

/* --- the template --- */

struct tag {
        char kind;        /* '#', '?', '^', '/', or 0: a value */
        const char *name; /* n bytes; what follows a '|' is its form */
        size_t n;
        const char *behind;
};

static bool next_tag(const char *from, const char *end, struct tag *ret)
{
        const char *open = memmem(from, (size_t)(end - from), "{{", 2);
        const char *close = open ? memmem(open, (size_t)(end - open), "}}", 2) : NULL;
        if (!close)
                return false;
        ret->kind = strchr("#?^/", open[2]) ? open[2] : 0;
        ret->name = open + 2 + (ret->kind != 0);
        ret->n = (size_t)(close - ret->name);
        ret->behind = close + 2;
        return true;
}

static const char *tag_start(const struct tag *t)
{
        return t->name - 2 - (t->kind != 0);
}

/* The tag that closes the section whose opening one ends at from. */
static bool closing_tag(const char *from, const char *end, struct tag *ret)
{
        int depth = 1;
        while (depth > 0 && next_tag(from, end, ret)) {
                depth += ret->kind == '/' ? -1 : ret->kind ? 1 : 0;
                from = ret->behind;
        }
        return depth == 0;
}

static void fill(struct place *p, const char *from, const char *end);

static void fill_in(struct place *p, size_t node, const char *from, const char *end)
{
        if (p->depth == DEPTH_MAX)
                return;
        p->in[p->depth++] = node;
        fill(p, from, end);
        p->depth--;
}

static void fill_section(struct place *p, const struct tag *open, const char *end)
{
        const struct node *v = p->nodes->v, *x = find(p, open->name, open->n);
        bool said = is_said(p->nodes, x);
        if (said != (open->kind != '^'))
                return;
        if (open->kind != '#' || !x || (!x->array && x->value))
                fill(p, open->behind, end);
        else if (!x->array)
                fill_in(p, (size_t)(x - v), open->behind, end);
        else
                for (size_t i = (size_t)(x - v) + 1; i < x->end; i = v[i].end)
                        fill_in(p, i, open->behind, end);
}

static void fill(struct place *p, const char *from, const char *end)
{
        struct tag t, close;
        while (next_tag(from, end, &t)) {
                strbuf_add_n(p->out, from, (size_t)(tag_start(&t) - from));
                from = t.behind;
                if (t.kind && closing_tag(from, end, &close)) {
                        fill_section(p, &t, tag_start(&close));
                        from = close.behind;
                        continue;
                }
                const char *form = memchr(t.name, '|', t.n);
                const struct node *x = find(p, t.name, form ? (size_t)(form - t.name) : t.n);
                if (x && x->value && form)
                        add_formed(p->out, x->value, form + 1, t.n - (size_t)(form + 1 - t.name));
                else if (x && x->value)
                        add_text(p->out, x->value);
        }
        strbuf_add_n(p->out, from, (size_t)(end - from));
}

int page_fill(struct strbuf *b, const char *page, const char *json, struct error *e)
{
        _cleanup_(nodes_done) struct nodes nodes = {};
        struct place p = {.nodes = &nodes, .depth = 1, .out = b};
        int r = read_json(json, &nodes, e);
        if (r == 0)
                fill(&p, page, page + strlen(page));
        return r < 0 ? r : b->err;
}
