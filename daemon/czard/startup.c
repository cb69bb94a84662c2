/* SPDX-License-Identifier: Apache-2.0 */
#include "startup.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "cleanup.h"
#include "fsx.h"
#include "history.h"
#include "journal.h"
#include "ledger_rebuild.h"
#include "limits.h"
#include "members.h"
#include "str.h"
#include "timespan.h"
#include "worker.h"

#define FORBIDDEN_SHARED 007
#define FORBIDDEN_SECRET 077
/* The record of ten years takes some minutes, and a start that is given up would begin anew the next time. */
#define REBUILD_MOST_USEC USEC_PER_HOUR

/* --- state folder --- */

/* A disk that is full or read-only is no fault of the configuration. */
static enum cause state_cause(int err)
{
        return err == EROFS || err == ENOSPC || err == EDQUOT || err == EIO ? CAUSE_IO : CAUSE_CONFIG;
}

static int open_state_dir(const char *path, int *ret_fd, struct error *e)
{
        if (mkdir(path, 0750) < 0 && errno != EEXIST)
                return error_set(
                        e, state_cause(errno), errno, "cannot make state_dir %s: %s", path, strerror(errno));
        *ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (*ret_fd < 0)
                return error_set(
                        e, CAUSE_CONFIG, errno, "cannot open state_dir %s: %s", path, strerror(errno));
        return check_owner_mode(*ret_fd, path, FORBIDDEN_SHARED, e);
}

