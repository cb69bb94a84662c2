/* SPDX-License-Identifier: Apache-2.0 */
/* Days: ORG/events-by-course/SITE/YYYY/DATE with MANIFEST.jsonl (keys) and SHA256SUMS (hashes), both in the
 * order of the files' names. All days are read for their keys, those within the dates for their files.
 * Snapshots: ORG/database/DATE/SHA256SUMS, newest first, from the one that `latest` names; a course's members
 * come from the first that has any.
 * The opt-in list, one of all courses: ORG/email-opt-in/DATE likewise, as members of no course. */
#include "staged.h"

#include <errno.h>
#include <stdlib.h>

#include "audit.h"
#include "courses.h"
#include "fsx.h"
#include "limits.h"
#include "macro.h"
#include "name.h"
#include "timespan.h"

#define LIST_MOST (256 * MIB)

struct reader {
        const struct staging *s;
        const struct config_delivery *d;
        struct courses courses;
        bool *tables; /* matched, by entry of d->tables */
        void *seen;   /* forms that a newer snapshot had: a tree of name.h */
        struct delivery_staged *out;
        struct error *e;
};

static int no_memory(struct error *e)
{
        return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
}

static int read_list(struct reader *r, const char *folder, const char *name, char **ret, size_t *ret_len)
{
        _cleanup_free_ char *path = str_printf("%s/%s", folder, name);
        if (!path)
                return no_memory(r->e);
        _cleanup_close_ int fd = staging_open_file(r->s, path);
        int e = fd < 0 ? fd : read_file_fd(fd, LIST_MOST, ret, ret_len);
        return e < 0 ? error_errno(r->e, -e, "%s", path) : 0;
}

static int list(struct reader *r, const char *path, struct strv *ret)
{
        int e = staging_list(r->s, path, ret, r->e);
        if (e == -ENOENT)
                return 0;
        if (e == 0)
                strv_unique(ret);
        return e;
}

static void free_file(struct staged_file *f)
{
        free(f->path);
        free(f->course);
        free(f->base);
        free(f->id);
        free(f->member);
}

/* Takes the strings; a failure frees them. */
static int add(struct reader *r, struct staged_file *f)
{
        struct delivery_staged *o = r->out;
        if (f->path && f->course && f->base && f->member && ARRAY_ROOM(o->v, o->n) == 0) {
                o->v[o->n++] = *f;
                return 0;
        }
        free_file(f);
        return no_memory(r->e);
}

/* --- SHA256SUMS --- */

struct sums {
        char *text, *at, *end;
};

/* The next line: hash and name. false: no more, or no line of ours. */
static bool sums_next(struct sums *s, char hex[SHA256_HEX], const char **ret_name)
{
        uint8_t sum[SHA256_SIZE];
        char *newline = s->at < s->end ? memchr(s->at, '\n', (size_t)(s->end - s->at)) : NULL;
        if (!newline || newline - s->at < SHA256_HEX + 2 || memcmp(s->at + SHA256_HEX - 1, "  ", 2) != 0)
                return false;
        *newline = 0;
        s->at[SHA256_HEX - 1] = 0;
        if (hex_decode(s->at, sum, sizeof(sum)) < 0)
                return false;
        memcpy(hex, s->at, SHA256_HEX);
        *ret_name = s->at + SHA256_HEX + 1;
        s->at = newline + 1;
        return true;
}

/* --- days --- */

struct staged_day {
        char folder[512], site[SITE_SIZE], date[DATE_SIZE];
};

