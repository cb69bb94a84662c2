/* SPDX-License-Identifier: Apache-2.0 */
/* deliver: run and revoke are done by czard-deliver, as its own user; the others look, as czard's.
 * plan: what a run would hand out and take back, before anything is written; and what of the configuration
 * matches nothing. Done by the code of czard-deliver, from the staged tree and its record.
 * log: the record of disclosures: who got what, when, why and until when. What a message was made of stands
 * in lines of its own before it. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "audit.h"
#include "deliver_facts.h"
#include "launch.h"
#include "limits.h"
#include "look.h"
#include "name.h"
#include "owner.h"
#include "package.h"
#include "rows.h"
#include "str.h"

#define USER "czard-deliver"
#define GROUPS_MOST 512

/* --- becoming czard-deliver --- */

static void add_group(gid_t *v, int *n, const char *name)
{
        const struct group *g = name ? getgrnam(name) : NULL;
        if (g && *n < GROUPS_MOST)
                v[(*n)++] = g->gr_gid;
}

/* As the unit has them by SupplementaryGroups=: those that read the staged files, and those of the outboxes.
 */
static void add_groups(const struct config *c, gid_t *v, int *n)
{
        for (size_t i = 0; i < c->n_packages; i++) {
                add_group(v, n, c->packages[i].groups.all);
                add_group(v, n, c->packages[i].groups.by_course);
                for (enum category k = 0; k < CATEGORY_MAX; k++)
                        add_group(v, n, c->packages[i].groups.category[k]);
        }
        for (size_t i = 0; i < c->n_deliveries; i++)
                add_group(v, n, c->deliveries[i].group);
}

/* The folder it is made in may be another user's: what is given away is a folder that root made. */
static int make_for(const struct passwd *pw, const char *path)
{
        struct stat st;
        const char *name = strrchr(path, '/') + 1;
        _cleanup_free_ char *parent = strndup(path, (size_t)(name - path));
        _cleanup_close_ int dir = parent ? owner_open_folder(parent) : -ENOMEM;
        if (dir < 0)
                return dir;
        if (mkdirat(dir, name, 0750) < 0)
                return -errno;
        _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (st.st_uid != 0)
                return -EBUSY;
        return fchown(fd, pw->pw_uid, pw->pw_gid) < 0 ? -errno : take_fd(&fd);
}

/* The state folder, made when there is none for the user of that name: a descriptor, or -errno. -ENODATA:
 * nobody is to be become, for czard itself runs as root. */
static int open_deliver_state(const struct ctl *c, const char *path, struct error *e)
{
        struct stat st;
        _cleanup_close_ int state = owner_open_folder(c->config->state_dir);
        _cleanup_close_ int fd = owner_open_folder(path);
        if (fd >= 0)
                return take_fd(&fd);
        if (fd == -ELOOP)
                return owner_refuse_link(path, "become the owner of", e);
        if (state >= 0 && fstat(state, &st) == 0 && st.st_uid == 0)
                return -ENODATA;
        const struct passwd *pw = getpwnam(USER);
        if (!pw)
                return error_set(e, CAUSE_UNSAFE_MODE, ENOENT,
                        "there is no user " USER
                        " and no folder %s: install czard's package, or make the folder for "
                        "the user who is to deliver, with mode 0750",
                        path);
        fd = make_for(pw, path);
        return fd < 0 ? error_set(e, CAUSE_IO, -fd, "cannot make %s: %s", path, strerror(-fd)) : take_fd(&fd);
}

