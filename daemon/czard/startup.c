/* SPDX-License-Identifier: Apache-2.0 */
/* What is checked once, before anything is fetched. Every refusal says what to do. Order: state folder, lock,
 * audit, ledger, staging and its identity, groups, runtime folder, passphrase. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "director.h"
#include "fsx.h"
#include "history.h"
#include "latest_point.h"
#include "limits.h"
#include "members.h"
#include "rebuild.h"
#include "record.h"
#include "str.h"

#define FORBIDDEN_SHARED 007
#define FORBIDDEN_SECRET 077

/* --- state folder --- */

/* A disk that is full or read-only is no fault of the configuration. */
static enum cause state_cause(int err)
{
        return err == EROFS || err == ENOSPC || err == EDQUOT || err == EIO ? CAUSE_IO : CAUSE_CONFIG;
}

static int open_state_dir(struct director *d, struct error *e)
{
        const char *path = d->config->state_dir;
        if (mkdir(path, 0750) < 0 && errno != EEXIST)
                return error_set(
                        e, state_cause(errno), errno, "cannot make state_dir %s: %s", path, strerror(errno));
        d->state_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (d->state_fd < 0)
                return error_set(
                        e, CAUSE_CONFIG, errno, "cannot open state_dir %s: %s", path, strerror(errno));
        return check_owner_mode(d->state_fd, path, FORBIDDEN_SHARED, e);
}

static int take_lock(struct director *d, struct error *e)
{
        d->lock_fd = openat(d->state_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
        if (d->lock_fd < 0)
                return error_set(e, state_cause(errno), errno, "cannot open %s/lock: %s",
                        d->config->state_dir, strerror(errno));
        char pid[32] = "";
        if (flock(d->lock_fd, LOCK_EX | LOCK_NB) < 0) {
                ssize_t n = pread(d->lock_fd, pid, sizeof(pid) - 1, 0);
                pid[n > 0 ? strcspn(pid, "\n") : 0] = 0;
                return error_set(e, CAUSE_LOCKED, EBUSY,
                        "czard runs already on %s (PID %s); to fetch now use: czarctl resync --wait",
                        d->config->state_dir, *pid ? pid : "unknown");
        }
        int n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
        if (ftruncate(d->lock_fd, 0) < 0 || pwrite(d->lock_fd, pid, (size_t)n, 0) != n)
                return error_set(e, state_cause(errno), errno, "cannot write %s/lock: %s",
                        d->config->state_dir, strerror(errno));
        return 0;
}

/* SQLite's temporary files have a name for a moment only; what a crash left of them in this moment goes. One
 * that is not found goes at a later start. */
static void sweep_spill_files(int state_fd)
{
        int fd = openat(state_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_closedir_ DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir)
                close_fd(fd);
        for (struct dirent *entry; dir && dir_next(dir, &entry) > 0;)
                if (str_after(entry->d_name, "etilqs_"))
                        (void)unlinkat(state_fd, entry->d_name, 0);
}

static int set_spill_folder(struct director *d, struct error *e)
{
        sweep_spill_files(d->state_fd);
        return members_set_folder(d->config->state_dir, e);
}

int startup_state(struct director *d, struct error *e)
{
        int r = open_state_dir(d, e);
        if (r >= 0)
                r = take_lock(d, e);
        if (r >= 0)
                r = audit_open(d->state_fd, &d->audit, e);
        if (r >= 0)
                journal_audit_head(audit_durable_head(d->audit));
        if (r >= 0)
                r = rebuild_open_ledger(d->config, d->state_fd, d->audit, &d->ledger, e);
        if (r >= 0)
                r = set_spill_folder(d, e);
        if (r >= 0)
                r = history_open(d->ledger, d->audit, d->state_fd, d->config->limits.max_name, e);
        if (r == 1)
                journal_event(EVENT_AUDIT_CUT, &(struct journal_fields){.cause = e->cause},
                        "%s; czard goes on, and the record says so from here on: compare it with the head "
                        "that was kept elsewhere (czarctl verify --audit --head)",
                        e->text);
        return MIN(r, 0);
}

/* --- staging --- */

static int check_device(struct director *d, struct error *e)
{
        char detail[256] = "";
        enum encrypted encrypted = staging_encrypted(d->staging, detail, sizeof(detail));
        enum device_policy policy = d->config->staging.encrypted_device;
        if (encrypted == ENCRYPTED_YES || policy == DEVICE_IGNORE)
                return 0;
        const char *what = encrypted == ENCRYPTED_NO ? "is not on an encrypted device"
                                                     : "may not be on an encrypted device: cannot tell";
        if (policy == DEVICE_REQUIRE)
                return error_set(e, CAUSE_STAGING, EPERM,
                        "%s %s (%s); put it on LUKS, or set [staging] encrypted_device",
                        d->config->staging.path, what, detail);
        journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING},
                "%s %s (%s); edX asks for full-disk encryption", d->config->staging.path, what, detail);
        return 0;
}

