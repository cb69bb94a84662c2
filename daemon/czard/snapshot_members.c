/* SPDX-License-Identifier: Apache-2.0 */
/* From an archive's directory to members. Each is wanted, ignored by a filter, or rejected one by one: an
 * unsafe name, a link, two names that would be one file. Then what earlier attempts staged is taken over
 * where its hash is still that of the ledger. */
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "cleanup.h"
#include "digest.h"
#include "record.h"
#include "room.h"
#include "str.h"

#define S_TYPE(mode) ((mode)&0170000)
#define S_REGULAR 0100000
/* An archive that does not fit is looked at again after this. */
#define ROOM_LOOK_USEC (10 * USEC_PER_MINUTE)
#define READ_SIZE (256 * 1024)

int snapshot_take_entries(struct snapshot *s, const struct proto_entries *page, struct error *e)
{
        struct member *v = realloc(s->members, (s->n_members + page->n) * sizeof(*v));
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
        if (type != 0 && type != S_REGULAR) {
                snapshot_reject_member(s, m, CAUSE_UNSAFE_NAME, "not a regular file but a link or device");
                return;
        }
        m->path = strdup(parsed.path);
        m->failed_at_source = parsed.failed;
        bool wanted = s->job.o.category != CATEGORY_DATABASE ||
                      (config_wants_course(p, parsed.course) && config_wants_table(p, parsed.table));
        if (!m->path)
                snapshot_reject_member(s, m, CAUSE_LIMIT, "out of memory");
        else if (wanted)
                m->step = MEMBER_WANTED;
        else
                snapshot_save_member(s, m);
}

static int by_folded_path(const void *a, const void *b)
{
        const struct member *const *x = a, *const *y = b;
        return strcasecmp((*x)->path, (*y)->path);
}

/* Members whose paths are one on a disk that folds case, or are one outright, are all refused: none is more
 * right than the other. So is a file where another has a folder. */
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
        for (size_t i = 0; i + 1 < n; i++) {
                size_t same = i + 1;
                while (same < n && strcasecmp(v[i]->path, v[same]->path) == 0)
                        same++;
                for (size_t k = i; same > i + 1 && k < same; k++)
                        if (v[k]->step == MEMBER_WANTED)
                                snapshot_reject_member(s, v[k], CAUSE_UNSAFE_NAME,
                                        "another member has the same name, or differs only in case");
                i = same - 1;
        }
        return 0;
}

int snapshot_classify(struct snapshot *s, struct error *e)
{
        const struct config_package *p = director_package(s->job.d, s->job.o.org);
        if (!p)
                return error_set(e, CAUSE_CANCELLED, ECANCELED, "its package section is gone");
        for (size_t i = 0; i < s->n_members; i++)
                classify(s, p, &s->members[i]);
        int r = refuse_collisions(s, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < s->n_members; i++) {
                const struct member *m = &s->members[i];
                if (m->step == MEMBER_WANTED) {
                        s->n_wanted++;
                        s->wanted_bytes += m->entry.extent;
                }
                s->n_ignored += m->step == MEMBER_IGNORED;
        }
        return 0;
}

/* --- what is there already --- */

static int by_name(const void *name, const void *member)
{
        const struct member *const *m = member;
        return strcmp(name, (*m)->entry.name);
}

static int by_names(const void *a, const void *b)
{
        const struct member *const *x = a, *const *y = b;
        return strcmp((*x)->entry.name, (*y)->entry.name);
}

struct known {
        struct snapshot *s;
        struct member **v; /* wanted ones, by name */
        size_t n;
};

static int on_known(struct ledger_member *row, void *arg)
{
        struct known *k = arg;
        struct member **found = bsearch(row->name, k->v, k->n, sizeof(*k->v), by_name);
        if (!found || row->state != OBJECT_PUBLISHED || !row->has_sha256 || !streq(row->path, (*found)->path))
                return 0;
        struct member *m = *found;
        m->has_sha256 = true;
        memcpy(m->sha256, row->sha256, sizeof(m->sha256));
        m->plain_size = row->plain_size;
        m->checks = row->checks;
        return 0;
}

static int read_known(struct snapshot *s, struct error *e)
{
        _cleanup_free_ struct member **v = calloc(s->n_members + 1, sizeof(struct member *));
        struct known known = {.s = s, .v = v};
        if (!v)
                return error_set(e, CAUSE_LIMIT, ENOMEM, "out of memory for its members");
        for (size_t i = 0; i < s->n_members; i++)
                if (s->members[i].step == MEMBER_WANTED)
                        v[known.n++] = &s->members[i];
        qsort(v, known.n, sizeof(*v), by_names);
        return ledger_members(s->job.d->ledger, s->job.o.id, on_known, &known, e);
}

