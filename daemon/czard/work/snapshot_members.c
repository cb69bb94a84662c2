/* SPDX-License-Identifier: Apache-2.0 */
/* From an archive's directory to members. Each is wanted, ignored by a filter, or rejected one by one: an
 * unsafe name, a link, two names that would be one file. Then snapshot_known.c. */
#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "lookup.h"
#include "record.h"
#include "snapshot.h"
#include "str.h"

#define S_TYPE(mode) ((mode)&0170000)
#define S_REGULAR 0100000
#define COURSES_FULL 1024 /* so many are looked through for doubles */
#define MEMBER_DEPTH 8    /* folders; an archive of edX has one, ora/ */

int snapshot_take_entries(struct snapshot *s, const struct proto_entries *page, struct error *e)
{
        if (page->n == 0)
                return 0;
        if (s->max_members && s->n_members + page->n > s->max_members)
                return error_set(e, CAUSE_HELPER, EPROTO, "told of more members than max_members");
        struct member *v = reallocarray(s->members, s->n_members + page->n, sizeof(*v));
        if (!v)
                return error_set(
                        e, CAUSE_LIMIT, ENOMEM, "out of memory for its %zu members", s->n_members + page->n);
        s->members = v;
        for (size_t i = 0; i < page->n; i++) {
                struct member *m = &v[s->n_members];
                const struct archive_entry *entry = &page->entries[i];
                *m = (struct member){
                        .place = {.offset = entry->place.offset, .extent = archive_least(entry)}};
                int r = snapshot_facts_add(s, entry, m, e);
                if (r < 0)
                        return r;
                s->n_members++;
        }
        return 0;
}

int snapshot_place_members(struct snapshot *s, struct error *e)
{
        return archive_divide(s->members, s->n_members, sizeof(*s->members), s->directory_done.offset, e);
}

int snapshot_courses(const struct snapshot *s, struct strv *ret)
{
        struct package_member parsed;
        char last[sizeof(parsed.course)] = "";
        size_t full = COURSES_FULL;
        int r = 0;
        for (size_t i = 0; r >= 0 && i < s->n_members; i++) {
                _cleanup_free_ struct facts *f = snapshot_facts(s, &s->members[i], NULL);
                if (!f)
                        return -EIO;
                /* neighbours mostly are of one course */
                if (snapshot_parse(s, f, &parsed, NULL) < 0 || !*parsed.course || parsed.failed ||
                        streq(parsed.course, last))
                        continue;
                snprintf(last, sizeof(last), "%s", parsed.course);
                r = strv_add(ret, parsed.course);
                if (ret->n >= full) {
                        strv_unique(ret);
                        full = MAX(2 * ret->n, (size_t)COURSES_FULL);
                }
        }
        return r;
}

int snapshot_row(const struct snapshot *s, const struct member *m, const struct facts *f,
        struct ledger_member *ret, struct error *e)
{
        static const enum object_state states[] = {[MEMBER_WANTED] = OBJECT_NEW,
                [MEMBER_TAKEN] = OBJECT_NEW,
                [MEMBER_STAGED] = OBJECT_PUBLISHED,
                [MEMBER_REJECTED] = OBJECT_REJECTED,
                [MEMBER_IGNORED] = OBJECT_IGNORED};
        struct package_member parsed;
        *ret = (struct ledger_member){.object_id = s->job.o.id,
                .failed = m->failed_at_source,
                .state = states[m->step],
                .size = f->size,
                .plain_size = m->has_sha256 ? f->plain_size : -1,
                .has_sha256 = m->has_sha256,
                .checks = f->checks,
                .cause = m->cause,
                .attempts = m->tries};
        str_visible(f->name, ret->name, sizeof(ret->name));
        if (m->named && snapshot_parse(s, f, &parsed, NULL) >= 0) {
                snprintf(ret->path, sizeof(ret->path), "%s", parsed.path);
                snprintf(ret->course, sizeof(ret->course), "%s", parsed.course);
                snprintf(ret->table, sizeof(ret->table), "%s", parsed.table);
        }
        memcpy(ret->sha256, f->sha256, sizeof(ret->sha256));
        return snapshot_detail(s, f, ret->detail, e);
}

