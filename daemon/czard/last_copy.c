/* SPDX-License-Identifier: Apache-2.0 */
/* Weekly archives are no supersets of each other: courses that ended long ago are left out of later ones. So
 * which courses an archive has is a fact of the ledger ("courses:ID": its ETag, then one course a line), and
 * an old archive is compared with all newer ones that are staged. */
#include "last_copy.h"

#include <stdlib.h>

#include "cleanup.h"
#include "record.h"
#include "str.h"

/* Names of courses of one archive. More than that: it is taken for one that has a last copy. */
#define COURSES_SIZE (256 * KIB)

static void fact_name(int64_t id, char ret[64])
{
        snprintf(ret, 64, "courses:%lld", (long long)id);
}

/* --- what an archive has --- */

static int by_text(const void *a, const void *b)
{
        const char *const *x = a, *const *y = b;
        return strcmp(*x, *y);
}

static int collect(const struct snapshot *s, struct strv *ret)
{
        struct package_member parsed;
        char last[sizeof(parsed.course)] = "";
        int r = 0;
        for (size_t i = 0; r >= 0 && i < s->n_members; i++) {
                if (package_parse_member(*s->top ? s->top : NULL, s->members[i].entry.name, s->max_name,
                            &parsed, NULL) < 0)
                        continue;
                /* neighbours mostly are of one course; doubles that are left go below */
                if (!*parsed.course || parsed.failed || streq(parsed.course, last))
                        continue;
                snprintf(last, sizeof(last), "%s", parsed.course);
                r = strv_add(ret, parsed.course);
        }
        return r;
}

void last_copy_learn(const struct snapshot *s)
{
        _cleanup_(strv_done) struct strv courses = {};
        _cleanup_strbuf_ struct strbuf text = {};
        char name[64];
        if (s->job.o.category != CATEGORY_DATABASE || collect(s, &courses) < 0)
                return;
        if (courses.n > 0)
                qsort(courses.v, courses.n, sizeof(*courses.v), by_text);
        strbuf_printf(&text, "%s\n", s->job.o.etag);
        for (size_t i = 0; i < courses.n; i++)
                if (i == 0 || !streq(courses.v[i], courses.v[i - 1]))
                        strbuf_printf(&text, "%s\n", courses.v[i]);
        if (text.err)
                return;
        fact_name(s->job.o.id, name);
        record_open(s->job.d);
        ledger_meta_set(s->job.d->ledger, name, text.len < COURSES_SIZE ? text.s : "", NULL);
}

/* The lines of the fact, the ETag first; "" when it is not known. To be freed. */
static char *read_courses(struct director *d, int64_t id)
{
        char name[64];
        _cleanup_free_ char *text = malloc(COURSES_SIZE);
        fact_name(id, name);
        if (!text || ledger_meta_get(d->ledger, name, text, COURSES_SIZE, NULL) < 0)
                return NULL;
        return take_ptr(&text);
}

/* --- comparison --- */

struct newer {
        struct director *d;
        const struct ledger_object *o;
        int64_t *ids; /* staged ones */
        size_t n;
        bool waiting;
};

static int on_newer(struct ledger_object *other, void *arg)
{
        struct newer *w = arg;
        if (strcmp(other->date, w->o->date) <= 0)
                return 0;
        w->waiting |= other->state == OBJECT_NEW || other->state == OBJECT_RETRY ||
                      other->state == OBJECT_FETCHING || other->state == OBJECT_DECRYPTING;
        if (*other->staged_etag && (other->state == OBJECT_PUBLISHED || other->state == OBJECT_GONE)) {
                int64_t *ids = reallocarray(w->ids, w->n + 1, sizeof(*ids));
                if (!ids)
                        return -ENOMEM;
                w->ids = ids;
                w->ids[w->n++] = other->id;
        }
        return 0;
}

/* Adds the courses of a staged archive. */
static int add_courses(struct director *d, int64_t id, struct strv *courses)
{
        _cleanup_free_ char *text = read_courses(d, id);
        if (!text)
                return -ENOMEM;
        char *save = NULL, *line = strtok_r(text, "\n", &save);
        int r = 0;
        while (r >= 0 && line && (line = strtok_r(NULL, "\n", &save)))
                r = strv_add(courses, line);
        return r;
}

static bool has(const struct strv *courses, const char *course)
{
        return courses->n > 0 && bsearch(&course, courses->v, courses->n, sizeof(*courses->v), by_text);
}

static enum last_copy compare(struct newer *w, char *text)
{
        const struct config_package *p = director_package(w->d, w->o->org);
        _cleanup_(strv_done) struct strv courses = {};
        for (size_t i = 0; i < w->n; i++)
                if (add_courses(w->d, w->ids[i], &courses) < 0)
                        return LAST_COPY_LATER;
        if (courses.n > 0)
                qsort(courses.v, courses.n, sizeof(*courses.v), by_text);
        char *save = NULL, *line = strtok_r(text, "\n", &save);
        if (!line || !streq(line, w->o->etag))
                return LAST_COPY_UNKNOWN;
        while ((line = strtok_r(NULL, "\n", &save)))
                if (p && config_wants_course(p, line) && !has(&courses, line))
                        return LAST_COPY_YES;
        return LAST_COPY_NO;
}

enum last_copy last_copy_look(struct director *d, const struct ledger_object *o)
{
        struct newer w = {.d = d, .o = o};
        struct ledger_filter f = {.categories = BIT(o->category), .org = o->org, .since = o->date};
        enum last_copy found = LAST_COPY_LATER;
        if (o->category != CATEGORY_DATABASE)
                return LAST_COPY_NO;
        int r = ledger_each(d->ledger, &f, on_newer, &w, NULL);
        _cleanup_free_ char *text = read_courses(d, o->id);
        if (r >= 0 && !w.waiting && text)
                found = compare(&w, text);
        free(w.ids);
        return found;
}
