/* SPDX-License-Identifier: Apache-2.0 */
/* Retention. Snapshots go by count, newest kept, never one that has a course which no kept one has; events go
 * by age; replaced versions by the time since they were replaced. And of archives that are not staged yet:
 * which are not worth to be fetched. */
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fsx.h"
#include "ledger_facts.h"
#include "ledger_report.h"
#include "limits.h"
#include "macro.h"
#include "str.h"
#include "timespan.h"
#include "wants.h"

#define DEPTH_MOST 8

struct plan {
        struct ledger *l;
        const struct config *config;
        const struct config_staging *c;
        int64_t now;
        struct keep_list list;
        /* of the organisation and category being walked */
        char group[160];
        uint64_t kept;
        struct strv courses;
        struct error *e;
};

void keep_list_done(struct keep_list *list)
{
        free(list->items);
        *list = (struct keep_list){};
}

static int add(struct keep_list *list, enum keep_kind kind, int64_t id, const char *path, int64_t bytes)
{
        if (ARRAY_ROOM(list->items, list->n) < 0)
                return -ENOMEM;
        struct keep_item *item = &list->items[list->n++];
        *item = (struct keep_item){.kind = kind, .object_id = id, .bytes = bytes};
        snprintf(item->path, sizeof(item->path), "%s", path);
        return 0;
}

/* --- which courses an archive has --- */

static int on_course(const struct report_row *row, void *arg)
{
        return strv_add(arg, row->text[0]);
}

static int staged_courses(struct ledger *l, int64_t id, struct strv *courses, struct error *e)
{
        char text[24];
        snprintf(text, sizeof(text), "%lld", (long long)id);
        int r = report_each(l, REPORT_COURSES, text, NULL, on_course, courses, e);
        return r == -ENOMEM ? error_set(e, CAUSE_IO, ENOMEM, "out of memory") : r;
}

/* --- snapshots --- */

/* Newest first within one organisation and category. */
static int on_snapshot(const struct report_row *row, void *arg)
{
        struct plan *p = arg;
        char group[160];
        snprintf(group, sizeof(group), "%s/%s", row->text[3], row->text[4]);
        if (!streq(group, p->group)) {
                memcpy(p->group, group, sizeof(group));
                p->kept = 0;
                strv_done(&p->courses);
        }
        _cleanup_(strv_done) struct strv courses = {};
        bool any_new = false;
        int r = staged_courses(p->l, row->number[0], &courses, p->e);
        for (size_t i = 0; r == 0 && i < courses.n; i++)
                if (!strv_has(&p->courses, courses.v[i])) {
                        any_new = true;
                        r = strv_add(&p->courses, courses.v[i]);
                }
        if (r < 0)
                return r;
        if (p->kept < p->c->keep_snapshots) {
                p->kept++;
                return 0;
        }
        if (any_new) {
                p->list.spared++;
                return 0;
        }
        return add(&p->list, KEEP_SNAPSHOT, row->number[0], row->text[1], MAX(row->number[6], (int64_t)0));
}

/* --- events --- */

#define STATES_PRUNED (BIT(OBJECT_PUBLISHED) | BIT(OBJECT_GONE) | BIT(OBJECT_MISSING))

static bool is_old(const struct plan *p, const struct ledger_object *o)
{
        return (STATES_PRUNED & BIT(o->state)) && *o->staged_etag && wants_is_too_old(p->c, o->date, p->now);
}

static int on_event(struct ledger_object *o, void *arg)
{
        struct plan *p = arg;
        if (!is_old(p, o))
                return 0;
        return add(&p->list, KEEP_EVENTS, o->id, o->path, MAX(o->plain_size, (int64_t)0));
}

/* --- replaced versions --- */

