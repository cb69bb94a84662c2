/* SPDX-License-Identifier: Apache-2.0 */
/* demo: a script that shows czard at work on data of its own; it needs no configuration and touches none. */
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "launch.h"
#include "owner.h"

/* From sbin of the same prefix, or beside us in a build folder. */
static int find_czard(const char *czarctl, char *ret, size_t size)
{
        static const char *const places[] = {"../sbin/czard", "../czard/czard", "czard"};
        const char *slash = strrchr(czarctl, '/');
        for (size_t i = 0; slash && i < ELEMENTSOF(places); i++) {
                snprintf(ret, size, "%.*s/%s", (int)(slash - czarctl), czarctl, places[i]);
                if (access(ret, X_OK) == 0)
                        return 0;
        }
        return -ENOENT;
}

/* Nothing here needs root. With czard's groups, for its control socket belongs to one of them. */
static int become_service(struct error *e)
{
        const struct passwd *pw = geteuid() == 0 ? getpwnam("czard") : NULL;
        if (!pw)
                return 0;
        return initgroups(pw->pw_name, pw->pw_gid) < 0 || chdir("/") < 0
                       ? -errno
                       : owner_give_up(pw->pw_uid, pw->pw_gid, e);
}

int run_demo(struct ctl *c)
{
        char script[PATH_MAX], self[PATH_MAX], czard[PATH_MAX + 16];
        struct error e = {};
        (void)c;
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        self[n > 0 ? n : 0] = 0;
        if (launch_find("demo", script, sizeof(script)) < 0 || find_czard(self, czard, sizeof(czard)) < 0)
                return ctl_fail_text("the demonstration is not there: reinstall czard");
        int r = become_service(&e);
        if (r < 0)
                return ctl_fail_text("cannot become the user of czard: %s", strerror(-r));
        execl(script, script, czard, self, (char *)NULL);
        return ctl_fail_text("%s: %s", script, strerror(errno));
}
