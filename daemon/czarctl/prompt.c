/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal is /dev/tty, so that standard input and output stay free for pipes. */
#include "prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>

#include "fsx.h"
#include "limits.h"
#include "macro.h"

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

/* Until the end of the line. mask: ends at a signal that it lets through, with -EINTR; NULL: at none. */
static int read_line(int fd, const sigset_t *mask, char *ret, size_t size)
{
        struct pollfd p = {.fd = fd, .events = POLLIN};
        size_t n = 0;
        for (;;) {
                char c;
                if (mask && ppoll(&p, 1, NULL, mask) < 0)
                        return -errno;
                ssize_t k = read(fd, &c, 1);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k == 0 && n == 0)
                        return -ENODATA;
                if (k == 0 || c == '\n')
                        break;
                if (n + 1 >= size)
                        return -EMSGSIZE;
                ret[n++] = c;
        }
        ret[n] = 0;
        return 0;
}

static void say(int fd, const char *text)
{
        (void)write_all(fd, text, strlen(text));
}

int prompt_line(const char *text, char *ret, size_t size)
{
        _cleanup_close_ int fd = open_terminal();
        if (fd < 0)
                return fd;
        say(fd, text);
        int r = read_line(fd, NULL, ret, size);
        if (r == -ENODATA)
                say(fd, "\n");
        return r;
}

/* --- without echo --- */

/* What would end or stop us: the terminal is put right first. */
static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};

struct hidden {
        int fd;
        struct termios echo; /* as it was */
        sigset_t mask;
        struct sigaction before[ELEMENTSOF(signals)];
};

static volatile sig_atomic_t caught;

static void on_signal(int number)
{
        caught = number;
}

static void show_again(struct hidden *h)
{
        (void)tcsetattr(h->fd, TCSAFLUSH, &h->echo);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                sigaction(signals[i], &h->before[i], NULL);
        sigprocmask(SIG_SETMASK, &h->mask, NULL);
}

/* The signals are blocked but in ppoll(), so that none comes unseen. On failure all is as it was. */
static int hide(struct hidden *h)
{
        struct sigaction act = {.sa_handler = on_signal};
        sigset_t block;
        if (tcgetattr(h->fd, &h->echo) < 0)
                return -errno;
        sigemptyset(&block);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                sigaddset(&block, signals[i]);
        sigprocmask(SIG_BLOCK, &block, &h->mask);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                sigaction(signals[i], NULL, &h->before[i]);
                if (h->before[i].sa_handler != SIG_IGN)
                        sigaction(signals[i], &act, NULL);
        }
        struct termios dark = h->echo;
        dark.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
        if (tcsetattr(h->fd, TCSAFLUSH, &dark) == 0)
                return 0;
        int r = -errno;
        show_again(h);
        return r;
}

/* After ctrl-Z and fg the question is asked again; any other signal is the end of us. */
static int ask_person(struct hidden *h, const char *text, struct secret *ret)
{
        int r = secret_alloc(LIMIT_PASSPHRASE, ret);
        while (r == 0) {
                say(h->fd, text);
                r = read_line(h->fd, &h->mask, ret->p, LIMIT_PASSPHRASE);
                say(h->fd, "\n");
                if (r != -EINTR || !caught)
                        break;
                int number = caught;
                caught = 0;
                show_again(h);
                raise(number);
                r = hide(h);
        }
        if (r == 0)
                ret->len = strlen(ret->p);
        return r;
}

/* 0, 1: not good, and told so; or -errno. */
static int ask_once(struct hidden *h, const char *text, size_t least, bool twice, struct secret *ret)
{
        _cleanup_secret_ struct secret first = {}, second = {};
        int r = ask_person(h, text, &first);
        if (r < 0)
                return r;
        if (first.len < least) {
                char why[64];
                snprintf(why, sizeof(why), "It needs at least %zu characters.\n", least);
                say(h->fd, why);
                return 1;
        }
        r = twice ? ask_person(h, "The same again: ", &second) : 0;
        if (r < 0)
                return r;
        if (twice && (first.len != second.len || memcmp(first.p, second.p, first.len) != 0)) {
                say(h->fd, "These two differ.\n");
                return 1;
        }
        secret_done(ret);
        *ret = first;
        first = (struct secret){};
        return 0;
}

int prompt_passphrase(const char *text, size_t least, bool twice, struct secret *ret)
{
        _cleanup_close_ int fd = open_terminal();
        struct hidden h = {.fd = fd};
        int r = fd < 0 ? fd : hide(&h);
        if (r < 0)
                return r;
        r = 1;
        for (int i = 0; i < PROMPT_TRIES && r == 1; i++)
                r = ask_once(&h, text, least, twice, ret);
        show_again(&h);
        return r == 1 ? -ECANCELED : r;
}

const char *prompt_error(int r)
{
        switch (-r) {
        case ENODATA:
                return "nothing was entered";
        case ECANCELED:
                return "given up after three tries";
        case EMSGSIZE:
                return "that is too long";
        default:
                return strerror(-r);
        }
}
