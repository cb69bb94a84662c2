/* SPDX-License-Identifier: Apache-2.0 */
#include "event.h"

#include <string.h>

struct text {
        const char *p;
        size_t n;
};

/* What a string says. 0 or -ENOMEM. */
static int text_of(const struct event_value *v, struct strbuf *scratch, struct text *ret)
{
        *ret = (struct text){v->p, v->n};
        if (!v->escaped)
                return 0;
        scratch->len = 0;
        strbuf_add_n(scratch, v->p, v->n); /* it only becomes shorter */
        if (scratch->err)
                return scratch->err;
        *ret = (struct text){scratch->s, event_unescape(v->p, v->n, scratch->s)};
        return 0;
}

static struct text strip(struct text t)
{
        while (t.n && event_is_space(t.p[0])) {
                t.p++;
                t.n--;
        }
        while (t.n && event_is_space(t.p[t.n - 1]))
                t.n--;
        return t;
}

/* Until one of the bytes in stop, or the end. */
static size_t span_until(struct text t, const char *stop)
{
        size_t n = 0;
        while (n < t.n && (!t.p[n] || !strchr(stop, t.p[n])))
                n++;
        return n;
}

static struct text skip(struct text t, size_t n)
{
        return (struct text){t.p + n, t.n - n};
}

/* What ([^/+]+(/|\+)[^/+]+(/|\+)[^STOP]+) matches at the beginning of t: its length, 0 when nothing. No part
 * may hold the byte that ends it, so there is one way to match. */
static size_t match_parts(struct text t, const char *stop)
{
        struct text rest = t;
        for (unsigned i = 0; i < 2; i++) {
                size_t n = span_until(rest, "/+");
                if (n == 0 || n == rest.n)
                        return 0;
                rest = skip(rest, n + 1);
        }
        size_t last = span_until(rest, stop);
        return last ? t.n - rest.n + last : 0;
}

/* (?!v[0-9]+/[^/]+) */
static bool is_version(struct text t)
{
        size_t n = 1;
        if (t.n < 4 || t.p[0] != 'v')
                return false;
        while (n < t.n && t.p[n] >= '0' && t.p[n] <= '9')
                n++;
        return n > 1 && n + 1 < t.n && t.p[n] == '/' && t.p[n + 1] != '/';
}

/* What follows the first `marker` behind which there are three parts. The marker and all before it are on the
 * first line of the text: "." does not match '\n'. */
static bool find_key(struct text t, const char *marker, const char *stop, bool no_version, struct text *ret)
{
        size_t length = strlen(marker);
        const char *newline = memchr(t.p, '\n', t.n), *end = t.p + t.n, *last = newline ? newline : end,
                   *at = t.p;
        while ((at = memmem(at, (size_t)(last - at), marker, length))) {
                struct text rest = {at + length, (size_t)(end - at) - length};
                size_t n = no_version && is_version(rest) ? 0 : match_parts(rest, stop);
                if (n) {
                        *ret = (struct text){rest.p, n};
                        return true;
                }
                at++;
        }
        return false;
}

static int verdict_of(enum course_key_result r, enum event_verdict otherwise)
{
        return r == COURSE_KEY_OK ? EVENT_COURSE : r == COURSE_KEY_BAD_NAME ? EVENT_INVALID : (int)otherwise;
}

/* Rule 4: there is no course_id, so a URL tells. */
static int decide_by_url(const struct event_fields *f, struct strbuf *scratch, struct course_key *ret)
{
        struct text source, t, key;
        if (f->event_source.kind != EVENT_STRING)
                return EVENT_NO_COURSE;
        int r = text_of(&f->event_source, scratch, &source);
        if (r < 0)
                return r;
        const struct event_value *url = source.n == 6 && memcmp(source.p, "server", 6) == 0 ? &f->event_type
                                        : source.n == 7 && memcmp(source.p, "browser", 7) == 0 ? &f->page
                                                                                               : NULL;
        if (!url || url->kind != EVENT_STRING)
                return EVENT_NO_COURSE;
        r = text_of(url, scratch, &t);
        if (r < 0)
                return r;
        if (find_key(t, "/xblock/", "/?#", false, &key))
                return verdict_of(course_key_of_usage(key.p, key.n, ret), EVENT_NO_COURSE);
        if (find_key(t, "/courses/", "/?", true, &key))
                return verdict_of(course_key_parse(key.p, key.n, ret), EVENT_NO_COURSE);
        return EVENT_NO_COURSE;
}

int event_decide(
        enum event_rule rule, const struct event_fields *f, struct strbuf *scratch, struct course_key *ret)
{
        struct text id;
        if (f->context.kind == EVENT_ABSENT)
                return rule == EVENT_RULE_EDX_URL ? decide_by_url(f, scratch, ret) : EVENT_NO_COURSE;
        if (f->context.kind != EVENT_OBJECT)
                return EVENT_NO_COURSE;
        if (f->course_id.kind == EVENT_ABSENT || f->course_id.kind == EVENT_NULL)
                return decide_by_url(f, scratch, ret);
        if (f->course_id.kind != EVENT_STRING)
                return EVENT_INVALID;
        int r = text_of(&f->course_id, scratch, &id);
        if (r < 0)
                return r;
        id = strip(id);
        if (id.n == 0)
                return decide_by_url(f, scratch, ret);
        return verdict_of(course_key_parse(id.p, id.n, ret), EVENT_INVALID);
}

int event_course(
        enum event_rule rule, const char *p, size_t n, struct strbuf *scratch, struct course_key *ret)
{
        struct event_fields f;
        /* old lines have a syslog prefix, some have a BOM */
        const char *begin = n && p[n - 1] == '}' ? memchr(p, '{', n) : NULL;
        if (!begin || !event_scan(begin, n - (size_t)(begin - p), &f))
                return EVENT_UNPARSED;
        return event_decide(rule, &f, scratch, ret);
}
