/* SPDX-License-Identifier: Apache-2.0 */
/* GPGME lists and exports keys; gpg itself decrypts. */
#include "pgp_gpg.h"

#include <errno.h>
#include <fcntl.h>
#include <gpgme.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "fsx.h"
#include "limits.h"
#include "macro.h"
#include "str.h"
#include "terms.h"

/* Always returns -err, as error_set(): what, and how GPGME calls err. */
static int gpg_error_set(struct error *e, gpgme_error_t err, const char *what)
{
        char text[128] = "";
        gpgme_strerror_r(err, text, sizeof(text));
        return error_set(e, CAUSE_HELPER, EIO, "%s: %s", what, text);
}

/* Sets the context's home, unless GNUPGHOME says the same already: GPGME runs gpg once more for each home
 * that it is told. */
static gpgme_error_t set_home(gpgme_ctx_t ctx, const char *home)
{
        const char *set = getenv("GNUPGHOME");
        return set && streq(set, home) ? 0
                                       : gpgme_ctx_set_engine_info(ctx, GPGME_PROTOCOL_OpenPGP, NULL, home);
}

static bool can_decrypt(gpgme_subkey_t s)
{
        return s->secret && !s->is_cardkey && s->can_encrypt && s->keygrip && s->fpr && s->keyid;
}

/* A revoked subkey still opens old messages; nobody encrypts to it any more. */
static int64_t key_expiry(const struct pgp_key *k, int64_t primary_expires)
{
        struct key_term t = {};
        for (size_t i = 0; i < k->n_subkeys; i++)
                if (!k->subkeys[i].revoked)
                        key_term_add(&t, k->subkeys[i].expires);
        return key_term_end(&t, primary_expires);
}

static int add_subkey(struct pgp_keyring *ring, struct pgp_key *k, gpgme_subkey_t from)
{
        if (ARRAY_ROOM(k->subkeys, k->n_subkeys) < 0)
                return -ENOMEM;
        struct pgp_subkey *s = &k->subkeys[k->n_subkeys];
        *s = (struct pgp_subkey){
                .created = from->timestamp, .expires = from->expires, .revoked = from->revoked};
        snprintf(s->fingerprint, sizeof(s->fingerprint), "%s", from->fpr);
        snprintf(s->key_id, sizeof(s->key_id), "%s", from->keyid);
        snprintf(s->keygrip, sizeof(s->keygrip), "%s", from->keygrip);
        k->n_subkeys++;
        return strv_add(&ring->key_ids, s->key_id);
}

static int add_key(struct pgp_keyring *ring, gpgme_key_t from)
{
        bool any = false;
        for (gpgme_subkey_t s = from->subkeys; s; s = s->next)
                any |= can_decrypt(s);
        if (!any || !from->fpr)
                return 0;
        if (ARRAY_ROOM(ring->keys, ring->n) < 0)
                return -ENOMEM;
        struct pgp_key *k = &ring->keys[ring->n++];
        *k = (struct pgp_key){.created = from->subkeys->timestamp};
        snprintf(k->fingerprint, sizeof(k->fingerprint), "%s", from->fpr);
        k->user_id = strndup(from->uids && from->uids->uid ? from->uids->uid : "", LIMIT_USER_ID);
        if (!k->user_id)
                return -ENOMEM;
        for (gpgme_subkey_t s = from->subkeys; s; s = s->next)
                if (can_decrypt(s) && add_subkey(ring, k, s) < 0)
                        return -ENOMEM;
        k->expires = key_expiry(k, from->subkeys->expires);
        return 0;
}

static int add_keys(struct pgp_keyring *ring, gpgme_ctx_t ctx, struct error *e)
{
        gpgme_error_t err = gpgme_op_keylist_start(ctx, NULL, 1);
        int r = 0;
        while (!err && r == 0) {
                gpgme_key_t key = NULL;
                err = gpgme_op_keylist_next(ctx, &key);
                if (!err) {
                        r = add_key(ring, key);
                        gpgme_key_unref(key);
                }
        }
        (void)gpgme_op_keylist_end(ctx);
        if (r < 0)
                return error_set(e, CAUSE_HELPER, -r, "out of memory");
        if (gpgme_err_code(err) != GPG_ERR_EOF)
                return gpg_error_set(e, err, "gpg does not list the secret keys");
        return 0;
}