/* An empty disk is not believed: what the ledger knows must be there, or the volume is not mounted. */
static int check_identity(struct director *d, const char *known, struct error *e)
{
        const char *path = d->config->staging.path;
        char found[STAGING_ID_SIZE];
        int r = staging_read_id(d->staging, found, e);
        if (r < 0)
                return r;
        if (*known && !streq(known, found))
                return error_set(e, CAUSE_STAGING, ENODEV,
                        "%s is not the staging volume this czard knows (.czard-id is %s): mount it; if it is "
                        "a new "
                        "disk: czarctl adopt",
                        path, *found ? "another one" : "missing");
        if (*found) {
                memcpy(d->staging_id, found, sizeof(found));
        } else {
                r = staging_make_id(d->staging, d->staging_id, e);
                if (r == -ENOTEMPTY)
                        return error_set(e, CAUSE_STAGING, ENOTEMPTY,
                                "%s is not empty and has no .czard-id: choose an empty folder, or czarctl "
                                "adopt",
                                path);
                if (r < 0)
                        return r;
        }
        return ledger_meta_set(d->ledger, "staging-id", d->staging_id, e);
}

/* Without leases czard still compares sizes. */
static void try_leases(struct director *d)
{
        struct error e = {};
        if (staging_try_leases(d->staging, &e) < 0)
                journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING, .cause = e.cause},
                        "%s: %s: czard cannot make sure that a finished file is not written to any more, and "
                        "goes "
                        "on without; see FOR THE AUDITOR in czard(8)",
                        d->config->staging.path, e.text);
}

int startup_staging(struct director *d, struct error *e)
{
        const struct config_staging *s = &d->config->staging;
        char known[STAGING_ID_SIZE];
        int r = ledger_meta_get(d->ledger, "staging-id", known, sizeof(known), e);
        if (r < 0)
                return r;
        if (!*known && mkdir(s->path, 0700) >= 0 && chmod(s->path, s->dir_mode) < 0)
                return error_set(e, CAUSE_STAGING, errno, "chmod %s: %s", s->path, strerror(errno));
        r = staging_open(s->path, s->file_mode, s->dir_mode, &d->staging, e);
        if (r >= 0)
                r = check_identity(d, known, e);
        if (r >= 0)
                r = check_device(d, e);
        if (r >= 0)
                try_leases(d);
        return r;
}

/* --- groups --- */

static bool may_give_to(gid_t gid)
{
        if (geteuid() == 0 || gid == getegid())
                return true;
        gid_t groups[1024];
        int n = getgroups(ELEMENTSOF(groups), groups);
        for (int i = 0; i < n; i++)
                if (groups[i] == gid)
                        return true;
        return false;
}

