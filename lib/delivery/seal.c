/* SPDX-License-Identifier: Apache-2.0 */
#include "seal.h"

#include <errno.h>
#include <fcntl.h>
#include <gpgme.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fsx.h"
#include "limits.h"
#include "terms.h"

#define HOME_PREFIX "gnupg."
#define HEAD_SIZE (128 * KIB) /* of a message: its session keys */
#define IO_SIZE "1048576"

/* Nothing is asked of anybody: neither agent nor network. AES-256 and MDC whatever the keys prefer: as
 * OpenPGP has it, not with the AEAD packets that GnuPG alone reads. */
static const char gpg_conf[] =
        "batch\nno-tty\nno-greeting\nno-autostart\ndisable-dirmngr\nno-auto-key-retrieve\n"
        "no-auto-key-locate\nno-auto-check-trustdb\nno-permission-warning\nno-random-seed-file\n"
        "no-comments\nno-emit-version\ncompliance openpgp\ncipher-algo AES256\n";

struct seal {
        char *home; /* with all/ and own/ in it */
        gpgme_ctx_t ctx;
        gpgme_key_t *keys; /* NULL at the end */
        size_t n;
        int64_t expires;
};

DEFINE_CLEANUP(struct seal, seal, seal_free)

static int fail(gpgme_error_t err, const char *what, struct error *e)
{
        return error_set(e, CAUSE_HELPER, EIO, "gpg: %s: %s", what, gpgme_strerror(err));
}

/* --- homes --- */

static int list_folder(const char *path, struct strv *ret)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : list_dir_at(fd, ".", ret);
}

