/* SPDX-License-Identifier: Apache-2.0 */
/* czarctl's end of czard-decrypt: it holds the key, has no network, and gives back one small plaintext. */
#include "decrypt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "fsx.h"
#include "launch.h"
#include "limits.h"
#include "prompt.h"
#include "scratch.h"
#include "str.h"

#define START_SECONDS 60
#define VERDICT_SECONDS 60

/* --- the worker --- */

static int send_setup(struct ctl *c, struct decrypt_helper *d, const char *homedir,
        const struct secret *passphrase, struct error *e)
{
        const struct proto_setup setup = {.home = d->home,
                .source = homedir,
                .import = 1,
                .reference = 1, /* its one message may be of any kind */
                .signatures = SIGNATURES_OPTIONAL,
                .engine = (uint8_t)c->config->openpgp.engine,
                .max_plaintext = LIMIT_CREDENTIALS_FILE,
                .max_ratio = c->config->limits.max_ratio,
                .max_name = c->config->limits.max_name};
        struct message m;
        int r = setup_message(&setup, passphrase, &m);
        if (r < 0)
                return error_set(e, CAUSE_HELPER, -r, "memory file: %s", strerror(-r));
        r = sync_helper_send(&d->helper, &m, e);
        message_done(&m);
        return r;
}

static int take_ready(struct decrypt_helper *d, struct error *e)
{
        struct message m = {};
        int r = sync_helper_receive(&d->helper, START_SECONDS, &m, e);
        if (r < 0)
                return r;
        if (m.type != PROTO_READY)
                r = error_set(e, CAUSE_HELPER, EPROTO, "czard-decrypt sent an unexpected message");
        else if (m.ready.outcome.cause != CAUSE_NONE)
                r = error_set(e, (enum cause)m.ready.outcome.cause, EACCES, "%s", m.ready.outcome.detail);
        else
                snprintf(d->warning, sizeof(d->warning), "%s", m.ready.warning);
        for (size_t i = 0; r == 0 && i < m.ready.n_keys; i++)
                r = strv_add(&d->usable, m.ready.keys[i].fingerprint);
        message_done(&m);
        return r;
}

int decrypt_open(struct ctl *c, const char *homedir, const struct secret *passphrase,
        struct decrypt_helper *ret, struct error *e)
{
        struct decrypt_helper d = {.helper = HELPER_NONE};
        struct error mine = {};
        int r = scratch_make(c, "home", d.home, &mine);
        if (r == 0)
                r = sync_helper_start("czard-decrypt", NULL, &d.helper, &mine);
        if (r == 0)
                r = send_setup(c, &d, homedir, passphrase, &mine);
        if (r == 0)
                r = take_ready(&d, &mine);
        if (r < 0) {
                decrypt_close(&d);
                *e = mine;
                return r;
        }
        *ret = d;
        return 0;
}

void decrypt_close(struct decrypt_helper *d)
{
        sync_helper_stop(&d->helper);
        if (*d->home)
                scratch_remove(d->home);
        d->home[0] = 0;
        strv_done(&d->usable);
}

/* --- one message --- */

/* The message is small: it fits into the pipe. */
static int fill_pipe(int fd, uint64_t size, int *ret_pipe, struct error *e)
{
        char buf[LIMIT_CREDENTIALS_FILE];
        int fds[2];
        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_set(e, CAUSE_HELPER, errno, "pipe: %s", strerror(errno));
        fcntl(fds[1], F_SETPIPE_SZ, (int)sizeof(buf));
        ssize_t n = pread(fd, buf, sizeof(buf), 0);
        int r = n == (ssize_t)size ? write_all(fds[1], buf, (size_t)n) : -EIO;
        close_fd(fds[1]);
        if (r < 0) {
                close_fd(fds[0]);
                return error_set(e, CAUSE_HELPER, -r, "reading the message: %s", strerror(-r));
        }
        *ret_pipe = fds[0];
        return 0;
}

static int take_verdict(struct decrypt_helper *d, struct error *e)
{
        for (;;) {
                struct message m = {};
                int r = sync_helper_receive(&d->helper, VERDICT_SECONDS, &m, e);
                if (r < 0)
                        return r;
                bool over = m.type == PROTO_VERDICT;
                if (over && m.verdict.outcome.cause != CAUSE_NONE)
                        r = error_set(e, (enum cause)m.verdict.outcome.cause, EBADMSG, "%s",
                                m.verdict.outcome.detail);
                message_done(&m);
                if (over)
                        return r;
        }
}

int decrypt_message(struct decrypt_helper *d, int fd, struct secret *ret, struct error *e)
{
        struct stat st;
        if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > (off_t)LIMIT_CREDENTIALS_FILE)
                return error_set(e, CAUSE_BAD_PGP, EFBIG, "not a file of credentials: it has %lld bytes",
                        (long long)st.st_size);
        _cleanup_close_ int out = memfd_create("plaintext", MFD_CLOEXEC);
        _cleanup_close_ int in = -1;
        int r = out < 0 ? error_set(e, CAUSE_HELPER, errno, "memory file: %s", strerror(errno))
                        : fill_pipe(fd, (uint64_t)st.st_size, &in, e);
        struct message m = {.type = PROTO_FILE,
                .id = 1,
                .file = {.size = (uint64_t)st.st_size, .format = FORMAT_OPAQUE},
                .fds = {in, out},
                .n_fds = 2};
        if (r == 0)
                r = sync_helper_send(&d->helper, &m, e);
        if (r == 0)
                r = take_verdict(d, e);
        if (r < 0)
                return r;
        if (lseek(out, 0, SEEK_SET) < 0 || (r = secret_read_all(out, LIMIT_CREDENTIALS_FILE, ret)) < 0)
                return error_set(e, CAUSE_HELPER, r < 0 ? -r : errno, "reading the plaintext");
        return 0;
}

/* --- a person is asked --- */

int decrypt_ask(struct ctl *c, const char *home, struct secret *passphrase, struct decrypt_helper *ret,
        struct error *e)
{
        int r = -EINVAL;
        for (int i = 0; i < PROMPT_TRIES; i++) {
                *e = (struct error){};
                r = prompt_passphrase("Passphrase of the key: ", 0, false, passphrase);
                if (r < 0)
                        return error_set(e, CAUSE_PASSPHRASE, -r, "passphrase: %s", prompt_error(r));
                r = decrypt_open(c, home, passphrase, ret, e);
                if (r == 0 || e->cause != CAUSE_PASSPHRASE)
                        break;
                fputs("That does not open it.\n", stderr);
        }
        return r;
}
