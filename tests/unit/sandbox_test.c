/* SPDX-License-Identifier: Apache-2.0 */
/* Each test tries the forbidden thing in a child that has entered the sandbox; the child's exit status is the
 * errno. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox.h"

static char dir[] = "/tmp/sandbox-test-XXXXXX";
static char inside[64], outside[64];
static uint16_t open_port, other_port;
static pid_t sibling;

static int status_of(pid_t pid)
{
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static int run_in(int (*try)(void), bool has_children)
{
        pid_t pid = fork();
        if (pid == 0) {
                const struct sandbox_path paths[] = {{inside, SANDBOX_READ | SANDBOX_WRITE},
                        {"/usr/lib", SANDBOX_EXEC}, {"/no/such/path", SANDBOX_READ}};
                const int families[] = {AF_UNIX, AF_INET, -1};
                struct sandbox s = {.paths = paths,
                        .n_paths = ELEMENTSOF(paths),
                        .tcp_ports = &open_port,
                        .n_tcp_ports = 1,
                        .families = families,
                        .has_children = has_children};
                struct error e = {};
                if (sandbox_enter(&s, NULL, 0, &e) < 0) {
                        fprintf(stderr, "%s\n", e.text);
                        _exit(255);
                }
                errno = 0;
                _exit(try() < 0 ? errno : 0);
        }
        return status_of(pid);
}

static int run_inside(int (*try)(void))
{
        return run_in(try, true);
}

/* The filter alone, as on a kernel whose Landlock knows nothing of signals. */
static int run_filtered(int (*try)(void), bool has_children)
{
        pid_t pid = fork();
        if (pid == 0) {
                const int families[] = {AF_UNIX, -1};
                const struct sandbox s = {.families = families, .has_children = has_children};
                struct error e = {};
                prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                if (sandbox_calls(&s, &e) < 0)
                        _exit(255);
                errno = 0;
                _exit(try() < 0 ? errno : 0);
        }
        return status_of(pid);
}

static int write_inside(void)
{
        char path[128];
        snprintf(path, sizeof(path), "%s/new", inside);
        int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
        return fd < 0 || write(fd, "x", 1) != 1 || unlink(path) < 0 ? -1 : 0;
}

static int read_outside(void)
{
        return open(outside, O_RDONLY);
}

static int write_outside(void)
{
        char path[128];
        snprintf(path, sizeof(path), "%s/new", dir);
        return open(path, O_CREAT | O_RDWR, 0600);
}

static int execute_outside(void)
{
        return execl("/bin/true", "true", NULL);
}

static int other_family(void)
{
        return socket(AF_INET6, SOCK_STREAM, 0);
}

static int netlink_family(void)
{
        return socket(AF_NETLINK, SOCK_RAW, 0);
}

static int mptcp(void)
{
        return socket(AF_INET, SOCK_STREAM, 262);
}

/* --- sockets of who has none, or streams alone --- */

static int run_families(int (*try)(void), int family, bool streams_only, bool has_children)
{
        pid_t pid = fork();
        if (pid == 0) {
                const int families[] = {family, -1}, all[] = {AF_UNIX, -1};
                const struct sandbox before = {.families = all, .has_children = true},
                                     s = {.families = families,
                                             .streams_only = streams_only,
                                             .has_children = has_children};
                struct error e = {};
                prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                if (sandbox_calls(&before, &e) < 0 || sandbox_calls(&s, &e) < 0)
                        _exit(255);
                errno = 0;
                _exit(try() < 0 ? errno : 0);
        }
        return status_of(pid);
}