static bool has_hash(const struct snapshot *s, const char *path, const struct member *m,
        struct digest *digest, void *buffer)
{
        uint8_t sum[DIGEST_MAX];
        uint64_t size;
        int64_t mtime;
        bool is_dir;
        if (staging_stat(s->job.d->staging, path, &size, &mtime, &is_dir) < 0 ||
                size != (uint64_t)m->plain_size)
                return false;
        _cleanup_close_ int fd = staging_open_file(s->job.d->staging, path);
        if (fd < 0)
                return false;
        ssize_t n;
        while ((n = read(fd, buffer, READ_SIZE)) > 0)
                digest_update(digest, buffer, (size_t)n);
        digest_final(digest, sum);
        return n == 0 && memcmp(sum, m->sha256, SHA256_SIZE) == 0;
}

/* A member counts as there when its file, in the partial folder or in the published one of the same archive,
 * still has the hash of the ledger: sizes alone do not tell what a power loss left. */
static void look(
        struct snapshot *s, struct member *m, const char *partial, struct digest *digest, void *buffer)
{
        const struct ledger_object *o = &s->job.o;
        _cleanup_free_ char *in_partial = str_printf("%s/%s", partial, m->path);
        _cleanup_free_ char *published = str_printf("%s/%s", o->path, m->path);
        if (!in_partial || !published)
                return;
        if (has_hash(s, in_partial, m, digest, buffer)) {
                m->step = MEMBER_STAGED;
        } else if (streq(o->staged_etag, o->etag) && has_hash(s, published, m, digest, buffer)) {
                m->link_from = take_ptr(&published);
                m->step = MEMBER_STAGED;
        }
}

static void prepare_in_thread(uv_work_t *work)
{
        struct snapshot *s = work->data;
        const char *path = s->job.o.path, *slash = strrchr(path, '/');
        _cleanup_free_ char *partial =
                str_printf("%.*s.%s.partial", (int)(slash + 1 - path), path, slash + 1);
        _cleanup_free_ void *buffer = malloc(READ_SIZE);
        struct digest *digest = NULL;
        if (partial && buffer && digest_new(DIGEST_SHA256, &digest) >= 0)
                for (size_t i = 0; i < s->n_members; i++)
                        if (s->members[i].step == MEMBER_WANTED && s->members[i].has_sha256)
                                look(s, &s->members[i], partial, digest, buffer);
        digest_free(digest);
}

static void take_over(struct snapshot *s, struct member *m)
{
        if (m->link_from &&
                snapshot_add_link(s->dir, m->path, m->link_from, (uint64_t)m->plain_size, NULL) < 0)
                m->step = MEMBER_WANTED;
        free(take_ptr(&m->link_from));
        if (m->step != MEMBER_STAGED) {
                m->has_sha256 = false;
                m->plain_size = -1;
                return;
        }
        s->n_staged++;
        s->n_wanted--;
        s->wanted_bytes -= m->entry.extent;
        s->plain_bytes += (uint64_t)m->plain_size;
}

static void on_prepared(uv_work_t *work, int status)
{
        struct snapshot *s = work->data;
        (void)status;
        s->working = false;
        if (s->cancelled) {
                record_failed(s->job.d, &s->job.o, CAUSE_CANCELLED, "stopped", 0);
                snapshot_finish(s);
                return;
        }
        for (size_t i = 0; i < s->n_members; i++) {
                struct member *m = &s->members[i];
                if (m->step == MEMBER_STAGED || m->step == MEMBER_WANTED)
                        take_over(s, m);
        }
        struct error e = {};
        if (room_for(s, &e) < 0) {
                record_wait(s->job.d, &s->job.o, e.cause, e.text, ROOM_LOOK_USEC);
                snapshot_finish(s);
                return;
        }
        s->state = SNAPSHOT_RUNS;
        snapshot_step(s);
}

void snapshot_prepare(struct snapshot *s)
{
        struct error e = {};
        int r = read_known(s, &e);
        if (r >= 0)
                r = snapshot_begin(s->job.d->staging, s->job.o.path, s->job.o.etag, &s->attr, &s->dir, &e);
        if (r == -EALREADY) {
                /* A crash came after the rename: what is published is this archive, only the ledger missed
                 * it. */
                snprintf(s->job.o.staged_etag, sizeof(s->job.o.staged_etag), "%s", s->job.o.etag);
                r = snapshot_begin(s->job.d->staging, s->job.o.path, s->job.o.etag, &s->attr, &s->dir, &e);
        }
        if (r < 0) {
                snapshot_fail(s, e.cause, e.text);
                return;
        }
        s->working = true;
        s->work.data = s;
        uv_queue_work(&s->job.d->loop, &s->work, prepare_in_thread, on_prepared);
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
                free(m->link_from);
        }
        free(s->members);
        s->members = NULL;
        s->n_members = 0;
}