void snapshot_save_member(struct snapshot *s, const struct member *m, const struct facts *f)
{
        struct director *d = s->job.d;
        struct ledger_member row;
        struct error e = {};
        record_open(d->record);
        if (snapshot_row(s, m, f, &row, &e) < 0 || ledger_member_save(d->ledger, &row, &e) < 0)
                record_trouble(d->record, &e);
}

void snapshot_reject_member(
        struct snapshot *s, struct member *m, struct facts *f, enum cause cause, const char *detail)
{
        struct director *d = s->job.d;
        char name[512];
        m->step = MEMBER_REJECTED;
        m->cause = cause;
        snapshot_detail_put(s, m, f, detail);
        s->n_rejected++;
        record_incomplete(d->record);
        snapshot_save_member(s, m, f);
        struct journal_fields fields = object_fields(&s->job.o);
        fields.member = str_visible(f->name, name, sizeof(name));
        fields.cause = cause;
        fields.attempt = m->tries;
        journal_event(EVENT_REJECTED, &fields, "member %s of %s rejected: %s (%s); %s", name, s->job.o.key,
                cause_name(cause), detail, cause_advice(cause));
}

void snapshot_count_staged(struct snapshot *s, struct member *m, const struct facts *f)
{
        m->step = MEMBER_STAGED;
        s->n_staged++;
        s->staged_size += f->size;
        s->plain_bytes += (uint64_t)f->plain_size;
        s->linked_bytes += m->linked ? (uint64_t)f->plain_size : 0;
        s->staged_checks |= f->checks;
}

void snapshot_count_wanted(struct snapshot *s, const struct member *m, const struct facts *f)
{
        s->n_wanted++;
        s->wanted_bytes += m->place.extent;
        s->wanted_size += f->size;
}

