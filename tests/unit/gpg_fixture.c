/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fsx.h"
#include "gpg_fixture.h"
#include "str.h"

static const char *const homes[] = {"open", "locked", "expired", "maker"};

void gpg_run(const struct gpg_fixture *f, const char *format, ...)
{
        char command[4096], line[5120];
        va_list ap;
        va_start(ap, format);
        vsnprintf(command, sizeof(command), format, ap);
        va_end(ap);
        snprintf(line, sizeof(line),
                "exec 2>>%s/log; set -e; cd %s; umask 077; export LC_ALL=C; unset GNUPGHOME; "
                "T='--batch --quiet --yes --no-tty --pinentry-mode loopback --trust-model always'; "
                "G=\"gpg --homedir %s/maker $T\"; %s",
                f->dir, f->dir, f->dir, command);
        int r = system(line);
        if (r != 0) {
                fprintf(stderr, "%s\nstatus %d, see below\n", command, r);
                snprintf(line, sizeof(line), "tail -20 %s/log >&2", f->dir);
                (void)!system(line);
        }
        assert_int_equal(r, 0);
}

/* The clock of "expired" stands still ("!"): else its first key is made a second after the second gpg starts
 * where that takes long, and gpg refuses a key of the future. */
void gpg_fixture_make(struct gpg_fixture *f)
{
        strcpy(f->dir, "/tmp/czXXXXXX");
        assert_non_null(mkdtemp(f->dir));
        for (size_t i = 0; i < ELEMENTSOF(homes); i++) {
                const char *h = homes[i];
                gpg_run(f,
                        "mkdir %s; W=\"gpg --homedir %s/%s $T\"; P='%s'; [ %s = locked ] || P=; E=never; "
                        "[ %s != expired ] || { W=\"$W --faked-system-time 20200101T000000!\"; E=30d; }; "
                        "$W --passphrase \"$P\" --quick-gen-key '%s <%s@x.org>' rsa2048 sign,cert $E; "
                        "F=$($W --list-keys --with-colons | awk -F: '/^fpr/{print $10;exit}'); "
                        "$W --passphrase \"$P\" --quick-add-key $F rsa2048 encr $E; "
                        "$W --export > %s.pub; echo $F > %s.fpr",
                        h, f->dir, h, FIXTURE_PASSPHRASE, h, h, h, h, h, h);
        }
        gpg_run(f, "cat open.pub locked.pub expired.pub | $G --import; "
                   "gpg --homedir open $T --import maker.pub; seq 1 20000 > plain; gzip -nk plain");
}

void gpg_fixture_remove(struct gpg_fixture *f)
{
        for (size_t i = 0; i < ELEMENTSOF(homes); i++)
                gpg_run(f, "gpgconf --homedir %s/%s --kill all", f->dir, homes[i]);
        char line[128];
        snprintf(line, sizeof(line), "rm -rf %s", f->dir);
        assert_int_equal(system(line), 0);
}

char *gpg_read(const struct gpg_fixture *f, const char *name, size_t *ret_len)
{
        char path[256], *p = NULL;
        snprintf(path, sizeof(path), "%s/%s", f->dir, name);
        assert_int_equal(read_file_at(AT_FDCWD, path, (size_t)1 << 30, &p, ret_len), 0);
        return p;
}

void gpg_write(const struct gpg_fixture *f, const char *name, const void *p, size_t n)
{
        char path[256];
        snprintf(path, sizeof(path), "%s/%s", f->dir, name);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, p, n), 0);
        close(fd);
}
