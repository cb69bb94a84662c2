/* SPDX-License-Identifier: Apache-2.0 */
/* gpg's colon listing (its doc/DETAILS) says what there is; whether the secret part is there is seen by the
 * file named after the keygrip, so that no agent is started for a look. */
#include "keyring.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "fsx.h"
#include "key_command.h"
#include "macro.h"
#include "str.h"
#include "terms.h"

#define OUTPUT_MOST (1024 * 1024)
#define ARGS_MOST 32
#define DATABASE_FOLDER "/public-keys.d" /* of keyboxd */

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

int keyring_make_home(const struct ctl *c, const char *home, struct error *e)
{
        if (mkdir(home, 0700) < 0 && errno != EEXIST) {
                int err = errno;
                char help[CTL_DENIED_SIZE];
                return error_set(e, CAUSE_INTERNAL, err, "cannot make %s: %s%s%s", home, strerror(err),
                        err == EACCES ? "; " : "", err == EACCES ? ctl_denied(c, home, help) : "");
        }
        _cleanup_close_ int fd = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return error_set(e, CAUSE_INTERNAL, errno, "cannot open %s: %s", home, strerror(errno));
        return check_owner_mode(fd, home, 007, e);
}

/* --- files of the home --- */

static bool has_file(const char *home, const char *name)
{
        _cleanup_free_ char *path = str_printf("%s/%s", home, name);
        struct stat st;
        return path && stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
}

static bool is_denied(const char *path, int how)
{
        return access(path, how) < 0 && errno == EACCES;
}

/* A key file that is another's is not looked for: one of them is enough to be told. */
bool keyring_denied(const char *home, char ret[KEYRING_DENIED_SIZE])
{
        static const char *const names[] = {
                "pubring.kbx", "pubring.gpg", "public-keys.d", "private-keys-v1.d"};
        snprintf(ret, KEYRING_DENIED_SIZE, "%s", home);
        if (is_denied(home, R_OK | X_OK))
                return true;
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                snprintf(ret, KEYRING_DENIED_SIZE, "%s/%s", home, names[i]);
                if (is_denied(ret, R_OK))
                        return true;
        }
        _cleanup_closedir_ DIR *d = opendir(ret); /* private-keys-v1.d */
        struct dirent *f;
        while (d && dir_next(d, &f) > 0) {
                snprintf(ret, KEYRING_DENIED_SIZE, "%s/private-keys-v1.d/%.255s", home, f->d_name);
                if (str_ends(f->d_name, ".key") && is_denied(ret, R_OK))
                        return true;
        }
        return false;
}

/* In doubt there are some. */
static bool has_key_files(const char *home)
{
        _cleanup_free_ char *path = str_printf("%s/private-keys-v1.d", home);
        _cleanup_closedir_ DIR *d = path ? opendir(path) : NULL;
        if (!d)
                return !path || errno != ENOENT;
        struct dirent *f;
        int r;
        while ((r = dir_next(d, &f)) > 0)
                if (str_ends(f->d_name, ".key"))
                        return true;
        return r < 0;
}

/* GnuPG before 2.1 has them in secring.gpg; later ones convert it once, when they need a secret key. */
static bool is_unconverted(const char *home)
{
        _cleanup_free_ char *mark = str_printf("%s/.gpg-v21-migrated", home);
        return mark && access(mark, F_OK) < 0 && !has_key_files(home) && has_file(home, "secring.gpg");
}

bool keyring_has_secrets(const char *home)
{
        return has_key_files(home) || is_unconverted(home);
}

/* The file is an S-expression or, newer, lines with one; its first symbol tells. The key itself comes behind
 * what is read here, or is protected. */
static enum secret_part part_in_file(const char *path)
{
        char head[1024];
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read_full(fd, head, sizeof(head) - 1);
        if (n < 0)
                return access(path, F_OK) == 0 ? SECRET_FILE : SECRET_NONE;
        bool card = memmem(head, (size_t)n, "shadowed-private-key", strlen("shadowed-private-key"));
        explicit_bzero(head, sizeof(head));
        return card ? SECRET_CARD : SECRET_FILE;
}

