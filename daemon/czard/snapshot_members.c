/* SPDX-License-Identifier: Apache-2.0 */
/* From an archive's directory to members. Each is wanted, ignored by a filter, or rejected one by one: an
 * unsafe name, a link, two names that would be one file. Then snapshot_known.c. */
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "cleanup.h"
#include "record.h"
#include "snapshot.h"
#include "str.h"

#define S_TYPE(mode) ((mode)&0170000)
#define S_REGULAR 0100000
#define MEMBER_DEPTH 8 /* folders; an archive of edX has one, ora/ */

int snapshot_take_entries(struct snapshot *s, const struct proto_entries *page, struct error *e)
{
        if (page->n == 0)
                return 0;
        if (s->max_members && s->n_members + page->n > s->max_members)
                return error_set(e, CAUSE_HELPER, EPROTO, "czard-decrypt told more members than max_members");
        struct member *v = reallocarray(s->members, s->n_members + page->n, sizeof(*v));
        if (!v)
                return error_set(
                        e, CAUSE_LIMIT, ENOMEM, "out of memory for its %zu members", s->n_members + page->n);
        s->members = v;
        for (size_t i = 0; i < page->n; i++) {
                struct member *m = &v[s->n_members];
                *m = (struct member){.entry = page->entries[i], .plain_size = -1};
                if (s->n_members > 0 && m->entry.offset < v[s->n_members - 1].entry.offset)
                        return error_set(
                                e, CAUSE_HELPER, EPROTO, "czard-decrypt told its members out of order");
                m->entry.name = strdup(page->entries[i].name);
                if (!m->entry.name)
                        return error_set(e, CAUSE_LIMIT, ENOMEM, "out of memory for its members");
                s->n_members++;
        }
        return 0;
}

int snapshot_courses(const struct snapshot *s, struct strv *ret)
{
        struct package_member parsed;
        char last[sizeof(parsed.course)] = "";
        int r = 0;
        for (size_t i = 0; r >= 0 && i < s->n_members; i++) {
                if (package_parse_member(*s->top ? s->top : NULL, s->members[i].entry.name, s->max_name,
                            &parsed, NULL) < 0)
                        continue;
                /* neighbours mostly are of one course */
                if (!*parsed.course || parsed.failed || streq(parsed.course, last))
                        continue;
                snprintf(last, sizeof(last), "%s", parsed.course);
                r = strv_add(ret, parsed.course);
        }
        return r;
}

void snapshot_save_member(struct snapshot *s, struct member *m)
{
        static const enum object_state states[] = {[MEMBER_WANTED] = OBJECT_NEW,
                [MEMBER_TAKEN] = OBJECT_NEW,
                [MEMBER_STAGED] = OBJECT_PUBLISHED,
                [MEMBER_REJECTED] = OBJECT_REJECTED,
                [MEMBER_IGNORED] = OBJECT_IGNORED};
        struct director *d = s->job.d;
        struct ledger_member row = {.object_id = s->job.o.id,
                .failed = m->failed_at_source,
                .state = states[m->step],
                .size = m->entry.size,
                .plain_size = m->plain_size,
                .has_sha256 = m->has_sha256,
                .checks = m->checks,
                .cause = m->cause,
                .attempts = m->tries};
        struct package_member parsed;
        struct error e = {};
        str_visible(m->entry.name, row.name, sizeof(row.name));
        if (m->path && package_parse_member(
                               *s->top ? s->top : NULL, m->entry.name, s->max_name, &parsed, NULL) >= 0) {
                snprintf(row.course, sizeof(row.course), "%s", parsed.course);
                snprintf(row.table, sizeof(row.table), "%s", parsed.table);
        }
        snprintf(row.path, sizeof(row.path), "%s", m->path ? m->path : "");
        snprintf(row.detail, sizeof(row.detail), "%s", m->detail ? m->detail : "");
        memcpy(row.sha256, m->sha256, sizeof(row.sha256));
        record_open(d);
        if (ledger_member_save(d->ledger, &row, &e) < 0)
                pause_enter(d, PAUSE_STATE, e.cause, e.text);
}

void snapshot_reject_member(struct snapshot *s, struct member *m, enum cause cause, const char *detail)
{
        struct director *d = s->job.d;
        char name[512];
        m->step = MEMBER_REJECTED;
        m->cause = cause;
        free(m->detail);
        m->detail = strdup(detail);
        s->n_rejected++;
        director_status(d, STATUS_INCOMPLETE);
        snapshot_save_member(s, m);
        struct journal_fields f = object_fields(&s->job.o);
        f.member = str_visible(m->entry.name, name, sizeof(name));
        f.cause = cause;
        f.attempt = m->tries;
        journal_event(EVENT_REJECTED, &f, "member %s of %s rejected: %s (%s); %s", name, s->job.o.key,
                cause_name(cause), detail, cause_advice(cause));
}

/* --- classification --- */

static unsigned depth_of(const char *path)
{
        unsigned n = 0;
        for (; (path = strchr(path, '/')); path++)
                n++;
        return n;
}

