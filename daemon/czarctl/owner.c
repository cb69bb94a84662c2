/* SPDX-License-Identifier: Apache-2.0 */
/* Giving up root, and the keeper. Who owns state_dir may be in an attacker's hands: nothing here follows his
 * links, and what runs as him cannot reach root's terminal. The keeper parses nothing: a request is the
 * number of an output that was announced before the rights were given up, and a descriptor. */
#include "owner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <linux/magic.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "credstore.h"
#include "fsx.h"
#include "sandbox.h"
#include "str.h"

#define OUTPUTS_MOST 8
#define OUTPUT_BYTES_MOST (64 * GIB)

struct owner_output {
        char path[PATH_MAX];
        enum output_kind kind;
        mode_t mode;
};

struct owner {
        struct owner_output outputs[OUTPUTS_MOST];
        size_t n;
        const char *state_dir;
        uid_t uid; /* of state_dir, -1: not known */
        gid_t gid;
        int keeper; /* socket, -1: none; we do it ourselves */
};

struct owner_answer {
        int err; /* positive */
        char where[TEXT_SIZE], text[TEXT_SIZE];
};

static struct owner *owner_of(struct ctl *c)
{
        if (!c->owner) {
                c->owner = calloc(1, sizeof(*c->owner));
                if (c->owner)
                        *c->owner = (struct owner){.keeper = -1,
                                .state_dir = c->config->state_dir,
                                .uid = (uid_t)-1,
                                .gid = (gid_t)-1};
        }
        return c->owner;
}

struct owner *owner_free(struct owner *o)
{
        if (o)
                close_fd(o->keeper);
        free(o);
        return NULL;
}

int owner_output(struct ctl *c, const char *path, enum output_kind kind, mode_t mode, int *ret)
{
        struct owner *o = owner_of(c);
        if (!o || o->n == OUTPUTS_MOST || strlen(path) >= PATH_MAX)
                return ctl_fail_text("out of memory");
        if (ret)
                *ret = (int)o->n;
        struct owner_output *out = &o->outputs[o->n++];
        *out = (struct owner_output){.kind = kind, .mode = mode};
        snprintf(out->path, sizeof(out->path), "%s", path);
        return 0;
}

/* --- doing it --- */

static int copy_fd(int from, int to)
{
        char buf[64 * 1024];
        off_t at = 0;
        for (;;) {
                ssize_t n = pread(from, buf, sizeof(buf), at);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : 0;
                int r = write_all(to, buf, (size_t)n);
                at += n;
                if (r < 0)
                        return r;
                if ((uint64_t)at > OUTPUT_BYTES_MOST)
                        return -EFBIG;
        }
}

enum { LINKS_MOST = 40 };

/* May somebody else than root put another thing where this one is? */
static bool is_roots(int dir)
{
        struct stat st;
        return fstat(dir, &st) == 0 && st.st_uid == 0 && (!(st.st_mode & 022) || (st.st_mode & S_ISVTX));
}

/* Puts where the link leads in front of what is left of the path: 0 or -errno. */
static int follow_link(int dir, const char *name, char rest[PATH_MAX])
{
        char target[PATH_MAX], all[2 * PATH_MAX];
        struct stat st;
        ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);
        if (n < 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (st.st_uid != 0 || !is_roots(dir))
                return -ELOOP;
        target[n] = 0;
        if (snprintf(all, sizeof(all), "%s/%s", target, rest) >= PATH_MAX)
                return -ENAMETOOLONG;
        memcpy(rest, all, strlen(all) + 1);
        return 0;
}