/* Its state folder belongs to whom it runs as. */
static int become_deliver(const struct ctl *c, struct error *e)
{
        _cleanup_free_ char *path = str_printf("%s-deliver", c->config->state_dir);
        struct stat st;
        gid_t groups[GROUPS_MOST];
        int n = GROUPS_MOST / 2;
        if (!path || geteuid() != 0)
                return 0;
        _cleanup_close_ int fd = open_deliver_state(c, path, e);
        if (fd < 0)
                return fd == -ENODATA ? 0 : fd;
        if (fstat(fd, &st) < 0)
                return error_set(e, CAUSE_IO, errno, "%s: %s", path, strerror(errno));
        if (st.st_uid == 0)
                return 0;
        const struct passwd *pw = getpwuid(st.st_uid);
        gid_t gid = pw ? pw->pw_gid : st.st_gid;
        if (!pw || getgrouplist(pw->pw_name, gid, groups, &n) < 0)
                n = 0;
        add_groups(c->config, groups, &n);
        int r = setgroups((size_t)n, groups) < 0 ? -errno : owner_give_up(st.st_uid, gid, e);
        return r < 0 ? error_set(
                               e, CAUSE_INTERNAL, -r, "cannot become the owner of %s: %s", path, strerror(-r))
                     : 0;
}

static int start_deliver(struct ctl *c, const char *name, const char *reason)
{
        char file[PATH_MAX], uid[16];
        const char *argv[12] = {file, "--config", c->config_path};
        struct error e = {};
        size_t n = 3;
        if (launch_find("czard-deliver", file, sizeof(file)) < 0)
                return ctl_fail_text("czard-deliver is not there (%s): reinstall czard", file);
        snprintf(uid, sizeof(uid), "%u", (unsigned)c->caller);
        argv[n++] = "--uid";
        argv[n++] = uid;
        argv[n++] = reason ? "--revoke" : "--once";
        if (reason) {
                argv[n++] = name;
                argv[n++] = "--reason";
                argv[n++] = reason;
        } else {
                if (ctl_flag(c, "again"))
                        argv[n++] = "--again";
                if (name)
                        argv[n++] = name;
        }
        if (become_deliver(c, &e) < 0)
                return ctl_fail(&e);
        union {
                const char **in;
                char *const *out;
        } pun = {.in = argv}; /* execve(2) does not change them */
        execv(file, pun.out);
        return ctl_fail_text("%s: %s", file, strerror(errno));
}

/* --- plan --- */

struct plan {
        struct ctl *c;
        const struct config_delivery *d;
        struct staging *staging;
        struct records records;
        struct delivery_look look;
        struct json *json;
        uint64_t bytes;
};

static uint64_t bytes_of(const struct plan *p, const struct due_item *item)
{
        uint64_t sum = 0, size;
        for (size_t i = 0; i < item->n; i++)
                if (staging_stat(p->staging, p->look.staged.v[item->first + i].path, &size, NULL, NULL) == 0)
                        sum += size;
        return sum;
}

static void plan_json(struct plan *p, const struct strv *courses)
{
        struct json *j = p->json;
        const struct delivery_staged *staged = &p->look.staged;
        const struct due *due = &p->look.due;
        json_open(j, NULL, '{');
        json_str(j, "name", p->d->name);
        json_open(j, "items", '[');
        for (size_t i = 0; i < due->n_items; i++) {
                const struct due_item *item = &due->items[i];
                json_open(j, NULL, '{');
                json_fields(
                        j, FIELDS(F_TEXT("path", item->path), F_TEXT("course", staged->v[item->first].course),
                                   F_TEXT("supersedes", item->supersedes ? item->supersedes->path : NULL),
                                   F_NUMBER("bytes", bytes_of(p, item))));
                json_open(j, "inputs", '[');
                for (size_t k = 0; k < item->n; k++)
                        json_str(j, NULL, staged->v[item->first + k].path);
                json_close(j, ']');
                json_close(j, '}');
        }
        json_close(j, ']');
        json_open(j, "leaves", '[');
        for (size_t i = 0; i < due->n_leave; i++)
                json_object(j, NULL,
                        FIELDS(F_TEXT("path", due->leave[i].record->path),
                                F_TEXT("reason", due->leave[i].reason)));
        json_close(j, ']');
        json_strings(j, "courses", courses);
        json_strings(j, "days", &staged->days);
        json_strings(j, "snapshots", &staged->snapshots);
        json_strings(j, "match_nothing", &staged->unmatched);
        json_strings(j, "held_back", &staged->held);
        json_fields(j, FIELDS(F_NUMBER("total_bytes", p->bytes), F_NUMBER("days_since", due->n_late),
                               F_NUMBER("waiting", due->n_waiting)));
        json_close(j, '}');
}

