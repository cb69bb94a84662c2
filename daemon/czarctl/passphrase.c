/* SPDX-License-Identifier: Apache-2.0 */
/* czard takes the credential czard.passphrase before [openpgp] passphrase_file (startup.c), and a package's
 * own file before both (pool.c). A new one is stored in the place that is asked first. A person is asked on
 * /dev/tty, so that standard input and output stay free for pipes. */
#include "passphrase.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>

#include "credstore.h"
#include "fsx.h"
#include "helpers.h"
#include "limits.h"
#include "macro.h"
#include "owner.h"
#include "str.h"

#define CREDENTIAL "czard.passphrase"

/* --- homes --- */

struct key_home key_home_of(const struct config_package *p)
{
        return (struct key_home){
                .dir = p->homedir, .passphrase_file = p->passphrase_file, .own = p->own_passphrase};
}

struct key_home key_home_general(const struct ctl *c)
{
        return (struct key_home){
                .dir = c->config->openpgp.homedir, .passphrase_file = c->config->openpgp.passphrase_file};
}

int key_home_chosen(const struct ctl *c, struct key_home *ret)
{
        const char *name = ctl_flag(c, "package");
        for (size_t i = 0; name && i < c->config->n_packages; i++)
                if (streq(c->config->packages[i].name, name)) {
                        *ret = key_home_of(&c->config->packages[i]);
                        return 0;
                }
        if (name)
                return ctl_usage(c, "--package: there is no [package %.64s] in the configuration", name);
        *ret = key_home_general(c);
        return 0;
}

/* --- where it is --- */

/* Handed in by systemd, when we run in a unit. */
static char *given_credential(void)
{
        const char *dir = getenv("CREDENTIALS_DIRECTORY");
        _cleanup_free_ char *path = dir ? str_printf("%s/" CREDENTIAL, dir) : NULL;
        return path && access(path, F_OK) == 0 ? take_ptr(&path) : NULL;
}

static bool given_credential_is_there(void)
{
        _cleanup_free_ char *path = given_credential();
        return path;
}

static int announce(struct ctl *c, const struct key_home *h)
{
        if (!h->own && given_credential_is_there())
                return 0; /* it wins, and nobody can replace it from here */
        if (!h->own && geteuid() == 0 && (!h->passphrase_file || credstore_has(CREDENTIAL, NULL, NULL)))
                return owner_output(c, CREDENTIAL, OUTPUT_CREDENTIAL, 0400, &c->passphrase_output);
        return h->passphrase_file
                       ? owner_output(c, h->passphrase_file, OUTPUT_SECRET, 0400, &c->passphrase_output)
                       : 0;
}

int passphrase_prepare(struct ctl *c, bool may_store)
{
        struct key_home h;
        const char *file = ctl_flag(c, "passphrase-file");
        int status = key_home_chosen(c, &h);
        if (status == 0 && may_store)
                status = announce(c, &h);
        if (status)
                return status;
        int fd = geteuid() == 0 ? credstore_open(CREDENTIAL) : -1;
        if (fd >= 0)
                c->passphrase_fd = fd;
        if (!file)
                return 0;
        struct error e = {};
        c->passphrase_file_fd = owner_open_input(file, &e);
        return c->passphrase_file_fd < 0 ? ctl_fail(&e) : 0;
}

static int read_fd(int fd, const char *what, struct secret *ret, struct error *e)
{
        int r = lseek(fd, 0, SEEK_SET) < 0 ? -errno : secret_read_line(fd, LIMIT_PASSPHRASE, ret);
        return r < 0 ? error_set(e, CAUSE_PASSPHRASE, -r, "cannot read the passphrase from %s: %s", what,
                               secret_line_error(-r))
                     : 0;
}

int passphrase_find(struct ctl *c, const struct key_home *h, struct secret *ret, char ret_source[TEXT_SIZE],
        struct error *e)
{
        _cleanup_free_ char *given = h->own ? NULL : given_credential();
        bool is_stored = !h->own && !given && c->passphrase_fd >= 0;
        const char *path = given       ? given
                           : is_stored ? "the stored credential " CREDENTIAL
                                       : h->passphrase_file;
        snprintf(ret_source, TEXT_SIZE, "%s", path ? path : "");
        if (!path)
                return 0;
        if (is_stored)
                return read_fd(c->passphrase_fd, path, ret, e);
        return secret_load_line(path, LIMIT_PASSPHRASE, given, ret, e);
}

int passphrase_given(struct ctl *c, struct secret *ret, struct error *e)
{
        const char *file = ctl_flag(c, "passphrase-file");
        if (!file)
                return 0;
        int r = check_owner_mode(c->passphrase_file_fd, file, 077, e);
        return r < 0 ? r : read_fd(c->passphrase_file_fd, file, ret, e);
}

