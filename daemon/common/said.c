/* SPDX-License-Identifier: Apache-2.0 */
#include "said.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "fsx.h"

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