static int make_home(const char *top, const char *name, gpgme_ctx_t *ret, struct error *e)
{
        _cleanup_free_ char *home = str_printf("%s/%s", top, name),
                            *conf = str_printf("%s/%s/gpg.conf", top, name);
        if (!home || !conf)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        if (mkdir(home, 0700) < 0)
                return error_errno(e, errno, "%s", home);
        _cleanup_close_ int fd = open(conf, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        int r = fd < 0 ? -errno : write_all(fd, gpg_conf, strlen(gpg_conf));
        if (r < 0)
                return error_errno(e, -r, "%s", conf);
        gpgme_ctx_t ctx;
        gpgme_error_t err = gpgme_new(&ctx);
        if (err)
                return fail(err, "starting", e);
        err = gpgme_set_protocol(ctx, GPGME_PROTOCOL_OpenPGP);
        if (!err)
                err = gpgme_ctx_set_engine_info(ctx, GPGME_PROTOCOL_OpenPGP, NULL, home);
        if (err) {
                gpgme_release(ctx);
                return fail(err, "starting", e);
        }
        gpgme_set_offline(ctx, 1);
        *ret = ctx;
        return 0;
}

void seal_sweep(const char *run_dir)
{
        _cleanup_(strv_done) struct strv names = {};
        if (list_folder(run_dir, &names) < 0)
                return;
        for (size_t i = 0; i < names.n; i++) {
                _cleanup_free_ char *path = str_printf("%s/%s", run_dir, names.v[i]);
                if (path && str_after(names.v[i], HOME_PREFIX))
                        (void)remove_tree_at(AT_FDCWD, path);
        }
}

/* --- keys --- */

static int import_data(gpgme_ctx_t ctx, const char *p, size_t n, struct error *e)
{
        gpgme_data_t data;
        gpgme_error_t err = gpgme_data_new_from_mem(&data, p, n, 0);
        if (!err) {
                err = gpgme_op_import(ctx, data);
                gpgme_data_release(data);
        }
        return err ? fail(err, "importing a key", e) : 0;
}

/* A file that is no key, or cannot be read, does not matter until a key is not found; skipped says why of the
 * first of these. */
static int import_all(gpgme_ctx_t ctx, const char *keys_dir, struct error *skipped, struct error *e)
{
        _cleanup_(strv_done) struct strv names = {};
        int r = list_folder(keys_dir, &names);
        if (r < 0 && r != -ENOENT)
                return error_set(e, CAUSE_CONFIG, -r, "%s: %s", keys_dir, strerror(-r));
        strv_unique(&names);
        for (size_t i = 0; i < names.n; i++) {
                _cleanup_free_ char *path = str_printf("%s/%s", keys_dir, names.v[i]), *text = NULL;
                size_t len;
                if (*names.v[i] == '.' || !str_ends(names.v[i], ".asc"))
                        continue;
                r = path ? read_file_at(AT_FDCWD, path, LIMIT_KEY_FILE, &text, &len) : -ENOMEM;
                if (r == -ENOMEM)
                        return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
                if (r < 0 && skipped->cause == CAUSE_NONE)
                        error_set(skipped, CAUSE_CONFIG, -r, "%s/%s: %s", keys_dir, names.v[i], strerror(-r));
                else if (r == 0 && len > 0)
                        (void)import_data(ctx, text, len, NULL);
        }
        return 0;
}

/* One key from home to home. */
static int hand_over(gpgme_ctx_t from, gpgme_ctx_t to, const char *fingerprint, struct error *e)
{
        gpgme_data_t data;
        gpgme_error_t err = gpgme_data_new(&data);
        if (err)
                return fail(err, "starting", e);
        err = gpgme_op_export(from, fingerprint, GPGME_EXPORT_MODE_MINIMAL, data);
        size_t n = 0;
        char *p = gpgme_data_release_and_get_mem(data, &n);
        int r = err ? fail(err, "exporting a key", e) : p && n ? import_data(to, p, n, e) : 0;
        gpgme_free(p);
        return r;
}

static int bad_key(struct error *e, const char *fingerprint, const char *what)
{
        return error_set(e, CAUSE_CONFIG, ENOKEY, "the recipient's key %s %s", fingerprint, what);
}

static bool is_usable(const struct _gpgme_subkey *k)
{
        return k->can_encrypt && !k->revoked && !k->expired && !k->disabled && !k->invalid;
}

static int look_at_key(struct seal *s, const char *fingerprint, const struct error *skipped, struct error *e)
{
        gpgme_key_t key;
        bool found = gpgme_get_key(s->ctx, fingerprint, &key, 0) == 0;
        if (!found && skipped->cause != CAUSE_NONE)
                return error_set(e, CAUSE_CONFIG, ENOKEY,
                        "the recipient's key %s is in no file of recipients.d that can be read (%s): mend "
                        "that, or put its public key there, as NAME.asc",
                        fingerprint, skipped->text);
        if (!found)
                return bad_key(e, fingerprint,
                        "is in no file of recipients.d: put its public key there, as NAME.asc");
        s->keys[s->n++] = key;
        if (!key->subkeys || strcasecmp(key->subkeys->fpr, fingerprint) != 0)
                return bad_key(
                        e, fingerprint, "is no primary key: recipients names fingerprints of primary keys");
        if (key->revoked)
                return bad_key(e, fingerprint, "is revoked: ask the recipient for another one");
        if (key->expired)
                return bad_key(e, fingerprint,
                        "has expired: ask the recipient to extend it, and put the new public key into "
                        "recipients.d");
        if (key->disabled || key->invalid)
                return bad_key(e, fingerprint, "cannot be used: ask the recipient for another one");
        struct key_term term = {};
        for (const struct _gpgme_subkey *k = key->subkeys; k; k = k->next)
                if (is_usable(k))
                        key_term_add(&term, k->expires);
        if (!term.any)
                return bad_key(e, fingerprint,
                        "has no encryption subkey that is valid: ask the recipient for a public key that has "
                        "one");
        s->expires = key_term_earlier(s->expires, key_term_end(&term, key->subkeys->expires));
        return 0;
}

int seal_new(const char *run_dir, const char *keys_dir, const struct strv *recipients, struct seal **ret,
        struct error *e)
{
        _cleanup_(cleanup_seal) struct seal *s = calloc(1, sizeof(*s));
        gpgme_ctx_t all = NULL;
        struct error skipped = {};
        if (s)
                s->home = str_printf("%s/" HOME_PREFIX "XXXXXX", run_dir);
        if (s)
                s->keys = calloc(recipients->n + 1, sizeof(gpgme_key_t));
        if (!s || !s->home || !s->keys)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        gpgme_check_version(NULL);
        if (!mkdtemp(s->home)) {
                int err = errno;
                free(s->home);
                s->home = NULL;
                return error_errno(e, err, "%s", run_dir);
        }
        int r = make_home(s->home, "all", &all, e);
        if (r == 0)
                r = make_home(s->home, "own", &s->ctx, e);
        if (r == 0)
                r = import_all(all, keys_dir, &skipped, e);
        for (size_t i = 0; r == 0 && i < recipients->n; i++) {
                r = hand_over(all, s->ctx, recipients->v[i], e);
                if (r == 0)
                        r = look_at_key(s, recipients->v[i], &skipped, e);
        }
        gpgme_release(all);
        if (r < 0)
                return r;
        *ret = take_ptr(&s);
        return 0;
}

struct seal *seal_free(struct seal *s)
{
        if (!s)
                return NULL;
        for (size_t i = 0; s->keys && i < s->n; i++)
                gpgme_key_release(s->keys[i]);
        free(s->keys);
        gpgme_release(s->ctx);
        if (s->home)
                (void)remove_tree_at(AT_FDCWD, s->home);
        free(s->home);
        free(s);
        return NULL;
}

int64_t seal_expires(const struct seal *s)
{
        return s->expires;
}

/* --- what came out --- */

/* The header of a packet (RFC 4880, 4.2) at p. *ret_len: of its body, SIZE_MAX: not told here. Returns the
 * tag and sets *at behind the header, or -1. */
static int packet(const uint8_t *p, size_t n, size_t *at, size_t *ret_len)
{
        size_t i = *at;
        if (i + 6 > n || !(p[i] & 0x80))
                return -1;
        bool is_new = p[i] & 0x40;
        int tag = is_new ? p[i] & 0x3f : (p[i] >> 2) & 0x0f;
        unsigned kind = p[i++] & 3;
        if (is_new) {
                uint8_t first = p[i++];
                if (first < 192)
                        *ret_len = first;
                else if (first < 224)
                        *ret_len = ((size_t)(first - 192) << 8) + p[i++] + 192;
                else
                        *ret_len = SIZE_MAX;
        } else {
                *ret_len = kind == 0 ? p[i] : kind == 1 ? (size_t)p[i] << 8 | p[i + 1] : SIZE_MAX;
                i += kind == 0 ? 1 : kind == 1 ? 2 : kind == 2 ? 4 : 0;
        }
        *at = i;
        return tag;
}

enum { TAG_SESSION_KEY = 1, TAG_ENCRYPTED = 18 };

static bool is_for(gpgme_key_t key, const char *key_id)
{
        for (const struct _gpgme_subkey *k = key->subkeys; k; k = k->next)
                if (is_usable(k) && streq(k->keyid, key_id))
                        return true;
        return false;
}

/* One session key for each recipient, none for others, then data with integrity protection. */
static int check_head(const struct seal *s, int fd, struct error *e)
{
        _cleanup_free_ uint8_t *head = malloc(HEAD_SIZE);
        _cleanup_free_ bool *had = calloc(s->n + 1, sizeof(bool));
        if (!head || !had)
                return error_set(e, CAUSE_IO, ENOMEM, "out of memory");
        ssize_t got = pread(fd, head, HEAD_SIZE, 0);
        if (got < 0)
                return error_set(e, CAUSE_IO, errno, "reading what was encrypted: %s", strerror(errno));
        size_t at = 0, len = 0, n = 0;
        int tag;
        while ((tag = packet(head, (size_t)got, &at, &len)) == TAG_SESSION_KEY) {
                char id[17];
                if (len == SIZE_MAX || len < 9 || at + len > (size_t)got || head[at] != 3)
                        break;
                for (size_t i = 0; i < 8; i++)
                        snprintf(id + 2 * i, 3, "%02X", head[at + 1 + i]);
                size_t i = 0;
                while (i < s->n && (had[i] || !is_for(s->keys[i], id)))
                        i++;
                if (i == s->n)
                        return error_set(e, CAUSE_INTERNAL, EPROTO,
                                "the message would be for the key %s, which is no recipient's", id);
                had[i] = true;
                n++;
                at += len;
        }
        if (tag != TAG_ENCRYPTED || at >= (size_t)got || head[at] != 1 || n != s->n)
                return error_set(e, CAUSE_INTERNAL, EPROTO,
                        "gpg made no message with integrity protection for %zu recipients", s->n);
        return 0;
}

/* --- encrypting --- */

struct pull {
        seal_read_fn *read;
        void *arg;
        int err;
};

static ssize_t on_read(void *arg, void *to, size_t n)
{
        struct pull *p = arg;
        ssize_t got = p->err ? p->err : p->read(p->arg, to, n);
        if (got >= 0)
                return got;
        p->err = (int)got;
        errno = EIO;
        return -1;
}

int seal_encrypt(struct seal *s, seal_read_fn *read, void *arg, int out_fd, bool compress, struct error *e)
{
        struct pull pull = {.read = read, .arg = arg};
        struct gpgme_data_cbs cbs = {.read = on_read};
        gpgme_data_t in = NULL, out = NULL;
        gpgme_error_t err = gpgme_data_new_from_cbs(&in, &cbs, &pull);
        if (!err)
                err = gpgme_data_new_from_fd(&out, out_fd);
        if (!err) {
                gpgme_data_set_flag(in, "io-buffer-size", IO_SIZE);
                gpgme_data_set_flag(out, "io-buffer-size", IO_SIZE);
                err = gpgme_op_encrypt(s->ctx, s->keys,
                        GPGME_ENCRYPT_ALWAYS_TRUST | GPGME_ENCRYPT_NO_ENCRYPT_TO |
                                (compress ? 0 : GPGME_ENCRYPT_NO_COMPRESS),
                        in, out);
        }
        gpgme_data_release(in);
        gpgme_data_release(out);
        if (pull.err)
                return pull.err;
        if (err) {
                int code = gpgme_err_code_to_errno(gpgme_err_code(err));
                if (code == ENOSPC || code == EDQUOT)
                        return error_set(e, CAUSE_SPACE, code, "writing: %s", strerror(code));
                return fail(err, "encrypting", e);
        }
        return check_head(s, out_fd, e);
}