static int resolve_group(const char *name, gid_t *ret, struct error *e)
{
        *ret = (gid_t)-1;
        if (!name)
                return 0;
        const struct group *g = getgrnam(name);
        if (!g)
                return error_set(
                        e, CAUSE_CONFIG, ENOENT, "group %s does not exist: groupadd --system %s", name, name);
        if (!may_give_to(g->gr_gid))
                return error_set(e, CAUSE_CONFIG, EPERM,
                        "czard is not in group %s: usermod -aG %s czard, or systemctl edit czard and add: "
                        "[Service] SupplementaryGroups=%s",
                        name, name, name);
        *ret = g->gr_gid;
        return 0;
}

/* Its folder is of the general group, where that is in use, else of the first; the others get through. */
static struct staging_top top_of(const struct config_package *p, const struct package_context *context)
{
        const gid_t *gid = context->gid;
        struct staging_top top = {.gid = (gid_t)-1};
        for (enum category k = 0; k < CATEGORY_MAX; k++) {
                const char *name = config_group(p, k);
                if (!name || !(p->spec.categories & BIT(k)))
                        continue;
                if (top.n_through == 0 || (p->groups.all && streq(name, p->groups.all)))
                        top.gid = gid[k];
                top.through[top.n_through++] = gid[k];
        }
        if (p->groups.by_course && p->events_by_course != EVENT_RULE_NONE)
                top.through[top.n_through++] = context->by_course_gid;
        return top;
}

