/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal is /dev/tty, so that standard input and output stay free for pipes. */
#include "prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>

#include "fsx.h"
#include "limits.h"

#define TRIES 3

static int open_terminal(void)
{
        int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
        return fd < 0 ? -errno : fd;
}

bool prompt_possible(void)
{
        _cleanup_close_ int fd = open_terminal();
        return fd >= 0;
}

/* Until the end of the line. */
static int read_line(int fd, char *ret, size_t size)
{
        size_t n = 0;
        for (;;) {
                char c;
                ssize_t k = read(fd, &c, 1);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k == 0 || c == '\n')
                        break;
                if (n + 1 >= size)
                        return -EMSGSIZE;
                ret[n++] = c;
        }
        ret[n] = 0;
        return 0;
}

int prompt_line(const char *text, char *ret, size_t size)
{
        _cleanup_close_ int fd = open_terminal();
        int r = fd < 0 ? fd : write_all(fd, text, strlen(text));
        return r < 0 ? r : read_line(fd, ret, size);
}

static int ask_hidden(int fd, const char *text, struct secret *ret)
{
        struct termios old, hidden;
        if (tcgetattr(fd, &old) < 0)
                return -errno;
        hidden = old;
        hidden.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
        _cleanup_secret_ struct secret s = {};
        int r = secret_alloc(LIMIT_PASSPHRASE, &s);
        if (r == 0)
                r = write_all(fd, text, strlen(text));
        if (r < 0 || tcsetattr(fd, TCSAFLUSH, &hidden) < 0)
                return r < 0 ? r : -errno;
        r = read_line(fd, s.p, LIMIT_PASSPHRASE);
        tcsetattr(fd, TCSAFLUSH, &old);
        (void)write_all(fd, "\n", 1);
        if (r < 0)
                return r;
        s.len = strlen(s.p);
        secret_done(ret);
        *ret = s;
        s = (struct secret){};
        return 0;
}

int prompt_passphrase(const char *text, bool twice, struct secret *ret)
{
        _cleanup_close_ int fd = open_terminal();
        if (fd < 0)
                return fd;
        for (int i = 0; i < TRIES; i++) {
                _cleanup_secret_ struct secret first = {}, second = {};
                int r = ask_hidden(fd, text, &first);
                if (r == 0 && twice)
                        r = ask_hidden(fd, "The same again: ", &second);
                if (r < 0)
                        return r;
                if (!twice || (first.len == second.len && memcmp(first.p, second.p, first.len) == 0)) {
                        *ret = first;
                        first = (struct secret){};
                        return 0;
                }
                static const char differ[] = "These differ.\n";
                (void)write_all(fd, differ, sizeof(differ) - 1);
        }
        return -EINVAL;
}
