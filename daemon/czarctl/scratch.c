/* SPDX-License-Identifier: Apache-2.0 */
/* BASE/ctl-PID-WHAT. The remover is a child with nothing but the list of folders and the read end of a pipe:
 * when the pipe ends, so did we. A signal that ends us waits for it, so that nothing is left when we are
 * gone. */
#include "scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>

#include "cleanup.h"
#include "fsx.h"
#include "shown.h"
#include "str.h"

#define PREFIX "ctl-"
#define REMOVE_TRIES 50 /* of 100 ms: an agent may be writing while it ends */

static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
static int keep_open = -1;      /* our end of the pipe */
static volatile pid_t remover;  /* 0: none */
static char base[RUN_DIR_SIZE]; /* "" not chosen yet */

/* --- the place --- */

static bool is_memory(const char *path)
{
        struct statfs fs;
        return statfs(path, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

static void run_folder(const struct ctl *c, char *ret, size_t size)
{
        snprintf(ret, size, "/run/czarctl-%u", (unsigned)ctl_owner(c));
}

void scratch_prepare(const struct ctl *c)
{
        char path[64], runtime[RUN_DIR_SIZE];
        struct stat st;
        ctl_run_dir(c, runtime, sizeof(runtime));
        if (geteuid() != 0 || is_memory(runtime) || !is_memory("/run"))
                return;
        uid_t uid = ctl_owner(c);
        const struct passwd *pw = getpwuid(uid);
        run_folder(c, path, sizeof(path));
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
                return;
        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == 0 && uid != 0)
                (void)!fchown(fd, uid, pw ? pw->pw_gid : (gid_t)-1);
}

/* Ours alone, so that nobody else can put something there. */
static bool is_safe(const char *path)
{
        struct error e = {};
        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd >= 0 && access(path, W_OK) == 0 && check_owner_mode(fd, path, 022, &e) == 0;
}

/* Where memory is; else where czard has its runtime files too. There the worker keeps the key as it is
 * protected in its home. */
static int choose_base(const struct ctl *c, struct error *e)
{
        char runtime[RUN_DIR_SIZE], run[64];
        ctl_run_dir(c, runtime, sizeof(runtime));
        run_folder(c, run, sizeof(run));
        if (mkdir(runtime, 0700) < 0 && errno != EEXIST && !is_safe(run))
                return error_set(e, CAUSE_HELPER, errno, "cannot make %.400s: %s", runtime, strerror(errno));
        const char *best = !is_memory(runtime) && is_memory(run) && is_safe(run) ? run : runtime;
        snprintf(base, sizeof(base), "%s", best);
        return 0;
}

/* --- removing --- */

void scratch_remove(const char *path)
{
        const char *slash = strrchr(path, '/');
        _cleanup_close_ int dir = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r = dir < 0 ? -errno : remove_tree_at(dir, slash ? slash + 1 : path);
        if (r < 0)
                shown_print(stderr, "warning: %s cannot be removed (%s): remove it, it may hold a key\n",
                        path, strerror(-r));
}

/* All of that process; pid 0: of those that live no more. */
static bool sweep(const char *place, pid_t pid)
{
        _cleanup_closedir_ DIR *d = opendir(place);
        bool left = false;
        struct dirent *f;
        int r = 0;
        while (d && (r = dir_next(d, &f)) > 0) {
                const char *rest = str_after(f->d_name, PREFIX);
                if (pid ? rest && atol(rest) == pid : after_dead_pid(f->d_name, PREFIX) != NULL)
                        left |= remove_tree_at(dirfd(d), f->d_name) < 0;
        }
        return r == 0 && !left;
}

/* Also where we would have put them on another day: the place depends on what is mounted, and on czard's
 * running. */
static void sweep_places(const struct ctl *c)
{
        char run[64];
        _cleanup_free_ char *on_disk = str_printf("%s/run", c->config->state_dir);
        run_folder(c, run, sizeof(run));
        const char *places[] = {base, run, on_disk};
        for (size_t i = 0; i < ELEMENTSOF(places); i++)
                if (places[i])
                        (void)sweep(places[i], 0);
}

static void remover_main(pid_t parent, int pipe_end)
{
        char c;
        setsid();
        for (size_t i = 0; i < ELEMENTSOF(ends); i++)
                signal(ends[i], SIG_IGN);
        if (dup2(pipe_end, 0) < 0)
                _exit(1);
        close_from(1);
        while (read(0, &c, 1) < 0 && errno == EINTR)
                ;
        for (unsigned i = 0; i < REMOVE_TRIES && !sweep(base, parent); i++)
                nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        _exit(0);
}

/* Async-signal-safe. Closing the pipe is all that the remover waits for. */
static void let_go(void)
{
        pid_t pid = remover;
        remover = 0;
        if (pid <= 0)
                return;
        close(keep_open);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
}

static void on_end(int number)
{
        let_go();
        signal(number, SIG_DFL);
        raise(number);
}

static int start_remover(struct error *e)
{
        int fds[2];
        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_set(e, CAUSE_HELPER, errno, "pipe: %s", strerror(errno));
        fflush(NULL);
        /* No signal before both are ready: in a terminal it reaches the whole group. */
        sigset_t block, before_fork;
        sigemptyset(&block);
        for (size_t i = 0; i < ELEMENTSOF(ends); i++)
                sigaddset(&block, ends[i]);
        sigprocmask(SIG_BLOCK, &block, &before_fork);
        pid_t parent = getpid(), pid = fork();
        if (pid == 0) {
                close_fd(fds[1]);
                remover_main(parent, fds[0]);
        }
        int err = errno;
        close_fd(fds[0]);
        if (pid < 0) {
                close_fd(fds[1]);
                sigprocmask(SIG_SETMASK, &before_fork, NULL);
                return error_set(e, CAUSE_HELPER, err, "fork: %s", strerror(err));
        }
        keep_open = fds[1];
        remover = pid;
        struct sigaction act = {.sa_handler = on_end, .sa_flags = SA_RESTART}, before;
        for (size_t i = 0; i < ELEMENTSOF(ends); i++)
                if (sigaction(ends[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
                        sigaction(ends[i], &act, NULL);
        sigprocmask(SIG_SETMASK, &before_fork, NULL);
        return 0;
}

int scratch_make(const struct ctl *c, const char *what, char ret[SCRATCH_SIZE], struct error *e)
{
        int r = *base ? 0 : choose_base(c, e);
        if (r == 0 && remover == 0) {
                sweep_places(c);
                r = start_remover(e);
        }
        if (r < 0)
                return r;
        static unsigned serial;
        snprintf(ret, SCRATCH_SIZE, "%s/" PREFIX "%ld-%s%u", base, (long)getpid(), what, serial++);
        if (mkdir(ret, 0700) < 0) {
                r = error_set(e, CAUSE_HELPER, errno, "cannot make %.400s: %s", ret, strerror(errno));
                *ret = 0;
        }
        return r;
}

void scratch_done(void)
{
        let_go();
}
