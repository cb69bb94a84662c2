/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of behaviour files: a table of names, types and places in the struct. What the names mean is in
 * behave.h. */
#include <inttypes.h>
#include <stddef.h>

#include "behave.h"

enum type { TEXT, NUMBER, SIGNED, TRISTATE, SWITCH, AMOUNT, FRAMING, REPEAT, CORRUPT, WRONG, HEADER };

#define FIELD(n, t)                                                                                          \
        {                                                                                                    \
#n, t, offsetof(struct behaviour, n)                                                         \
        }
static const struct field {
        const char *name;
        enum type type;
        size_t offset;
} fields[] = {
        FIELD(method, TEXT),
        FIELD(op, TEXT),
        FIELD(bucket, TEXT),
        FIELD(key, TEXT),
        FIELD(access_key, TEXT),
        FIELD(range, TRISTATE),
        FIELD(part, TRISTATE),
        FIELD(after, NUMBER),
        FIELD(count, NUMBER),
        {"delay", NUMBER, offsetof(struct behaviour, delay_msec)},
        FIELD(date_skew, SIGNED),
        FIELD(status, NUMBER),
        FIELD(code, TEXT),
        FIELD(message, TEXT),
        FIELD(drop, SWITCH),
        FIELD(retry_after, TEXT),
        FIELD(redirect_region, TEXT),
        FIELD(redirect_status, NUMBER),
        FIELD(location, TEXT),
        {"header", HEADER, 0},
        FIELD(body, TEXT),
        FIELD(body_head, TEXT),
        FIELD(body_tail, TEXT),
        FIELD(body_repeat, REPEAT),
        FIELD(content_type, TEXT),
        FIELD(replace_with, TEXT),
        FIELD(replace_after, AMOUNT),
        FIELD(replace_mix, SWITCH),
        FIELD(remove, SWITCH),
        FIELD(etag, TEXT),
        {"checksum", WRONG, offsetof(struct behaviour, checksum_wrong)},
        FIELD(ignore_if_match, SWITCH),
        FIELD(full_for_range, SWITCH),
        FIELD(shift_range, SIGNED),
        FIELD(range_total, NUMBER),
        FIELD(reset_at, AMOUNT),
        FIELD(truncate_at, AMOUNT),
        FIELD(framing, FRAMING),
        FIELD(extra, NUMBER),
        FIELD(stall_at, AMOUNT),
        FIELD(seconds, NUMBER),
        FIELD(drip, NUMBER),
        FIELD(corrupt_at, CORRUPT),
};

static int parse_signed(const char *s, int64_t *ret)
{
        uint64_t n;
        bool minus = *s == '-';
        if (parse_number(s + minus, &n) < 0 || n > INT64_MAX)
                return -EINVAL;
        *ret = minus ? -(int64_t)n : (int64_t)n;
        return 0;
}

static int parse_amount(const char *s, struct amount *ret)
{
        struct amount a = {.kind = AMOUNT_BYTES};
        size_t n = strlen(s);
        if (text_eq(s, "last")) {
                ret->kind = AMOUNT_LAST;
                return 0;
        }
        _cleanup_free_ char *number = text_dup(s);
        if (n && s[n - 1] == '%') {
                a.kind = AMOUNT_PERCENT;
                number[n - 1] = 0;
        }
        if (parse_number(number, &a.n) < 0 || (a.kind == AMOUNT_PERCENT && a.n > 100))
                return -EINVAL;
        *ret = a;
        return 0;
}

static int parse_choice(const char *s, const char *const *names, int *ret)
{
        for (int i = 0; names[i]; i++)
                if (text_eq(s, names[i])) {
                        *ret = i + 1;
                        return 0;
                }
        return -EINVAL;
}

