/* SPDX-License-Identifier: Apache-2.0 */
/* czard takes the credential czard.passphrase before [openpgp] passphrase_file (startup.c), and a package's
 * own file before both (pool.c). A new one is stored in the place that is asked first. */
#include "passphrase.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "credstore.h"
#include "decrypt.h"
#include "fsx.h"
#include "limits.h"
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
        int r = -1;
        if (!h->own && given_credential_is_there())
                return 0; /* it wins, and nobody can replace it from here */
        if (!h->own && geteuid() == 0 && (!h->passphrase_file || credstore_has(CREDENTIAL, NULL, NULL)))
                r = owner_output(c, CREDENTIAL, OUTPUT_CREDENTIAL, 0400);
        else if (h->passphrase_file)
                r = owner_output(c, h->passphrase_file, OUTPUT_SECRET, 0400);
        else
                return 0;
        if (r < 0)
                return ctl_fail_text("out of memory");
        c->passphrase_output = r;
        return 0;
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
        return c->passphrase_file_fd < 0 ? ctl_fail(c, &e) : 0;
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
                return ctl_fail(c, &e);
        if (!c->json)
                shown_print(stdout, "passphrase stored in %s\n", where);
        return 0;
}