int pgp_keyring_list(struct pgp_keyring *ring, const char *home, struct error *e)
{
        gpgme_ctx_t ctx = NULL;
        /* gpg is in PATH: gpgconf, which GPGME else runs three times, is not asked */
        (void)gpgme_set_global_flag("disable-gpgconf", "1");
        gpgme_check_version(NULL);
        gpgme_error_t err = gpgme_new(&ctx);
        if (!err)
                err = set_home(ctx, home);
        if (!err)
                gpgme_set_offline(ctx, 1);
        int r = err ? gpg_error_set(e, err, "gpg cannot be used") : add_keys(ring, ctx, e);
        if (ctx)
                gpgme_release(ctx);
        return r;
}

void pgp_keyring_done(struct pgp_keyring *ring)
{
        for (size_t i = 0; i < ring->n; i++) {
                free(ring->keys[i].user_id);
                free(ring->keys[i].subkeys);
        }
        free(ring->keys);
        strv_done(&ring->key_ids);
        *ring = (struct pgp_keyring){};
}

const struct pgp_key *pgp_keyring_find(
        const struct pgp_keyring *ring, const char *key_id, const struct pgp_subkey **ret_subkey)
{
        *ret_subkey = NULL;
        for (size_t i = 0; i < ring->n; i++)
                for (size_t j = 0; j < ring->keys[i].n_subkeys; j++)
                        if (streq(ring->keys[i].subkeys[j].key_id, key_id)) {
                                *ret_subkey = &ring->keys[i].subkeys[j];
                                return &ring->keys[i];
                        }
        return NULL;
}

bool pgp_keyring_expired(const struct pgp_keyring *ring, const char *fingerprint, int64_t now)
{
        for (size_t i = 0; i < ring->n; i++)
                for (size_t j = 0; j < ring->keys[i].n_subkeys; j++)
                        if (streq(ring->keys[i].subkeys[j].fingerprint, fingerprint)) {
                                int64_t end = key_term_earlier(
                                        ring->keys[i].expires, ring->keys[i].subkeys[j].expires);
                                return end && end <= now;
                        }
        return false;
}

static void forget_in(struct pgp_key *k, const char *key_id)
{
        for (size_t i = 0; i < k->n_subkeys; i++)
                if (streq(k->subkeys[i].key_id, key_id)) {
                        k->n_subkeys--;
                        memmove(&k->subkeys[i], &k->subkeys[i + 1],
                                (k->n_subkeys - i) * sizeof(k->subkeys[0]));
                        return;
                }
}

void pgp_keyring_forget(struct pgp_keyring *ring, const char *key_id)
{
        for (size_t i = 0; i < ring->n; i++)
                forget_in(&ring->keys[i], key_id);
        for (size_t i = 0; i < ring->key_ids.n; i++)
                if (streq(ring->key_ids.v[i], key_id)) {
                        free(ring->key_ids.v[i]);
                        ring->key_ids.n--;
                        memmove(&ring->key_ids.v[i], &ring->key_ids.v[i + 1],
                                (ring->key_ids.n - i + 1) * sizeof(ring->key_ids.v[0]));
                        return;
                }
}

/* --- secret keys ---
 *
 * What gpg writes goes straight into locked memory, and is wiped as soon as the
 * keys are read out of it; without a passphrase it is the key itself. */

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
                err = set_home(ctx, home);
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

/* --- one message ---
 *
 * One gpg and the four descriptors to it: message, plaintext, status lines, session key (or nothing). One
 * thread serves them all; the pipes are large, so that gpg has something to do while this thread waits for
 * the message or writes the plaintext. */