static int add_event(struct reader *r, const struct staged_day *d, const char *key, const char *file,
        const char *hex, bool held)
{
        static const char ext[] = ".log.gz";
        char form[COURSE_FORM_MAX], name[COURSE_FORM_MAX];
        bool once = r->d->mode == DELIVERY_ONCE;
        course_form(key, form);
        courses_name(&r->courses, form, name);
        if (held)
                courses_tell_held(&r->courses, form);
        if (!str_ends(file, ext) || !name_is_safe_component(file, strlen(file)))
                return error_set(r->e, CAUSE_IO, EBADMSG, "%s: a file of an unknown form", d->folder);
        struct staged_file f = {.path = str_printf("%s/%s", d->folder, file),
                .course = strdup(key),
                .newest = true,
                .held = held,
                .base = once ? str_printf("%s" DELIVER_ARCHIVE_EXT, name)
                             : str_printf("%.*s/events/%s/%s" DELIVER_EVENTS_EXT,
                                       (int)(strlen(file) - strlen(ext)), file, d->site, d->date),
                .member = once ? str_printf("events/%s-%s-events-%s.log.gz", r->d->org, d->site, d->date)
                               : strdup("")};
        memcpy(f.sha256, hex, SHA256_HEX);
        return add(r, &f);
}

/* One line a course in both lists, in one order; the last line of the manifest is none. */
static int read_day(struct reader *r, const struct staged_day *d, bool know)
{
        _cleanup_free_ char *manifest = NULL, *text = NULL;
        size_t len, sums_len = 0;
        int e = read_list(r, d->folder, "MANIFEST.jsonl", &manifest, &len);
        if (e == 0 && !know)
                e = read_list(r, d->folder, "SHA256SUMS", &text, &sums_len);
        struct sums s = {.text = text, .at = text, .end = text + sums_len};
        const char *end = manifest + len;
        for (const char *p = manifest, *newline; e == 0 && p < end; p = newline + 1) {
                char key[COURSE_KEY_MAX + 1], file[LIMIT_MEMBER_NAME + 1], hex[SHA256_HEX];
                const char *name = "";
                newline = memchr(p, '\n', (size_t)(end - p));
                if (!newline)
                        break;
                if (audit_field(p, (size_t)(newline - p), "course", key, sizeof(key)) < 0)
                        continue;
                if (know) {
                        courses_know(&r->courses, key);
                        continue;
                }
                if (!sums_next(&s, hex, &name) ||
                        audit_field(p, (size_t)(newline - p), "file", file, sizeof(file)) < 0 ||
                        !streq(name, file))
                        return error_set(r->e, CAUSE_IO, EBADMSG,
                                "%s: MANIFEST.jsonl and SHA256SUMS do not name the same files", d->folder);
                enum course_word word = courses_key(&r->courses, key);
                if (word != COURSE_UNLISTED)
                        e = add_event(r, d, key, file, hex, word == COURSE_HELD);
        }
        return e;
}

static int read_year(struct reader *r, const char *site, const char *folder, bool know)
{
        _cleanup_(strv_done) struct strv dates = {};
        int e = list(r, folder, &dates), day;
        for (size_t i = 0; e == 0 && i < dates.n; i++) {
                struct staged_day d;
                if (date_parse_whole(dates.v[i], &day) < 0 ||
                        (!know && (day < r->d->dates.from || day > r->d->dates.to)))
                        continue;
                if (!name_fill(d.folder, sizeof(d.folder), "%s/%s", folder, dates.v[i]) ||
                        !name_fill(d.site, sizeof(d.site), "%s", site))
                        continue;
                memcpy(d.date, dates.v[i], sizeof(d.date));
                size_t before = r->out->n;
                e = read_day(r, &d, know);
                if (e == 0 && r->out->n > before)
                        e = strv_add(&r->out->days, d.date);
        }
        return e;
}

