/* SPDX-License-Identifier: Apache-2.0 */
/* A key is split at its separators and each part is looked at once, from left to right: the grammar has no
 * choice that would have to be taken back. */
#include "course_key.h"

#include <stdint.h>
#include <string.h>

#include "macro.h"

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
