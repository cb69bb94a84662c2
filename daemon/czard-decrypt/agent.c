/* SPDX-License-Identifier: Apache-2.0 */
/* gpg-agent as a child. Started the usual way it makes its own session and outlives whoever needed it;
 * "--supervised" on a socket of ours (the protocol of sd_listen_fds(3)) keeps it a child, and PDEATHSIG ends
 * it with us. Only the agent holds the listening socket: when it dies, who connects is refused instead of
 * waiting for ever. */
#include "agent.h"

#include <gpg-error.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "assuan.h"
#include "fsx.h"
#include "str.h"

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