/* know: only which keys there are. */
static int read_days(struct reader *r, bool know)
{
        _cleanup_(strv_done) struct strv sites = {};
        _cleanup_free_ char *top = str_printf("%s/events-by-course", r->d->org);
        int e = top ? list(r, top, &sites) : -ENOMEM;
        for (size_t i = 0; e == 0 && i < sites.n; i++) {
                _cleanup_(strv_done) struct strv years = {};
                _cleanup_free_ char *at = str_printf("%s/%s", top, sites.v[i]);
                e = at ? list(r, at, &years) : -ENOMEM;
                for (size_t k = 0; e == 0 && k < years.n; k++) {
                        _cleanup_free_ char *year = str_printf("%s/%s", at, years.v[k]);
                        e = !year ? -ENOMEM : *years.v[k] == '.' ? 0 : read_year(r, sites.v[i], year, know);
                }
        }
        return e;
}

/* --- snapshots --- */

/* In another folder than the known ones nobody can tell whom a table names: it leaves by its name only. */
static bool wants_table(struct reader *r, const struct package_member *m)
{
        struct config_delivery one = *r->d;
        bool known = !strchr(m->path, '/') || str_after(m->path, "ora/");
        if (!config_delivers_table(r->d, m->table) || !(known || strv_has(&r->d->tables, m->table)))
                return false;
        for (size_t i = 0; i < r->d->tables.n; i++) {
                one.tables = (struct strv){.v = &r->d->tables.v[i], .n = 1};
                r->tables[i] |= *r->d->tables.v[i] != '!' && config_delivers_table(&one, m->table);
        }
        return true;
}

/* A snapshot. */
struct week {
        enum category category;
        const char *folder, *date;
        bool again;   /* also the courses that a newer one has */
        bool refused; /* latest did not follow it: it is not the newest of any course */
};

static int add_member(
        struct reader *r, const struct week *w, const struct package_member *m, const char *hex, bool newest)
{
        char name[COURSE_FORM_MAX] = "email-opt-in"; /* of all courses: it stands beside theirs */
        bool once = r->d->mode == DELIVERY_ONCE,
             held = *m->course && courses_form(&r->courses, m->course) == COURSE_HELD;
        if (*m->course)
                courses_name(&r->courses, m->course, name);
        if (held && newest)
                courses_tell_held(&r->courses, m->course);
        struct staged_file f = {.path = str_printf("%s/%s", w->folder, m->path),
                .course = strdup(m->course),
                .newest = newest,
                .held = held,
                .base = once ? str_printf("%s" DELIVER_ARCHIVE_EXT, name)
                             : str_printf("%s/state/%s" DELIVER_STATE_EXT, name, w->date),
                .member = once ? str_printf("state/%s/%s", w->date, m->path) : strdup(m->path)};
        memcpy(f.sha256, hex, SHA256_HEX);
        return add(r, &f);
}

/* Of the opt-in list only what is known to be it. */
static bool wants_member(const struct reader *r, enum category category, const struct package_member *m)
{
        if (m->failed)
                return false;
        return category == CATEGORY_DATABASE ? courses_form(&r->courses, m->course) != COURSE_UNLISTED
                                             : !*m->course && streq(m->table, "email_opt_in");
}

static int read_snapshot(struct reader *r, const struct week *w)
{
        _cleanup_free_ char *text = NULL;
        _cleanup_(strv_done) struct strv here = {};
        size_t len = 0, before = r->out->n;
        int e = read_list(r, w->folder, "SHA256SUMS", &text, &len);
        struct sums s = {.text = text, .at = text, .end = text + len};
        char hex[SHA256_HEX];
        for (const char *path; e == 0 && sums_next(&s, hex, &path);) {
                struct package_member m;
                _cleanup_free_ char *name = str_printf("t/%s.gpg", path);
                if (!name)
                        return no_memory(r->e);
                if (package_parse_member("t", name, LIMIT_MEMBER_NAME, &m, NULL) < 0 ||
                        !wants_member(r, w->category, &m))
                        continue;
                bool newest = !w->refused && !named_find(&r->seen, m.course);
                if (newest && !strv_has(&here, m.course))
                        e = strv_add(&here, m.course);
                if (e == 0 && (newest || w->again) && wants_table(r, &m))
                        e = add_member(r, w, &m, hex, newest);
        }
        if (e == 0 && s.at < s.end)
                return error_set(
                        r->e, CAUSE_IO, EBADMSG, "%s/SHA256SUMS: a line of an unknown form", w->folder);
        for (size_t i = 0; e == 0 && i < here.n; i++)
                if (!named_need(&r->seen, here.v[i], sizeof(char *)))
                        return no_memory(r->e);
        if (e == 0 && r->out->n > before && !strv_has(&r->out->snapshots, w->date))
                e = strv_add(&r->out->snapshots, w->date);
        return e;
}

