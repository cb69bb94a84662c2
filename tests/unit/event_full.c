/* SPDX-License-Identifier: Apache-2.0 */
/* Recursive descent over a text with an end; every string is decoded, every value kept in a tree, members in
 * their order. Then the last of a name is looked up. */
#include "event_full.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct node {
        enum event_kind kind;
        struct strbuf name, text; /* name: within an object */
        struct node *first, *next;
};

struct full {
        const unsigned char *p, *end;
        unsigned depth;
};

static struct node *node_free(struct node *n)
{
        while (n) {
                struct node *next = n->next;
                node_free(n->first);
                strbuf_done(&n->name);
                strbuf_done(&n->text);
                free(n);
                n = next;
        }
        return NULL;
}

static int peek(const struct full *f)
{
        return f->p < f->end ? *f->p : -1;
}

static bool accept(struct full *f, int c)
{
        if (peek(f) != c)
                return false;
        f->p++;
        return true;
}

static void space(struct full *f)
{
        while (accept(f, ' ') || accept(f, '\t') || accept(f, '\r') || accept(f, '\n'))
                ;
}

static bool word(struct full *f, const char *text)
{
        for (; *text; text++)
                if (!accept(f, *text))
                        return false;
        return true;
}

static bool digits(struct full *f)
{
        bool any = false;
        while (peek(f) >= '0' && peek(f) <= '9') {
                f->p++;
                any = true;
        }
        return any;
}

static bool number(struct full *f)
{
        accept(f, '-');
        if (peek(f) == 'I')
                return word(f, "Infinity");
        if (!accept(f, '0') && !digits(f))
                return false;
        if (accept(f, '.') && !digits(f))
                return false;
        if (accept(f, 'e') || accept(f, 'E')) {
                if (!accept(f, '+'))
                        accept(f, '-');
                return digits(f);
        }
        return true;
}

static bool four_hex(struct full *f, unsigned *ret)
{
        *ret = 0;
        for (unsigned i = 0; i < 4; i++) {
                static const char hex[] = "0123456789abcdef", upper[] = "0123456789ABCDEF";
                int c = peek(f);
                const char *at = c > 0 ? strchr(hex, c) : NULL;
                unsigned value = at ? (unsigned)(at - hex) : 16;
                if (!at && c > 0 && (at = strchr(upper, c)))
                        value = (unsigned)(at - upper);
                if (value > 15)
                        return false;
                *ret = *ret * 16 + value;
                f->p++;
        }
        return true;
}

static void add_code(struct strbuf *b, unsigned c)
{
        char u[4];
        size_t n = 0;
        if (c < 0x80)
                u[n++] = (char)c;
        else if (c < 0x800)
                u[n++] = (char)(0xc0 + c / 64);
        else if (c < 0x10000)
                u[n++] = (char)(0xe0 + c / 4096);
        else
                u[n++] = (char)(0xf0 + c / 262144);
        if (c >= 0x10000)
                u[n++] = (char)(0x80 + c / 4096 % 64);
        if (c >= 0x800)
                u[n++] = (char)(0x80 + c / 64 % 64);
        if (c >= 0x80)
                u[n++] = (char)(0x80 + c % 64);
        strbuf_add_n(b, u, n);
}

static bool escape(struct full *f, struct strbuf *ret)
{
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        int c = peek(f);
        const char *at = c > 0 ? strchr(from, c) : NULL;
        if (at) {
                strbuf_add_n(ret, &to[at - from], 1);
                f->p++;
                return true;
        }
        unsigned high, low;
        if (!accept(f, 'u') || !four_hex(f, &high))
                return false;
        if (high >= 0xd800 && high < 0xdc00) {
                struct full ahead = *f;
                if (accept(&ahead, '\\') && accept(&ahead, 'u') && four_hex(&ahead, &low) && low >= 0xdc00 &&
                        low < 0xe000) {
                        *f = ahead;
                        add_code(ret, 0x10000 + (high - 0xd800) * 1024 + (low - 0xdc00));
                        return true;
                }
        }
        add_code(ret, high);
        return true;
}

