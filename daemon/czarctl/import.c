/* SPDX-License-Identifier: Apache-2.0 */
/* import-credentials: what edX mailed is decrypted by czard-decrypt, checked, tried with one LIST by
 * czard-fetch, and stored where czard-fetch finds it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "credentials.h"
#include "ctl.h"
#include "fsx.h"
#include "helpers.h"
#include "limits.h"
#include "owner.h"
#include "passphrase.h"
#include "rows.h"
#include "scratch.h"
#include "str.h"

#define IS_A_MAIL "; this is a whole mail: save its attachment (credentials.csv.gpg) and import that"

#define PREFIX_URL_SIZE (BUCKET_SIZE + KEY_SIZE + 8) /* s3://BUCKET/PREFIX */

int prepare_import_credentials(struct ctl *c)
{
        struct error e = {};
        c->input_fd = owner_open_input(c->argv[0], &e);
        if (c->input_fd < 0)
                return ctl_fail(&e);
        int status = passphrase_prepare(c, false);
        if (status)
                return status;
        const char *file = c->config->s3.credentials;
        if (!file && geteuid() != 0)
                return ctl_fail_text("storing them for systemd needs root; without systemd set [s3] "
                                     "credentials = FILE first");
        return file ? owner_output(c, file, OUTPUT_SECRET, 0400, NULL)
                    : owner_output(c, "czard.s3", OUTPUT_CREDENTIAL, 0400, NULL);
}

/* --- decrypting --- */

/* What edX mailed, or its text as an admin saved it: behind a mark, in UTF-16, with the mail in front. */
static int read_input(struct ctl *c, struct secret *ret, struct error *e)
{
        int r = secret_read_all(c->input_fd, LIMIT_CREDENTIALS_FILE, ret);
        return r < 0 ? error_set(e, CAUSE_INTERNAL, -r, "%s: %s", c->argv[0],
                               r == -EFBIG ? "too large for a file of credentials" : strerror(-r))
                     : 0;
}

/* The message in it as a file in memory. A descriptor, -ENOENT: it is not encrypted, or -errno. */
static int message_in(const struct secret *input)
{
        static const char begin[] = "-----BEGIN PGP MESSAGE", end[] = "-----END PGP MESSAGE-----";
        _cleanup_secret_ struct secret text = {};
        if (secret_alloc(input->len, &text) < 0)
                return -ENOMEM;
        memcpy(text.p, input->p, input->len);
        text.len = textfile_to_utf8(text.p, input->len);
        bool same = text.len == input->len;
        text.len = textfile_unquote(text.p, text.len, begin);
        const char *at = memmem(text.p, text.len, begin, strlen(begin));
        bool binary = text.len > 0 && ((unsigned char)text.p[0] & 0x80) && same;
        if (!at && !binary)
                return -ENOENT;
        const char *from = at ? at : text.p, *stop = text.p + text.len;
        const char *last = at ? memmem(at, (size_t)(stop - at), end, strlen(end)) : NULL;
        if (last)
                stop = last + strlen(end);
        _cleanup_close_ int fd = memfd_create("message", MFD_CLOEXEC);
        int r = fd < 0 ? -errno : write_all(fd, from, (size_t)(stop - from));
        if (r == 0 && last)
                r = write_all(fd, "\n", 1);
        return r < 0 ? r : take_fd(&fd);
}

struct worker {
        struct ctl *c;
        const char *homedir;
        struct decrypt_helper *helper;
};

static int open_with(void *arg, const struct secret *passphrase, struct error *e)
{
        const struct worker *w = arg;
        return decrypt_open(w->c, w->homedir, passphrase, w->helper, e);
}

static int open_worker(struct ctl *c, struct decrypt_helper *d, struct error *e)
{
        _cleanup_secret_ struct secret passphrase = {};
        const struct key_home h = key_home_general(c);
        struct worker w = {.c = c, .homedir = h.dir, .helper = d};
        char source[TEXT_SIZE];
        int r = passphrase_find(c, &h, &passphrase, source, e);
        if (r == 0)
                r = open_with(&w, &passphrase, e);
        if (r == 0 || e->cause != CAUSE_PASSPHRASE || !prompt_possible())
                return r;
        return passphrase_ask(open_with, &w, CAUSE_PASSPHRASE, &passphrase, e);
}