static int read_snapshots(struct reader *r, enum category category, const struct strv *again)
{
        _cleanup_(strv_done) struct strv dates = {};
        _cleanup_free_ char *top = str_printf("%s/%s", r->d->org, category_name(category));
        char latest[16] = "";
        int e = top ? list(r, top, &dates) : -ENOMEM, day;
        if (e == 0 && (e = staging_read_latest(r->s, top, latest, sizeof(latest))) < 0)
                error_errno(r->e, -e, "%s/latest", top);
        for (size_t i = dates.n; e == 0 && i-- > 0;) {
                _cleanup_free_ char *folder = str_printf("%s/%s", top, dates.v[i]);
                const struct week w = {.category = category,
                        .folder = folder,
                        .date = dates.v[i],
                        .again = again && strv_has(again, dates.v[i]),
                        .refused = strcmp(dates.v[i], latest) > 0};
                if (date_parse_whole(w.date, &day) < 0 || day > r->d->dates.to || (w.refused && !w.again))
                        continue;
                e = folder ? read_snapshot(r, &w) : -ENOMEM;
        }
        return e;
}

/* --- all of it --- */

static int by_base(const void *a, const void *b)
{
        return strcmp(((const struct staged_file *)a)->base, ((const struct staged_file *)b)->base);
}

static int by_id(const void *a, const void *b)
{
        const struct staged_file *x = a, *y = b;
        int c = strcmp(x->id, y->id);
        c = c ? c : y->newest - x->newest;
        return c ? c : strcmp(x->member, y->member);
}

/* What may share a message: in follow one course, in once what has one form. */
static bool share(const struct reader *r, const struct staged_file *a, const struct staged_file *b)
{
        char x[COURSE_FORM_MAX], y[COURSE_FORM_MAX];
        if (streq(a->course, b->course))
                return true;
        course_form(a->course, x);
        course_form(b->course, y);
        return r->d->mode == DELIVERY_ONCE && streq(x, y) && !courses_is_parted(&r->courses, x);
}

/* Where the names of two courses are one, each gets the hash of its own. */
static int part_courses(struct reader *r)
{
        struct delivery_staged *o = r->out;
        qsort(o->v, o->n, sizeof(*o->v), by_base);
        for (size_t i = 0, end; i < o->n; i = end) {
                bool mixed = false;
                for (end = i + 1; end < o->n && streq(o->v[end].base, o->v[i].base); end++)
                        mixed |= !share(r, &o->v[i], &o->v[end]);
                for (size_t k = i; mixed && k < end; k++) {
                        char form[COURSE_FORM_MAX];
                        struct staged_file *f = &o->v[k];
                        course_form(f->course, form);
                        char *base =
                                item_parted(f->base, courses_is_parted(&r->courses, form) ? f->course : form);
                        if (!base)
                                return no_memory(r->e);
                        free(f->base);
                        f->base = base;
                }
        }
        return 0;
}

/* By the messages that they are of. */
static int sort_files(struct reader *r)
{
        struct delivery_staged *o = r->out;
        int e = o->n ? part_courses(r) : 0;
        for (size_t i = 0; e == 0 && i < o->n; i++) {
                o->v[i].id = item_id(o->v[i].base, o->v[i].course);
                e = o->v[i].id ? 0 : no_memory(r->e);
        }
        if (e == 0 && o->n)
                qsort(o->v, o->n, sizeof(*o->v), by_id);
        return e;
}

