/* SPDX-License-Identifier: Apache-2.0 */
#include "courses.h"

#include <errno.h>
#include <fnmatch.h>
#include <search.h>
#include <stdint.h>
#include <stdlib.h>

#include "digest.h"
#include "name.h"
#include "str.h"

struct known {
        char *form;       /* a tree of name.h */
        struct strv keys; /* of that form; the first are the ones that are listed in full */
        size_t n_listed;
        bool told; /* something of it is held */
};

static void known_done(void *p)
{
        strv_done(&((struct known *)p)->keys);
}

void courses_done(struct courses *c)
{
        named_free(&c->known, known_done);
        free(c->matched);
        *c = (struct courses){};
}

static bool is_key(const char *pattern)
{
        return strpbrk(pattern, "/:+@");
}

void course_form(const char *key, char ret[COURSE_FORM_MAX])
{
        const char *colon = strstr(key, "-v1:");
        size_t n = 0;
        for (const char *p = colon ? colon + strlen("-v1:") : key; *p && n + 1 < COURSE_FORM_MAX; p++)
                ret[n++] = strchr("+/@", *p) ? '-' : *p;
        ret[n] = 0;
}

/* By entry of the list: does it speak of the form? A full key does so by its own form. */
static bool entry_matches(const char *entry, const char *form)
{
        char own[COURSE_FORM_MAX];
        if (!is_key(entry))
                return fnmatch(entry, form, 0) == 0;
        course_form(entry, own);
        return streq(own, form);
}

/* key NULL: any of that form. matched (by entry, may be NULL): set for those that speak of it. */
static bool select_form(const struct courses *c, const char *form, const char *key, bool *matched)
{
        const struct strv *l = &c->delivery->courses;
        bool hit = false;
        for (size_t i = 0; i < l->n; i++) {
                const char *p = l->v[i], *entry = p + (*p == '!');
                bool matches = is_key(p) && key ? streq(entry, key) : entry_matches(entry, form);
                if (matches && *p == '!')
                        return false;
                hit |= matches;
                if (matches && matched)
                        matched[i] = true;
        }
        return hit;
}

static struct known *find(const struct courses *c, const char *form)
{
        return named_find(&c->known, form);
}

static void add_key(struct courses *c, const char *form, const char *key, bool listed)
{
        struct known *k = named_need(&c->known, form, sizeof(*k));
        if (k && strv_has(&k->keys, key))
                return;
        if (!k || strv_add(&k->keys, key) < 0)
                c->err = -ENOMEM;
        else if (listed)
                k->n_listed++;
}

/* What is listed by its full key is known, whether events have it or not. */
int courses_init(struct courses *c, const struct config_delivery *d)
{
        *c = (struct courses){.delivery = d, .matched = calloc(d->courses.n + 1, sizeof(bool))};
        for (size_t i = 0; i < d->courses.n; i++) {
                char form[COURSE_FORM_MAX];
                const char *key = d->courses.v[i];
                course_form(key, form);
                if (*key != '!' && is_key(key) && select_form(c, form, key, NULL))
                        add_key(c, form, key, true);
        }
        return c->matched ? c->err : -ENOMEM;
}

void courses_know(struct courses *c, const char *key)
{
        char form[COURSE_FORM_MAX];
        course_form(key, form);
        if (select_form(c, form, key, c->matched) || select_form(c, form, NULL, NULL))
                add_key(c, form, key, false);
}

enum course_word courses_key(const struct courses *c, const char *key)
{
        char form[COURSE_FORM_MAX];
        course_form(key, form);
        if (!select_form(c, form, key, NULL))
                return COURSE_UNLISTED;
        const struct known *k = find(c, form);
        if (strv_has(&c->delivery->courses, key))
                return COURSE_LISTED;
        if (k && k->n_listed)
                return COURSE_UNLISTED;
        /* One that came since the keys were read: the next look knows. */
        bool is_new = !k || !strv_has(&k->keys, key);
        return is_new || k->keys.n > 1 ? COURSE_HELD : COURSE_LISTED;
}

/* The key as a name, "" when it is none. */
static void name_of_key(const char *text, char ret[COURSE_FORM_MAX])
{
        struct course_key key;
        ret[0] = 0;
        if (course_key_parse(text, strlen(text), &key) == COURSE_KEY_OK)
                course_key_name(&key, ret);
}

/* Has each key that is not listed the parts of one that is? Of one form and one name, they have. */
static bool have_listed_parts(const struct known *k)
{
        for (size_t i = k->n_listed; i < k->keys.n; i++) {
                char name[COURSE_FORM_MAX], listed[COURSE_FORM_MAX];
                bool same = false;
                name_of_key(k->keys.v[i], name);
                for (size_t j = 0; j < k->n_listed && !same; j++) {
                        name_of_key(k->keys.v[j], listed);
                        same = *name && streq(name, listed);
                }
                if (!same)
                        return false;
        }
        return k->n_listed > 0;
}

