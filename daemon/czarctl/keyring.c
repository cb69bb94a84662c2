/* SPDX-License-Identifier: Apache-2.0 */
/* gpg's colon listing (its doc/DETAILS) says what there is; whether the secret part is there is seen by the
 * file named after the keygrip, so that no agent is started for a look. */
#include "keyring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fsx.h"
#include "str.h"

#define OUTPUT_MOST (1024 * 1024)
#define ARGS_MOST 32

int keyring_gpg(
        const char *home, const char *const *args, const struct secret *passphrase, struct run_spec *spec)
{
        const char *argv[ARGS_MOST] = {"gpg", "--homedir", home, "--batch", "--no-tty", "--no-options",
                "--quiet", "--no-auto-check-trustdb", "--no-auto-key-locate", "--trust-model", "always",
                "--pinentry-mode", "loopback"};
        size_t n = 13;
        _cleanup_close_ int fd = -1;
        if (passphrase) {
                fd = passphrase->p ? secret_to_fd(passphrase) : open("/dev/null", O_RDONLY | O_CLOEXEC);
                if (fd < 0)
                        return fd;
                spec->fd3 = fd;
                spec->stay = true; /* its agent is stopped by us */
                argv[n++] = "--passphrase-fd";
                argv[n++] = "3";
        }
        while (*args && n + 1 < ARGS_MOST)
                argv[n++] = *args++;
        spec->argv = argv;
        spec->no_network = true;
        int r = run_program(spec);
        spec->argv = NULL;
        return r;
}

void keyring_stop_agent(const char *home)
{
        const char *args[] = {"gpgconf", "--homedir", home, "--kill", "all", NULL};
        (void)run_quietly(args, NULL, NULL, 0, NULL);
}

int keyring_make_home(const char *home, struct error *e)
{
        if (mkdir(home, 0700) < 0 && errno != EEXIST)
                return error_set(e, CAUSE_INTERNAL, errno, "cannot make %s: %s%s", home, strerror(errno),
                        errno == EACCES ? " (run czarctl as root or as the user of czard)" : "");
        _cleanup_close_ int fd = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return error_set(e, CAUSE_INTERNAL, errno, "cannot open %s: %s", home, strerror(errno));
        return check_owner_mode(fd, home, 007, e);
}

/* --- the colon listing --- */

/* Field n (from 1) of a line into ret. */
static const char *field(const char *line, unsigned n, char *ret, size_t size)
{
        while (--n > 0 && *line && *line != '\n')
                line += strcspn(line, ":\n") + (line[strcspn(line, ":\n")] == ':');
        size_t len = strcspn(line, ":\n");
        snprintf(ret, size, "%.*s", (int)MIN(len, size - 1), line);
        return ret;
}

static bool has_secret(const char *home, const char *keygrip)
{
        if (strspn(keygrip, "0123456789ABCDEF") != 40 || strlen(keygrip) != 40)
                return false;
        _cleanup_free_ char *path = str_printf("%s/private-keys-v1.d/%s.key", home, keygrip);
        return path && access(path, F_OK) == 0;
}

struct listing {
        const char *home;
        struct fact_key *keys;
        size_t n, size;
        struct fact_key now;
        bool open, secret, primary;
};

static void flush(struct listing *l)
{
        if (l->open && l->secret && l->n < l->size)
                l->keys[l->n++] = l->now;
        l->open = l->secret = false;
}

/* "\xNN" escapes of user ids become the bytes they stand for; others of them stay. */
static void unescape(char *s)
{
        char *to = s;
        for (; *s; s++) {
                unsigned v;
                if (s[0] == '\\' && s[1] == 'x' && sscanf(s + 2, "%2x", &v) == 1 && v >= 0x20) {
                        *to++ = (char)v;
                        s += 3;
                } else {
                        *to++ = *s;
                }
        }
        *to = 0;
}

static void take_line(struct listing *l, const char *line)
{
        char kind[8], text[256];
        field(line, 1, kind, sizeof(kind));
        if (streq(kind, "pub")) {
                flush(l);
                l->now = (struct fact_key){};
                l->open = l->primary = true;
                l->now.created = atoll(field(line, 6, text, sizeof(text)));
                l->now.expires = atoll(field(line, 7, text, sizeof(text)));
        } else if (streq(kind, "sub")) {
                l->primary = false;
                /* edX encrypts to the subkey: its expiry counts when it comes first. */
                long long expires = atoll(field(line, 7, text, sizeof(text)));
                if (strchr(field(line, 12, text, sizeof(text)), 'e') && expires != 0 &&
                        (l->now.expires == 0 || expires < l->now.expires))
                        l->now.expires = expires;
        } else if (streq(kind, "fpr") && l->primary && !*l->now.fingerprint) {
                field(line, 10, l->now.fingerprint, sizeof(l->now.fingerprint));
        } else if (streq(kind, "grp")) {
                l->secret |= has_secret(l->home, field(line, 10, text, sizeof(text)));
        } else if (streq(kind, "uid") && !*l->now.user_id) {
                field(line, 10, l->now.user_id, sizeof(l->now.user_id));
                unescape(l->now.user_id);
        }
}

size_t keyring_read(const char *home, struct fact_key *ret, size_t size)
{
        _cleanup_free_ char *ring = str_printf("%s/pubring.kbx", home),
                            *old = str_printf("%s/pubring.gpg", home);
        if (!ring || !old || (access(ring, R_OK) < 0 && access(old, R_OK) < 0))
                return 0;
        const char *args[] = {
                "--with-colons", "--with-keygrip", "--fixed-list-mode", "--lock-never", "--list-keys", NULL};
        _cleanup_free_ char *out = malloc(OUTPUT_MOST);
        struct run_spec spec = {.out = out, .size = OUTPUT_MOST - 1, .quiet = true};
        if (!out || keyring_gpg(home, args, NULL, &spec) < 0)
                return 0;
        out[spec.len] = 0;
        struct listing l = {.home = home, .keys = ret, .size = size};
        for (const char *line = out; *line; line += strcspn(line, "\n"), line += *line == '\n')
                take_line(&l, line);
        flush(&l);
        return l.n;
}

int keyring_export(const char *home, const char *fingerprint, char **ret, size_t *ret_n, struct error *e)
{
        const char *args[] = {"--armor", "--export-options", "export-minimal", "--export", fingerprint, NULL};
        _cleanup_free_ char *out = malloc(OUTPUT_MOST);
        struct run_spec spec = {.out = out, .size = OUTPUT_MOST - 1};
        int r = out ? keyring_gpg(home, args, NULL, &spec) : -ENOMEM;
        if (r != 0 || spec.len == 0)
                return error_set(
                        e, CAUSE_INTERNAL, r < 0 ? -r : EIO, "gpg cannot export the key %s", fingerprint);
        out[spec.len] = 0;
        *ret_n = spec.len;
        *ret = take_ptr(&out);
        return 0;
}
