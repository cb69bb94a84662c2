/* SPDX-License-Identifier: Apache-2.0 */
/* A preload that tries forbidden things from inside a program once it has locked itself in: as its own code
 * would if an attacker had it. By the environment:
 *
 *   INSIDE_PROGRAM  comm of the program that is meant; it is handed on to its children
 *   INSIDE_TRY      what is tried: KIND ARGUMENT, a line each
 *   INSIDE_EARLY    when set: before it has locked itself in
 *   INSIDE_LOG      a file of LOG_SIZE zeros: "KIND ARGUMENT: RESULT", a line each; RESULT is the errno's
 * name, "done" when it could be done, or what was answered */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "hand_on.h"

#define LOG_SIZE 65536
#define EXPORT __attribute__((visibility("default")))

const char *const handed_on[] = {
        "LD_PRELOAD", "INSIDE_PROGRAM", "INSIDE_TRY", "INSIDE_LOG", "INSIDE_EARLY", NULL};
static char *things, *notes; /* mapped: some programs close all descriptors that they do not know */
static size_t used;
static bool early, locked, done;

__attribute__((constructor)) static void set_up(void)
{
        const char *program = getenv("INSIDE_PROGRAM"), *try = getenv("INSIDE_TRY"),
                   *log = getenv("INSIDE_LOG");
        if (!program || !try || !log || strcmp(program, program_invocation_short_name) != 0)
                return;
        int fd = open(log, O_RDWR | O_CLOEXEC);
        void *p = fd < 0 ? MAP_FAILED : mmap(NULL, LOG_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (fd >= 0)
                close(fd);
        if (p == MAP_FAILED || *(char *)p)
                return; /* one process of a kind is enough */
        notes = p;
        things = strdup(try);
        early = getenv("INSIDE_EARLY") != NULL;
}

/* --- what can be tried --- */

static int with(int fd)
{
        if (fd >= 0)
                close(fd);
        return fd;
}

static int connect_tcp(int port)
{
        union {
                struct sockaddr_in in;
                struct sockaddr generic;
        } a = {.in = {.sin_family = AF_INET,
                       .sin_port = htons((uint16_t)port),
                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int r = fd < 0 ? -1 : connect(fd, &a.generic, sizeof(a.in));
        int saved = errno;
        with(fd);
        errno = saved;
        return r;
}

static int listen_tcp(void)
{
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int r = fd < 0 ? -1 : listen(fd, 1);
        int saved = errno;
        with(fd);
        errno = saved;
        return r;
}

static int wait_for(pid_t pid)
{
        int status = 0;
        if (pid == 0)
                _exit(0);
        return pid < 0 || waitpid(pid, &status, 0) < 0 ? -1 : 0;
}

static int make_child(const char *how)
{
        if (strcmp(how, "fork") == 0)
                return wait_for((pid_t)syscall(SYS_fork));
        if (strcmp(how, "clone") == 0)
                return wait_for((pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
        if (strcmp(how, "namespace") == 0)
                return wait_for((pid_t)syscall(SYS_clone, SIGCHLD | 0x10000000, NULL, NULL, NULL, NULL));
        if (strcmp(how, "sibling") == 0)
                return wait_for((pid_t)syscall(SYS_clone, SIGCHLD | 0x8000, NULL, NULL, NULL, NULL));
        uint64_t clone_args[8] = {0, 0, 0, 0, SIGCHLD};
        return wait_for((pid_t)syscall(SYS_clone3, clone_args, sizeof(clone_args)));
}

static void *idle(void *arg)
{
        return arg;
}

static int make_thread(void)
{
        pthread_t t;
        errno = pthread_create(&t, NULL, idle, NULL);
        return errno ? -1 : pthread_join(t, NULL);
}

/* What can be done to a file that needs no open file. */
static int change(const char *what, const char *path)
{
        struct stat st;
        if (stat(path, &st) < 0)
                return -1;
        if (strcmp(what, "chmod") == 0)
                return chmod(path, st.st_mode & 07777);
        if (strcmp(what, "fchmodat") == 0)
                return (int)syscall(SYS_fchmodat, AT_FDCWD, path, st.st_mode & 07777);
        if (strcmp(what, "fchmodat2") == 0)
                return (int)syscall(452, AT_FDCWD, path, st.st_mode & 07777, 0);
        if (strcmp(what, "chown") == 0)
                return chown(path, st.st_uid, st.st_gid);
        if (strcmp(what, "lchown") == 0)
                return lchown(path, st.st_uid, st.st_gid);
        if (strcmp(what, "times") == 0)
                return utimensat(AT_FDCWD, path, NULL, 0);
        if (strcmp(what, "setxattr") == 0)
                return setxattr(path, "user.inside", "x", 1, 0);
        if (strcmp(what, "removexattr") == 0)
                return removexattr(path, "user.inside");
        if (strcmp(what, "truncate") == 0)
                return truncate(path, st.st_size);
        int fd = inotify_init1(IN_CLOEXEC);
        return fd < 0 ? -1 : with(inotify_add_watch(fd, path, IN_ALL_EVENTS));
}

/* Other ways to get at the parent than kill and ptrace. */
static int meddle(const char *how)
{
        struct rlimit limit = {1024, 1024};
        siginfo_t info = {.si_code = SI_QUEUE, .si_signo = SIGURG};
        pid_t parent = getppid();
        int fds[2];
        if (strcmp(how, "prlimit") == 0)
                return prlimit(parent, RLIMIT_NOFILE, NULL, &limit);
        if (strcmp(how, "nice") == 0)
                return setpriority(PRIO_PROCESS, (id_t)parent, 19);
        if (strcmp(how, "pidfd") == 0)
                return with((int)syscall(SYS_pidfd_open, parent, 0));
        if (strcmp(how, "queue") == 0)
                return (int)syscall(SYS_rt_sigqueueinfo, parent, 0, &info);
        if (strcmp(how, "tkill") == 0)
                return (int)syscall(SYS_tkill, parent, 0);
        if (strcmp(how, "tgkill") == 0)
                return (int)syscall(SYS_tgkill, parent, parent, 0);
        if (strcmp(how, "group") == 0)
                return kill(0, 0);
        if (strcmp(how, "everybody") == 0)
                return kill(-1, 0);
        if (strcmp(how, "owner") != 0 || pipe2(fds, O_CLOEXEC) < 0)
                return -1;
        int r = fcntl(fds[0], F_SETOWN, parent);
        close(fds[1]);
        int saved = errno;
        close(fds[0]);
        errno = saved;
        return r;
}

/* In a child, for it would be the end of us. */
static int execute(const char *path)
{
        pid_t pid = fork();
        int status = 0;
        if (pid == 0) {
                execl(path, path, (char *)NULL);
                _exit(errno);
        }
        if (pid < 0 || waitpid(pid, &status, 0) < 0)
                return -1;
        errno = WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
        return errno ? -1 : 0;
}

/* Reaches for a path socket, with a socket of that type, or with one of a pair. */
static int reach(int (*make)(int type), int type, const char *path)
{
        union {
                struct sockaddr_un un;
                struct sockaddr generic;
        } a = {.un = {.sun_family = AF_UNIX}};
        snprintf(a.un.sun_path, sizeof(a.un.sun_path), "%s", path);
        int fd = make(type);
        int r = fd < 0                ? -1
                : type == SOCK_STREAM ? connect(fd, &a.generic, sizeof(a.un))
                                      : (int)sendto(fd, "x", 1, MSG_NOSIGNAL, &a.generic, sizeof(a.un));
        int saved = errno;
        with(fd);
        errno = saved;
        return r;
}

static int make_socket(int type)
{
        return socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
}

static int make_pair(int type)
{
        int fds[2];
        if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) < 0)
                return -1;
        close(fds[1]);
        return fds[0];
}

/* The socket that is there anyway. */
static int the_channel(int type)
{
        (void)type;
        return dup(3);
}

/* Asks czard for something, and takes what comes back within a few seconds. */
static int ask(const char *path, char *answer, size_t size)
{
        union {
                struct sockaddr_un un;
                struct sockaddr generic;
        } a = {.un = {.sun_family = AF_UNIX}};
        snprintf(a.un.sun_path, sizeof(a.un.sun_path), "%s", path);
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        ssize_t n = -1;
        static const char request[] = "pause\0reason=from inside";
        if (fd >= 0 && connect(fd, &a.generic, sizeof(a.un)) == 0) {
                (void)send(fd, request, sizeof(request), MSG_NOSIGNAL);
                n = poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 10000) == 1
                            ? recv(fd, answer, size - 1, 0)
                            : 0;
        }
        int saved = errno;
        with(fd);
        errno = saved;
        if (n < 0)
                return -1;
        for (ssize_t i = 0; i < n; i++)
                if (!answer[i] || answer[i] == '\n')
                        answer[i] = ' ';
        snprintf(answer + n, size - (size_t)n, "%s", n ? "" : "nothing");
        return 0;
}

/* The same from a grandchild that its parent has left. */
static int ask_orphaned(const char *path, char *answer, size_t size)
{
        int fds[2], error = EIO;
        pid_t child = pipe2(fds, O_CLOEXEC) < 0 ? -1 : fork(), grandchild = 0;
        if (child == 0) {
                pid_t parent = getpid();
                grandchild = fork();
                if (grandchild != 0)
                        _exit(grandchild < 0);
                while (getppid() == parent)
                        usleep(1000);
                grandchild = getpid();
                error = ask(path, answer, size) < 0 ? errno : 0;
                struct iovec out[] = {{&error, sizeof(error)}, {&grandchild, sizeof(pid_t)}, {answer, size}};
                _exit(writev(fds[1], out, 3) < 0);
        }
        int saved = errno;
        if (child > 0) {
                close(fds[1]);
                waitpid(child, NULL, 0);
                struct iovec in[] = {{&error, sizeof(error)}, {&grandchild, sizeof(pid_t)}, {answer, size}};
                (void)!readv(fds[0], in, 3);
                close(fds[0]);
                if (grandchild > 0)
                        (void)waitpid(grandchild, NULL, 0); /* ours where we are a subreaper */
                saved = error;
        }
        errno = saved;
        return saved ? -1 : 0;
}

static int peek(pid_t pid)
{
        char byte;
        struct iovec ours = {&byte, 1}, theirs = {(void *)(uintptr_t)&notes, 1};
        return process_vm_readv(pid, &ours, 1, &theirs, 1, 0) < 0 ? -1 : 0;
}

static int try_it(const char *kind, const char *arg, char *answer, size_t size)
{
        long family = 0, type = 0, protocol = 0;
        char path[64], what[32] = "";
        int at = 0;
        if (strcmp(kind, "read") == 0)
                return with(open(arg, O_RDONLY | O_CLOEXEC));
        if (strcmp(kind, "list") == 0)
                return with(open(arg, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (strcmp(kind, "write") == 0)
                return with(open(arg, O_WRONLY | O_CLOEXEC));
        if (strcmp(kind, "create") == 0)
                return with(open(arg, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        if (strcmp(kind, "truncate") == 0)
                return truncate(arg, 0);
        if (strcmp(kind, "change") == 0 && sscanf(arg, "%31s %n", what, &at) == 1)
                return change(what, arg + at);
        if (strcmp(kind, "child") == 0)
                return make_child(arg);
        if (strcmp(kind, "thread") == 0)
                return make_thread();
        if (strcmp(kind, "meddle") == 0)
                return meddle(arg);
        if (strcmp(kind, "memfd") == 0)
                return with((int)syscall(SYS_memfd_create, "inside", 1));
        if (strcmp(kind, "listen") == 0)
                return listen_tcp();
        if (strcmp(kind, "unlink") == 0)
                return unlink(arg);
        if (strcmp(kind, "mkdir") == 0)
                return mkdir(arg, 0700);
        if (strcmp(kind, "symlink") == 0)
                return symlink("/etc/passwd", arg);
        if (strcmp(kind, "exec") == 0)
                return execute(arg);
        if (strcmp(kind, "socket") == 0 && sscanf(arg, "%li %li %li", &family, &type, &protocol) >= 2)
                return with((int)syscall(SYS_socket, family, type | SOCK_CLOEXEC, protocol));
        if (strcmp(kind, "tcp") == 0)
                return connect_tcp(atoi(arg));
        if (strcmp(kind, "stream") == 0)
                return reach(make_socket, SOCK_STREAM, arg);
        if (strcmp(kind, "datagram") == 0)
                return reach(make_socket, SOCK_DGRAM, arg);
        if (strcmp(kind, "raw") == 0) /* of this family a datagram socket too */
                return reach(make_socket, SOCK_RAW, arg);
        if (strcmp(kind, "pair") == 0)
                return reach(make_pair, SOCK_DGRAM, arg);
        if (strcmp(kind, "channel") == 0)
                return reach(the_channel, SOCK_DGRAM, arg);
        if (strcmp(kind, "ask") == 0)
                return ask(arg, answer, size);
        if (strcmp(kind, "ask-orphaned") == 0)
                return ask_orphaned(arg, answer, size);
        if (strcmp(kind, "uring") == 0)
                return with((int)syscall(SYS_io_uring_setup, 1, NULL));
        if (strcmp(kind, "kill") == 0)
                return kill(getppid(), 0);
        if (strcmp(kind, "ptrace") == 0)
                return (int)ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
        if (strcmp(kind, "peek") == 0)
                return peek(getppid());
        snprintf(path, sizeof(path), "/proc/%d/%s", (int)getppid(), arg);
        if (strcmp(kind, "proc") == 0)
                return with(open(path, O_RDONLY | O_CLOEXEC));
        errno = ENOSYS;
        return -1;
}

static void try_all(void)
{
        char *save = NULL;
        for (char *line = strtok_r(things, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                char kind[32] = "", answer[512] = "done";
                const char *arg = strchr(line, ' ');
                snprintf(kind, sizeof(kind), "%.*s", (int)(arg ? arg - line : (ptrdiff_t)strlen(line)), line);
                int r = try_it(kind, arg ? arg + 1 : "", answer, sizeof(answer));
                int n = snprintf(notes + used, LOG_SIZE - used, "%s: %s\n", line,
                        r < 0 ? strerrorname_np(errno) : answer);
                used += (size_t)n < LOG_SIZE - used ? (size_t)n : 0;
        }
}

/* The last step of the sandbox. */
EXPORT int seccomp_load(const void *ctx);
EXPORT int seccomp_load(const void *ctx)
{
        int (*real)(const void *) = (__typeof__(real))dlsym(RTLD_NEXT, "seccomp_load");
        int r = real(ctx);
        locked = r == 0;
        return r;
}

/* The programs wait for messages here, from their main thread: czard-decrypt for its first before it locks
 * itself in, czard-fetch after that, and czard, which its unit locks in. */
EXPORT ssize_t recvmsg(int fd, struct msghdr *h, int flags)
{
        ssize_t (*real)(int, struct msghdr *, int) = (__typeof__(real))dlsym(RTLD_NEXT, "recvmsg");
        if (notes && !done && gettid() == getpid() && (early || locked)) {
                done = true;
                try_all();
        }
        return real(fd, h, flags);
}
