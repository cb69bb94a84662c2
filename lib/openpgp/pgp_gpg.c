/* SPDX-License-Identifier: Apache-2.0 */
/* One gpg and the four descriptors to it: message, plaintext, status lines, session key (or nothing). One
 * thread serves them all; the pipes are large, so that gpg has something to do while this thread waits for
 * the message or writes the plaintext. */
#include "pgp_gpg.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "fsx.h"
#include "limits.h"

#define PIPE_BYTES (256 * KIB)
#define STATUS_LINE 2048
/* Where gpg finds them; ours are moved above all of these. */
enum { GPG_STATUS = 3, GPG_KEY = 4, OURS = 16 };

struct gpg {
        pid_t pid;
        int in, out, status; /* our ends, -1: closed */
        uint8_t *waiting;    /* of the message; PIPE_BYTES */
        size_t n_waiting, n_written;
        uint8_t *plain; /* PIPE_BYTES */
        char line[STATUS_LINE];
        size_t line_len;
        bool line_too_long, given_up;
};

/* [0] is read, [1] written, both above those that gpg gets. */
static int make_pipe(int ret[2])
{
        int p[2];
        if (pipe2(p, O_CLOEXEC) < 0)
                return -errno;
        int r = 0;
        for (size_t i = 0; i < 2; i++) {
                ret[i] = fcntl(p[i], F_DUPFD_CLOEXEC, OURS);
                if (ret[i] < 0 && r == 0)
                        r = -errno;
                close_fd(p[i]);
        }
        if (r < 0) {
                ret[0] = close_fd(ret[0]);
                ret[1] = close_fd(ret[1]);
                return r;
        }
        (void)fcntl(ret[0], F_SETPIPE_SZ, PIPE_BYTES); /* best effort: there is a quota */
        return 0;
}

static int spawn(const struct gpg_call *c, pid_t *ret, int in, int out, int status, int key)
{
        /* Not --pinentry-mode error: gpg 2.4 exits with 2 for it when the message is to a passphrase too. */
        const char *argv[] = {"gpg", "--homedir", c->home, "--batch", "--no-tty", "--status-fd", "3",
                "--pinentry-mode", "cancel", "--disable-dirmngr", "--no-symkey-cache",
                "--exit-on-status-write-error", "--output", "-", "--decrypt", NULL, NULL, NULL};
        size_t n = ELEMENTSOF(argv) - 4; /* of --decrypt */
        if (c->session_key) {
                argv[n++] = "--override-session-key-fd";
                argv[n++] = "4";
                argv[n] = "--decrypt";
        }
        union {
                const char **in;
                char **out;
        } pun = {.in = argv};
        posix_spawn_file_actions_t files;
        int r = posix_spawn_file_actions_init(&files);
        if (r != 0)
                return -r;
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&files, in, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&files, out, 1);
        if (r == 0)
                r = posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&files, status, GPG_STATUS);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&files, key, GPG_KEY);
        if (r == 0)
                r = posix_spawnp(ret, "gpg", &files, NULL, pun.out, environ);
        posix_spawn_file_actions_destroy(&files);
        return -r;
}

static int start(struct gpg *g, const struct gpg_call *c)
{
        int fd[4][2] = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}}; /* message, plaintext, status, key */
        int r = 0;
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(fd); i++)
                r = make_pipe(fd[i]);
        if (r == 0 && c->session_key)
                r = write_all(fd[3][1], c->session_key, strlen(c->session_key));
        fd[3][1] = close_fd(fd[3][1]);
        if (r == 0)
                r = fd_nonblock(fd[0][1], 1);
        if (r >= 0)
                r = spawn(c, &g->pid, fd[0][0], fd[1][1], fd[2][1], fd[3][0]);
        close_fd(fd[0][0]);
        close_fd(fd[1][1]);
        close_fd(fd[2][1]);
        close_fd(fd[3][0]);
        g->in = fd[0][1];
        g->out = fd[1][0];
        g->status = fd[2][0];
        return r;
}

static void give_up(struct gpg *g)
{
        g->given_up = true;
        g->in = close_fd(g->in);
        g->out = close_fd(g->out);
        g->status = close_fd(g->status);
        kill(g->pid, SIGKILL);
}

