/* SPDX-License-Identifier: Apache-2.0 */
/* LoadCredential= takes plain files from /etc/credstore, LoadCredentialEncrypted= encrypted ones from
 * /etc/credstore.encrypted; the units as installed have the former, so a stored encrypted credential comes
 * with a drop-in. */
#include "credstore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "fsx.h"
#include "limits.h"
#include "run.h"
#include "str.h"

#define DROP_IN "50-czarctl-credential.conf"

static const char *unit_of(const char *name)
{
        return streq(name, "czard.passphrase") ? "czard" : "czard-fetch";
}

static int make_dir(const char *path, mode_t mode)
{
        if (mkdir(path, mode) < 0 && errno != EEXIST)
                return -errno;
        return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int remove_at(const char *dir, const char *name)
{
        _cleanup_free_ char *path = str_printf("%s/%s", dir, name);
        return path && unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int write_drop_in(const char *name)
{
        char dir[256], text[TEXT_SIZE];
        snprintf(dir, sizeof(dir), "/etc/systemd/system/%s.service.d", unit_of(name));
        int n = snprintf(text, sizeof(text),
                "# Made by czarctl: the credential is stored encrypted in " CREDSTORE_ENCRYPTED ".\n"
                "[Service]\n"
                "LoadCredentialEncrypted=%s\n",
                name);
        _cleanup_close_ int fd = make_dir(dir, 0755);
        if (fd < 0)
                return fd;
        int r = replace_file_at(fd, DROP_IN, text, (size_t)n, 0644);
        const char *reload[] = {"systemctl", "daemon-reload", NULL};
        if (r == 0 && access("/run/systemd/system", F_OK) == 0)
                (void)run_quietly(reload, NULL, NULL, 0, NULL);
        return r;
}

static int remove_drop_in(const char *name)
{
        char dir[256];
        snprintf(dir, sizeof(dir), "/etc/systemd/system/%s.service.d", unit_of(name));
        return remove_at(dir, DROP_IN);
}

/* Replaces it, and removes what a command that was killed left beside it: another copy of a secret. What a
 * command that lives has there is not taken away: they wait for each other. */
static int put_file(int dir, const char *name, const char *p, size_t n)
{
        if (flock(dir, LOCK_EX) < 0)
                return -errno;
        remove_replacements_at(dir, name);
        return replace_file_at(dir, name, p, n, 0400);
}

/* Only where systemd itself runs: elsewhere the key of systemd-creds may be another machine's tomorrow. */
static int put_encrypted(const char *name, const char *secret, size_t len, char where[TEXT_SIZE])
{
        _cleanup_free_ char *arg = str_printf("--name=%s", name);
        const char *args[] = {"systemd-creds", "encrypt", arg, "-", "-", NULL};
        if (!arg || access("/run/systemd/system", F_OK) < 0)
                return -EOPNOTSUPP;
        struct run_input in = {.p = secret, .n = len};
        _cleanup_free_ char *out = calloc(1, LIMIT_CREDENTIALS_FILE);
        size_t n = 0;
        int r = out ? run_quietly(args, &in, out, LIMIT_CREDENTIALS_FILE, &n) : -ENOMEM;
        if (r != 0 || n == 0)
                return -EOPNOTSUPP;
        _cleanup_close_ int dir = make_dir(CREDSTORE_ENCRYPTED, 0700);
        r = dir < 0 ? dir : put_file(dir, name, out, n);
        if (r == 0)
                r = write_drop_in(name);
        if (r == 0)
                r = remove_at(CREDSTORE, name);
        snprintf(where, TEXT_SIZE, CREDSTORE_ENCRYPTED "/%s (encrypted for this machine)", name);
        return r;
}

int credstore_put(const char *name, int fd, char where[TEXT_SIZE], struct error *e)
{
        _cleanup_free_ char *secret = NULL;
        size_t len = 0;
        if (lseek(fd, 0, SEEK_SET) < 0)
                return error_set(e, CAUSE_INTERNAL, errno, "credential: %s", strerror(errno));
        int r = read_file_fd(fd, LIMIT_CREDENTIALS_FILE, &secret, &len);
        if (r == 0)
                r = put_encrypted(name, secret, len, where);
        if (r == -EOPNOTSUPP) {
                _cleanup_close_ int dir = make_dir(CREDSTORE, 0700);
                r = dir < 0 ? dir : put_file(dir, name, secret, len);
                if (r == 0)
                        r = remove_at(CREDSTORE_ENCRYPTED, name);
                if (r == 0)
                        r = remove_drop_in(name);
                snprintf(where, TEXT_SIZE, CREDSTORE "/%s (mode 0400)", name);
        }
        if (secret)
                explicit_bzero(secret, len);
        return r < 0 ? error_set(e, CAUSE_INTERNAL, -r, "cannot store the credential %s: %s", name,
                               strerror(-r))
                     : 0;
}

bool credstore_has(const char *name, int64_t *ret_when, bool *ret_encrypted)
{
        struct stat st;
        for (int i = 0; i < 2; i++) {
                _cleanup_free_ char *path = str_printf("%s/%s", i ? CREDSTORE_ENCRYPTED : CREDSTORE, name);
                if (path && stat(path, &st) == 0) {
                        if (ret_when)
                                *ret_when = st.st_mtime;
                        if (ret_encrypted)
                                *ret_encrypted = i == 1;
                        return true;
                }
        }
        return false;
}

int credstore_open(const char *name)
{
        bool encrypted = false;
        if (!credstore_has(name, NULL, &encrypted))
                return -ENOENT;
        _cleanup_free_ char *path = str_printf("%s/%s", encrypted ? CREDSTORE_ENCRYPTED : CREDSTORE, name);
        if (!path)
                return -ENOMEM;
        if (!encrypted) {
                int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
                return fd < 0 ? -errno : fd;
        }
        _cleanup_free_ char *arg = str_printf("--name=%s", name);
        const char *args[] = {"systemd-creds", "decrypt", arg, path, "-", NULL};
        char out[LIMIT_CREDENTIALS_FILE];
        size_t n = 0;
        int r = arg ? run_quietly(args, NULL, out, sizeof(out), &n) : -ENOMEM;
        if (r != 0)
                return r < 0 ? r : -EIO;
        _cleanup_close_ int fd = memfd_create("credential", MFD_CLOEXEC);
        r = fd < 0 ? -errno : write_all(fd, out, n);
        explicit_bzero(out, sizeof(out));
        if (r < 0 || lseek(fd, 0, SEEK_SET) < 0)
                return r < 0 ? r : -errno;
        return take_fd(&fd);
}