static int take_lock(const char *path, int state_fd, int *ret_fd, struct error *e)
{
        *ret_fd = openat(state_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
        if (*ret_fd < 0)
                return error_set(
                        e, state_cause(errno), errno, "cannot open %s/lock: %s", path, strerror(errno));
        char pid[32] = "";
        if (flock(*ret_fd, LOCK_EX | LOCK_NB) < 0) {
                ssize_t n = pread(*ret_fd, pid, sizeof(pid) - 1, 0);
                pid[n > 0 ? strcspn(pid, "\n") : 0] = 0;
                return error_set(e, CAUSE_LOCKED, EBUSY,
                        "czard runs already on %s (PID %s); to fetch now use: czarctl resync --wait", path,
                        *pid ? pid : "unknown");
        }
        int n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
        if (ftruncate(*ret_fd, 0) < 0 || pwrite(*ret_fd, pid, (size_t)n, 0) != n)
                return error_set(
                        e, state_cause(errno), errno, "cannot write %s/lock: %s", path, strerror(errno));
        return 0;
}

/* --- ledger --- */

/* The ledger is an index: lost or damaged it is made anew from audit.jsonl, and nothing that is staged is
 * fetched again. A ledger that does not know its staging volume has never been used: it is a new one, also
 * when a crash came between its making and its rebuilding. */

static void note(int priority, enum cause cause, const char *text)
{
        journal_event(EVENT_NOTE, &(struct journal_fields){.priority = priority, .cause = cause}, "%s", text);
}

/* 0, -EUCLEAN when it is damaged, -errno. */
static int open_checked(const char *state_dir, struct ledger **ret, struct error *e)
{
        int r = ledger_open(state_dir, ret, e);
        if (r < 0)
                return r;
        r = ledger_check(*ret, e);
        if (r < 0)
                *ret = ledger_free(*ret);
        return r;
}

static int set_aside(const char *state_dir, const struct error *why, struct error *e)
{
        char text[700];
        snprintf(text, sizeof(text),
                "the ledger is damaged (%s): it is moved away and rebuilt from audit.jsonl", why->text);
        note(LOG_WARNING, CAUSE_IO, text);
        return ledger_set_aside(state_dir, e);
}

static int rebuild(struct ledger *ledger, int state_fd, uint64_t max_name, struct error *e)
{
        struct ledger_rebuilt done;
        struct error broken = {};
        char text[700];
        uint64_t lines;
        sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%llu", (unsigned long long)REBUILD_MOST_USEC);
        if (audit_verify(state_fd, NULL, NULL, &lines, &broken) == -EBADMSG) {
                snprintf(text, sizeof(text), "%s; the ledger is rebuilt from it all the same", broken.text);
                note(LOG_ERR, broken.cause, text);
        }
        int r = ledger_rebuild(ledger, state_fd, max_name, &done, e);
        if (r < 0)
                return error_prefix(e, "rebuilding the ledger");
        snprintf(text, sizeof(text),
                "there was no ledger: rebuilt from %llu lines of audit.jsonl (%llu of them unreadable): %llu "
                "objects, %llu members",
                (unsigned long long)done.lines, (unsigned long long)done.unreadable,
                (unsigned long long)done.objects, (unsigned long long)done.members);
        note(LOG_WARNING, CAUSE_NONE, text);
        return 0;
}

static int open_ledger(const struct config *config, int state_fd, const struct audit *audit,
        struct ledger **ret, struct error *e)
{
        struct error damage = {};
        int r = open_checked(config->state_dir, ret, &damage);
        if (r == -EUCLEAN) {
                r = set_aside(config->state_dir, &damage, e);
                if (r == 0)
                        r = open_checked(config->state_dir, ret, e);
        } else if (r < 0 && e) {
                *e = damage;
        }
        if (r == 0)
                r = ledger_is_lost(*ret, audit, e);
        return r == 1 ? rebuild(*ret, state_fd, config->limits.max_name, e) : r;
}

int startup_ledger_damaged(const struct config *config, struct ledger *ledger, struct error *e)
{
        if (ledger_check(ledger, e) != -EUCLEAN)
                return 0;
        /* The connection keeps the file it has open; nothing is written to it any more that counts. */
        if (ledger_set_aside(config->state_dir, e) < 0)
                return -EUCLEAN;
        error_set(e, CAUSE_IO, EUCLEAN,
                "the ledger is damaged and was moved away: it is rebuilt at the next start");
        return -EUCLEAN;
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

static int startup_state(const struct config *c, struct startup *s, struct error *e)
{
        int r = open_state_dir(c->state_dir, &s->state_fd, e);
        if (r >= 0)
                r = take_lock(c->state_dir, s->state_fd, &s->lock_fd, e);
        if (r >= 0)
                r = audit_open(s->state_fd, &s->audit, e);
        if (r < 0)
                return r;
        journal_audit_head(audit_durable_head(s->audit));
        r = open_ledger(c, s->state_fd, s->audit, &s->ledger, e);
        if (r < 0)
                return r;
        sweep_spill_files(s->state_fd);
        r = members_set_folder(c->state_dir, e);
        if (r >= 0)
                r = history_open(s->ledger, s->audit, s->state_fd, c->limits.max_name, e);
        if (r == 1)
                journal_event(EVENT_AUDIT_CUT, &(struct journal_fields){.cause = e->cause},
                        "%s; czard goes on, and the record says so from here on: compare it with the head "
                        "that was kept elsewhere (czarctl verify --audit --head)",
                        e->text);
        return MIN(r, 0);
}

/* --- staging --- */

static int check_device(const struct staging *staging, const struct config_staging *c, struct error *e)
{
        char detail[256] = "";
        enum encrypted encrypted = staging_encrypted(staging, detail, sizeof(detail));
        enum device_policy policy = c->encrypted_device;
        if (encrypted == ENCRYPTED_YES || policy == DEVICE_IGNORE)
                return 0;
        const char *what = encrypted == ENCRYPTED_NO ? "is not on an encrypted device"
                                                     : "may not be on an encrypted device: cannot tell";
        if (policy == DEVICE_REQUIRE)
                return error_set(e, CAUSE_STAGING, EPERM,
                        "%s %s (%s); put it on LUKS, or set [staging] encrypted_device", c->path, what,
                        detail);
        journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING},
                "%s %s (%s); edX asks for full-disk encryption", c->path, what, detail);
        return 0;
}

/* An empty disk is not believed: what the ledger knows must be there, or the volume is not mounted. */
static int check_identity(
        struct staging *staging, const char *path, const char *known, char *ret_id, struct error *e)
{
        char found[STAGING_ID_SIZE];
        int r = staging_expect_id(staging, known, "mount it; if it is a new disk: czarctl adopt", found, e);
        if (r < 0)
                return r;
        if (*found) {
                memcpy(ret_id, found, sizeof(found));
        } else {
                r = staging_make_id(staging, ret_id, e);
                if (r == -ENOTEMPTY)
                        return error_set(e, CAUSE_STAGING, ENOTEMPTY,
                                "%s is not empty and has no .czard-id: choose an empty folder, or czarctl "
                                "adopt",
                                path);
        }
        return MIN(r, 0);
}

/* Without leases czard still compares sizes. */
static void try_leases(struct staging *staging, const char *path)
{
        struct error e = {};
        if (staging_try_leases(staging, &e) < 0)
                journal_event(EVENT_NOTE, &(struct journal_fields){.priority = LOG_WARNING, .cause = e.cause},
                        "%s: %s: czard cannot make sure that a finished file is not written to any more, and "
                        "goes on without; see FOR THE AUDITOR in czard(8)",
                        path, e.text);
}