static void say_names(const char *what, const struct strv *v)
{
        for (size_t i = 0; i < v->n; i++) {
                fputs("  ", stdout);
                shown_colour(YELLOW, what);
                shown_print(stdout, " %s\n", v->v[i]);
        }
}

static void plan_table(struct plan *p, const struct strv *courses)
{
        char size[BYTES_SIZE];
        struct rows rows;
        shown_colour(BOLD, p->d->name);
        shown_print(stdout,
                ": %zu courses, %zu days, %zu snapshots; due: %zu messages, %s; leave the outbox: %zu\n",
                courses->n, p->look.staged.days.n, p->look.staged.snapshots.n, p->look.due.n_items,
                bytes_text((int64_t)p->bytes, size), p->look.due.n_leave);
        if (p->records.revoked)
                puts("  it was revoked: nothing is delivered any more");
        else if (due_is_over(p->d, &p->records, (int64_t)time(NULL)))
                puts("  its last day (until) is over: nothing is delivered any more");
        if (p->look.due.n_waiting)
                shown_print(stdout, "  " LOOK_WAITS "\n", p->d->name);
        if (p->look.due.n_late)
                shown_print(stdout,
                        "  %zu days came after the archives were made: czarctl deliver run --again %s makes "
                        "them anew\n",
                        p->look.due.n_late, p->d->name);
        say_names("matches nothing:", &p->look.staged.unmatched);
        say_names("stays here, two courses have this name; list the full key of the one that is meant:",
                &p->look.staged.held_keys);
        rows_open(&rows, p->c, NULL, "path|>files|>bytes|note");
        for (size_t i = 0; i < p->look.due.n_items; i++) {
                const struct due_item *item = &p->look.due.items[i];
                _cleanup_free_ char *note =
                        item->supersedes ? str_printf("supersedes %s", item->supersedes->path) : NULL;
                rows_add(&rows,
                        FIELDS(F_CELL("path", item->path), F_NUMBER("files", item->n),
                                F_BYTES("bytes", bytes_of(p, item)), F_CELL("note", note, .colour = DIM)));
        }
        for (size_t i = 0; i < p->look.due.n_leave; i++) {
                const struct due_leave *l = &p->look.due.leave[i];
                _cleanup_free_ char *note =
                        str_printf("leaves: %s", l->reason ? l->reason : "its time (keep) is over");
                rows_add(&rows, FIELDS(F_CELL("path", l->record->path), F_CELL("files", NULL),
                                        F_CELL("bytes", NULL), F_CELL("note", note, .colour = YELLOW)));
        }
        rows_end(&rows, NULL);
        rows_drop(&rows);
}

static int look_at(struct plan *p, int state, struct error *e)
{
        p->records = (struct records){.delivery = p->d->name};
        int r = state >= 0 ? records_read(state, p->d->name, &p->records, e) : 0;
        const struct look_query q = {.delivery = p->d,
                .root = p->c->config->staging.path,
                .staging = p->staging,
                .records = &p->records,
                .now = (int64_t)time(NULL)};
        return r < 0 ? r : delivery_look(&q, &p->look, e);
}

static int plan_one(struct plan *p, int state)
{
        _cleanup_(strv_done) struct strv courses = {};
        struct error e = {};
        int r = look_at(p, state, &e);
        for (size_t i = 0; r == 0 && i < p->look.due.n_items; i++) {
                char form[COURSE_FORM_MAX];
                course_form(p->look.staged.v[p->look.due.items[i].first].course, form);
                p->bytes += bytes_of(p, &p->look.due.items[i]);
                r = *form ? strv_add(&courses, form) : 0;
        }
        strv_unique(&courses);
        if (r == 0 && p->json)
                plan_json(p, &courses);
        else if (r == 0)
                plan_table(p, &courses);
        look_done(&p->look);
        records_done(&p->records);
        return r < 0 ? ctl_fail(&e) : 0;
}