int startup_groups(const struct config *c, struct package_context **ret, struct error *e)
{
        _cleanup_free_ struct package_context *v = calloc(c->n_packages, sizeof(*v));
        if (!v)
                return error_set(e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        for (size_t i = 0; i < c->n_packages; i++)
                for (enum category k = 0; k <= CATEGORY_MAX; k++) {
                        bool by_course = k == CATEGORY_MAX;
                        const char *name = by_course ? c->packages[i].groups.by_course
                                                     : config_group(&c->packages[i], k);
                        int r = resolve_group(name, by_course ? &v[i].by_course_gid : &v[i].gid[k], e);
                        if (r < 0)
                                return r;
                }
        for (size_t i = 0; i < c->n_packages; i++)
                v[i].top = top_of(&c->packages[i], &v[i]);
        *ret = take_ptr(&v);
        return 0;
}

/* --- AWS credentials --- */

/* czard-fetch reads them, and refuses what others can read; that a person learns it at once, czard looks at
 * owner and mode, and only at these. As a unit of its own czard-fetch has them by systemd. */
static int check_credentials(const char *path, struct error *e)
{
        if (!path)
                return 0;
        _cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
        if (fd < 0)
                return error_set(e, CAUSE_NO_CREDENTIALS, errno, "cannot open credentials %s: %s", path,
                        strerror(errno));
        return check_owner_mode(fd, path, FORBIDDEN_SECRET, e);
}

int startup_credentials(const struct director *d, struct error *e)
{
        if (d->options.fetch_socket)
                return 0;
        const char *dir = getenv("CREDENTIALS_DIRECTORY");
        _cleanup_free_ char *given = dir ? str_printf("%s/czard.s3", dir) : NULL;
        bool overridden = given && access(given, F_OK) == 0;
        for (size_t i = 0; i < d->config->n_packages; i++) {
                const char *path = d->config->packages[i].credentials, *general = d->config->s3.credentials;
                bool own = path && (!general || !streq(path, general));
                int r = own || !overridden ? check_credentials(path, e) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- runtime folder, passphrase --- */

static int make_private_dir(const char *path, mode_t forbidden, struct error *e)
{
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
                return error_set(e, CAUSE_CONFIG, errno, "cannot make %s: %s", path, strerror(errno));
        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return error_set(e, CAUSE_CONFIG, errno, "cannot open %s: %s", path, strerror(errno));
        return check_owner_mode(fd, path, forbidden, e);
}

int startup_run_dir(struct director *d, struct error *e)
{
        const char *given = getenv("RUNTIME_DIRECTORY");
        char user[64], base[3072];
        snprintf(user, sizeof(user), "/run/user/%u", (unsigned)geteuid());
        if (!str_empty(given))
                snprintf(base, sizeof(base), "%s", given);
        else if (access(user, W_OK) == 0)
                snprintf(base, sizeof(base), "%s/czard", user);
        else
                snprintf(base, sizeof(base), "%s/run", d->config->state_dir);
        /* Others may pass through to the control socket, which has a mode of its own. */
        int r = make_private_dir(base, FORBIDDEN_SHARED & ~(mode_t)S_IXOTH, e);
        if (r < 0)
                return r;
        /* Two czards of one user, on two state folders, must not share worker homes. */
        struct stat st;
        if (fstat(d->state_fd, &st) < 0)
                return error_set(e, CAUSE_IO, errno, "%s: %s", d->config->state_dir, strerror(errno));
        snprintf(
                d->run_dir, sizeof(d->run_dir), "%s/%llx", base, (unsigned long long)(st.st_ino ^ st.st_dev));
        pool_remove_homes(d->run_dir);
        pool_sweep_czarctl(base);
        return make_private_dir(d->run_dir, FORBIDDEN_SECRET, e);
}

int startup_passphrase(struct director *d, struct error *e)
{
        const char *dir = getenv("CREDENTIALS_DIRECTORY"), *path = d->config->openpgp.passphrase_file;
        _cleanup_free_ char *credential = dir ? str_printf("%s/czard.passphrase", dir) : NULL;
        if (credential && access(credential, F_OK) == 0) {
                journal_event(EVENT_NOTE, NULL, "passphrase from the systemd credential czard.passphrase%s",
                        path ? "; passphrase_file is not used" : "");
                path = credential;
        }
        return path ? secret_load_line(path, LIMIT_PASSPHRASE, path == credential, &d->passphrase, e) : 0;
}

/* --- ledger against disk --- */

static int reconcile_one(struct director *d, int64_t id, struct error *e)
{
        struct ledger_object o;
        int r = ledger_get(d->ledger, id, &o, e);
        if (r < 0)
                return r;
        if (o.state == OBJECT_FETCHING || o.state == OBJECT_DECRYPTING) {
                record_enter(d->record, &o, OBJECT_NEW);
        } else if (o.state == OBJECT_RETRY && d->options.once) {
                o.attempts = 0;
                o.next_try = 0;
                return ledger_save(d->ledger, &o, e);
        }
        return 0;
}

struct wanted {
        const char *path, *tag;
        bool found;
};

static int is_wanted(struct ledger_object *o, void *arg)
{
        struct wanted *w = arg;
        w->found = o->is_zip && streq(o->path, w->path) && streq(o->etag, w->tag);
        return w->found;
}

/* Only what is still to be finished: else nobody would ever clear it up. */
static bool keep_partial(const char *path, const char *tag, void *arg)
{
        struct director *d = arg;
        struct wanted w = {.path = path, .tag = tag};
        struct ledger_filter f = {.states = OBJECT_STATES_DUE};
        return ledger_each(d->ledger, &f, is_wanted, &w, NULL) < 0 || w.found;
}

int startup_reconcile(struct director *d, struct error *e)
{
        struct ledger_filter f = {
                .states = BIT(OBJECT_FETCHING) | BIT(OBJECT_DECRYPTING) | BIT(OBJECT_RETRY)};
        _cleanup_free_ int64_t *ids = NULL;
        size_t n = 0;
        int r = staging_sweep(d->staging, keep_partial, d, e);
        if (r >= 0)
                r = ledger_ids(d->ledger, &f, &ids, &n, e);
        record_open(d->record);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = reconcile_one(d, ids[i], e);
        record_flush(d->record);
        if (r >= 0)
                latest_point_all(d->config, d->ledger, d->staging, d->record);
        return r;
}