/* Names the file and says what to do, where an advice for objects of S3 would mislead. */
static int with_text(struct error *e, const char *file, const char *advice)
{
        struct error was = *e;
        return error_set(e, was.cause, was.err, "%s%s%s%s", file, *file ? ": " : "", was.text, advice);
}

/* A mail saved as it came, with its headers, holds the file in another form. */
static bool is_mail(const struct secret *input)
{
        static const char *const headers[] = {"Content-Transfer-Encoding:", "MIME-Version:", "Content-Type:"};
        for (size_t i = 0; i < ELEMENTSOF(headers); i++)
                if (memmem(input->p, input->len, headers[i], strlen(headers[i])))
                        return true;
        return false;
}

static int get_csv(struct ctl *c, struct secret *ret, struct error *e)
{
        _cleanup_secret_ struct secret input = {};
        int r = read_input(c, &input, e);
        if (r < 0)
                return r;
        _cleanup_close_ int message = message_in(&input);
        if (message == -ENOENT) {
                *ret = input;
                input = (struct secret){};
                return 0;
        }
        if (message < 0)
                return error_set(e, CAUSE_INTERNAL, -message, "memory file: %s", strerror(-message));
        struct decrypt_helper d = {.helper = HELPER_NONE};
        r = open_worker(c, &d, e);
        if (r < 0 && e->cause == CAUSE_PASSPHRASE && !strchr(e->text, ';'))
                return with_text(e, "", "; store the right one: czarctl import-key FILE");
        if (r < 0)
                return r;
        r = decrypt_message(&d, message, ret, e);
        decrypt_close(&d);
        return r < 0 ? with_text(e, c->argv[0],
                               is_mail(&input) ? IS_A_MAIL
                                               : "; is this the file that edX mailed, encrypted to this key?")
                     : 0;
}

/* The parser overwrites what it reads. */
static int check_columns(
        const struct ctl *c, const struct secret *csv, char key_id[ACCESS_KEY_ID_SIZE], struct error *e)
{
        _cleanup_secret_ struct secret copy = {};
        _cleanup_credentials_ struct credentials k = {};
        if (secret_alloc(csv->len, &copy) < 0)
                return error_set(e, CAUSE_INTERNAL, ENOMEM, "out of memory");
        memcpy(copy.p, csv->p, csv->len);
        copy.len = csv->len;
        int r = credentials_parse(&copy, &k, e);
        if (r < 0)
                return with_text(e, c->argv[0],
                        is_mail(csv) ? IS_A_MAIL : "; is this the file that edX mailed, unchanged?");
        snprintf(key_id, ACCESS_KEY_ID_SIZE, "%s", k.access_key_id);
        return 0;
}

/* --- the LIST --- */

/* A folder as systemd would make it, on the runtime file system and only while we try. */
struct trial {
        char dir[SCRATCH_SIZE];
        char *before; /* CREDENTIALS_DIRECTORY */
};

static void trial_done(struct trial *t)
{
        if (*t->dir)
                scratch_remove(t->dir);
        if (t->before)
                setenv("CREDENTIALS_DIRECTORY", t->before, 1);
        else
                unsetenv("CREDENTIALS_DIRECTORY");
        free(t->before);
}