static int deliver_plan(struct ctl *c, const char *name)
{
        _cleanup_json_ struct json j = {};
        struct staging *staging = NULL;
        struct error e = {};
        int status = ctl_refuse_partial(c);
        if (status)
                return status;
        _cleanup_close_ int state = deliver_state(c, &e);
        if (state < 0 && state != -ENOENT)
                return ctl_fail(&e);
        if (look_open(c->config->staging.path, &staging, &e) < 0)
                return ctl_fail(&e);
        if (c->json) {
                answer_open(&j);
                json_open(&j, "deliveries", '[');
        }
        for (size_t i = 0; status == 0 && i < c->config->n_deliveries; i++) {
                struct plan p = {.c = c,
                        .d = &c->config->deliveries[i],
                        .staging = staging,
                        .json = c->json ? &j : NULL};
                if (!name || streq(name, p.d->name))
                        status = plan_one(&p, state);
        }
        staging_free(staging);
        if (status || !c->json)
                return status;
        json_close(&j, ']');
        return answer_print(&j);
}

/* --- log --- */

static const char *const fields[] = {"time", "seq", "event", "delivery", "recipients", "purpose", "until",
        "course", "tables", "path", "size", "sha256", "reason", "uid"};

#define TABLES_SIZE 4096

/* Of which tables a message was made. */
struct made {
        char *path; /* "DELIVERY PATH" */
        struct strv tables;
};

struct deliver_log {
        const char *name; /* NULL: all */
        struct record_rows *record;
        void *made;      /* struct made by their paths, the newest of each: a tree of name.h */
        struct made *at; /* the one whose inputs come */
};

static void made_done(void *p)
{
        strv_done(&((struct made *)p)->tables);
}

/* "DELIVERY PATH" */
static char *key_of(const struct deliver_log *l)
{
        return str_printf("%s %s", record_text(l->record, "delivery"), record_text(l->record, "path"));
}

static int begin_made(struct deliver_log *l)
{
        _cleanup_free_ char *key = key_of(l);
        l->at = key ? named_need(&l->made, key, sizeof(*l->at)) : NULL;
        if (!l->at)
                return -ENOMEM;
        strv_done(&l->at->tables);
        return 0;
}

/* Events, or a member of a snapshot. */
static int add_input(struct deliver_log *l)
{
        static const char events[] = "events";
        const char *path = record_text(l->record, "path"), *rest = path;
        struct package_member m = {};
        for (int i = 0; i < 3 && rest; i++)
                rest = strchr(rest, '/') ? strchr(rest, '/') + 1 : NULL;
        _cleanup_free_ char *name = rest ? str_printf("t/%s.gpg", rest) : NULL;
        bool is_event = strstr(path, "/events-by-course/");
        if (!is_event && name)
                (void)package_parse_member("t", name, LIMIT_MEMBER_NAME, &m, NULL);
        const char *table = is_event ? events : m.table;
        return l->at && *table && !strv_has(&l->at->tables, table) ? strv_add(&l->at->tables, table) : 0;
}

static void set_tables(struct deliver_log *l, char text[TABLES_SIZE])
{
        _cleanup_free_ char *key = key_of(l);
        struct made *m = key ? named_find(&l->made, key) : NULL;
        size_t n = 0;
        text[0] = 0;
        if (!m)
                return;
        strv_unique(&m->tables);
        for (size_t i = 0; i < m->tables.n && n < TABLES_SIZE; i++)
                n += (size_t)snprintf(text + n, TABLES_SIZE - n, "%s%s", i ? " " : "", m->tables.v[i]);
        record_rows_set(l->record, "tables", text);
}

