/* SPDX-License-Identifier: Apache-2.0 */
#include "courses.h"

#include <errno.h>
#include <fnmatch.h>
#include <search.h>
#include <stdlib.h>

#include "name.h"

struct known {
        char *form;
        struct strv keys; /* of that form */
};

static int by_form(const void *a, const void *b)
{
        return strcmp(((const struct known *)a)->form, ((const struct known *)b)->form);
}

static void free_known(void *p)
{
        struct known *k = p;
        free(k->form);
        strv_done(&k->keys);
        free(k);
}

int courses_init(struct courses *c, const struct config_delivery *d)
{
        *c = (struct courses){.delivery = d, .matched = calloc(d->courses.n + 1, sizeof(bool))};
        return c->matched ? 0 : -ENOMEM;
}

void courses_done(struct courses *c)
{
        tdestroy(c->known, free_known);
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

/* key NULL: any of that form. */
static bool select_form(const struct courses *c, const char *form, const char *key)
{
        const struct strv *l = &c->delivery->courses;
        bool hit = false;
        for (size_t i = 0; i < l->n; i++) {
                const char *p = l->v[i];
                bool matches = is_key(p) && key && *p != '!' ? streq(p, key)
                               : is_key(p) && key            ? streq(p + 1, key)
                                                             : entry_matches(p + (*p == '!'), form);
                if (matches && *p == '!')
                        return false;
                hit |= matches;
                if (matches)
                        c->matched[i] = true;
        }
        return hit;
}

static const struct known *find(const struct courses *c, const char *form)
{
        char copy[COURSE_FORM_MAX];
        name_copy(copy, sizeof(copy), form, strlen(form));
        const struct known key = {.form = copy};
        struct known *const *found = tfind(&key, &c->known, by_form);
        return found ? *found : NULL;
}

void courses_know(struct courses *c, const char *key)
{
        char form[COURSE_FORM_MAX];
        course_form(key, form);
        if (!select_form(c, form, NULL) && !select_form(c, form, key))
                return;
        const struct known *old = find(c, form);
        if (!old) {
                struct known *k = calloc(1, sizeof(*k));
                if (k)
                        k->form = strdup(form);
                if (!k || !k->form || !tsearch(k, &c->known, by_form)) {
                        c->err = -ENOMEM;
                        if (k)
                                free_known(k);
                        return;
                }
                old = k;
        }
        struct known *k = *(struct known **)tfind(old, &c->known, by_form);
        if (!strv_has(&k->keys, key) && strv_add(&k->keys, key) < 0)
                c->err = -ENOMEM;
}

bool courses_is_ambiguous(const struct courses *c, const char *form)
{
        const struct known *k = find(c, form);
        return k && k->keys.n > 1;
}

bool courses_want_key(const struct courses *c, const char *key)
{
        char form[COURSE_FORM_MAX];
        course_form(key, form);
        return select_form(c, form, key) &&
               (!courses_is_ambiguous(c, form) || strv_has(&c->delivery->courses, key));
}

bool courses_want_form(const struct courses *c, const char *form)
{
        const struct known *k = find(c, form);
        if (!*form || !select_form(c, form, NULL))
                return false;
        for (size_t i = 0; k && k->keys.n > 1 && i < k->keys.n; i++)
                if (!strv_has(&c->delivery->courses, k->keys.v[i]))
                        return false;
        return true;
}

/* The key of that form, by the events or by the list, or NULL. */
static const char *key_of(const struct courses *c, const char *form)
{
        const struct known *k = find(c, form);
        if (k)
                return k->keys.v[0];
        for (size_t i = 0; i < c->delivery->courses.n; i++)
                if (is_key(c->delivery->courses.v[i]) && entry_matches(c->delivery->courses.v[i], form))
                        return c->delivery->courses.v[i];
        return NULL;
}

/* Without a key, the first and the last '-' stand between organisation, course and run; names with more of
 * them mostly have them in the course. */
void courses_name(const struct courses *c, const char *form, char ret[COURSE_FORM_MAX])
{
        struct course_key key;
        const char *text = key_of(c, form);
        if (text && course_key_parse(text, strlen(text), &key) == COURSE_KEY_OK) {
                course_key_name(&key, ret);
                return;
        }
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

struct walk {
        const struct courses *c;
        struct strv *out;
        int err;
};

static void on_known(const void *node, VISIT visit, void *arg)
{
        struct walk *w = arg;
        const struct known *k = *(struct known *const *)node;
        if (visit != postorder && visit != leaf)
                return;
        for (size_t i = 0; k->keys.n > 1 && i < k->keys.n; i++)
                if (!strv_has(&w->c->delivery->courses, k->keys.v[i])) {
                        w->err = strv_add(w->out, k->form) < 0 ? -ENOMEM : w->err;
                        return;
                }
}

int courses_list_ambiguous(const struct courses *c, struct strv *ret)
{
        struct walk w = {.c = c, .out = ret};
        twalk_r(c->known, on_known, &w);
        return w.err;
}
