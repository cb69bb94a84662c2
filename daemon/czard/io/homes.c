/* SPDX-License-Identifier: Apache-2.0 */
/* The folders of workers on the runtime file system: they hold copies of a key. */
#include "homes.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "fsx.h"
#include "journal.h"
#include "str.h"

void homes_remove(const char *path)
{
        char parent[PATH_MAX];
        const char *slash = strrchr(path, '/');
        if (!slash)
                return;
        snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
        _cleanup_close_ int dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r = dir >= 0 ? remove_tree_at(dir, slash + 1) : errno == ENOENT ? 0 : -errno;
        if (r < 0)
                journal_event(EVENT_NOTE,
                        &(struct journal_fields){.priority = LOG_ERR, .cause = cause_from_errno(-r)},
                        "%s, a worker's copy of the key, cannot be removed: %s; stop czard and remove it",
                        path, strerror(-r));
}

void homes_free(struct homes *h)
{
        if (*h->own)
                homes_remove(h->own);
        if (*h->template)
                homes_remove(h->template);
        free(h);
}

static int make_home(const struct homes_spec *spec, const char *kind, char ret[PATH_MAX], struct error *e)
{
        snprintf(ret, PATH_MAX, "%s/%s%u-%u", spec->run_dir, kind, spec->number, spec->serial);
        if (mkdir(ret, 0700) == 0)
                return 0;
        int r = error_set(e, CAUSE_HELPER, errno, "cannot make %s: %s", ret, strerror(errno));
        *ret = 0; /* it is not ours */
        return r;
}

int homes_make(struct homes *h, const struct homes_spec *spec, struct error *e)
{
        int r = make_home(spec, spec->is_reference ? "r" : "w", h->own, e);
        return r < 0 || !spec->template ? r : make_home(spec, "t", h->template, e);
}

void homes_sweep_czarctl(const char *runtime_dir)
{
        _cleanup_closedir_ DIR *d = opendir(runtime_dir);
        for (struct dirent *f; d && dir_next(d, &f) > 0;) {
                if (!after_dead_pid(f->d_name, "ctl-"))
                        continue;
                _cleanup_free_ char *path = str_printf("%s/%s", runtime_dir, f->d_name);
                if (path)
                        homes_remove(path);
        }
}