#define PIPE_BYTES (256 * KIB)
#define STATUS_LINE 2048
/* Where gpg finds them; ours are moved above all of these. */
enum { GPG_STATUS = 3, GPG_KEY = 4, OURS = 16 };

struct gpg {
        pid_t pid;
        int in, out, status; /* our ends, -1: closed */
        uint8_t *waiting;    /* of the message; PIPE_BYTES */
        size_t n_waiting, n_written;
        uint8_t *plain; /* PIPE_BYTES */
        char line[STATUS_LINE];
        size_t line_len;
        bool line_too_long, given_up;
};

/* [0] is read, [1] written, both above those that gpg gets. */
static int make_pipe(int ret[2])
{
        int p[2];
        if (pipe2(p, O_CLOEXEC) < 0)
                return -errno;
        int r = 0;
        for (size_t i = 0; i < 2; i++) {
                ret[i] = fcntl(p[i], F_DUPFD_CLOEXEC, OURS);
                if (ret[i] < 0 && r == 0)
                        r = -errno;
                close_fd(p[i]);
        }
        if (r < 0) {
                ret[0] = close_fd(ret[0]);
                ret[1] = close_fd(ret[1]);
                return r;
        }
        (void)fcntl(ret[0], F_SETPIPE_SZ, PIPE_BYTES); /* best effort: there is a quota */
        return 0;
}

static int spawn(const struct gpg_call *c, pid_t *ret, int in, int out, int status, int key)
{
        /* Not --pinentry-mode error: gpg 2.4 exits with 2 for it when the message is to a passphrase too. */
        const char *argv[] = {"gpg", "--homedir", c->home, "--batch", "--no-tty", "--status-fd", "3",
                "--pinentry-mode", "cancel", "--disable-dirmngr", "--no-symkey-cache",
                "--exit-on-status-write-error", "--output", "-", "--decrypt", NULL, NULL, NULL};
        size_t n = ELEMENTSOF(argv) - 4; /* of --decrypt */
        if (c->session_key) {
                argv[n++] = "--override-session-key-fd";
                argv[n++] = "4";
                argv[n] = "--decrypt";
        }
        union {
                const char **in;
                char **out;
        } pun = {.in = argv};
        posix_spawn_file_actions_t files;
        int r = posix_spawn_file_actions_init(&files);
        if (r != 0)
                return -r;
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&files, in, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&files, out, 1);
        if (r == 0)
                r = posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&files, status, GPG_STATUS);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&files, key, GPG_KEY);
        if (r == 0)
                r = posix_spawnp(ret, "gpg", &files, NULL, pun.out, environ);
        posix_spawn_file_actions_destroy(&files);
        return -r;
}

static int start(struct gpg *g, const struct gpg_call *c)
{
        int fd[4][2] = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}}; /* message, plaintext, status, key */
        int r = 0;
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(fd); i++)
                r = make_pipe(fd[i]);
        if (r == 0 && c->session_key)
                r = write_all(fd[3][1], c->session_key, strlen(c->session_key));
        fd[3][1] = close_fd(fd[3][1]);
        if (r == 0)
                r = fd_nonblock(fd[0][1], 1);
        if (r >= 0)
                r = spawn(c, &g->pid, fd[0][0], fd[1][1], fd[2][1], fd[3][0]);
        close_fd(fd[0][0]);
        close_fd(fd[1][1]);
        close_fd(fd[2][1]);
        close_fd(fd[3][0]);
        g->in = fd[0][1];
        g->out = fd[1][0];
        g->status = fd[2][0];
        return r;
}

static void close_pipes(struct gpg *g)
{
        g->in = close_fd(g->in);
        g->out = close_fd(g->out);
        g->status = close_fd(g->status);
}

static void give_up(struct gpg *g)
{
        g->given_up = true;
        close_pipes(g);
        kill(g->pid, SIGKILL);
}