/* A lock of GnuPG's dotlock.c: a line with the PID, a line with the host. Of this host and not alive it is
 * taken over by gpg; for any other gpg waits. served: by a keyboxd, which has its lock as long as it runs,
 * and gpg asks it. */
static int check_lock(const char *path, bool served, struct error *e)
{
        char text[512], host[HOST_SIZE] = "", word[SHELL_WORD_SIZE];
        long pid = 0;
        struct utsname here = {};
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        ssize_t n = fd < 0 ? -1 : read_full(fd, text, sizeof(text) - 1);
        if (n < 0)
                return 0;
        text[n] = 0;
        (void)uname(&here);
        if (sscanf(text, "%ld %255s", &pid, host) == 2 && streq(host, here.nodename) &&
                (served || pid <= 0 || (kill((pid_t)pid, 0) < 0 && errno == ESRCH)))
                return 0;
        for (char *p = host; *p; p++)
                if (!isalnum((unsigned char)*p) && !strchr(".-_", *p))
                        *p = '?';
        if (*host && streq(host, here.nodename))
                return error_set(e, CAUSE_INTERNAL, EBUSY,
                        "%s: process %ld uses the key ring now, and gpg would wait for it; try again when it "
                        "has "
                        "ended",
                        path, pid);
        return error_set(e, CAUSE_INTERNAL, EBUSY,
                "%s: a lock of process %ld on another machine (%s), for which gpg waits for ever; when "
                "nothing "
                "there uses this folder any more: rm %s",
                path, pid, *host ? host : "?", shell_word(path, word, sizeof(word)));
}

