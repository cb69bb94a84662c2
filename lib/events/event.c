/* SPDX-License-Identifier: Apache-2.0 */
#include "event.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "gzcheck.h"
#include "macro.h"

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

/* --- keys ---
 *
 * A key is split at its separators and each part is looked at once, from left to right: the grammar has no
 * choice that would have to be taken back. */
enum part_class {
        PART_ID = BIT(0),    /* [\w\-~.:] */
        PART_BLOCK = BIT(1), /* [\w\-~.:%] */
        PART_OLD = BIT(2),   /* [\w.%-], of the form A/B/C */
        PART_DIGIT = BIT(3), /* [0-9] */
        PART_NAME = BIT(4),  /* [\w.\-], of a file's name */
};

#define WORD (PART_ID | PART_BLOCK | PART_OLD | PART_NAME)
static const uint8_t classes[256] = {
        ['0' ... '9'] = WORD | PART_DIGIT,
        ['A' ... 'Z'] = WORD,
        ['a' ... 'z'] = WORD,
        ['_'] = WORD,
        ['.'] = WORD,
        ['-'] = WORD,
        ['~'] = PART_ID | PART_BLOCK,
        [':'] = PART_ID | PART_BLOCK,
        ['%'] = PART_BLOCK | PART_OLD,
};

struct reader {
        const char *p, *end;
};

/* Takes as many bytes of the class as there are. */
static size_t take(struct reader *r, unsigned class)
{
        const char *begin = r->p;
        while (r->p < r->end && classes[(uint8_t)*r->p] & class)
                r->p++;
        return (size_t)(r->p - begin);
}

static bool take_text(struct reader *r, const char *text)
{
        size_t n = strlen(text);
        if ((size_t)(r->end - r->p) < n || memcmp(r->p, text, n) != 0)
                return false;
        r->p += n;
        return true;
}

/* As many parts as there are to be, with "+" between them. */
static bool take_parts(struct reader *r, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                if ((i > 0 && !take_text(r, "+")) || take(r, PART_ID) == 0)
                        return false;
        return true;
}

static bool take_ccx(struct reader *r)
{
        return take_text(r, "+ccx@") && take(r, PART_DIGIT) > 0;
}

static enum course_key_result make(
        const char *namespace, const char *p, const char *end, struct course_key *ret)
{
        size_t n = (size_t)(end - p), at = strlen(namespace);
        if (n > COURSE_NAME_MAX || *p == '.' || *p == '-')
                return COURSE_KEY_BAD_NAME;
        memcpy(ret->text, namespace, at);
        memcpy(ret->text + at, p, n);
        ret->len = at + n;
        ret->text[ret->len] = 0;
        ret->name_at = at;
        return COURSE_KEY_OK;
}

/* How a key begins, what the course's key begins with, and how many parts it has. */
static const struct form {
        const char *usage, *course;
        unsigned parts;
        bool ccx;
        bool needs_type;
        unsigned block_class;
} forms[] = {
        {"block-v1:", "course-v1:", 3, false, false, PART_BLOCK},
        {"ccx-block-v1:", "ccx-v1:", 3, true, false, PART_ID},
        {"lib-block-v1:", "library-v1:", 2, false, true, PART_ID},
};

static enum course_key_result parse_old(const char *p, const char *end, struct course_key *ret)
{
        struct reader r = {p, end};
        if (take(&r, PART_OLD) == 0 || !take_text(&r, "/") || take(&r, PART_OLD) == 0 || !take_text(&r, "/"))
                return COURSE_KEY_NONE;
        take(&r, PART_OLD);
        return r.p == end ? make("", p, end, ret) : COURSE_KEY_NONE;
}

enum course_key_result course_key_parse(const char *p, size_t n, struct course_key *ret)
{
        const char *end = p + n;
        for (size_t i = 0; i < ELEMENTSOF(forms); i++) {
                struct reader r = {p, end};
                if (!take_text(&r, forms[i].course))
                        continue;
                const char *begin = r.p;
                if (!take_parts(&r, forms[i].parts) || (forms[i].ccx && !take_ccx(&r)) || r.p != end)
                        return COURSE_KEY_NONE;
                return make(forms[i].course, begin, end, ret);
        }
        return parse_old(p, end, ret);
}

enum course_key_result course_key_of_usage(const char *p, size_t n, struct course_key *ret)
{
        for (size_t i = 0; i < ELEMENTSOF(forms); i++) {
                struct reader r = {p, p + n};
                if (!take_text(&r, forms[i].usage))
                        continue;
                const char *begin = r.p;
                if (!take_parts(&r, forms[i].parts) || (forms[i].ccx && !take_ccx(&r)))
                        return COURSE_KEY_NONE;
                const char *course_end = r.p;
                bool has_type = take_text(&r, "+type@");
                if (has_type ? take(&r, PART_ID) == 0 : forms[i].needs_type)
                        return COURSE_KEY_NONE;
                if (!take_text(&r, "+block@") || take(&r, forms[i].block_class) == 0 || r.p != r.end)
                        return COURSE_KEY_NONE;
                return make(forms[i].course, begin, course_end, ret);
        }
        return COURSE_KEY_NONE;
}

