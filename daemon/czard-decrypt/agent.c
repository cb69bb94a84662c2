/* SPDX-License-Identifier: Apache-2.0 */
/* gpg-agent as a child. Started the usual way it makes its own session and outlives whoever needed it;
 * "--supervised" on a socket of ours (the protocol of sd_listen_fds(3)) keeps it a child, and PDEATHSIG ends
 * it with us. Only the agent holds the listening socket: when it dies, who connects is refused instead of
 * waiting for ever. */
#include <gpg-error.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fsx.h"
#include "str.h"
#include "worker.h"

enum { FIRST_LISTEN_FD = 3 }; /* SD_LISTEN_FDS_START */

static int listen_at(const char *path, struct error *e)
{
        struct sockaddr_un sun = {.sun_family = AF_UNIX};
        strcpy(sun.sun_path, path);
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        (void)unlink(path);
        if (fd < 0 || bind(fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0 || listen(fd, 64) < 0)
                return error_set(e, CAUSE_HELPER, errno, "%s: %s", path, strerror(errno));
        return take_fd(&fd);
}

static void exec_agent(int listen_fd, const char *home, pid_t parent)
{
        char pid[24];
        snprintf(pid, sizeof(pid), "%d", (int)getpid());
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
                _exit(126);
        if (fd_arrange((int[]){-1, -1, -1, listen_fd}, FIRST_LISTEN_FD + 1) < 0 ||
                setenv("LISTEN_FDS", "1", 1) < 0 || setenv("LISTEN_PID", pid, 1) < 0)
                _exit(126);
        execlp("gpg-agent", "gpg-agent", "--supervised", "--homedir", home, (char *)NULL);
        _exit(127);
}

static int spawn(struct agent *a, const char *home, struct error *e)
{
        _cleanup_close_ int fd = listen_at(a->path, e);
        if (fd < 0)
                return fd;
        pid_t parent = getpid(), pid = fork();
        if (pid < 0)
                return error_set(e, CAUSE_HELPER, errno, "fork: %s", strerror(errno));
        if (pid == 0)
                exec_agent(fd, home, parent);
        a->pid = pid;
        return 0;
}

int agent_start(struct agent *a, const char *home, const char *socket, struct error *e)
{
        *a = (struct agent){};
        int n = snprintf(a->path, sizeof(a->path), "%s", socket);
        if (n < 0 || (size_t)n >= sizeof(a->path))
                return error_set(e, CAUSE_CONFIG, ENAMETOOLONG,
                        "%s is too long for a socket path; set a shorter runtime directory", socket);
        return spawn(a, home, e);
}

static bool is_alive(struct agent *a)
{
        if (a->pid > 0 && waitpid(a->pid, NULL, WNOHANG) != 0)
                a->pid = 0;
        return a->pid > 0;
}

void agent_reap(struct agent *a)
{
        for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) > 0;)
                if (pid == a->pid)
                        a->pid = 0;
}

static void end(struct agent *a)
{
        if (is_alive(a) && kill(a->pid, SIGKILL) == 0)
                while (waitpid(a->pid, NULL, 0) < 0 && errno == EINTR)
                        ;
        a->pid = 0;
}

int agent_restart(struct agent *a, const char *home, struct error *e)
{
        end(a);
        return spawn(a, home, e);
}

void agent_forget_folder(const char *socket)
{
        char folder[PATH_MAX];
        const char *slash = strrchr(socket, '/');
        if (!slash || (size_t)(slash - socket) >= sizeof(folder) || !strstr(socket, "/gnupg/d."))
                return;
        memcpy(folder, socket, (size_t)(slash - socket));
        folder[slash - socket] = 0;
        (void)rmdir(folder);
}

void agent_stop(struct agent *a)
{
        end(a);
        if (!a->path[0])
                return;
        (void)unlink(a->path);
        agent_forget_folder(a->path);
        a->path[0] = 0;
}

/* --- the few words of its protocol (Assuan) that we speak; blocking, with a time limit ---
 *
 * A line protocol: we send a command, the agent answers with status lines (S), comments (#), inquiries
 * (INQUIRE, answered by D lines and END) and at last OK or ERR. GPGME's own Assuan engine cannot answer
 * inquiries with data (its assuan.c: "Returning data is not yet implemented"). */

struct assuan {
        int fd; /* -1: not connected */
        char buf[4096];
        size_t len, pos;
};

