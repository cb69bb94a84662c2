/* SPDX-License-Identifier: Apache-2.0 */
/* The first czard-decrypt of a pool takes the key out of the admin's GnuPG home into a home of its own on the
 * runtime file system, and makes a template of that, to which no worker can write; later ones copy the
 * template. A home is removed once its worker is reaped. One that says nothing for SILENCE_USEC while it
 * should work, or something that is no answer to what it was asked, is killed with its process group. From
 * then on it is not heard any more. */
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "fsx.h"
#include "helper.h"
#include "journal.h"
#include "launch.h"
#include "str.h"

/* A working worker reports progress every second, also while it waits for input. */
#define SILENCE_USEC (60 * USEC_PER_SEC)
#define WORKERS_MOST 16

/* --- homes --- */

/* They hold copies of a key, and outlive the worker, and its pool, until its process is reaped. */
struct homes {
        char own[PATH_MAX];      /* "" none */
        char template[PATH_MAX]; /* that it makes as the first one; "" none, or it is the pool's */
};

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

static void on_reaped(void *arg)
{
        struct homes *h = arg;
        if (*h->own)
                homes_remove(h->own);
        if (*h->template)
                homes_remove(h->template);
        free(h);
}

static int make_home(const struct worker_spec *spec, const char *kind, char ret[PATH_MAX], struct error *e)
{
        snprintf(ret, PATH_MAX, "%s/%s%u-%u", spec->run_dir, kind, spec->number, spec->serial);
        if (mkdir(ret, 0700) == 0)
                return 0;
        int r = error_set(e, CAUSE_HELPER, errno, "cannot make %s: %s", ret, strerror(errno));
        *ret = 0; /* it is not ours */
        return r;
}

static int make_homes(struct homes *h, const struct worker_spec *spec, struct error *e)
{
        if (!spec->run_dir)
                return 0;
        int r = make_home(spec, spec->setup.reference ? "r" : "w", h->own, e);
        return r < 0 || !spec->setup.import ? r : make_home(spec, "t", h->template, e);
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

/* --- how many --- */

/* Of cpu.max: "$MAX $PERIOD", $MAX may be "max" (kernel, Documentation/admin-guide/cgroup-v2.rst). */
static unsigned quota_of(const char *group)
{
        _cleanup_free_ char *file = str_printf("/sys/fs/cgroup%s/cpu.max", group);
        _cleanup_free_ char *text = NULL;
        unsigned long long most, period;
        if (!file || read_file_at(AT_FDCWD, file, 128, &text, NULL) < 0 ||
                sscanf(text, "%llu %llu", &most, &period) != 2 || period == 0)
                return UINT_MAX;
        return (unsigned)MAX((most + period - 1) / period, 1ULL);
}

static unsigned quota(void)
{
        _cleanup_free_ char *text = NULL;
        if (read_file_at(AT_FDCWD, "/proc/self/cgroup", 64 * KIB, &text, NULL) < 0)
                return UINT_MAX;
        char *group = strstr(text, "0::/");
        if (!group)
                return UINT_MAX;
        group += strlen("0::");
        group[strcspn(group, "\n")] = 0;
        unsigned least = UINT_MAX;
        /* A limit of a slice above counts too. */
        for (char *slash; *group; *slash = 0) {
                least = MIN(least, quota_of(group));
                slash = strrchr(group, '/');
                if (!slash)
                        break;
        }
        return least;
}

/* CPUs by affinity and by the quota of our control group, rounded up; at least 1. */
static unsigned cpus_allowed(void)
{
        cpu_set_t set;
        int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
        return MIN((unsigned)MAX(n, 1), quota());
}

unsigned workers_wanted(const struct config *config)
{
        return config->workers == CONFIG_AUTO ? MIN(cpus_allowed(), WORKERS_MOST) : config->workers;
}

/* --- the process --- */

void worker_break(struct worker *w, const char *why)
{
        if (w->broken.cause != CAUSE_NONE)
                return;
        error_set(&w->broken, CAUSE_HELPER, EPROTO, "%s: killed", why);
        journal_event(EVENT_HELPER_KILLED, &(struct journal_fields){.cause = CAUSE_HELPER},
                "%s %s; its job is tried again", w->program, w->broken.text);
        helper_kill(w->helper);
}

void worker_look(struct worker *w)
{
        if (uv_now(w->loop) * USEC_PER_MSEC > w->heard_usec + SILENCE_USEC)
                worker_break(w, "said nothing for a minute");
}

static void on_message(void *arg, struct message *m)
{
        struct worker *w = arg;
        struct error e = {};
        if (w->broken.cause != CAUSE_NONE)
                return;
        w->heard_usec = uv_now(w->loop) * USEC_PER_MSEC;
        if (owed_take(&w->owed, m, &e) < 0)
                worker_break(w, e.text);
        else if (m->type == PROTO_READY)
                w->ops->ready(w, &m->ready);
        else
                w->ops->message(w, m);
}

static void on_gone(void *arg, const struct error *e)
{
        struct worker *w = arg;
        struct error how;
        bool broken = w->broken.cause != CAUSE_NONE;
        if (!broken)
                journal_event(EVENT_HELPER_DIED, &(struct journal_fields){.cause = CAUSE_HELPER},
                        "%s %s; its job is tried again", w->program, e->text);
        error_set(&how, CAUSE_HELPER, EIO, "%s %s", w->program, broken ? w->broken.text : e->text);
        w->ops->gone(w, &how);
}

int worker_send(struct worker *w, struct message *m)
{
        if (w->broken.cause != CAUSE_NONE)
                return -EPIPE;
        if (w->owed.n == OWED_MAX)
                return -ENOBUFS;
        m->id = ++*w->last_id != 0 ? *w->last_id : ++*w->last_id;
        int r = helper_send(w->helper, m);
        if (r >= 0)
                owed_add(&w->owed, m);
        else if (r == -EPIPE)
                worker_break(w, "does not read its channel");
        return r;
}

static int send_setup(struct worker *w, const struct worker_spec *spec)
{
        struct proto_setup setup = spec->setup;
        struct message m;
        setup.home = w->homes->own;
        setup.template = w->homes->template;
        int r = setup_message(&setup, spec->passphrase, &m);
        if (r < 0)
                return r;
        r = worker_send(w, &m);
        message_done(&m);
        return r;
}

int worker_start(struct worker *w, const struct worker_spec *spec, struct error *e)
{
        struct homes *homes = calloc(1, sizeof(*homes));
        int r = homes ? make_homes(homes, spec, e) : error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
        if (r >= 0)
                r = helper_start(w->loop, spec->program, NULL, on_message, on_gone, w, &w->helper, e);
        if (r < 0) {
                if (homes)
                        on_reaped(homes);
                return r;
        }
        helper_when_reaped(w->helper, on_reaped, homes);
        w->program = spec->program;
        w->homes = homes;
        w->heard_usec = uv_now(w->loop) * USEC_PER_MSEC;
        if (spec->run_dir && send_setup(w, spec) < 0)
                helper_kill(w->helper); /* on_gone() tells */
        return 0;
}

void worker_free(struct worker *w, bool well)
{
        /* One that is well ends by itself, and its gpg-agent with it. */
        w->helper = well && w->broken.cause == CAUSE_NONE ? helper_retire(w->helper) : helper_free(w->helper);
        free(w);
}

void worker_take_template(struct worker *w, char ret[PATH_MAX])
{
        memcpy(ret, w->homes->template, PATH_MAX);
        *w->homes->template = 0;
}