enum course_word courses_form(const struct courses *c, const char *form)
{
        if (!*form || !select_form(c, form, NULL, c->matched))
                return COURSE_UNLISTED;
        const struct known *k = find(c, form);
        if (!k || k->keys.n == 1 || have_listed_parts(k))
                return COURSE_LISTED;
        return k->n_listed && strv_has(&c->delivery->courses, form) ? COURSE_LISTED : COURSE_HELD;
}

bool courses_is_parted(const struct courses *c, const char *form)
{
        const struct known *k = find(c, form);
        return k && k->n_listed > 1;
}

/* Without a key, the first and the last '-' stand between organisation, course and run; names with more of
 * them mostly have them in the course. */
void courses_name(const struct courses *c, const char *form, char ret[COURSE_FORM_MAX])
{
        const struct known *k = find(c, form);
        if (k)
                name_of_key(k->keys.v[0], ret);
        if (k && *ret)
                return;
        name_copy(ret, COURSE_FORM_MAX, form, strlen(form));
        for (char *p = ret; *p; p++)
                if (!name_is_digit(*p) && !(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z') &&
                        !strchr("_.-", *p))
                        *p = '_';
        char *ccx = strstr(ret, "-ccx-");
        if (ccx)
                ccx[0] = ccx[4] = '_';
        char *first = strchr(ret, '-'),
             *last = ccx ? memrchr(ret, '-', (size_t)(ccx - ret)) : strrchr(ret, '-');
        if (first && last && last > first)
                *first = *last = '_';
}

void courses_tell_held(const struct courses *c, const char *form)
{
        struct known *k = find(c, form);
        if (k)
                k->told = true;
}

struct walk {
        struct strv *forms, *keys;
        int err;
};

static void on_known(const void *node, VISIT visit, void *arg)
{
        struct walk *w = arg;
        const struct known *k = *(struct known *const *)node;
        _cleanup_strbuf_ struct strbuf b = {};
        if ((visit != postorder && visit != leaf) || !k->told)
                return;
        strbuf_printf(&b, "%s (", k->form);
        for (size_t i = 0; i < k->keys.n; i++)
                strbuf_printf(&b, "%s%s", i ? ", " : "", k->keys.v[i]);
        strbuf_add(&b, ")");
        if (b.err || strv_add(w->forms, k->form) < 0 || strv_add(w->keys, b.s) < 0)
                w->err = -ENOMEM;
}

int courses_list_held(const struct courses *c, struct strv *ret, struct strv *ret_keys)
{
        struct walk w = {.forms = ret, .keys = ret_keys};
        twalk_r(c->known, on_known, &w);
        return w.err;
}

/* --- messages --- */

#define MARK '~' /* no name of a course has one */
#define MARK_DIGITS 16

/* Bytes without the ending. */
static size_t stem(const char *base)
{
        static const char *const exts[] = {DELIVER_EVENTS_EXT, DELIVER_STATE_EXT, DELIVER_ARCHIVE_EXT};
        size_t n = strlen(base);
        for (size_t i = 0; i < ELEMENTSOF(exts); i++)
                if (str_ends(base, exts[i]))
                        return n - strlen(exts[i]);
        return n;
}

char *item_name(const char *base, unsigned revision)
{
        size_t n = stem(base);
        return revision < 2 ? strdup(base) : str_printf("%.*s-r%u%s", (int)n, base, revision, base + n);
}

static int mark_of(const char *of, char ret[MARK_DIGITS + 1])
{
        uint8_t sum[SHA256_SIZE];
        char hex[SHA256_HEX];
        int r = digest_once(DIGEST_SHA256, of, strlen(of), sum);
        if (r < 0)
                return r;
        hex_encode(sum, sizeof(sum), hex);
        memcpy(ret, hex, MARK_DIGITS);
        ret[MARK_DIGITS] = 0;
        return 0;
}

char *item_parted(const char *base, const char *of)
{
        char mark[MARK_DIGITS + 1];
        size_t n = strchr(base, '/') ? strcspn(base, "/") : stem(base);
        return mark_of(of, mark) < 0 ? NULL : str_printf("%.*s%c%s%s", (int)n, base, MARK, mark, base + n);
}

/* An archive has all of one form, unless it is marked as that of one key. */
static char *archive_id(const char *base, const char *course)
{
        char form[COURSE_FORM_MAX], mark[MARK_DIGITS + 1];
        const char *has = strchr(base, MARK);
        course_form(course, form);
        if (mark_of(form, mark) < 0)
                return NULL;
        return strdup(has && strncmp(has + 1, mark, MARK_DIGITS) != 0 ? course : form);
}

char *item_id(const char *base, const char *course)
{
        const char *rest = strchr(base, '/');
        return rest ? str_printf("%s %.*s", course, (int)(stem(base) - (size_t)(rest + 1 - base)), rest + 1)
                    : archive_id(base, course);
}