static int unix_stream(void)
{
        return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int unix_datagram(void)
{
        return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static int unix_raw(void)
{
        return socket(AF_UNIX, SOCK_RAW | SOCK_NONBLOCK, 0);
}

static int stream_pair(void)
{
        int fds[2];
        return socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
}

static int datagram_pair(void)
{
        int fds[2];
        return socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds);
}

/* Numbers of descriptors that are none: a call that comes through says so. */
static int connect_none(void)
{
        struct sockaddr a = {.sa_family = AF_UNIX};
        return connect(-1, &a, sizeof(a));
}

static int bind_none(void)
{
        struct sockaddr a = {.sa_family = AF_UNIX};
        return bind(-1, &a, sizeof(a));
}

static int send_to(void)
{
        struct sockaddr a = {.sa_family = AF_UNIX};
        return (int)sendto(-1, "x", 1, 0, &a, sizeof(a));
}

static int send_to_nobody(void)
{
        return (int)sendto(-1, "x", 1, 0, NULL, 0);
}

static void without_families_there_is_no_socket(void **state)
{
        (void)state;
        for (int has_children = 0; has_children < 2; has_children++) {
                assert_int_equal(run_families(unix_stream, -1, false, has_children), EAFNOSUPPORT);
                assert_int_equal(run_families(unix_datagram, -1, false, has_children), EAFNOSUPPORT);
                assert_int_equal(run_families(stream_pair, -1, false, has_children), EPERM);
                assert_int_equal(run_families(datagram_pair, -1, false, has_children), EPERM);
                assert_int_equal(run_families(connect_none, -1, false, has_children), EPERM);
                assert_int_equal(run_families(bind_none, -1, false, has_children), EPERM);
                assert_int_equal(run_families(send_to, -1, false, has_children), EPERM);
                assert_int_equal(run_families(send_to_nobody, -1, false, has_children), EBADF);
        }
}

static void streams_alone(void **state)
{
        (void)state;
        assert_int_equal(run_families(unix_stream, AF_UNIX, true, true), 0);
        assert_int_equal(run_families(stream_pair, AF_UNIX, true, true), 0);
        assert_int_equal(run_families(unix_datagram, AF_UNIX, false, true), 0);
        assert_int_equal(run_families(unix_datagram, AF_UNIX, true, true), EPERM);
        assert_int_equal(run_families(unix_raw, AF_UNIX, true, true), EPERM);
        assert_int_equal(run_families(datagram_pair, AF_UNIX, true, true), EPERM);
        assert_int_equal(run_families(connect_none, AF_UNIX, true, true), EBADF);
}

static int connect_to(uint16_t port)
{
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        union {
                struct sockaddr_in in;
                struct sockaddr generic;
        } a = {.in = {.sin_family = AF_INET,
                       .sin_port = htons(port),
                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
        return fd < 0 ? -1 : connect(fd, &a.generic, sizeof(a.in));
}

static int connect_allowed(void)
{
        return connect_to(open_port);
}

static int connect_other(void)
{
        return connect_to(other_port);
}

static int bind_any(void)
{
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        union {
                struct sockaddr_in in;
                struct sockaddr generic;
        } a = {.in = {.sin_family = AF_INET,
                       .sin_port = htons(40000),
                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
        return fd < 0 ? -1 : bind(fd, &a.generic, sizeof(a.in));
}

static int trace(void)
{
        return (int)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static int signal_parent(void)
{
        return kill(getppid(), 0);
}

static int signal_child(void)
{
        pid_t pid = fork();
        if (pid == 0)
                pause();
        return pid < 0 || kill(pid, SIGKILL) < 0 || waitpid(pid, NULL, 0) != pid ? -1 : 0;
}

static int signal_self(void)
{
        return kill(getpid(), 0) < 0 || (errno = pthread_kill(pthread_self(), 0)) ? -1 : 0;
}

static int signal_sibling(void)
{
        return kill(sibling, 0);
}

/* The kernel drops the upper half, a filter sees it. */
static int signal_parent_hidden(void)
{
        return (int)syscall(SYS_kill, (1L << 32) | getppid(), 0);
}

static int signal_group(void)
{
        return kill(-getppid(), 0);
}

static int new_session(void)
{
        return (int)setsid();
}

static int new_group(void)
{
        return setpgid(0, 0);
}

static int get_fork(void)
{
        return fork();
}

static int execute(void)
{
        return execl("/bin/true", "true", NULL);
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

/* Standard input is no terminal: ENOTTY without the filter. */
static int type_into_terminal(void)
{
        return ioctl(0, TIOCSTI, "x");
}

static int paste_on_console(void)
{
        return ioctl(0, TIOCLINUX, "\3");
}

static int watch_folder(void)
{
        int fd = open(inside, O_RDONLY | O_DIRECTORY);
        return fd < 0 ? 0 : fcntl(fd, F_NOTIFY, DN_ACCESS);
}

static int change_mode(void)
{
        return chmod(outside, 0600);
}

static int change_mode_newly(void)
{
        return (int)syscall(452, AT_FDCWD, outside, 0600, 0);
}

static int seqpacket(void)
{
        return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
}

static int seqpacket_hidden(void)
{
        return (int)syscall(SYS_socket, AF_UNIX, (1L << 32) | SOCK_SEQPACKET, 0);
}

static int seqpacket_pair(void)
{
        int fds[2];
        return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds);
}

static int mptcp_hidden(void)
{
        return (int)syscall(SYS_socket, AF_INET, SOCK_STREAM, (1L << 32) | 262);
}

/* The wall of who gave up root alone: everything else is as it was. */
static void the_terminal_alone(void **state)
{
        (void)state;
        pid_t pid = fork();
        if (pid == 0) {
                struct error e = {};
                int wrong = 0;
                if (type_into_terminal() == 0 || errno == EPERM || sandbox_terminal(&e) < 0)
                        _exit(255);
                wrong += type_into_terminal() == 0 || errno != EPERM;
                wrong += paste_on_console() == 0 || errno != EPERM;
                wrong += seqpacket_pair() < 0 || read_outside() < 0;
                _exit(wrong);
        }
        assert_int_equal(status_of(pid), 0);
}

static void what_is_allowed_works(void **state)
{
        (void)state;
        assert_int_equal(run_inside(write_inside), 0);
        assert_int_equal(run_inside(connect_allowed), 0);
        assert_int_equal(run_in(connect_allowed, false), 0);
        for (int has_children = 0; has_children < 2; has_children++) {
                assert_int_equal(run_in(make_thread, has_children), 0);
                assert_int_equal(run_in(signal_self, has_children), 0);
                assert_int_equal(run_in(seqpacket_pair, has_children), 0);
        }
        assert_int_equal(run_inside(signal_child), 0);
}

static void files_outside_are_out_of_reach(void **state)
{
        (void)state;
        assert_int_equal(run_inside(read_outside), EACCES);
        assert_int_equal(run_inside(write_outside), EACCES);
        assert_int_equal(run_inside(execute_outside), EACCES);
}

static void only_named_families_ports_and_protocols(void **state)
{
        (void)state;
        assert_int_equal(run_inside(other_family), EAFNOSUPPORT);
        assert_int_equal(run_inside(netlink_family), EAFNOSUPPORT);
        assert_int_equal(run_inside(mptcp), EAFNOSUPPORT);
        assert_int_equal(run_inside(mptcp_hidden), EAFNOSUPPORT);
        assert_int_equal(run_inside(seqpacket), EPERM);
        assert_int_equal(run_inside(seqpacket_hidden), EPERM);
        assert_int_equal(run_inside(connect_other), EACCES);
        assert_int_equal(run_inside(bind_any), EACCES);
}

static void other_processes_are_out_of_reach(void **state)
{
        (void)state;
        assert_int_equal(run_inside(trace), EPERM);
        assert_int_equal(run_inside(signal_parent), EPERM);
        for (int has_children = 0; has_children < 2; has_children++) {
                assert_int_equal(run_filtered(signal_parent, has_children), EPERM);
                assert_int_equal(run_filtered(signal_parent_hidden, has_children), EPERM);
                assert_int_equal(run_filtered(signal_group, has_children), EPERM);
                assert_int_equal(run_filtered(new_session, has_children), EPERM);
                assert_int_equal(run_filtered(new_group, has_children), EPERM);
        }
        assert_int_equal(run_filtered(signal_sibling, false), EPERM);
        assert_int_equal(run_filtered(signal_sibling, true), 0); /* what only Landlock can refuse */
        assert_int_equal(run_inside(signal_sibling), EPERM);
}

static void one_without_children_has_threads_alone(void **state)
{
        (void)state;
        assert_int_equal(run_in(get_fork, false), EPERM);
        assert_int_equal(run_in(execute, false), EPERM);
        assert_int_equal(run_in(bind_any, false), EPERM);
}

static void modes_stay(void **state)
{
        (void)state;
        assert_int_equal(run_inside(change_mode), EPERM);
        assert_int_equal(run_inside(change_mode_newly), EPERM);
}

static void folders_are_not_watched(void **state)
{
        (void)state;
        assert_int_equal(run_inside(watch_folder), EPERM);
}

static void terminals_get_no_input(void **state)
{
        (void)state;
        assert_int_equal(run_inside(type_into_terminal), EPERM);
        assert_int_equal(run_inside(paste_on_console), EPERM);
}

static uint16_t listener(void)
{
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        union {
                struct sockaddr_in in;
                struct sockaddr generic;
        } a = {.in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
        socklen_t n = sizeof(a.in);
        if (fd < 0 || bind(fd, &a.generic, n) < 0 || listen(fd, 5) < 0 || getsockname(fd, &a.generic, &n) < 0)
                return 0;
        return ntohs(a.in.sin_port);
}

static int setup(void **state)
{
        (void)state;
        if (!mkdtemp(dir))
                return -1;
        snprintf(inside, sizeof(inside), "%s/inside", dir);
        snprintf(outside, sizeof(outside), "%s/outside", dir);
        int fd = open(outside, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
        if (fd < 0 || mkdir(inside, 0700) < 0)
                return -1;
        close(fd);
        sibling = fork();
        if (sibling == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                for (;;)
                        pause();
        }
        open_port = listener();
        other_port = listener();
        return open_port && other_port ? 0 : -1;
}

static int teardown(void **state)
{
        (void)state;
        kill(sibling, SIGKILL);
        waitpid(sibling, NULL, 0);
        return unlink(outside) | rmdir(inside) | rmdir(dir);
}

/* --- a root of its own --- */

static char door[128];

/* A socket that anybody may connect to. */
static int open_door(void)
{
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        snprintf(a.sun_path, sizeof(a.sun_path), "%s", door);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (const struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(listen(fd, 1), 0);
        return fd;
}

static int connect_to_door(void)
{
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        snprintf(a.sun_path, sizeof(a.sun_path), "%s", door);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        return fd < 0 ? -1 : connect(fd, (const struct sockaddr *)&a, sizeof(a));
}

static bool is_in_nobodys_way(const char *file)
{
        struct stat st;
        return stat(file, &st) < 0 && errno == ENOENT;
}

/* What sandbox_root() returns; then what is there, as bits. */
enum { ENTERED = 1, ITSELF = 2, AS_BEFORE = 4, WRITES = 8, BOUND = 16, SECRET = 32, GONE = 64 };

static int look_around(const struct sandbox_path *paths, size_t n)
{
        struct error e = {};
        uid_t uid = geteuid();
        gid_t gid = getegid();
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        int r = sandbox_root(paths, n, &e), found = r > 0 ? ENTERED : 0;
        if (r < 0)
                return 255;
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];
        bool none = syscall(SYS_capget, &header, caps) == 0 && !caps[0].effective && !caps[0].permitted;
        found |= geteuid() == uid && getegid() == gid && (r == 0 || none) ? ITSELF : 0;
        found |= connect_to_door() == 0 ? AS_BEFORE : 0;
        found |= write_inside() == 0 ? WRITES : 0;
        found |= r > 0 && mkdir("/tmp/new", 0700) < 0 && errno == EROFS ? BOUND : 0;
        found |= prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? SECRET : 0;
        return found | (is_in_nobodys_way(outside) && is_in_nobodys_way("/etc/passwd") ? GONE : 0);
}

static int look_around_in_child(const struct sandbox_path *paths, size_t n)
{
        pid_t pid = fork();
        if (pid == 0)
                _exit(look_around(paths, n));
        return status_of(pid);
}

static void a_root_of_its_own(void **state)
{
        (void)state;
        const struct sandbox_path paths[] = {{inside, SANDBOX_READ | SANDBOX_WRITE}, {"", 0},
                {"/dev/null", SANDBOX_READ}, {"/usr/lib", SANDBOX_EXEC}, {"/lib", SANDBOX_EXEC},
                {"/no/such/path", SANDBOX_READ}};
        const struct sandbox_path odd[] = {{inside, SANDBOX_READ}, {"/tmp/../etc", SANDBOX_READ}};
        snprintf(door, sizeof(door), "%s/door", dir);
        int fd = open_door();
        /* One that cannot be had changes nothing. */
        assert_int_equal(look_around_in_child(odd, 2), ITSELF | AS_BEFORE | WRITES | SECRET);
        assert_int_equal(look_around_in_child(NULL, 0), ITSELF | AS_BEFORE | WRITES | SECRET);
        int found = look_around_in_child(paths, ELEMENTSOF(paths));
        close(fd);
        unlink(door);
        if (found == (ITSELF | AS_BEFORE | WRITES | SECRET))
                skip(); /* nobody may make name spaces here */
        assert_int_equal(found, ENTERED | ITSELF | WRITES | BOUND | SECRET | GONE);
}

int main(void)
{
#ifdef CZARD_SANITIZE
        puts("skipped: sanitizers do not work inside the sandbox; the release build runs this");
        return 77;
#endif
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_terminal_alone),
                cmocka_unit_test(what_is_allowed_works),
                cmocka_unit_test(files_outside_are_out_of_reach),
                cmocka_unit_test(only_named_families_ports_and_protocols),
                cmocka_unit_test(other_processes_are_out_of_reach),
                cmocka_unit_test(one_without_children_has_threads_alone),
                cmocka_unit_test(without_families_there_is_no_socket),
                cmocka_unit_test(streams_alone),
                cmocka_unit_test(modes_stay),
                cmocka_unit_test(folders_are_not_watched),
                cmocka_unit_test(terminals_get_no_input),
                cmocka_unit_test(a_root_of_its_own),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