/* A name whose table is unknown may not be told apart into course and table: then the filter looks at all of
 * it, so that it does not let through what an exclusion is meant for. Names with fewer hyphens are the
 * organisation's own. */
static const char *course_of(const struct package_member *m)
{
        const char *first = strchr(m->table, '-');
        return !*m->course && first && strchr(first + 1, '-') ? m->table : m->course;
}

static void classify(struct snapshot *s, const struct config_package *p, struct member *m)
{
        struct package_member parsed;
        struct error e = {};
        unsigned type = S_TYPE(m->entry.mode);
        int r = package_parse_member(*s->top ? s->top : NULL, m->entry.name, s->max_name, &parsed, &e);
        m->step = MEMBER_IGNORED;
        if (r == -EISDIR)
                return;
        if (r < 0) {
                snapshot_reject_member(s, m, e.cause, e.text);
                return;
        }
        if (depth_of(parsed.path) > MEMBER_DEPTH) {
                snapshot_reject_member(s, m, CAUSE_LIMIT, "it lies too many folders deep");
                return;
        }
        if (type != 0 && type != S_REGULAR) {
                snapshot_reject_member(s, m, CAUSE_UNSAFE_NAME, "not a regular file but a link or device");
                return;
        }
        m->path = strdup(parsed.path);
        m->failed_at_source = parsed.failed;
        bool wanted = s->job.o.category != CATEGORY_DATABASE ||
                      (config_wants_course(p, course_of(&parsed)) && config_wants_table(p, parsed.table));
        if (!m->path)
                snapshot_reject_member(s, m, CAUSE_LIMIT, "out of memory");
        else if (wanted)
                m->step = MEMBER_WANTED;
}

static int by_folded_path(const void *a, const void *b)
{
        const struct member *const *x = a, *const *y = b;
        return strcasecmp((*x)->path, (*y)->path);
}

static int by_folded_name(const void *path, const void *member)
{
        const struct member *const *m = member;
        return strcasecmp(path, (*m)->path);
}

/* A file where other members have a folder gives way to them. */
static void refuse_file_for_folder(struct snapshot *s, const struct member *m, struct member **v, size_t n)
{
        char folder[sizeof(((struct package_member *)0)->path)];
        for (const char *p = m->path; (p = strchr(p, '/')); p++) {
                snprintf(folder, sizeof(folder), "%.*s", (int)(p - m->path), m->path);
                struct member **file = bsearch(folder, v, n, sizeof(*v), by_folded_name);
                if (file && (*file)->step == MEMBER_WANTED)
                        snapshot_reject_member(
                                s, *file, CAUSE_UNSAFE_NAME, "its name is a folder to other members");
        }
}

/* Members whose paths are one on a disk that folds case, or are one outright, are all refused: none is more
 * right than the other. */
static int refuse_collisions(struct snapshot *s, struct error *e)
{
        _cleanup_free_ struct member **v = calloc(s->n_members + 1, sizeof(struct member *));
        size_t n = 0;
        if (!v)
                return error_set(e, CAUSE_LIMIT, ENOMEM, "out of memory for its members");
        for (size_t i = 0; i < s->n_members; i++)
                if (s->members[i].path)
                        v[n++] = &s->members[i];
        qsort(v, n, sizeof(*v), by_folded_path);
        for (size_t i = 0, end; i < n; i = end) {
                for (end = i + 1; end < n && by_folded_path(&v[i], &v[end]) == 0;)
                        end++;
                for (size_t k = i; end > i + 1 && k < end; k++)
                        if (v[k]->step == MEMBER_WANTED)
                                snapshot_reject_member(s, v[k], CAUSE_UNSAFE_NAME,
                                        "another member has the same name, or differs only in case");
        }
        for (size_t i = 0; i < n; i++)
                refuse_file_for_folder(s, v[i], v, n);
        return 0;
}

int snapshot_classify(struct snapshot *s, struct error *e)
{
        const struct config_package *p = director_package(s->job.d, s->job.o.org);
        if (!p)
                return error_set(e, CAUSE_CANCELLED, ECANCELED, "its package section is gone");
        bool empty = true;
        for (size_t i = 0; i < s->n_members; i++) {
                classify(s, p, &s->members[i]);
                empty &= s->members[i].step == MEMBER_IGNORED && !s->members[i].path; /* a folder */
        }
        if (empty)
                return error_set(e, CAUSE_BAD_ZIP, ENODATA, "it has no members");
        int r = refuse_collisions(s, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < s->n_members; i++) {
                const struct member *m = &s->members[i];
                if (m->step == MEMBER_WANTED) {
                        s->n_wanted++;
                        s->wanted_bytes += m->entry.extent;
                }
        }
        return 0;
}

void snapshot_members_free(struct snapshot *s)
{
        for (size_t i = 0; i < s->n_members; i++) {
                struct member *m = &s->members[i];
                union {
                        const char *in;
                        char *out;
                } name = {.in = m->entry.name};
                free(name.out);
                free(m->path);
                free(m->detail);
        }
        free(s->members);
        s->members = NULL;
        s->n_members = 0;
}
