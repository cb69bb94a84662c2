/* SPDX-License-Identifier: Apache-2.0 */
/* Secret export through GPGME. What gpg writes goes straight into locked memory, and is wiped as soon as the
 * keys are read out of it; without a passphrase it is the key itself. */
#include "pgp_export.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pgp_keyring.h"
#include "str.h"

#define EXPORT_MOST (256 * KIB)
#define PATTERNS_MOST 16

struct sink {
        struct secret data;
        bool full;
};

static ssize_t on_write(void *arg, const void *p, size_t n)
{
        struct sink *s = arg;
        if (n > EXPORT_MOST - s->data.len) {
                s->full = true;
                errno = EFBIG;
                return -1;
        }
        memcpy(s->data.p + s->data.len, p, n);
        s->data.len += n;
        return (ssize_t)n;
}

static gpgme_error_t on_passphrase(void *arg, const char *hint, const char *info, int again, int fd)
{
        const struct secret *passphrase = arg;
        (void)hint;
        (void)info;
        if (again)
                return gpgme_error(GPG_ERR_BAD_PASSPHRASE);
        return gpgme_io_writen(fd, passphrase->p, passphrase->len) < 0 || gpgme_io_writen(fd, "\n", 1) < 0
                       ? gpgme_error_from_errno(errno)
                       : 0;
}

static gpgme_error_t export_into(const char *home, const char **patterns, gpgme_export_mode_t mode,
        const struct secret *passphrase, struct sink *sink)
{
        gpgme_ctx_t ctx = NULL;
        gpgme_data_t data = NULL;
        struct gpgme_data_cbs cbs = {.write = on_write};
        /* GPGME passes the callback's argument on and does not change it. */
        union {
                const struct secret *in;
                void *out;
        } arg = {.in = passphrase};
        gpgme_error_t err = gpgme_new(&ctx);
        if (!err)
                err = pgp_set_home(ctx, home);
        if (!err)
                err = gpgme_set_pinentry_mode(ctx, GPGME_PINENTRY_MODE_LOOPBACK);
        if (!err)
                err = gpgme_data_new_from_cbs(&data, &cbs, sink);
        if (!err) {
                gpgme_set_passphrase_cb(ctx, on_passphrase, arg.out);
                gpgme_set_offline(ctx, 1);
                err = gpgme_op_export_ext(ctx, patterns, mode, data);
        }
        if (data)
                gpgme_data_release(data);
        if (ctx)
                gpgme_release(ctx);
        return err;
}

/* GPGME reads what gpg writes into a buffer on its stack first: without a passphrase, that is the key. And
 * what OpenSSL hashes to check the key, its assembler leaves on the stack in words. */
static __attribute__((noinline)) void wipe_stack(void)
{
        char area[32 * KIB];
        OPENSSL_cleanse(area, sizeof(area));
}

int pgp_export(const char *home, const char *const *fingerprints, size_t n, bool primary,
        const struct secret *passphrase, char *const *wanted, size_t n_wanted, struct pgp_secret **ret,
        struct error *e)
{
        const char *patterns[PATTERNS_MOST + 1] = {};
        char exact[PATTERNS_MOST][72]; /* "!": this very subkey */
        struct sink sink = {};
        if (pgp_secret_init() < 0 || secret_alloc(EXPORT_MOST, &sink.data) < 0)
                return error_set(e, CAUSE_HELPER, ENOMEM, "there is no safe memory for the key");
        for (size_t i = 0; i < n && i < PATTERNS_MOST; i++) {
                snprintf(exact[i], sizeof(exact[i]), "%s%s", fingerprints[i], primary ? "" : "!");
                patterns[i] = exact[i];
        }
        sink.data.len = 0;
        gpgme_error_t err = export_into(home, patterns,
                primary ? GPGME_EXPORT_MODE_SECRET : GPGME_EXPORT_MODE_SECRET_SUBKEY, passphrase, &sink);
        int r;
        if (err || sink.full)
                r = gpg_error_set(e, err, "gpg does not export the secret key");
        else
                r = pgp_secret_read(sink.data.p, sink.data.len, passphrase, wanted, n_wanted, ret, e);
        wipe_stack();
        secret_done(&sink.data);
        return r;
}