void snapshot_discount_wanted(struct snapshot *s, const struct member *m, const struct facts *f)
{
        s->n_wanted--;
        s->wanted_bytes -= m->place.extent;
        s->wanted_size -= f->size;
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

static void classify(struct snapshot *s, const struct config_package *p, struct member *m, struct facts *f)
{
        struct package_member parsed;
        struct error e = {};
        unsigned type = S_TYPE(f->mode);
        int r = snapshot_parse(s, f, &parsed, &e);
        m->step = MEMBER_IGNORED;
        if (r == -EISDIR)
                return;
        if (r < 0) {
                snapshot_reject_member(s, m, f, e.cause, e.text);
                return;
        }
        if (depth_of(parsed.path) > MEMBER_DEPTH) {
                snapshot_reject_member(s, m, f, CAUSE_LIMIT, "it lies too many folders deep");
                return;
        }
        if (type != 0 && type != S_REGULAR) {
                snapshot_reject_member(s, m, f, CAUSE_UNSAFE_NAME, "not a regular file but a link or device");
                return;
        }
        m->named = true;
        m->deep = strchr(parsed.path, '/') != NULL;
        m->failed_at_source = parsed.failed;
        if (s->job.o.category != CATEGORY_DATABASE ||
                (config_wants_course(p, course_of(&parsed)) && config_wants_table(p, parsed.table))) {
                m->step = MEMBER_WANTED;
                snapshot_count_wanted(s, m, f);
        }
}

/* --- names in each other's way --- */

/* The path of a member that has one, upper and lower case made one. */
static int folded_path(
        const struct snapshot *s, const struct member *m, struct package_member *ret, struct error *e)
{
        _cleanup_free_ struct facts *f = snapshot_facts(s, m, e);
        int r = f ? snapshot_parse(s, f, ret, e) : -EIO;
        for (char *p = ret->path; r >= 0 && *p; p++)
                if (*p >= 'A' && *p <= 'Z')
                        *p = (char)(*p - 'A' + 'a');
        return r;
}

static int look_up_paths(const struct snapshot *s, struct lookup **ret, struct error *e)
{
        struct package_member parsed;
        size_t n = 0;
        int r = 0;
        for (size_t i = 0; i < s->n_members; i++)
                n += s->members[i].named;
        if (lookup_new(n, ret) < 0)
                return error_set(e, CAUSE_LIMIT, ENOMEM, "out of memory for its members");
        for (size_t i = 0; r >= 0 && i < s->n_members; i++) {
                if (!s->members[i].named)
                        continue;
                r = folded_path(s, &s->members[i], &parsed, e);
                if (r >= 0)
                        lookup_add(*ret, parsed.path, i);
        }
        lookup_sort(*ret);
        return r;
}

/* Marks those of one hash that have one path. */
static int mark_twins(struct snapshot *s, const struct lookup_entry *v, size_t n, struct error *e)
{
        struct package_member one, other;
        for (size_t i = 0; i + 1 < n; i++) {
                struct member *m = &s->members[v[i].number];
                if (m->twin)
                        continue;
                int r = folded_path(s, m, &one, e);
                for (size_t k = i + 1; r >= 0 && k < n; k++) {
                        struct member *twin = &s->members[v[k].number];
                        r = folded_path(s, twin, &other, e);
                        if (r >= 0 && streq(one.path, other.path))
                                m->twin = twin->twin = true;
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

static int refuse(struct snapshot *s, struct member *m, const char *why, struct error *e)
{
        if (m->step != MEMBER_WANTED)
                return 0;
        _cleanup_free_ struct facts *f = snapshot_facts(s, m, e);
        if (!f)
                return -EIO;
        snapshot_discount_wanted(s, m, f);
        snapshot_reject_member(s, m, f, CAUSE_UNSAFE_NAME, why);
        return 0;
}

/* Members whose paths are one on a disk that folds case, or are one outright, are all refused: none is more
 * right than the other. */
static int refuse_twins(struct snapshot *s, const struct lookup *l, struct error *e)
{
        size_t at = 0, n;
        int r = 0;
        for (const struct lookup_entry *v; r >= 0 && (v = lookup_group(l, &at, &n));)
                r = mark_twins(s, v, n, e);
        for (size_t i = 0; r >= 0 && i < s->n_members; i++)
                if (s->members[i].twin)
                        r = refuse(s, &s->members[i],
                                "another member has the same name, or differs only in case", e);
        return r;
}

/* A file where other members have that folder gives way to them. Several files of one path have been refused
 * already, so the first tells. */
static int refuse_file(struct snapshot *s, struct lookup *l, const char *folder, struct error *e)
{
        const struct lookup_entry *entry = lookup_first(l, folder);
        struct package_member other;
        for (; entry; entry = lookup_next(l, entry)) {
                struct member *file = &s->members[entry->number];
                int r = folded_path(s, file, &other, e);
                if (r < 0)
                        return r;
                if (streq(other.path, folder))
                        return refuse(s, file, "its name is a folder to other members", e);
        }
        return 0;
}

static int refuse_files_for_folders(struct snapshot *s, struct lookup *l, struct error *e)
{
        struct package_member parsed;
        for (size_t i = 0; i < s->n_members; i++) {
                if (!s->members[i].deep)
                        continue;
                int r = folded_path(s, &s->members[i], &parsed, e);
                for (char *p = parsed.path; r >= 0 && (p = strchr(p, '/')); *p++ = '/') {
                        *p = 0;
                        r = refuse_file(s, l, parsed.path, e);
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

static int refuse_collisions(struct snapshot *s, struct error *e)
{
        struct lookup *l = NULL;
        int r = look_up_paths(s, &l, e);
        if (r >= 0)
                r = refuse_twins(s, l, e);
        if (r >= 0)
                r = refuse_files_for_folders(s, l, e);
        lookup_free(l);
        return r;
}

int snapshot_classify(struct snapshot *s, struct error *e)
{
        const struct config_package *p = director_package(s->job.d, s->job.o.org);
        if (!p)
                return error_set(e, CAUSE_CANCELLED, ECANCELED, "its package section is gone");
        bool empty = true;
        for (size_t i = 0; i < s->n_members; i++) {
                struct member *m = &s->members[i];
                _cleanup_free_ struct facts *f = snapshot_facts(s, m, e);
                if (!f)
                        return -EIO;
                classify(s, p, m, f);
                empty &= m->step == MEMBER_IGNORED && !m->named; /* a folder */
        }
        if (empty)
                return error_set(e, CAUSE_BAD_ZIP, ENODATA, "it has no members");
        int r = refuse_collisions(s, e);
        if (r < 0)
                return r;
        if (s->cause != CAUSE_NONE) /* a refusal could not be noted */
                return error_set(e, s->cause, EIO, "%s", s->detail);
        return 0;
}

void snapshot_members_free(struct snapshot *s)
{
        free(s->members);
        s->members = NULL;
        s->n_members = 0;
        s->shelf = shelf_free(s->shelf);
}
