/* SPDX-License-Identifier: Apache-2.0 */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "fsx.h"
#include "journal.h"
#include "macro.h"
#include "str.h"

static const char *const passed_on[] = {"PATH", "TZ", "JOURNAL_STREAM", "CREDENTIALS_DIRECTORY",
        "RUNTIME_DIRECTORY", JOURNAL_FOR_PEOPLE, "CZARD_TESTING", "ASAN_OPTIONS", "LSAN_OPTIONS",
        "UBSAN_OPTIONS"};

int launch_find(const char *name, char *ret, size_t size)
{
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        char *slash = n > 0 ? (self[n] = 0, strrchr(self, '/')) : NULL;
        if (slash) {
                *slash = 0;
                snprintf(ret, size, "%s/../%s/%s", self, name, name);
                if (access(ret, X_OK) == 0)
                        return 0;
                snprintf(ret, size, "%s/../libexec/czard/%s", self, name);
                if (access(ret, X_OK) == 0)
                        return 0;
        }
        snprintf(ret, size, "%s/%s", CZARD_LIBEXECDIR, name);
        return access(ret, X_OK) == 0 ? 0 : -errno;
}

static char *borrowed(const char *s)
{
        union {
                const char *in;
                char *out;
        } pun = {.in = s}; /* execve(2) does not change them */
        return pun.out;
}

int launch_prepare(struct launch *ret, const char *name, const char *const *args, struct error *e)
{
        *ret = (struct launch){};
        int r = launch_find(name, ret->file, sizeof(ret->file));
        if (r < 0)
                return error_set(
                        e, CAUSE_HELPER, -r, "%s is not there (%s): reinstall czard", name, ret->file);
        size_t n = 0, k = 0;
        ret->argv[n++] = ret->file;
        for (; args && *args && n < LAUNCH_ARGUMENTS_MAX - 3; args++)
                ret->argv[n++] = borrowed(*args);
        ret->argv[n++] = borrowed("--channel");
        ret->argv[n++] = borrowed("3");
        ret->env = calloc(ELEMENTSOF(passed_on) + 1, sizeof(*ret->env));
        for (size_t i = 0; ret->env && i < ELEMENTSOF(passed_on); i++) {
                const char *v = getenv(passed_on[i]);
                if (v && (ret->env[k] = str_printf("%s=%s", passed_on[i], v)))
                        k++;
        }
        return ret->env ? 0 : error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
}

void launch_done(struct launch *l)
{
        for (char **v = l->env; v && *v; v++)
                free(*v);
        free(l->env);
        l->env = NULL;
}

int setup_message(const struct proto_setup *setup, const struct secret *passphrase, struct message *ret)
{
        *ret = (struct message){.type = PROTO_SETUP, .setup = *setup};
        if (!passphrase->p)
                return 0;
        int fd = secret_to_fd(passphrase);
        if (fd < 0)
                return fd;
        ret->fds[0] = fd;
        ret->n_fds = 1;
        return 0;
}

/* In one go no more than this is taken, so that a talkative one does not hold us up. */
#define TAKEN_MOST (64 * 1024)

int said_open(struct said *s, void (*tell)(const char *line))
{
        int fds[2];
        s->fd = -1;
        s->tell = tell;
        s->n = 0;
        if (!isatty(STDERR_FILENO))
                return STDERR_FILENO;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return -1;
        (void)fd_nonblock(fds[0], 1);
        s->fd = fds[0];
        return fds[1];
}

void said_handed(int fd)
{
        if (fd > STDERR_FILENO)
                close_fd(fd);
}

static void tell_line(struct said *s)
{
        s->line[s->n] = 0;
        s->n = 0;
        if (*s->line)
                s->tell(s->line);
}

static void add(struct said *s, const char *p, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (p[i] != '\n' && p[i] != 0)
                        s->line[s->n++] = p[i];
                if (p[i] == '\n' || s->n == sizeof(s->line) - 1)
                        tell_line(s);
        }
}

bool said_take(struct said *s)
{
        char buf[4096];
        for (size_t taken = 0; s->fd >= 0 && taken < TAKEN_MOST;) {
                ssize_t n = read(s->fd, buf, sizeof(buf));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 && errno == EAGAIN;
                add(s, buf, (size_t)n);
                taken += (size_t)n;
        }
        return s->fd >= 0;
}

void said_close(struct said *s)
{
        if (s->fd < 0)
                return;
        (void)said_take(s);
        tell_line(s);
        s->fd = close_fd(s->fd);
}