static int open_volume(const struct config_staging *c, struct startup *s, struct error *e)
{
        char known[STAGING_ID_SIZE];
        int r = ledger_meta_get(s->ledger, "staging-id", known, sizeof(known), e);
        if (r < 0)
                return r;
        if (!*known && mkdir(c->path, 0700) >= 0 && chmod(c->path, c->dir_mode) < 0)
                return error_set(e, CAUSE_STAGING, errno, "chmod %s: %s", c->path, strerror(errno));
        r = staging_open(c->path, c->file_mode, c->dir_mode, &s->staging, e);
        if (r >= 0)
                r = check_identity(s->staging, c->path, known, s->staging_id, e);
        if (r >= 0)
                r = ledger_meta_set(s->ledger, "staging-id", s->staging_id, e);
        if (r >= 0)
                r = check_device(s->staging, c, e);
        if (r >= 0)
                try_leases(s->staging, c->path);
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

static int check_all_credentials(const struct config *c, struct error *e)
{
        const char *dir = getenv("CREDENTIALS_DIRECTORY");
        _cleanup_free_ char *given = dir ? str_printf("%s/czard.s3", dir) : NULL;
        bool overridden = given && access(given, F_OK) == 0;
        for (size_t i = 0; i < c->n_packages; i++) {
                const char *path = c->packages[i].credentials, *general = c->s3.credentials;
                bool own = path && (!general || !streq(path, general));
                int r = own || !overridden ? check_credentials(path, e) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- runtime folder, passphrase --- */

/* What a czard or czarctl that was killed left: also where it ran with another runtime folder than we. The
 * lock of state_dir is ours, so no czard lives in there. In its unit czard does not see /run/czarctl-UID:
 * the next command that makes a folder there sweeps it. */
static void sweep_run_dirs(const char *base, const char *state_dir, const char *name)
{
        _cleanup_free_ char *on_disk = str_printf("%s/run", state_dir);
        char commands[64];
        snprintf(commands, sizeof(commands), "/run/czarctl-%u", (unsigned)geteuid());
        const char *places[] = {base, on_disk, commands};
        for (size_t i = 0; on_disk && i < ELEMENTSOF(places); i++) {
                _cleanup_free_ char *old = str_printf("%s/%s", places[i], name);
                if (old)
                        homes_remove(old);
                homes_sweep_czarctl(places[i]);
        }
}

static int make_private_dir(const char *path, mode_t forbidden, struct error *e)
{
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
                return error_set(e, CAUSE_CONFIG, errno, "cannot make %s: %s", path, strerror(errno));
        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return error_set(e, CAUSE_CONFIG, errno, "cannot open %s: %s", path, strerror(errno));
        return check_owner_mode(fd, path, forbidden, e);
}

static int make_run_dir(const char *state_dir, struct startup *s, struct error *e)
{
        const char *given = getenv("RUNTIME_DIRECTORY");
        char user[64], base[3072];
        snprintf(user, sizeof(user), "/run/user/%u", (unsigned)geteuid());
        if (!str_empty(given))
                snprintf(base, sizeof(base), "%s", given);
        else if (access(user, W_OK) == 0)
                snprintf(base, sizeof(base), "%s/czard", user);
        else
                snprintf(base, sizeof(base), "%s/run", state_dir);
        /* Others may pass through to the control socket, which has a mode of its own. */
        int r = make_private_dir(base, FORBIDDEN_SHARED & ~(mode_t)S_IXOTH, e);
        if (r < 0)
                return r;
        /* Two czards of one user, on two state folders, must not share worker homes. */
        struct stat st;
        if (fstat(s->state_fd, &st) < 0)
                return error_set(e, CAUSE_IO, errno, "%s: %s", state_dir, strerror(errno));
        char name[32];
        snprintf(name, sizeof(name), "%llx", (unsigned long long)(st.st_ino ^ st.st_dev));
        snprintf(s->run_dir, sizeof(s->run_dir), "%s/%s", base, name);
        sweep_run_dirs(base, state_dir, name);
        return make_private_dir(s->run_dir, FORBIDDEN_SECRET, e);
}

static int load_passphrase(const char *path, struct secret *ret, struct error *e)
{
        const char *dir = getenv("CREDENTIALS_DIRECTORY");
        _cleanup_free_ char *credential = dir ? str_printf("%s/czard.passphrase", dir) : NULL;
        if (credential && access(credential, F_OK) == 0) {
                journal_event(EVENT_NOTE, NULL, "passphrase from the systemd credential czard.passphrase%s",
                        path ? "; passphrase_file is not used" : "");
                path = credential;
        }
        return path ? secret_load_line(path, LIMIT_PASSPHRASE, path == credential, ret, e) : 0;
}

/* --- all of it --- */

int startup_open(const struct config *c, bool own_fetch, struct startup *s, struct error *e)
{
        int r = startup_state(c, s, e);
        if (r >= 0)
                r = open_volume(&c->staging, s, e);
        if (r >= 0)
                r = make_run_dir(c->state_dir, s, e);
        if (r >= 0)
                r = load_passphrase(c->openpgp.passphrase_file, &s->passphrase, e);
        if (r >= 0 && own_fetch)
                r = check_all_credentials(c, e);
        return r;
}

void startup_done(struct startup *s)
{
        if (*s->run_dir)
                homes_remove(s->run_dir);
        s->staging = staging_free(s->staging);
        journal_audit_head(NULL);
        s->audit = audit_free(s->audit);
        s->ledger = ledger_free(s->ledger);
        secret_done(&s->passphrase);
        s->lock_fd = close_fd(s->lock_fd);
        s->state_fd = close_fd(s->state_fd);
}

/* --- ledger against disk --- */

static int reconcile_one(
        struct ledger *ledger, struct recorder *record, bool once, int64_t id, struct error *e)
{
        struct ledger_object o;
        int r = ledger_get(ledger, id, &o, e);
        if (r < 0)
                return r;
        if (o.state == OBJECT_FETCHING || o.state == OBJECT_DECRYPTING) {
                record_enter(record, &o, OBJECT_NEW);
        } else if (o.state == OBJECT_RETRY && once) {
                o.attempts = 0;
                o.next_try = 0;
                return ledger_save(ledger, &o, e);
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
        struct wanted w = {.path = path, .tag = tag};
        struct ledger_filter f = {.states = OBJECT_STATES_DUE};
        return ledger_each(arg, &f, is_wanted, &w, NULL) < 0 || w.found;
}

int startup_reconcile(
        struct ledger *ledger, struct staging *staging, struct recorder *record, bool once, struct error *e)
{
        struct ledger_filter f = {
                .states = BIT(OBJECT_FETCHING) | BIT(OBJECT_DECRYPTING) | BIT(OBJECT_RETRY)};
        _cleanup_free_ int64_t *ids = NULL;
        size_t n = 0;
        int r = staging_sweep(staging, keep_partial, ledger, e);
        if (r >= 0)
                r = ledger_ids(ledger, &f, &ids, &n, e);
        record_open(record);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = reconcile_one(ledger, record, once, ids[i], e);
        record_flush(record);
        return r;
}

/* --- reload --- */

static void swap(char **a, char **b)
{
        char *t = *a;
        *a = *b;
        *b = t;
}

/* A package that uses the general GnuPG home stays with the one that is in force. */
static int keep_homedir(const struct config *old, struct config *fresh)
{
        for (size_t i = 0; i < fresh->n_packages; i++) {
                struct config_package *p = &fresh->packages[i];
                if (!streq(p->homedir, fresh->openpgp.homedir))
                        continue;
                char *s = strdup(old->openpgp.homedir);
                if (!s)
                        return -ENOMEM;
                free(p->homedir);
                p->homedir = s;
        }
        return 0;
}

/* What needs a restart keeps its old value in the new configuration. */
static int carry_over(struct config *old, struct config *fresh)
{
        int r = keep_homedir(old, fresh);
        if (r < 0)
                return r;
        swap(&old->state_dir, &fresh->state_dir);
        swap(&old->socket, &fresh->socket);
        swap(&old->openpgp.homedir, &fresh->openpgp.homedir);
        swap(&old->openpgp.passphrase_file, &fresh->openpgp.passphrase_file);
        swap(&old->staging.path, &fresh->staging.path);
        fresh->staging.file_mode = old->staging.file_mode;
        fresh->staging.dir_mode = old->staging.dir_mode;
        fresh->staging.encrypted_device = old->staging.encrypted_device;
        return 0;
}

int startup_reload(const char *path, struct config *old, struct config **ret,
        struct package_context **ret_contexts, const char **ret_restart, struct error *e)
{
        _cleanup_(cleanup_config) struct config *fresh = NULL;
        _cleanup_free_ struct package_context *contexts = NULL;
        int r = config_load(path, &fresh, e, NULL);
        if (r >= 0)
                r = startup_groups(fresh, &contexts, e);
        if (r < 0)
                return r;
        const char *restart = config_needs_restart(old, fresh);
        r = carry_over(old, fresh);
        if (r < 0)
                return error_set(e, CAUSE_INTERNAL, -r, "out of memory");
        *ret_restart = restart;
        *ret_contexts = take_ptr(&contexts);
        *ret = take_ptr(&fresh);
        return 0;
}