enum {
        LINE_MAX_BYTES = 1000, /* ASSUAN_LINELENGTH */
        TIMEOUT_SEC = 60,      /* an S2K count of years ago takes under a second */
        LINES_MAX = 1000,      /* of one answer */
};

static int failed(struct error *e, int err)
{
        return error_set(e, CAUSE_HELPER, err, "gpg-agent: %s", strerror(err));
}

static int read_line(struct assuan *a, char *ret, size_t size, struct error *e)
{
        size_t n = 0;
        for (;;) {
                if (a->pos == a->len) {
                        ssize_t k = recv(a->fd, a->buf, sizeof(a->buf), 0);
                        if (k < 0 && errno == EINTR)
                                continue;
                        if (k <= 0)
                                return failed(e, k == 0 ? EPIPE : errno == EAGAIN ? ETIMEDOUT : errno);
                        a->pos = 0;
                        a->len = (size_t)k;
                }
                char c = a->buf[a->pos++];
                if (c == '\n')
                        break;
                if (n + 1 >= size)
                        return failed(e, EMSGSIZE);
                ret[n++] = c;
        }
        ret[n] = 0;
        return 0;
}

static int answer_inquiry(struct assuan *a, const struct secret *answer, struct error *e)
{
        _cleanup_secret_ struct secret line = {};
        int r = answer ? secret_alloc(answer->len * 3 + 16, &line) : 0;
        if (r < 0)
                return failed(e, -r);
        if (!answer) {
                r = write_all(a->fd, "CAN\n", 4);
                return r < 0 ? failed(e, -r) : 0;
        }
        char *p = line.p;
        *p++ = 'D';
        *p++ = ' ';
        for (size_t i = 0; i < answer->len; i++) {
                static const char hex[] = "0123456789ABCDEF";
                unsigned char c = (unsigned char)answer->p[i];
                if (c == 0 || c == '%' || c == '\r' || c == '\n') {
                        *p++ = '%';
                        *p++ = hex[c >> 4];
                        c = (unsigned char)hex[c & 15];
                }
                *p++ = (char)c;
        }
        if (p - line.p > LINE_MAX_BYTES)
                return error_set(e, CAUSE_PASSPHRASE, E2BIG, "the passphrase is longer than GnuPG takes");
        memcpy(p, "\nEND\n", 5);
        r = write_all(a->fd, line.p, (size_t)(p - line.p) + 5);
        return r < 0 ? failed(e, -r) : 0;
}

static int on_error(const char *line, unsigned *ret_code, struct error *e)
{
        char shown[200];
        char *end;
        unsigned code = (unsigned)strtoul(line, &end, 10) & 0xffff;
        if (ret_code)
                *ret_code = code;
        return error_set(e, CAUSE_HELPER, EREMOTEIO, "gpg-agent:%s", str_visible(end, shown, sizeof(shown)));
}

static int read_answer(struct assuan *a, const struct secret *answer, char *status, size_t status_size,
        unsigned *ret_code, struct error *e)
{
        for (unsigned i = 0; i < LINES_MAX; i++) {
                char line[LINE_MAX_BYTES + 2];
                const char *rest;
                int r = read_line(a, line, sizeof(line), e);
                if (r < 0)
                        return r;
                if (streq(line, "OK") || str_after(line, "OK "))
                        return 0;
                if ((rest = str_after(line, "ERR ")))
                        return on_error(rest, ret_code, e);
                if ((rest = str_after(line, "S ")) && status)
                        snprintf(status, status_size, "%s", rest);
                if (str_after(line, "INQUIRE ") && (r = answer_inquiry(a, answer, e)) < 0)
                        return r;
        }
        return failed(e, EPROTO);
}

/* One command. Whatever the agent inquires is answered with answer (NULL: refused). The last status line goes
 * into status (may be NULL). 0; -EREMOTEIO with the agent's error code in *ret_code (may be NULL) and a cause
 * in e; -errno. */
static int assuan_command(struct assuan *a, const char *command, const struct secret *answer, char *status,
        size_t status_size, unsigned *ret_code, struct error *e)
{
        char line[LINE_MAX_BYTES + 2];
        int n = snprintf(line, sizeof(line), "%s\n", command);
        int r = n < 0 || n > LINE_MAX_BYTES ? -EMSGSIZE : write_all(a->fd, line, (size_t)n);
        explicit_bzero(line, sizeof(line)); /* it may hold a passphrase */
        if (r < 0)
                return failed(e, -r);
        return read_answer(a, answer, status, status_size, ret_code, e);
}