static int trial_begin(const struct ctl *c, const struct secret *csv, struct trial *t, struct error *e)
{
        const char *before = getenv("CREDENTIALS_DIRECTORY");
        t->before = before ? strdup(before) : NULL;
        int r = scratch_make(c, "s3", t->dir, e);
        if (r < 0)
                return r;
        _cleanup_close_ int dir = open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_close_ int fd =
                dir < 0 ? -1 : openat(dir, "czard.s3", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
        r = fd < 0 ? -errno : write_all(fd, csv->p, csv->len);
        if (r < 0)
                return error_set(e, CAUSE_INTERNAL, -r, "%.400s: %s", t->dir, strerror(-r));
        setenv("CREDENTIALS_DIRECTORY", t->dir, 1);
        return 0;
}

/* Of the first package that has no credentials of its own. */
static int try_list(struct ctl *c, struct fetch_result *ret, char where[PREFIX_URL_SIZE], struct error *e)
{
        const struct config_package *p = NULL;
        const char *general = c->config->s3.credentials;
        for (size_t i = 0; i < c->config->n_packages && !p; i++) {
                const char *own = c->config->packages[i].credentials;
                if (!own || (general && streq(own, general)))
                        p = &c->config->packages[i];
        }
        struct package_prefix *prefixes = NULL;
        size_t n = 0;
        if (!p || package_prefixes(&p->spec, &prefixes, &n) < 0 || n == 0)
                return error_set(e, CAUSE_CONFIG, ENOENT, "no [package] section uses these credentials");
        snprintf(where, PREFIX_URL_SIZE, "s3://%s/%s", prefixes[0].bucket, prefixes[0].prefix);
        struct fetch f = {.helper = HELPER_NONE};
        int r = fetch_open(c, NULL, &f, e);
        if (r == 0) {
                r = fetch_try(&f, prefixes[0].bucket, prefixes[0].prefix, ret, e);
                fetch_close(&f);
        }
        package_prefixes_free(prefixes, n);
        return r;
}

/* 0: they work; CTL_FOUND: stored with a warning; else refused. */
static int judge_credentials(struct ctl *c, const struct fetch_result *res, const char *where)
{
        bool force = ctl_flag(c, "force");
        if (res->cause == CAUSE_NONE)
                return 0;
        if (res->cause == CAUSE_DENIED) {
                shown_print(stderr, "czarctl: S3 knows the key, but it may not list %s: %s; %s\n", where,
                        res->detail, cause_advice(res->cause));
                return CTL_FOUND;
        }
        /* What the table of causes advises has just been done. */
        shown_print(stderr, "czarctl: listing %s failed: %s; %s\n", where, res->detail,
                res->cause != CAUSE_CREDENTIALS ? cause_advice(res->cause)
                : strstr(res->detail, "SignatureDoesNotMatch")
                        ? "the secret is not that of this key id: is the file the one that edX mailed, whole "
                          "and unchanged?"
                        : "is it the newest key that edX sent? New keys take some minutes to work; else ask "
                          "edX for another");
        if (!force)
                fputs("czarctl: not stored; --force stores them all the same\n", stderr);
        return force ? CTL_FOUND : CTL_CANNOT;
}

static int try_them(struct ctl *c, const struct secret *csv)
{
        struct trial t = {};
        struct fetch_result res = {};
        struct error e = {};
        char where[PREFIX_URL_SIZE] = "";
        int r = trial_begin(c, csv, &t, &e);
        if (r == 0)
                r = try_list(c, &res, where, &e);
        trial_done(&t);
        if (r < 0 && !ctl_flag(c, "force"))
                return ctl_fail(&e);
        if (r < 0)
                return CTL_FOUND;
        return judge_credentials(c, &res, where);
}

int run_import_credentials(struct ctl *c)
{
        _cleanup_secret_ struct secret csv = {};
        struct error e = {};
        char key_id[ACCESS_KEY_ID_SIZE] = "", where[TEXT_SIZE];
        int r = get_csv(c, &csv, &e);
        if (r == 0)
                r = check_columns(c, &csv, key_id, &e);
        if (r < 0)
                return ctl_fail(&e);
        int tried = try_them(c, &csv);
        if (tried == CTL_CANNOT)
                return tried;
        _cleanup_close_ int fd = secret_to_fd(&csv);
        if (fd < 0)
                return ctl_fail_text("memory file: %s", strerror(-fd));
        if (owner_put_fd(c, 0, fd, where, &e) < 0)
                return ctl_fail(&e);
        if (c->json)
                return answer_fields(FIELDS(F_TEXT("access_key_id", key_id), F_TEXT("stored", where),
                        F_BOOL("works", tried == 0)));
        shown_print(stdout, "%s stored in %s%s\n", key_id, where, tried == 0 ? "; listing works" : "");
        puts("A running czard takes them over by: systemctl reload czard\n"
             "Remove the file you imported and the mail it came with.");
        return 0;
}