static int tell_unmatched(struct reader *r)
{
        const struct config_delivery *d = r->d;
        int e = 0;
        for (size_t i = 0; e == 0 && i < d->courses.n; i++)
                if (*d->courses.v[i] != '!' && !r->courses.matched[i])
                        e = strv_add(&r->out->unmatched, d->courses.v[i]);
        for (size_t i = 0; e == 0 && i < d->tables.n; i++) {
                bool matched = streq(d->tables.v[i], "events") ? r->out->days.n > 0 : r->tables[i];
                if (*d->tables.v[i] != '!' && !matched)
                        e = strv_add(&r->out->unmatched, d->tables.v[i]);
        }
        return e;
}

static int by_path(const void *a, const void *b)
{
        return strcmp((*(struct staged_file *const *)a)->path, (*(struct staged_file *const *)b)->path);
}

int staged_read(const struct staging *s, const struct config_delivery *d, const struct strv *dates_again,
        struct delivery_staged *ret, struct error *e)
{
        struct reader r = {
                .s = s, .d = d, .out = ret, .e = e, .tables = calloc(d->tables.n + 1, sizeof(bool))};
        *ret = (struct delivery_staged){};
        int x = r.tables ? courses_init(&r.courses, d) : -ENOMEM;
        if (x == 0)
                x = read_days(&r, true);
        if (x == 0)
                x = r.courses.err;
        if (x == 0 && strv_has(&d->tables, "events"))
                x = read_days(&r, false);
        if (x == 0)
                x = read_snapshots(&r, CATEGORY_DATABASE, dates_again);
        if (x == 0 && strv_has(&d->tables, "email_opt_in"))
                x = read_snapshots(&r, CATEGORY_EMAIL_OPT_IN, dates_again);
        if (x == 0)
                x = sort_files(&r);
        if (x == 0)
                x = tell_unmatched(&r);
        if (x == 0)
                x = courses_list_held(&r.courses, &ret->held, &ret->held_keys);
        if (x == 0 && !(ret->by_path = array_index(ret->v, ret->n, sizeof(*ret->v), by_path)))
                x = -ENOMEM;
        strv_unique(&ret->days);
        courses_done(&r.courses);
        named_free(&r.seen, NULL);
        free(r.tables);
        if (x == -ENOMEM && e && e->cause == CAUSE_NONE)
                no_memory(e);
        return x;
}

void staged_done(struct delivery_staged *s)
{
        for (size_t i = 0; i < s->n; i++)
                free_file(&s->v[i]);
        free(s->v);
        free(s->by_path);
        strv_done(&s->days);
        strv_done(&s->snapshots);
        strv_done(&s->unmatched);
        strv_done(&s->held);
        strv_done(&s->held_keys);
        *s = (struct delivery_staged){};
}

static int path_of(const void *path, const void *file)
{
        return strcmp(path, (*(struct staged_file *const *)file)->path);
}

const struct staged_file *staged_find(const struct delivery_staged *s, const char *path)
{
        struct staged_file **found =
                s->n ? bsearch(path, s->by_path, s->n, sizeof(struct staged_file *), path_of) : NULL;
        return found ? *found : NULL;
}

static int id_of(const void *id, const void *file)
{
        return strcmp(id, ((const struct staged_file *)file)->id);
}

const struct staged_file *staged_of(const struct delivery_staged *s, const char *id, size_t *ret_n)
{
        const struct staged_file *f = s->n ? bsearch(id, s->v, s->n, sizeof(*s->v), id_of) : NULL, *end = f;
        while (f && f > s->v && streq(f[-1].id, id))
                f--;
        while (end && end < s->v + s->n && streq(end->id, id))
                end++;
        *ret_n = (size_t)(end - f);
        return f;
}