/* gpg can take some of the message. */
static void serve_in(struct gpg *g, const struct gpg_call *c)
{
        if (g->n_written == g->n_waiting) {
                ssize_t n = c->feed(c->arg, g->waiting, PIPE_BYTES, NULL);
                g->n_written = 0;
                g->n_waiting = n > 0 ? (size_t)n : 0;
                if (n < 0)
                        give_up(g);
                else if (n == 0)
                        g->in = close_fd(g->in);
                if (n <= 0)
                        return;
        }
        ssize_t k = write(g->in, g->waiting + g->n_written, g->n_waiting - g->n_written);
        if (k >= 0)
                g->n_written += (size_t)k;
        else if (errno != EAGAIN && errno != EINTR)
                g->in = close_fd(g->in); /* it has read enough; what it thinks of it comes on the others */
}

static void serve_out(struct gpg *g, const struct gpg_call *c)
{
        ssize_t n = read(g->out, g->plain, PIPE_BYTES);
        if (n > 0 && c->drain(c->arg, g->plain, (size_t)n, NULL) < 0)
                give_up(g);
        else if (n == 0 || (n < 0 && errno != EINTR))
                g->out = close_fd(g->out);
}

/* "[GNUPG:] KEYWORD ARGS" */
static void on_line(struct gpg *g, const struct gpg_call *c)
{
        static const char head[] = "[GNUPG:] ";
        g->line[g->line_len] = 0;
        char *keyword = g->line + sizeof(head) - 1;
        if (!g->line_too_long && strncmp(g->line, head, sizeof(head) - 1) == 0) {
                char *args = keyword + strcspn(keyword, " ");
                if (*args)
                        *args++ = 0;
                c->status(c->arg, keyword, args);
        }
        g->line_len = 0;
        g->line_too_long = false;
}

static void serve_status(struct gpg *g, const struct gpg_call *c)
{
        char buf[4096];
        ssize_t n = read(g->status, buf, sizeof(buf));
        for (ssize_t i = 0; i < n; i++)
                if (buf[i] == '\n')
                        on_line(g, c);
                else if (g->line_len + 1 < sizeof(g->line))
                        g->line[g->line_len++] = buf[i];
                else
                        g->line_too_long = true;
        if (n == 0 || (n < 0 && errno != EINTR))
                g->status = close_fd(g->status);
}

static void serve(struct gpg *g, const struct gpg_call *c)
{
        while (!g->given_up && (g->out >= 0 || g->status >= 0)) {
                struct pollfd fds[] = {
                        {.fd = g->status, .events = POLLIN},
                        {.fd = g->out, .events = POLLIN},
                        {.fd = g->in, .events = POLLOUT},
                };
                if (poll(fds, ELEMENTSOF(fds), -1) < 0) {
                        if (errno != EINTR)
                                give_up(g);
                        continue;
                }
                if (fds[0].revents)
                        serve_status(g, c);
                if (fds[1].revents)
                        serve_out(g, c);
                if (fds[2].revents && !g->given_up)
                        serve_in(g, c);
        }
}

static int wait_for(const struct gpg *g)
{
        int status;
        while (waitpid(g->pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -1;
        return !g->given_up && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int gpg_call(const struct gpg_call *c, int *ret_status, struct error *e)
{
        struct gpg *g = calloc(1, sizeof(*g));
        uint8_t *buffers = malloc(2 * PIPE_BYTES);
        int r = g && buffers ? 0 : -ENOMEM;
        if (r == 0) {
                g->waiting = buffers;
                g->plain = buffers + PIPE_BYTES;
                r = start(g, c);
        }
        if (r >= 0) {
                serve(g, c);
                close_fd(g->in);
                close_fd(g->out);
                close_fd(g->status);
                *ret_status = wait_for(g);
        } else if (g) {
                close_fd(g->in);
                close_fd(g->out);
                close_fd(g->status);
        }
        if (buffers)
                OPENSSL_cleanse(buffers + PIPE_BYTES, PIPE_BYTES);
        free(buffers);
        free(g);
        return r < 0 ? error_set(e, CAUSE_HELPER, -r, "gpg cannot be run: %s", strerror(-r)) : 0;
}