static bool string(struct full *f, struct strbuf *ret)
{
        if (!accept(f, '"'))
                return false;
        strbuf_add(ret, ""); /* never NULL */
        while (!accept(f, '"')) {
                int c = peek(f);
                if (c < 0x20)
                        return false;
                if (c == '\\') {
                        f->p++;
                        if (!escape(f, ret))
                                return false;
                        continue;
                }
                char u[5] = {};
                memcpy(u, f->p, (size_t)MIN(f->end - f->p, 4));
                size_t n = utf8_valid_len(u);
                if (n == 0)
                        return false;
                strbuf_add_n(ret, f->p, n);
                f->p += n;
        }
        return true;
}

static struct node *value(struct full *f);

/* The items of an object or array, its bracket passed. */
static bool items(struct full *f, bool is_object, struct node *parent)
{
        struct node **last = &parent->first;
        space(f);
        if (accept(f, is_object ? '}' : ']'))
                return true;
        for (;;) {
                struct strbuf name = {};
                space(f);
                bool ok = !is_object || string(f, &name);
                space(f);
                ok = ok && (!is_object || accept(f, ':'));
                space(f);
                struct node *n = ok ? value(f) : NULL;
                if (!n) {
                        strbuf_done(&name);
                        return false;
                }
                n->name = name;
                *last = n;
                last = &n->next;
                space(f);
                if (accept(f, is_object ? '}' : ']'))
                        return true;
                if (!accept(f, ','))
                        return false;
        }
}

static struct node *value(struct full *f)
{
        struct node *n = calloc(1, sizeof(*n));
        assert(n);
        bool ok = ++f->depth <= EVENT_DEPTH_MAX + 1; /* a scalar in the innermost is not an object */
        int c = peek(f);
        if (c == '"') {
                n->kind = EVENT_STRING;
                ok = ok && string(f, &n->text);
        } else if (c == '{' || c == '[') {
                n->kind = c == '{' ? EVENT_OBJECT : EVENT_OTHER;
                f->p++;
                ok = ok && f->depth <= EVENT_DEPTH_MAX && items(f, c == '{', n);
        } else {
                n->kind = c == 'n' ? EVENT_NULL : EVENT_OTHER;
                ok = ok && (c == 't'          ? word(f, "true")
                                   : c == 'f' ? word(f, "false")
                                   : c == 'n' ? word(f, "null")
                                   : c == 'N' ? word(f, "NaN")
                                              : number(f));
        }
        f->depth--;
        return ok ? n : node_free(n);
}

/* Of an object; NULL: there is none. */
static const struct node *last_named(const struct node *object, const char *name)
{
        const struct node *found = NULL;
        for (const struct node *n = object->first; n; n = n->next)
                if (n->name.len == strlen(name) && memcmp(n->name.s, name, n->name.len) == 0)
                        found = n;
        return found;
}

static void field(const struct node *object, const char *name, struct event_value *ret)
{
        const struct node *n = object && object->kind == EVENT_OBJECT ? last_named(object, name) : NULL;
        *ret = n ? (struct event_value){.kind = n->kind, .p = n->text.s, .n = n->text.len}
                 : (struct event_value){};
}

static struct node *parse_object(const char *p, size_t n)
{
        struct full f = {.p = (const unsigned char *)p, .end = (const unsigned char *)p + n};
        space(&f);
        struct node *tree = peek(&f) == '{' ? value(&f) : NULL;
        space(&f);
        return f.p == f.end ? tree : node_free(tree);
}

/* ^.*?(\{.*\})\s*$ */
static struct node *parse_with_prefix(const char *p, size_t n)
{
        while (n && event_is_space(p[n - 1]))
                n--;
        const char *begin = n ? memchr(p, '{', n) : NULL;
        if (!begin || p[n - 1] != '}')
                return NULL;
        return parse_object(begin, n - (size_t)(begin - p));
}

int event_full_course(enum event_rule rule, const char *p, size_t n, struct course_key *ret)
{
        struct event_fields f = {};
        struct strbuf scratch = {};
        struct node *tree = parse_object(p, n);
        if (!tree)
                tree = parse_with_prefix(p, n);
        if (!tree)
                return EVENT_UNPARSED;
        field(tree, "context", &f.context);
        field(last_named(tree, "context"), "course_id", &f.course_id);
        field(tree, "event_source", &f.event_source);
        field(tree, "event_type", &f.event_type);
        field(tree, "page", &f.page);
        int r = event_decide(rule, &f, &scratch, ret);
        strbuf_done(&scratch);
        node_free(tree);
        return r;
}