int owner_open_folder(const char *path)
{
        char rest[PATH_MAX], *p = rest;
        unsigned links = 0;
        if (snprintf(rest, sizeof(rest), "%s", path) >= PATH_MAX)
                return -ENAMETOOLONG;
        _cleanup_close_ int dir = open(*rest == '/' ? "/" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        while (dir >= 0 && *(p += strspn(p, "/"))) {
                char name[NAME_MAX + 1];
                size_t n = strcspn(p, "/");
                if (n > NAME_MAX)
                        return -ENAMETOOLONG;
                memcpy(name, p, n);
                name[n] = 0;
                p += n;
                int next = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (next >= 0) {
                        close_fd(dir);
                        dir = next;
                        continue;
                }
                if (errno != ENOTDIR && errno != ELOOP)
                        return -errno;
                memmove(rest, p, strlen(p) + 1);
                p = rest;
                int r = ++links > LINKS_MOST ? -ELOOP : follow_link(dir, name, rest);
                if (r < 0)
                        return r == -EINVAL ? -ENOTDIR : r;
                if (*rest == '/') {
                        close_fd(dir);
                        dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
                }
        }
        int ret = dir < 0 ? -1 : openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return ret < 0 ? -errno : ret;
}

/* A regular file that has no name elsewhere, or what root itself put where nobody else could: a pipe, as
 * well. */
static bool may_be_read(int dir, const struct stat *st)
{
        return (is_roots(dir) && st->st_uid == 0) || (S_ISREG(st->st_mode) && st->st_nlink == 1);
}

/* Its links stand for what a process has open, whatever their text says. */
static bool is_proc(int dir)
{
        struct statfs fs;
        return fstatfs(dir, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* One step: what path names, or -EAGAIN and in path where the link that it names leads. */
static int open_or_follow(char path[PATH_MAX])
{
        char folder[PATH_MAX], rest[PATH_MAX] = "", again[2 * PATH_MAX], self[FD_PATH_SIZE];
        struct stat st;
        memcpy(folder, path, sizeof(folder));
        const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
        folder[slash ? slash + 1 - path : 0] = 0;
        _cleanup_close_ int dir = owner_open_folder(*folder ? folder : ".");
        if (dir < 0)
                return dir;
        _cleanup_close_ int at = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (at < 0 || fstat(at, &st) < 0)
                return -errno;
        if (!S_ISLNK(st.st_mode)) {
                if (!may_be_read(dir, &st))
                        return -EPERM;
                int fd = open(fd_path(at, self), O_RDONLY | O_NOCTTY | O_CLOEXEC);
                return fd < 0 ? -errno : fd;
        }
        int r = follow_link(dir, name, rest);
        if (r < 0)
                return r;
        if (is_proc(dir)) {
                int fd = openat(dir, name, O_RDONLY | O_NOCTTY | O_CLOEXEC);
                if (fd >= 0 || errno != EISDIR)
                        return fd < 0 ? -errno : fd;
        }
        rest[strlen(rest) - 1] = 0; /* the slash in front of nothing */
        if (snprintf(again, sizeof(again), "%s%s", *rest == '/' ? "" : folder, rest) >= PATH_MAX)
                return -ENAMETOOLONG;
        memcpy(path, again, strlen(again) + 1);
        return -EAGAIN;
}

int owner_open_input(const char *path, struct error *e)
{
        char at[PATH_MAX];
        int fd = snprintf(at, sizeof(at), "%s", path) >= PATH_MAX ? -ENAMETOOLONG : -EAGAIN;
        if (fd == -EAGAIN && geteuid() != 0) {
                fd = open(path, O_RDONLY | O_NOCTTY | O_CLOEXEC);
                fd = fd < 0 ? -errno : fd;
        }
        for (unsigned links = 0; fd == -EAGAIN; links++)
                fd = links < LINKS_MOST ? open_or_follow(at) : -ELOOP;
        if (fd == -ELOOP)
                return owner_refuse_link(path, "read", e);
        if (fd == -EPERM)
                return error_set(e, CAUSE_INTERNAL, EPERM,
                        "cannot read %.400s: it is no file of one name, and not root's in a folder of "
                        "root; copy it to where only root can write",
                        path);
        return fd < 0 ? error_set(e, CAUSE_INTERNAL, -fd, "%.400s: %s", path, strerror(-fd)) : fd;
}

int owner_refuse_link(const char *path, const char *what, struct error *e)
{
        return error_set(e, CAUSE_INTERNAL, ELOOP,
                "cannot %s %.400s: a link in a folder of somebody else than root is on the way, and root "
                "does "
                "not follow it; give the path that it stands for",
                what, path);
}

/* What czard itself keeps there is never replaced by an answer of ours. */
static bool is_state_dir(const struct owner *o, int dir)
{
        struct stat a, b;
        return stat(o->state_dir, &a) == 0 && fstat(dir, &b) == 0 && a.st_dev == b.st_dev &&
               a.st_ino == b.st_ino;
}

/* Half or whole copies of it, that a process which was killed left. */
static void remove_hidden(int dir, const char *prefix)
{
        int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
        if (!d)
                close_fd(fd);
        for (struct dirent *f; d && dir_next(d, &f) > 0;) {
                const char *rest = after_dead_pid(f->d_name, prefix);
                if (rest && !*rest)
                        (void)unlinkat(dir, f->d_name, 0);
        }
}

/* A hidden file beside it, then a rename or, when nothing may be replaced, a link. */
static int write_file(const struct owner *o, const struct owner_output *out, int fd)
{
        char dir_copy[PATH_MAX], base_copy[PATH_MAX], hidden[NAME_MAX + 32];
        memcpy(dir_copy, out->path, sizeof(dir_copy));
        memcpy(base_copy, out->path, sizeof(base_copy));
        const char *name = basename(base_copy);
        _cleanup_close_ int dir = geteuid() == 0
                                          ? owner_open_folder(dirname(dir_copy))
                                          : open(dirname(dir_copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0)
                return geteuid() == 0 ? dir : -errno;
        if (out->kind == OUTPUT_REPLACE && is_state_dir(o, dir))
                return -EPERM;
        int n = snprintf(hidden, sizeof(hidden), ".%.200s.czarctl-", name);
        remove_hidden(dir, hidden);
        snprintf(hidden + n, sizeof(hidden) - (size_t)n, "%ld", (long)getpid());
        _cleanup_close_ int file =
                openat(dir, hidden, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (file < 0)
                return -errno;
        int r = copy_fd(fd, file);
        if (r == 0 && out->kind == OUTPUT_SECRET && geteuid() == 0 && fchown(file, o->uid, o->gid) < 0)
                r = -errno;
        if (r == 0 && (fchmod(file, out->mode) < 0 || fsync(file) < 0))
                r = -errno;
        if (r == 0 && out->kind == OUTPUT_NEW && linkat(dir, hidden, dir, name, 0) < 0)
                r = -errno;
        if (r == 0 && out->kind != OUTPUT_NEW && renameat(dir, hidden, dir, name) < 0)
                r = -errno;
        if (r < 0 || out->kind == OUTPUT_NEW)
                unlinkat(dir, hidden, 0);
        if (r == 0)
                (void)fsync(dir);
        return r;
}

static int put(
        const struct owner *o, const struct owner_output *out, int fd, char where[TEXT_SIZE], struct error *e)
{
        if (out->kind == OUTPUT_CREDENTIAL)
                return credstore_put(out->path, fd, where, e);
        int r = write_file(o, out, fd);
        snprintf(where, TEXT_SIZE, "%.500s", out->path);
        if (r == -EPERM)
                return error_set(e, CAUSE_INTERNAL, EPERM,
                        "cannot write %.400s: in the state directory only czard writes, choose another "
                        "folder",
                        out->path);
        if (r == -ELOOP)
                return owner_refuse_link(out->path, "write", e);
        return r < 0 ? error_set(e, CAUSE_INTERNAL, -r, "cannot write %.400s: %s", out->path, strerror(-r))
                     : 0;
}

/* --- the keeper --- */

union control {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
};

static int receive(int sock, size_t *ret_output, int *ret_fd)
{
        union control control = {};
        struct iovec iov = {.iov_base = ret_output, .iov_len = sizeof(*ret_output)};
        struct msghdr h = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
        ssize_t n;
        do
                n = recvmsg(sock, &h, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        struct cmsghdr *m = n > 0 ? CMSG_FIRSTHDR(&h) : NULL;
        if (n != (ssize_t)sizeof(*ret_output) || !m || m->cmsg_type != SCM_RIGHTS)
                return -EPIPE;
        memcpy(ret_fd, CMSG_DATA(m), sizeof(int));
        return 0;
}

static void keep(const struct owner *o, int sock)
{
        size_t output;
        int fd;
        while (receive(sock, &output, &fd) == 0) {
                struct owner_answer a = {};
                struct error e = {};
                if (output >= o->n)
                        a.err = EINVAL;
                else if (put(o, &o->outputs[output], fd, a.where, &e) < 0)
                        a.err = e.err;
                memcpy(a.text, e.text, sizeof(a.text));
                close_fd(fd);
                if (send(sock, &a, sizeof(a), MSG_NOSIGNAL) < 0)
                        return;
        }
}

static int start_keeper(struct owner *o)
{
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        fflush(NULL);
        pid_t pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                close_fd(pair[0]);
                o->keeper = pair[1];
                return 0;
        }
        /* ctrl-C ends the other one, and with it this one. */
        signal(SIGINT, SIG_IGN);
        close_fd(pair[1]);
        keep(o, pair[0]);
        int status = 0;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

int owner_put_fd(struct ctl *c, int output, int fd, char where[TEXT_SIZE], struct error *e)
{
        struct owner *o = c->owner;
        if (o->keeper < 0)
                return put(o, &o->outputs[output], fd, where, e);
        size_t number = (size_t)output;
        union control control = {};
        struct iovec iov = {.iov_base = &number, .iov_len = sizeof(number)};
        struct msghdr h = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
        struct cmsghdr *m = CMSG_FIRSTHDR(&h);
        m->cmsg_level = SOL_SOCKET;
        m->cmsg_type = SCM_RIGHTS;
        m->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(m), &fd, sizeof(int));
        struct owner_answer a;
        if (sendmsg(o->keeper, &h, MSG_NOSIGNAL) < 0 || recv(o->keeper, &a, sizeof(a), 0) != sizeof(a))
                return error_set(e, CAUSE_INTERNAL, EPIPE, "the keeper process has gone");
        snprintf(where, TEXT_SIZE, "%s", a.where);
        return a.err ? error_set(e, CAUSE_INTERNAL, a.err, "%s", a.text) : 0;
}

int owner_put(struct ctl *c, int output, const void *p, size_t n, char where[TEXT_SIZE], struct error *e)
{
        _cleanup_close_ int fd = memfd_create("czarctl", MFD_CLOEXEC);
        int r = fd < 0 ? -errno : write_all(fd, p, n);
        if (r < 0)
                return error_set(e, CAUSE_INTERNAL, -r, "memory file: %s", strerror(-r));
        return owner_put_fd(c, output, fd, where, e);
}

/* --- giving up root --- */

/* Who owns state_dir; before it is there, the user that the package made. 1: nobody yet. */
static int find_owner(const struct ctl *c, uid_t *uid, gid_t *gid, char name[64], struct error *e)
{
        const char *path = c->config->state_dir;
        struct stat st;
        const struct passwd *pw;
        *name = 0;
        _cleanup_close_ int fd = owner_open_folder(path);
        if (fd == -ELOOP)
                return owner_refuse_link(path, "become the owner of", e);
        if (fd >= 0 && fstat(fd, &st) == 0) {
                *uid = st.st_uid;
                *gid = st.st_gid;
                pw = getpwuid(st.st_uid);
        } else {
                pw = getpwnam("czard");
                if (!pw)
                        return 1;
                *uid = pw->pw_uid;
        }
        if (pw) {
                *gid = pw->pw_gid;
                snprintf(name, 64, "%s", pw->pw_name);
        }
        return 0;
}

int owner_give_up(uid_t uid, gid_t gid, struct error *e)
{
        if (setgid(gid) < 0 || setuid(uid) < 0)
                return error_set(e, CAUSE_INTERNAL, errno, "%s", strerror(errno));
        return sandbox_terminal(e);
}

int owner_become(struct ctl *c, struct error *e)
{
        uid_t uid = 0;
        gid_t gid = 0;
        char name[64];
        int r = geteuid() != 0 ? 1 : find_owner(c, &uid, &gid, name, e);
        if (r != 0)
                return MIN(r, 0);
        struct owner *o = c->owner;
        if (o) {
                o->uid = uid;
                o->gid = gid;
        }
        if (uid == 0)
                return 0;
        r = o && o->n > 0 ? start_keeper(o) : 0;
        if (r < 0)
                return error_set(e, CAUSE_INTERNAL, -r, "cannot start the keeper process: %s", strerror(-r));
        r = (*name ? initgroups(name, gid) : setgroups(0, NULL)) < 0 ? -errno : owner_give_up(uid, gid, e);
        if (r < 0)
                return error_set(e, CAUSE_INTERNAL, -r, "cannot become the owner of %s: %s",
                        c->config->state_dir, strerror(-r));
        /* Whoever ends the keeper ends us; setuid() cleared it. */
        if (o && o->keeper >= 0)
                prctl(PR_SET_PDEATHSIG, SIGTERM);
        return 0;
}