/* gpg can take some of the message. */
static void serve_in(struct gpg *g, const struct gpg_call *c)
{
        if (g->n_written == g->n_waiting) {
                ssize_t n = c->feed(c->arg, g->waiting, PIPE_BYTES, NULL);
                g->n_written = 0;
                g->n_waiting = n > 0 ? (size_t)n : 0;
                if (n < 0)
                        give_up(g);
                else if (n == 0)
                        g->in = close_fd(g->in);
                if (n <= 0)
                        return;
        }
        ssize_t k = write(g->in, g->waiting + g->n_written, g->n_waiting - g->n_written);
        if (k >= 0)
                g->n_written += (size_t)k;
        else if (errno != EAGAIN && errno != EINTR)
                g->in = close_fd(g->in); /* it has read enough; what it thinks of it comes on the others */
}

static void serve_out(struct gpg *g, const struct gpg_call *c)
{
        ssize_t n = read(g->out, g->plain, PIPE_BYTES);
        if (n > 0 && c->drain(c->arg, g->plain, (size_t)n, NULL) < 0)
                give_up(g);
        else if (n == 0 || (n < 0 && errno != EINTR))
                g->out = close_fd(g->out);
}

/* "[GNUPG:] KEYWORD ARGS" */
static void on_line(struct gpg *g, const struct gpg_call *c)
{
        static const char head[] = "[GNUPG:] ";
        g->line[g->line_len] = 0;
        char *keyword = g->line + sizeof(head) - 1;
        if (!g->line_too_long && strncmp(g->line, head, sizeof(head) - 1) == 0) {
                char *args = keyword + strcspn(keyword, " ");
                if (*args)
                        *args++ = 0;
                c->status(c->arg, keyword, args);
        }
        g->line_len = 0;
        g->line_too_long = false;
}

static void serve_status(struct gpg *g, const struct gpg_call *c)
{
        char buf[4096];
        ssize_t n = read(g->status, buf, sizeof(buf));
        for (ssize_t i = 0; i < n; i++)
                if (buf[i] == '\n')
                        on_line(g, c);
                else if (g->line_len + 1 < sizeof(g->line))
                        g->line[g->line_len++] = buf[i];
                else
                        g->line_too_long = true;
        if (n == 0 || (n < 0 && errno != EINTR))
                g->status = close_fd(g->status);
}

static void serve(struct gpg *g, const struct gpg_call *c)
{
        while (!g->given_up && (g->out >= 0 || g->status >= 0)) {
                struct pollfd fds[] = {
                        {.fd = g->status, .events = POLLIN},
                        {.fd = g->out, .events = POLLIN},
                        {.fd = g->in, .events = POLLOUT},
                };
                if (poll(fds, ELEMENTSOF(fds), -1) < 0) {
                        if (errno != EINTR)
                                give_up(g);
                        continue;
                }
                if (fds[0].revents)
                        serve_status(g, c);
                if (fds[1].revents)
                        serve_out(g, c);
                if (fds[2].revents && !g->given_up)
                        serve_in(g, c);
        }
}

static int wait_for(const struct gpg *g)
{
        int status;
        while (waitpid(g->pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -1;
        return !g->given_up && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int gpg_call(const struct gpg_call *c, int *ret_status, struct error *e)
{
        struct gpg *g = calloc(1, sizeof(*g));
        uint8_t *buffers = malloc(2 * PIPE_BYTES);
        int r = -ENOMEM;
        if (g && buffers) {
                g->waiting = buffers;
                g->plain = buffers + PIPE_BYTES;
                r = start(g, c);
                if (r >= 0)
                        serve(g, c);
                close_pipes(g);
                if (r >= 0)
                        *ret_status = wait_for(g);
        }
        if (buffers)
                OPENSSL_cleanse(buffers + PIPE_BYTES, PIPE_BYTES);
        free(buffers);
        free(g);
        return r < 0 ? error_set(e, CAUSE_HELPER, -r, "gpg cannot be run: %s", strerror(-r)) : 0;
}