static int parse_header(struct behaviour *b, const char *s)
{
        const char *colon = strchr(s, ':');
        if (!colon || colon == s)
                return -EINVAL;
        b->headers = reallocarray(b->headers, b->n_headers + 1, sizeof(*b->headers));
        if (!b->headers)
                abort();
        const char *value = colon + 1 + strspn(colon + 1, " \t");
        b->headers[b->n_headers++] = (struct name_value){
                .name = text_dup_n(s, (size_t)(colon - s)),
                .value = text_dup(value),
        };
        return 0;
}

static int parse_text(char **place, const char *value)
{
        if (*place)
                return -EINVAL;
        *place = text_dup(value);
        return 0;
}

static int parse_switch(const char *value, const char *on, bool *ret)
{
        if (!text_eq(value, on))
                return -EINVAL;
        *ret = true;
        return 0;
}

static int parse_field(struct behaviour *b, const struct field *f, const char *value)
{
        static const char *const framings[] = {"length", "short", "chunked", "close", NULL};
        static const char *const yes_no[] = {"yes", "no", NULL};
        void *place = (char *)b + f->offset;
        int choice = 0, r = 0;
        switch (f->type) {
        case TEXT:
                return parse_text(place, value);
        case NUMBER:
                return parse_number(value, place);
        case SIGNED:
                return parse_signed(value, place);
        case AMOUNT:
                return parse_amount(value, place);
        case SWITCH:
                return parse_switch(value, "1", place);
        case WRONG:
                return parse_switch(value, "wrong", place);
        case HEADER:
                return parse_header(b, value);
        case CORRUPT:
                b->corrupt = true;
                return parse_number(value, place);
        case REPEAT:
                if (!text_eq(value, "forever"))
                        return parse_number(value, place);
                b->body_repeat = UINT64_MAX;
                return 0;
        case FRAMING:
                r = parse_choice(value, framings, &choice);
                b->framing = (enum framing)choice;
                return r;
        case TRISTATE:
                r = parse_choice(value, yes_no, &choice);
                *(enum tristate *)place = (enum tristate)choice;
                return r;
        }
        return -EINVAL;
}

struct parsing {
        struct behaviour *b;
        unsigned line;
};

static int parse_line(void *arg, const char *name, const char *value, unsigned line)
{
        struct parsing *p = arg;
        p->line = line;
        for (size_t i = 0; value && i < ELEMENTSOF(fields); i++)
                if (text_eq(name, fields[i].name))
                        return parse_field(p->b, &fields[i], value);
        return -EINVAL;
}

int behaviour_parse(char *text, const char *file, struct behaviour **ret, unsigned *ret_line)
{
        struct parsing p = {.b = text_alloc(sizeof(*p.b))};
        p.b->file = text_dup(file);
        p.b->count = UINT64_MAX;
        p.b->body_repeat = 1;
        p.b->seconds = UINT64_MAX;
        int r = text_lines(text, parse_line, &p);
        if (r < 0) {
                *ret_line = p.line;
                behaviour_free(p.b);
                return r;
        }
        *ret = p.b;
        return 0;
}

struct behaviour *behaviour_free(struct behaviour *b)
{
        if (!b)
                return NULL;
        free(b->file);
        for (size_t i = 0; i < ELEMENTSOF(fields); i++)
                if (fields[i].type == TEXT)
                        free(*(char **)(void *)((char *)b + fields[i].offset));
        for (size_t i = 0; i < b->n_headers; i++) {
                free(b->headers[i].name);
                free(b->headers[i].value);
        }
        free(b->headers);
        free(b);
        return NULL;
}

uint64_t amount_resolve(const struct amount *a, uint64_t length)
{
        switch (a->kind) {
        case AMOUNT_NONE:
                break;
        case AMOUNT_BYTES:
                return a->n;
        case AMOUNT_PERCENT:
                return length / 100 * a->n + length % 100 * a->n / 100;
        case AMOUNT_LAST:
                return length ? length - 1 : 0;
        }
        return UINT64_MAX;
}