int keyring_check_locks(const char *home, struct error *e)
{
        static const char *const folders[] = {"", "/private-keys-v1.d", DATABASE_FOLDER};
        for (size_t i = 0; i < ELEMENTSOF(folders); i++) {
                _cleanup_free_ char *folder = str_printf("%s%s", home, folders[i]);
                _cleanup_closedir_ DIR *d = folder ? opendir(folder) : NULL;
                if (!d && (!folder || errno != ENOENT))
                        return error_set(e, CAUSE_INTERNAL, folder ? errno : ENOMEM, "cannot read %s%s: %s",
                                home, folders[i], folder ? strerror(errno) : "out of memory");
                struct dirent *f;
                int r = 0;
                while (d && (r = dir_next(d, &f)) > 0) {
                        _cleanup_free_ char *path = *f->d_name != '.' && str_ends(f->d_name, ".lock")
                                                            ? str_printf("%s/%s", folder, f->d_name)
                                                            : NULL;
                        r = path ? check_lock(path, streq(folders[i], DATABASE_FOLDER), e) : 0;
                        if (r < 0)
                                return r;
                }
                if (r < 0)
                        return error_set(e, CAUSE_INTERNAL, -r, "cannot read %s: %s", folder, strerror(-r));
        }
        return 0;
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

struct listing {
        const char *home;
        struct strv *unconverted; /* keygrips in secring.gpg, NULL: files count */
        struct keyring *ring;
        struct keyring_key now;
        bool open;
        int result;
};

static enum secret_part part_of(const struct listing *l, const char *keygrip)
{
        if (strspn(keygrip, "0123456789ABCDEF") != 40 || strlen(keygrip) != 40)
                return SECRET_NONE;
        if (l->unconverted)
                return strv_has(l->unconverted, keygrip) ? SECRET_FILE : SECRET_NONE;
        _cleanup_free_ char *path = str_printf("%s/private-keys-v1.d/%s.key", l->home, keygrip);
        return path ? part_in_file(path) : SECRET_NONE;
}

static void key_done(struct keyring_key *k)
{
        free(k->subkeys);
        *k = (struct keyring_key){};
}

/* The same rule for all of czard: terms.h. */
static int64_t end_of(const struct keyring_key *k)
{
        struct key_term t = {};
        for (size_t i = 0; i < k->n_subkeys; i++) {
                const struct keyring_subkey *s = &k->subkeys[i];
                if (s->encrypts && !s->revoked && s->secret != SECRET_NONE)
                        key_term_add(&t, s->expires);
        }
        return key_term_end(&t, k->primary_expires);
}

static void flush(struct listing *l)
{
        bool any = false;
        for (size_t i = 0; l->open && i < l->now.n_subkeys; i++)
                any |= l->now.subkeys[i].secret != SECRET_NONE;
        if (any && ARRAY_ROOM(l->ring->keys, l->ring->n) == 0) {
                l->now.fact.expires = end_of(&l->now);
                l->ring->keys[l->ring->n++] = l->now;
                l->now = (struct keyring_key){};
        } else if (any) {
                l->result = -ENOMEM;
        }
        key_done(&l->now);
        l->open = false;
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

/* A "pub" or "sub" line. */
static void take_subkey(struct listing *l, const char *line)
{
        char text[256];
        struct keyring_key *k = &l->now;
        if (ARRAY_ROOM(k->subkeys, k->n_subkeys) < 0) {
                l->result = -ENOMEM;
                return;
        }
        struct keyring_subkey *s = &k->subkeys[k->n_subkeys++];
        *s = (struct keyring_subkey){};
        s->revoked = *field(line, 2, text, sizeof(text)) == 'r';
        s->created = atoll(field(line, 6, text, sizeof(text)));
        s->expires = atoll(field(line, 7, text, sizeof(text)));
        s->encrypts = strchr(field(line, 12, text, sizeof(text)), 'e'); /* upper case is of the whole key */
}

static void take_line(void *arg, const char *line)
{
        struct listing *l = arg;
        char kind[8], text[256];
        struct keyring_key *k = &l->now;
        field(line, 1, kind, sizeof(kind));
        if (streq(kind, "pub")) {
                flush(l);
                l->open = true;
        }
        if (streq(kind, "pub") || streq(kind, "sub")) {
                take_subkey(l, line);
                return;
        }
        struct keyring_subkey *s = k->n_subkeys ? &k->subkeys[k->n_subkeys - 1] : NULL;
        if (!s)
                return;
        if (streq(kind, "fpr") && !*s->fingerprint) {
                field(line, 10, s->fingerprint, sizeof(s->fingerprint));
                if (k->n_subkeys == 1) {
                        memcpy(k->fact.fingerprint, s->fingerprint, sizeof(k->fact.fingerprint));
                        k->fact.created = s->created;
                        k->primary_expires = s->expires;
                }
        } else if (streq(kind, "grp")) {
                s->secret = part_of(l, field(line, 10, text, sizeof(text)));
        } else if (streq(kind, "uid") && !*k->fact.user_id) {
                field(line, 10, k->fact.user_id, sizeof(k->fact.user_id));
                unescape(k->fact.user_id);
        }
}

/* gpg with these arguments, its output line by line: of any length, since a key ring may hold very many keys.
 * Its exit status, or -errno. */
static int list(
        const char *home, const char *const *args, void (*take)(void *arg, const char *line), void *arg)
{
        _cleanup_close_ int fd = memfd_create("listing", MFD_CLOEXEC);
        struct run_spec spec = {.out_fd = fd, .quiet = true};
        if (fd < 0)
                return -errno;
        int status = keyring_gpg(home, args, NULL, &spec);
        if (status < 0)
                return status;
        int copy = lseek(fd, 0, SEEK_SET) == 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
        FILE *f = copy < 0 ? NULL : fdopen(copy, "r");
        if (!f) {
                close_fd(copy);
                return -EIO;
        }
        char *line = NULL;
        size_t size = 0;
        while (getline(&line, &size, f) > 0)
                take(arg, line);
        free(line);
        fclose(f);
        return status;
}

static void on_grip(void *arg, const char *line)
{
        char text[64];
        if (str_after(line, "grp:"))
                strv_add(arg, field(line, 10, text, sizeof(text)));
}

/* GnuPG 2.4 can keep public keys in a database that this gpg may not know. */
static int check_database(const char *home, struct error *e)
{
        const char *args[] = {"gpgconf", "--list-components", NULL};
        char out[4096] = "", word[SHELL_WORD_SIZE];
        if (run_quietly(args, NULL, out, sizeof(out) - 1, NULL) == 0 && strstr(out, "keyboxd:"))
                return 0;
        return error_set(e, CAUSE_NO_KEY, ENOTSUP,
                "%s keeps its public keys in the database of keyboxd (use-keyboxd in common.conf), which the "
                "gpg of "
                "this machine does not read; where GnuPG 2.4 is: gpg --homedir %s --armor "
                "--export-secret-keys > "
                "key.asc, then here, with another homedir, import key.asc (czarctl import-key)",
                home, shell_word(home, word, sizeof(word)));
}

int keyring_read(const char *home, struct keyring *ret, struct error *e)
{
        char denied[KEYRING_DENIED_SIZE];
        if (keyring_denied(home, denied))
                return error_set(e, CAUSE_UNSAFE_MODE, EACCES,
                        "%s: %s: a GnuPG home and all in it must belong to the user of czard (czarctl check, "
                        "as root, says what to do)",
                        denied, strerror(EACCES));
        bool database = false;
        if (!has_file(home, "pubring.kbx") && !has_file(home, "pubring.gpg")) {
                database = has_file(home, "public-keys.d/pubring.db");
                int known = database ? check_database(home, e) : 0;
                if (!database || known < 0)
                        return known;
        }
        const char *args[] = {
                "--with-colons", "--with-keygrip", "--fixed-list-mode", "--lock-never", "--list-keys", NULL};
        struct strv grips = {};
        struct listing l = {.home = home, .ring = ret};
        int r = 0;
        if (is_unconverted(home)) {
                _cleanup_free_ char *ring = str_printf("%s/secring.gpg", home);
                const char *secret[] = {"--no-autostart", "--with-colons", "--with-keygrip", "--lock-never",
                        "--show-keys", ring, NULL};
                l.unconverted = &grips;
                r = ring ? list(home, secret, on_grip, &grips) : -ENOMEM;
        }
        int status = r >= 0 ? list(home, args, take_line, &l) : r;
        if (database) /* a look leaves no keyboxd behind */
                keyring_stop_agent(home);
        flush(&l);
        strv_done(&grips);
        r = MIN(status, 0);
        if (r == 0)
                r = l.result;
        if (status > 0 && r == 0 && ret->n == 0) { /* not one without keys */
                char word[SHELL_WORD_SIZE];
                shell_word(home, word, sizeof(word));
                return error_set(e, CAUSE_HELPER, EIO,
                        "gpg cannot list the keys in %s; " KEY_GPG_AS_OWNER " --list-keys says why", home,
                        word, word);
        }
        if (r < 0)
                return error_set(e, CAUSE_HELPER, -r, "gpg cannot list the keys in %s: %s", home,
                        r == -ENOENT ? "gpg is not installed" : strerror(-r));
        return 0;
}

void keyring_done(struct keyring *k)
{
        for (size_t i = 0; i < k->n; i++)
                key_done(&k->keys[i]);
        free(k->keys);
        *k = (struct keyring){};
}

const struct keyring_key *keyring_find(const struct keyring *k, const char *fingerprint)
{
        for (size_t i = 0; i < k->n; i++)
                if (streq(k->keys[i].fact.fingerprint, fingerprint))
                        return &k->keys[i];
        return NULL;
}

enum secret_part keyring_can_decrypt(const struct keyring_key *k)
{
        enum secret_part best = SECRET_NONE;
        for (size_t i = 0; i < k->n_subkeys; i++)
                if (k->subkeys[i].encrypts && !k->subkeys[i].revoked)
                        best = MAX(best, k->subkeys[i].secret);
        return best;
}

const char *keyring_useless(const struct keyring_key *k)
{
        bool encrypts = false, usable = false;
        if (k->n_subkeys && k->subkeys[0].revoked)
                return "is revoked: nobody encrypts to it any more";
        for (size_t i = 0; i < k->n_subkeys; i++) {
                encrypts |= k->subkeys[i].encrypts;
                usable |= k->subkeys[i].encrypts && !k->subkeys[i].revoked;
        }
        return usable     ? NULL
               : encrypts ? "has only encryption subkeys that are revoked: nobody encrypts to it any more"
                          : "has no encryption subkey, so nothing can be encrypted to it";
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

void keyring_none(const struct ctl *c, const char *home, struct key_none *ret)
{
        char make[KEY_COMMAND_SIZE], import[KEY_COMMAND_SIZE];
        bool lost = keyring_has_secrets(home);
        key_command(c->config, home, "import-key FILE", NULL, import);
        snprintf(ret->detail, sizeof(ret->detail),
                lost ? "private keys lie in %s, but gpg finds no public key for them"
                     : "there is no secret key in %s",
                home);
        if (lost)
                snprintf(ret->fix, sizeof(ret->fix), "%s with a copy of the key brings its public part back",
                        import);
        else
                snprintf(ret->fix, sizeof(ret->fix), "%s, or %s",
                        key_command(c->config, home, "keygen", NULL, make), import);
}

int keyring_packets(const char *home, const char *key, size_t n, char **ret)
{
        const char *args[] = {"--list-packets", NULL};
        _cleanup_free_ char *out = malloc(OUTPUT_MOST);
        struct run_spec spec = {.in = {key, n}, .out = out, .size = OUTPUT_MOST - 1, .quiet = true};
        int r = out ? keyring_gpg(home, args, NULL, &spec) : -ENOMEM;
        if (r < 0)
                return r;
        out[spec.len] = 0;
        *ret = take_ptr(&out);
        return r;
}

/* --- features: the colon listing does not show them, the packet listing does: "hashed subpkt 30 len 1
 * (features: 09)" below the signature that it belongs to, whose class stands before it --- */

#define FEATURE_SEIPD_2 0x08

/* The features that senders look at: of user ids, and when none of these says anything, of the key itself. */
static unsigned features_in(char *listing)
{
        unsigned class = 0, features = 0, of_ids = 0, of_key = 0;
        bool any_id = false;
        for (char *save = NULL, *line = strtok_r(listing, "\n", &save); line;
                line = strtok_r(NULL, "\n", &save)) {
                const char *at = strstr(line, "sigclass 0x");
                if (at)
                        class = (unsigned)strtoul(at + strlen("sigclass "), NULL, 16);
                at = strstr(line, "hashed subpkt 30 ");
                if (!at || sscanf(at, "hashed subpkt 30 len %*u (features: %2x", &features) != 1)
                        continue;
                if (class >= 0x10 && class <= 0x13) {
                        of_ids |= features;
                        any_id = true;
                } else if (class == 0x1f) {
                        of_key |= features;
                }
        }
        return any_id ? of_ids : of_key;
}

bool key_asks_for_newer(const char *home, const char *fingerprint)
{
        _cleanup_free_ char *armor = NULL, *listing = NULL;
        size_t len = 0;
        struct error ignored = {};
        if (keyring_export(home, fingerprint, &armor, &len, &ignored) < 0)
                return false;
        return keyring_packets(home, armor, len, &listing) == 0 && features_in(listing) & FEATURE_SEIPD_2;
}

const char *key_features_advice(
        const struct config *c, const char *home, const char *fingerprint, char *ret, size_t size)
{
        char export[KEY_COMMAND_SIZE], word[SHELL_WORD_SIZE];
        shell_word(home, word, sizeof(word));
        snprintf(ret, size,
                "give it a user id with plain preferences and take back the old one: " KEY_GPG_AS_OWNER
                " --pinentry-mode loopback --quick-add-uid %s 'NAME (edX) <MAIL>', the same with "
                "--quick-revoke-uid and the old user id; then send the new public key (%s) to edX",
                word, word, fingerprint, key_command(c, home, "key export", fingerprint, export));
        return ret;
}