/* Connects to the agent's socket. 0, or -errno with CAUSE_HELPER. */
static int assuan_open(struct assuan *a, const char *path, struct error *e)
{
        struct sockaddr_un sun = {.sun_family = AF_UNIX};
        const struct timeval timeout = {.tv_sec = TIMEOUT_SEC};
        *a = (struct assuan){.fd = -1};
        if (strlen(path) >= sizeof(sun.sun_path))
                return failed(e, ENAMETOOLONG);
        strcpy(sun.sun_path, path);
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
                connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0)
                return failed(e, errno);
        a->fd = take_fd(&fd);
        return read_answer(a, NULL, NULL, 0, NULL, e);
}

static void assuan_close(struct assuan *a)
{
        a->fd = close_fd(a->fd);
}
#define _cleanup_assuan_ _cleanup_(assuan_close)

/* --- keys --- */

/* KEYINFO <grip> <type> <serial> <idstr> <cached> <protection> ...: is there a passphrase on it? */
static int key_protected(struct assuan *c, const char *keygrip, bool *ret, struct error *e)
{
        char command[80], status[512] = "", type[4] = "", protection[4] = "";
        snprintf(command, sizeof(command), "KEYINFO %s", keygrip);
        if (assuan_command(c, command, NULL, status, sizeof(status), NULL, e) < 0) {
                if (e)
                        e->cause = CAUSE_NO_KEY;
                return -ENOKEY;
        }
        if (sscanf(status, "KEYINFO %*s %3s %*s %*s %*s %3s", type, protection) != 2 || !streq(type, "D"))
                return error_set(e, CAUSE_NO_KEY, ENOKEY, "the secret key is not on disk (a smartcard?)");
        *ret = !streq(protection, "C");
        return 0;
}

static int try_passphrase(struct assuan *c, const char *keygrip, const struct secret *passphrase,
        bool reprotect, struct error *e)
{
        char command[80];
        unsigned code = 0;
        snprintf(command, sizeof(command), "PASSWD %s%s", reprotect ? "" : "--verify ", keygrip);
        int r = assuan_command(c, command, passphrase, NULL, 0, &code, e);
        if (r != -EREMOTEIO)
                return r;
        switch (code) {
        case GPG_ERR_BAD_PASSPHRASE:
        case GPG_ERR_TOO_LARGE: /* longer than it takes */
                return error_set(e, CAUSE_PASSPHRASE, EKEYREJECTED, "the passphrase does not open the key");
        case GPG_ERR_NO_SECKEY:
                return error_set(e, CAUSE_NO_KEY, ENOKEY, "gpg-agent does not have the secret key");
        default:
                return r;
        }
}

/* The agent's cache for this key. As hex in the command, which all versions understand: with --inquire, GnuPG
 * 2.2 takes the keygrip for part of the answer, and 2.4 caches under an empty name and says OK. */
static int preset(struct assuan *c, const char *keygrip, const struct secret *passphrase, struct error *e)
{
        char start[80];
        size_t n = (size_t)snprintf(start, sizeof(start), "PRESET_PASSPHRASE %s -1 ", keygrip);
        _cleanup_secret_ struct secret command = {};
        if (n >= sizeof(start) || secret_alloc(n + passphrase->len * 2, &command) < 0)
                return error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
        memcpy(command.p, start, n);
        hex_encode((const uint8_t *)passphrase->p, passphrase->len, command.p + n);
        return assuan_command(c, command.p, NULL, NULL, 0, NULL, e);
}

int agent_unlock(struct agent *a, const char *keygrip, const struct secret *passphrase, bool reprotect,
        struct error *e)
{
        _cleanup_assuan_ struct assuan c = {.fd = -1};
        bool locked = false;
        int r = assuan_open(&c, a->path, e);
        if (r == 0)
                r = assuan_command(&c, "OPTION pinentry-mode=loopback", NULL, NULL, 0, NULL, e);
        if (r == 0)
                r = key_protected(&c, keygrip, &locked, e);
        if (r < 0 || !locked)
                return r;
        if (passphrase->len == 0)
                return error_set(e, CAUSE_PASSPHRASE, EKEYREJECTED,
                        "the key has a passphrase, but none is configured");
        r = try_passphrase(&c, keygrip, passphrase, reprotect, e);
        if (r < 0)
                return r;
        return preset(&c, keygrip, passphrase, e);
}