/* Added to *sum. What goes meanwhile counts nothing. */
static int add_size_below(int dir_fd, const char *name, unsigned depth, int64_t *sum)
{
        struct stat st;
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (S_ISREG(st.st_mode))
                *sum += st.st_size;
        if (!S_ISDIR(st.st_mode) || depth >= DEPTH_MOST)
                return 0;
        int r, fd = open_beneath(dir_fd, name, O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        _cleanup_closedir_ DIR *d = fdopendir(fd);
        if (!d) {
                close_fd(fd);
                return -ENOMEM;
        }
        struct dirent *e;
        while ((r = dir_next(d, &e)) > 0) {
                r = add_size_below(fd, e->d_name, depth + 1, sum);
                if (r < 0)
                        return r;
        }
        return r;
}

/* The change time is the moment it was linked or renamed to here. */
static int add_replaced(struct plan *p, int dir_fd, const char *dir, const char *name)
{
        struct stat st;
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : -errno;
        int64_t age = p->now - st.st_ctime, size = 0;
        if (age < 0 || (uint64_t)age * USEC_PER_SEC <= p->c->keep_replaced_usec)
                return 0;
        _cleanup_free_ char *path = str_printf("%s/%s", dir, name);
        int r = path ? add_size_below(dir_fd, name, 0, &size) : -ENOMEM;
        return r < 0 ? r : add(&p->list, KEEP_REPLACED, 0, path, size);
}

static int walk(struct plan *p, int at_fd, const char *dir, unsigned depth);

static int walk_entry(
        struct plan *p, int at_fd, int dir_fd, const char *dir, const struct dirent *e, unsigned depth)
{
        if (str_ends(dir, "/" PLACE_REPLACED))
                return add_replaced(p, dir_fd, dir, e->d_name);
        if (e->d_type != DT_DIR || depth >= DEPTH_MOST ||
                (*e->d_name == '.' && !streq(e->d_name, PLACE_REPLACED)))
                return 0;
        _cleanup_free_ char *below = str_printf("%s%s%s", dir, *dir ? "/" : "", e->d_name);
        return below ? walk(p, at_fd, below, depth + 1) : -ENOMEM;
}

static int walk(struct plan *p, int at_fd, const char *dir, unsigned depth)
{
        int fd = open_beneath(at_fd, *dir ? dir : ".", O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0)
                return fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP ? 0 : fd;
        _cleanup_closedir_ DIR *d = fdopendir(fd);
        if (!d) {
                close_fd(fd);
                return -ENOMEM;
        }
        /* Snapshots hold nothing that is ours to prune one by one, and are large. */
        if (!str_ends(dir, "/" PLACE_REPLACED) && faccessat(fd, "SHA256SUMS", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return 0;
        struct dirent *e;
        int r;
        while ((r = dir_next(d, &e)) > 0) {
                r = walk_entry(p, at_fd, fd, dir, e, depth);
                if (r < 0)
                        return r;
        }
        return r;
}

/* --- events by course --- */

static int on_split(const struct ledger_split *row, void *arg)
{
        struct plan *p = arg;
        char org[ORG_SIZE];
        struct ledger_object o;
        snprintf(org, sizeof(org), "%.*s", (int)strcspn(row->path, "/"), row->path);
        const struct config_package *package = config_find_package(p->config, org);
        if (!*row->path || (package && package->events_by_course != EVENT_RULE_NONE))
                return 0;
        int r = ledger_get(p->l, row->object_id, &o, p->e);
        if (r < 0 || is_old(p, &o)) /* then it goes with its file */
                return r;
        return add(&p->list, KEEP_BY_COURSE, row->object_id, row->path, (int64_t)row->files_size);
}

int keep_plan(struct ledger *l, const struct staging *s, const struct config *config, int64_t now,
        struct keep_list *ret, struct error *e)
{
        const struct config_staging *c = &config->staging;
        struct plan p = {.l = l, .config = config, .c = c, .now = now, .e = e};
        int r = 0;
        if (c->keep_snapshots != CONFIG_ALL)
                r = report_each(l, REPORT_SNAPSHOTS, NULL, NULL, on_snapshot, &p, e);
        strv_done(&p.courses);
        struct ledger_filter events = {.categories = BIT(CATEGORY_EVENTS), .states = STATES_PRUNED};
        if (r == 0 && c->keep_days_usec != CONFIG_ALL)
                r = ledger_each(l, &events, on_event, &p, e);
        if (r == 0 && s && c->keep_replaced_usec != CONFIG_ALL) {
                r = walk(&p, staging_root_fd(s), "", 0);
                if (r < 0)
                        error_errno(e, -r, "looking for replaced versions");
        }
        if (r == 0)
                r = ledger_splits(l, on_split, &p, e);
        if (r < 0) {
                keep_list_done(&p.list);
                return r;
        }
        *ret = p.list;
        return 0;
}

/* --- archives that are not staged yet --- */

int beyond_learn(struct ledger *l, const struct ledger_object *o, struct strv *courses, struct error *e)
{
        strv_unique(courses);
        return ledger_set_courses(l, o->id, o->etag, courses, e);
}

int beyond_learn_staged(struct ledger *l, const struct ledger_object *o, struct error *e)
{
        _cleanup_(strv_done) struct strv courses = {};
        int r = staged_courses(l, o->id, &courses, e);
        return r < 0 ? r : beyond_learn(l, o, &courses, e);
}

/* --- what there is that is newer --- */

struct newer {
        const struct ledger_object *o;
        struct strv dates;
        int64_t *staged; /* ids */
        size_t n_staged;
        bool waiting; /* one is still to come */
};

static void newer_done(struct newer *n)
{
        strv_done(&n->dates);
        free(n->staged);
}

static int on_newer(struct ledger_object *other, void *arg)
{
        struct newer *n = arg;
        if (other->category != n->o->category || !streq(other->org, n->o->org) ||
                strcmp(other->date, n->o->date) <= 0)
                return 0;
        n->waiting |= (BIT(other->state) & OBJECT_STATES_DUE) != 0;
        if (*other->staged_etag && (other->state == OBJECT_PUBLISHED || other->state == OBJECT_GONE)) {
                if (ARRAY_ROOM(n->staged, n->n_staged) < 0)
                        return -ENOMEM;
                n->staged[n->n_staged++] = other->id;
        }
        return strv_has(&n->dates, other->date) ? 0 : strv_add(&n->dates, other->date);
}

static int find_newer(struct ledger *l, const struct ledger_object *listed, size_t n_listed, struct newer *n,
        struct error *e)
{
        const struct ledger_object *o = n->o;
        struct ledger_filter f = {.categories = BIT(o->category), .org = o->org, .since = o->date};
        int r = l ? ledger_each(l, &f, on_newer, n, e) : 0;
        for (size_t i = 0; r >= 0 && i < n_listed; i++) {
                struct ledger_object other = listed[i];
                r = on_newer(&other, n);
        }
        return r == -ENOMEM ? error_set(e, CAUSE_IO, ENOMEM, "out of memory") : r;
}

/* --- the verdict --- */

/* Has it a wanted course that no newer staged one has? */
static int compare(struct ledger *l, const struct config_package *p, const struct newer *n, enum beyond *ret,
        struct error *e)
{
        _cleanup_(strv_done) struct strv own = {}, others = {};
        char etag[ETAG_SIZE] = "";
        int r = l && n->o->id ? ledger_courses(l, n->o->id, etag, &own, e) : 0;
        if (r >= 0 && !streq(etag, n->o->etag)) {
                *ret = BEYOND_UNREAD;
                return 0;
        }
        for (size_t i = 0; r >= 0 && l && i < n->n_staged; i++) {
                char known[ETAG_SIZE];
                r = ledger_courses(l, n->staged[i], known, &others, e);
                if (r >= 0 && !*known)
                        r = staged_courses(l, n->staged[i], &others, e);
        }
        if (r < 0)
                return r;
        strv_unique(&others);
        *ret = BEYOND_YES;
        for (size_t i = 0; i < own.n; i++)
                if (p && config_wants_course(p, own.v[i]) && !strv_sorted_has(&others, own.v[i]))
                        *ret = BEYOND_LAST_COPY;
        return 0;
}

int beyond_look(struct ledger *l, const struct config *c, const struct ledger_object *o,
        const struct ledger_object *listed, size_t n_listed, enum beyond *ret, struct error *e)
{
        uint64_t keep = c->staging.keep_snapshots;
        *ret = BEYOND_NO;
        /* One that is staged stays up to date as long as it is there. */
        if (keep == CONFIG_ALL || !o->is_zip || *o->staged_etag)
                return 0;
        *ret = BEYOND_WAITS;
        _cleanup_(newer_done) struct newer n = {.o = o};
        int r = find_newer(l, listed, n_listed, &n, e);
        if (r < 0)
                return r;
        if (n.dates.n < keep)
                *ret = BEYOND_NO;
        else if (o->category != CATEGORY_DATABASE)
                *ret = BEYOND_YES;
        else if (!n.waiting)
                return compare(l, config_find_package(c, o->org), &n, ret, e);
        return 0;
}