/* --- where it goes --- */

static bool same_secret(const struct secret *a, const struct secret *b)
{
        return a->len == b->len && (a->len == 0 || memcmp(a->p, b->p, a->len) == 0);
}

/* Opens the home with both passphrases, and compares what can be used. */
static int check_stored(struct ctl *c, const struct key_home *h, const struct secret *stored,
        const struct secret *fresh, struct error *e)
{
        struct decrypt_helper now = {.helper = HELPER_NONE}, then = {.helper = HELPER_NONE};
        struct error ignored = {};
        if (access(h->dir, F_OK) < 0 || decrypt_open(c, h->dir, stored, &now, &ignored) < 0)
                return 0; /* nothing there opens today */
        (void)decrypt_open(c, h->dir, fresh, &then, &ignored);
        int r = 0;
        for (size_t i = 0; r == 0 && i < now.usable.n; i++)
                if (!strv_has(&then.usable, now.usable.v[i]))
                        r = error_set(e, CAUSE_INTERNAL, EBUSY,
                                "the passphrase that is stored opens the key %s in %s, and storing another "
                                "one would lock it; give both keys the same passphrase (gpg "
                                "--change-passphrase), or give the new key a homedir and a passphrase_file "
                                "of its own in a [package] section, and use --package",
                                now.usable.v[i], h->dir);
        decrypt_close(&now);
        decrypt_close(&then);
        return r;
}

int passphrase_check_others(
        struct ctl *c, const struct key_home *h, const struct secret *fresh, struct error *e)
{
        _cleanup_secret_ struct secret stored = {};
        struct error ignored = {};
        char source[TEXT_SIZE];
        _cleanup_free_ char *given = h->own ? NULL : given_credential();
        if (passphrase_find(c, h, &stored, source, &ignored) < 0 || !stored.p || same_secret(&stored, fresh))
                return 0;
        if (given)
                return error_set(e, CAUSE_INTERNAL, EBUSY,
                        "the credential %s is another passphrase, and it takes the place of any that czarctl "
                        "stores; run czarctl outside this unit, as root",
                        given);
        if (h->own)
                return check_stored(c, h, &stored, fresh, e);
        /* All that share the place; the default home also when another one is configured now. */
        _cleanup_free_ char *usual = str_printf("%s/gnupg", c->config->state_dir);
        struct strv seen = {};
        struct key_home homes[2] = {key_home_general(c), {.dir = usual ? usual : h->dir}};
        int r = 0;
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(homes) + c->config->n_packages; i++) {
                struct key_home one = i < ELEMENTSOF(homes)
                                              ? homes[i]
                                              : key_home_of(&c->config->packages[i - ELEMENTSOF(homes)]);
                if (one.own || strv_has(&seen, one.dir))
                        continue;
                r = strv_add(&seen, one.dir);
                if (r == 0)
                        r = check_stored(c, &one, &stored, fresh, e);
        }
        strv_done(&seen);
        return r;
}

int passphrase_store(struct ctl *c, const struct secret *s)
{
        struct error e = {};
        char where[TEXT_SIZE];
        if (c->passphrase_output < 0) {
                if (!given_credential_is_there())
                        fputs("The passphrase is stored nowhere: czard needs it in [openpgp] "
                              "passphrase_file, or (as root) as the\nsystemd credential " CREDENTIAL ".\n",
                                stderr);
                return 0;
        }
        _cleanup_close_ int fd = secret_to_fd(s);
        if (fd < 0)
                return ctl_fail_text("memory file: %s", strerror(-fd));
        if (owner_put_fd(c, c->passphrase_output, fd, where, &e) < 0)
                return ctl_fail(&e);
        if (!c->json)
                shown_print(stdout, "passphrase stored in %s\n", where);
        return 0;
}

/* --- asking a person --- */

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

int passphrase_ask(
        passphrase_opens_fn *opens, void *arg, enum cause prompts, struct secret *ret, struct error *e)
{
        int r = -EINVAL;
        for (int i = 0; i < PROMPT_TRIES; i++) {
                *e = (struct error){};
                r = prompt_passphrase("Passphrase of the key: ", 0, false, ret);
                if (r < 0)
                        return error_set(e, prompts, -r, "passphrase: %s", prompt_error(r));
                r = opens(arg, ret, e);
                if (r == 0 || e->cause != CAUSE_PASSPHRASE)
                        break;
                fputs("That does not open it.\n", stderr);
        }
        return r;
}