void course_key_name(const struct course_key *key, char ret[COURSE_NAME_MAX + 1])
{
        size_t n = 0;
        for (const char *p = key->text + key->name_at; *p; p++)
                ret[n++] = classes[(uint8_t)*p] & PART_NAME ? *p : '_';
        ret[n] = 0;
}

/* --- lines ---
 *
 * Bytes are collected in a window until it ends with a whole line or grows over what a line may have. The
 * window is as large as the longest line needs, within that bound. */

#define READ_SIZE (256 * KIB)

struct lines {
        const struct event_lines_sink *sink;
        char *p;        /* the window: the beginning of a line, n bytes of it */
        size_t n, size; /* size: without the slack behind it */
        bool too_long;  /* the line at hand: what is left of it is passed over */
};

static int out_of_memory(struct error *e)
{
        return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
}

static int grow(struct lines *l, size_t least, struct error *e)
{
        if (l->size >= least)
                return 0;
        size_t size = MAX(l->size * 2, least);
        char *p = realloc(l->p, size + EVENT_SCAN_SLACK);
        if (!p)
                return out_of_memory(e);
        memset(p + l->size, 0, size + EVENT_SCAN_SLACK - l->size);
        l->p = p;
        l->size = size;
        return 0;
}

/* The n bytes at p are a line; p[n] may be written to. */
static int tell(struct lines *l, char *p, size_t n, struct error *e)
{
        if (l->too_long || n > EVENT_LINE_MAX) {
                l->too_long = false;
                return l->sink->on_line(l->sink->arg, NULL, 0, e);
        }
        while (n && event_is_space(p[n - 1]))
                n--;
        p[n] = '\n';
        while (event_is_space(*p) && n) {
                p++;
                n--;
        }
        return l->sink->on_line(l->sink->arg, p, n, e);
}

/* sink_fn: more bytes of the text. */
static int on_text(void *arg, const void *bytes, size_t n, struct error *e)
{
        struct lines *l = arg;
        int r = grow(l, l->n + n, e);
        if (r < 0)
                return r;
        memcpy(l->p + l->n, bytes, n);
        char *begin = l->p, *end = l->p + l->n + n, *newline = memchr(l->p + l->n, '\n', n);
        for (; newline; newline = memchr(begin, '\n', (size_t)(end - begin))) {
                r = tell(l, begin, (size_t)(newline - begin), e);
                if (r < 0)
                        return r;
                begin = newline + 1;
        }
        l->n = (size_t)(end - begin);
        if (l->too_long || l->n > EVENT_LINE_MAX) {
                l->too_long = true;
                l->n = 0;
        }
        memmove(l->p, begin, l->n);
        return 0;
}

/* What stands behind the last '\n'. */
static int end_lines(struct lines *l, struct error *e)
{
        if (l->n == 0 && !l->too_long)
                return 0;
        int r = grow(l, l->n + 1, e);
        return r < 0 ? r : tell(l, l->p, l->n, e);
}

static int read_all(int fd, struct gzcheck *gzip, struct digest *digest, struct lines *l, struct error *e)
{
        _cleanup_free_ char *buf = malloc(READ_SIZE);
        if (!buf)
                return out_of_memory(e);
        for (off_t at = 0;;) {
                ssize_t n = pread(fd, buf, READ_SIZE, at);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_set(e, CAUSE_IO, errno, "reading the events: %s", strerror(errno));
                if (n == 0)
                        return gzip ? gzcheck_end(gzip, e) : 0;
                at += n;
                if (digest)
                        digest_update(digest, buf, (size_t)n);
                int r = gzip ? gzcheck_write(gzip, buf, (size_t)n, e) : on_text(l, buf, (size_t)n, e);
                if (r < 0)
                        return r;
                if (l->sink->on_read)
                        l->sink->on_read(l->sink->arg, (uint64_t)n);
        }
}

int event_lines_read(int fd, bool gzip, const struct event_lines_sink *sink, uint8_t ret_sha256[SHA256_SIZE],
        struct error *e)
{
        struct lines l = {.sink = sink};
        const struct expansion unlimited = {}; /* it was limited when it was decrypted */
        _cleanup_(cleanup_gzcheck) struct gzcheck *unpack = NULL;
        struct digest *digest = NULL;
        int r = gzip ? gzcheck_new(true, &unlimited, on_text, &l, &unpack) : 0;
        if (r == 0 && ret_sha256)
                r = digest_new(DIGEST_SHA256, &digest);
        r = r < 0 ? out_of_memory(e) : read_all(fd, unpack, digest, &l, e);
        if (r == 0)
                r = end_lines(&l, e);
        if (r == 0 && ret_sha256)
                digest_final(digest, ret_sha256);
        digest_free(digest);
        free(l.p);
        return r;
}
