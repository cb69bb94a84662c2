/* SPDX-License-Identifier: Apache-2.0 */
/* deliver: run and revoke are done by czard-deliver, as its own user; the others look, as czard's. */
#include "deliver_facts.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "launch.h"
#include "owner.h"
#include "runs.h"
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
                return ctl_fail(c, &e);
        union {
                const char **in;
                char *const *out;
        } pun = {.in = argv}; /* execve(2) does not change them */
        execv(file, pun.out);
        return ctl_fail_text("%s: %s", file, strerror(errno));
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