/* What is about to be handed out, and each of its inputs, is in the record too (czarctl --json). */
static int show_disclosure(const char *line, size_t len, uint64_t number, void *arg)
{
        struct deliver_log *l = arg;
        struct record_rows *r = l->record;
        char tables[TABLES_SIZE];
        (void)number;
        record_rows_read(r, line, len);
        if (l->name && !streq(record_text(r, "delivery"), l->name))
                return 0;
        const char *event = record_text(r, "event"), *reason = record_text(r, "reason");
        if (r->rows.c->json)
                rows_add_line(&r->rows, line, len);
        else if (streq(event, "delivering"))
                return begin_made(l);
        else if (streq(event, "input"))
                return add_input(l);
        else if (!streq(event, "outbox")) {
                set_tables(l, tables);
                record_rows_add(r, "", *reason ? reason : record_text(r, "purpose"));
        }
        return 0;
}

/* The record has deliveries, too, that have no section any more. A status. */
static int check_name(const struct ctl *c, int state, const char *name)
{
        _cleanup_(strv_done) struct strv names = {};
        struct error e = {};
        if (!name || config_find_delivery(c->config, name))
                return 0;
        int r = state >= 0 ? records_names(state, &names, &e) : 0;
        if (r == 0 && !strv_has(&names, name))
                return deliver_unknown(c, name);
        return r < 0 ? ctl_fail(&e) : 0;
}

static int deliver_log(struct ctl *c, const char *name)
{
        struct deliver_log l = {.name = name};
        struct error e = {};
        struct stat st;
        _cleanup_close_ int state = deliver_state(c, &e);
        if (state < 0 && state != -ENOENT)
                return ctl_fail(&e);
        int status = check_name(c, state, name);
        if (status == 0)
                status = record_rows_open(c, fields, ELEMENTSOF(fields),
                        "time|event|delivery|path|until|why=PURPOSE OR REASON", &l.record);
        if (status)
                return status;
        int r = 0;
        if (state >= 0 && fstatat(state, "audit.jsonl", &st, 0) == 0)
                r = audit_each(state, show_disclosure, &l, &e);
        named_free(&l.made, made_done);
        return record_rows_finish(l.record, "Nothing was handed out yet.", r, &e);
}

/* --- the command --- */

static int check_words(const struct ctl *c, const char *what, const char *name)
{
        static const char *const words[] = {"list", "plan", "run", "revoke", "log"};
        const char *reason = ctl_flag(c, "reason");
        bool known = false, revokes = streq(what, "revoke");
        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                known |= streq(words[i], what);
        if (!known)
                return ctl_usage(c, "expected list, plan, run, revoke or log, not '%.32s'", what);
        if (revokes && (!name || str_empty(reason)))
                return ctl_usage(c, "revoke needs the NAME of a delivery, or the folder of its outbox, and "
                                    "--reason TEXT, "
                                    "which stays in the record");
        if (ctl_line_flag(c, "reason"))
                return CTL_USAGE;
        if ((reason && !revokes) || (ctl_flag(c, "again") && !streq(what, "run")) ||
                (ctl_flag(c, "csv") && !streq(what, "log")))
                return ctl_usage(c, "%s does not take that option", what);
        /* czard-deliver finds what is to be revoked by its record, or by its outbox, too. */
        if (name && !config_find_delivery(c->config, name) && !streq(what, "log") && !revokes)
                return deliver_unknown(c, name);
        return 0;
}

/* run and revoke end here, with the rights of who started us. */
int prepare_deliver(struct ctl *c)
{
        const char *what = c->argv[0], *name = c->argc > 1 ? c->argv[1] : NULL;
        int status = check_words(c, what, name);
        if (status == 0 && (streq(what, "run") || streq(what, "revoke"))) {
                status = ctl_refuse_partial(c);
                return status ? status : start_deliver(c, name, ctl_flag(c, "reason"));
        }
        return status;
}

int run_deliver(struct ctl *c)
{
        const char *what = c->argv[0], *name = c->argc > 1 ? c->argv[1] : NULL;
        if (streq(what, "plan"))
                return deliver_plan(c, name);
        return streq(what, "log") ? deliver_log(c, name) : deliver_list(c, name);
}
