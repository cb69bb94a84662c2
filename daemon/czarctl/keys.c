/* SPDX-License-Identifier: Apache-2.0 */
/* key list, export, extend, and keygen. gpg does it, as a child of ours that can open no network socket
 * (run.c), and gets the passphrase by descriptor. There is no message of czard-decrypt for extending a key,
 * and none is wanted: the worker only ever decrypts. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "key_command.h"
#include "keyring.h"
#include "owner.h"
#include "passphrase.h"
#include "rows.h"
#include "str.h"

#define PUBLIC_FILE "czard-public-key.asc"
#define DEFAULT_EXPIRE "2y"

int prepare_key(struct ctl *c)
{
        const char *file = ctl_flag(c, "output");
        int status = file ? owner_output(c, file, OUTPUT_REPLACE, 0644, NULL) : 0;
        return status ? status : passphrase_prepare(c, false);
}

static int key_list(struct ctl *c, const char *home, const struct keyring *ring)
{
        struct rows rows;
        struct key_none no;
        char left[WHEN_SIZE];
        keyring_none(c, home, &no);
        _cleanup_free_ char *none = str_printf("%c%s: %s", *no.detail - 'a' + 'A', no.detail + 1, no.fix);
        rows_open(&rows, c, "keys", "fingerprint|user_id=USER ID|created|expires|left=");
        for (size_t i = 0; i < ring->n; i++) {
                const struct fact_key *f = &ring->keys[i].fact;
                bool expired = f->expires && f->expires < (int64_t)time(NULL);
                rows_add(&rows, FIELDS(F_TEXT("fingerprint", f->fingerprint), F_TEXT("user_id", f->user_id),
                                        F_DAY("created", f->created),
                                        F_DAY("expires", f->expires, .colour = expired ? RED : PLAIN),
                                        F_CELL("left", f->expires ? ago(f->expires, left) : "",
                                                .colour = expired ? RED : DIM)));
        }
        rows_end(&rows, none);
        return rows_finish(&rows, 0, NULL);
}

static int key_export(struct ctl *c, const char *home, const struct keyring_key *k)
{
        struct error e = {};
        _cleanup_free_ char *armor = NULL;
        size_t len = 0;
        char where[TEXT_SIZE];
        int r = keyring_export(home, k->fact.fingerprint, &armor, &len, &e);
        if (r == 0 && ctl_flag(c, "output"))
                r = owner_put(c, 0, armor, len, where, &e);
        else if (r == 0)
                fputs(armor, stdout);
        return r < 0 ? ctl_fail(&e) : 0;
}

/* --- extend --- */

/* Of "30d", "2w", "18m", "2y", "90" (days), as gpg counts: a month has 30 days, a year 365. -EINVAL: not one.
 */
static int64_t span_seconds(const char *s)
{
        static const struct {
                char unit;
                int64_t days;
        } units[] = {{0, 1}, {'d', 1}, {'w', 7}, {'m', 30}, {'y', 365}};
        size_t n = strspn(s, "0123456789");
        if (n == 0 || n > 4 || (s[n] && s[n + 1]))
                return -EINVAL;
        for (size_t i = 0; i < ELEMENTSOF(units); i++)
                if (s[n] == units[i].unit)
                        return atoll(s) * units[i].days * SEC_PER_DAY;
        return -EINVAL;
}

static bool ends_before(int64_t expires, int64_t target)
{
        return expires != 0 && expires < target;
}

/* The fingerprints whose date is to move: the primary key (first in *ret_primary), and the encryption subkeys
 * that anyone may still use; when all have expired, the one that expired last. Nothing that lasts longer is
 * touched. */
static int what_to_extend(
        const struct keyring_key *k, int64_t now, int64_t target, bool *ret_primary, struct strv *ret_subkeys)
{
        const struct keyring_subkey *last = NULL;
        bool any_valid = false;
        int r = 0;
        *ret_primary = ends_before(k->primary_expires, target);
        for (size_t i = 1; r == 0 && i < k->n_subkeys; i++) {
                const struct keyring_subkey *s = &k->subkeys[i];
                if (!s->encrypts || s->revoked || s->secret == SECRET_NONE)
                        continue;
                bool valid = s->expires == 0 || s->expires > now;
                any_valid |= valid;
                if (valid && ends_before(s->expires, target))
                        r = strv_add(ret_subkeys, s->fingerprint);
                if (!last || s->expires > last->expires)
                        last = s;
        }
        return r == 0 && !any_valid && last ? strv_add(ret_subkeys, last->fingerprint) : r;
}

/* The primary key signs the new dates. Where it is offline: what would be done here, to be done where it is.
 * 0 or an exit status after a text. */
static int check_primary(struct ctl *c, const char *home, const struct keyring_key *k, const char *expire,
        bool primary, const struct strv *subkeys)
{
        const char *fpr = k->fact.fingerprint;
        char import[KEY_COMMAND_SIZE];
        _cleanup_strbuf_ struct strbuf b = {};
        if (k->n_subkeys == 0 || k->subkeys[0].secret != SECRET_NONE)
                return 0;
        if (primary)
                strbuf_printf(&b, "gpg --quick-set-expire %s %s && ", fpr, expire);
        if (subkeys->n > 0)
                strbuf_printf(&b, "gpg --quick-set-expire %s %s", fpr, expire);
        for (size_t i = 0; i < subkeys->n; i++)
                strbuf_printf(&b, " %s", subkeys->v[i]);
        strbuf_printf(&b, "%sgpg --armor --export %s > key.asc", subkeys->n > 0 ? " && " : "", fpr);
        return ctl_fail_text("the secret part of the primary key %s is not in %s, and only it can set a new "
                             "date; on the machine where it is: %s, then here: %s",
                fpr, home, b.err ? "extend it" : b.s,
                key_command(c->config, home, "import-key key.asc", NULL, import));
}

static int set_expire(const char *home, const struct keyring_key *k, const char *expire, bool primary,
        const struct strv *subkeys, const struct secret *passphrase)
{
        const char *fpr = k->fact.fingerprint;
        struct run_spec spec = {};
        const char *first[] = {"--quick-set-expire", fpr, expire, NULL};
        int r = primary ? keyring_gpg(home, first, passphrase, &spec) : 0;
        for (size_t i = 0; r == 0 && i < subkeys->n; i++) {
                const char *next[] = {"--quick-set-expire", fpr, expire, subkeys->v[i], NULL};
                spec = (struct run_spec){};
                r = keyring_gpg(home, next, passphrase, &spec);
        }
        keyring_stop_agent(home);
        return r == 0 ? 0 : ctl_fail_text("gpg could not extend the key; see above");
}

static int say_extended(struct ctl *c, const char *home, const char *fingerprint, bool changed)
{
        _cleanup_keyring_ struct keyring now = {};
        struct error e = {};
        char text[WHEN_SIZE], export[KEY_COMMAND_SIZE];
        if (keyring_read(home, &now, &e) < 0)
                return ctl_fail(&e);
        if (c->json)
                return key_list(c, home, &now);
        const struct keyring_key *k = keyring_find(&now, fingerprint);
        const char *when = !k ? "?" : k->fact.expires == 0 ? "never" : local_time(k->fact.expires, text);
        if (!changed) {
                shown_print(stdout, "%s expires %s: nothing to extend.\n", fingerprint, when);
                return 0;
        }
        shown_print(stdout, "%s expires %s now.\n", fingerprint, when);
        shown_print(stdout,
                "Send the new public key to edX, or they go on with the old date:\n"
                "  %s > " PUBLIC_FILE "\n"
                "A running czard sees the new date after: systemctl restart czard\n",
                key_command(c->config, home, "key export", fingerprint, export));
        return 0;
}

static int get_passphrase(struct ctl *c, const struct key_home *h, struct secret *ret)
{
        struct error e = {};
        char source[TEXT_SIZE] = "";
        int r = passphrase_given(c, ret, &e);
        if (r == 0 && !ret->p)
                r = passphrase_find(c, h, ret, source, &e);
        if (r < 0 && e.err == ENOENT) /* configured, but not there: the key may have none */
                r = 0;
        if (r < 0)
                return ctl_fail(&e);
        if (ret->p || ctl_flag(c, "batch") || !prompt_possible())
                return 0;
        r = prompt_passphrase("Passphrase of the key (empty: none): ", 0, false, ret);
        return r < 0 ? ctl_fail_text("passphrase: %s", prompt_error(r)) : 0;
}

static int key_extend(struct ctl *c, const struct key_home *h, const struct keyring_key *k)
{
        _cleanup_secret_ struct secret passphrase = {};
        const char *expire = ctl_flag(c, "expire") ? ctl_flag(c, "expire") : DEFAULT_EXPIRE;
        int64_t span = span_seconds(expire), now = (int64_t)time(NULL);
        struct strv subkeys = {};
        struct error e = {};
        bool primary = false;
        if (span < 0)
                return ctl_usage(c, "--expire: expected a number with d, w, m or y, such as 2y");
        if (keyring_useless(k))
                return ctl_fail_text(
                        "%s %s; another date does not change that", k->fact.fingerprint, keyring_useless(k));
        int status = 0;
        if (what_to_extend(k, now, span == 0 ? INT64_MAX : now + span, &primary, &subkeys) < 0)
                status = ctl_fail_text("out of memory");
        bool any = primary || subkeys.n > 0;
        if (status == 0 && any)
                status = check_primary(c, h->dir, k, expire, primary, &subkeys);
        if (status == 0 && any && keyring_check_locks(h->dir, &e) < 0)
                status = ctl_fail(&e);
        if (status == 0 && any)
                status = get_passphrase(c, h, &passphrase);
        if (status == 0 && any)
                status = set_expire(h->dir, k, expire, primary, &subkeys, &passphrase);
        strv_done(&subkeys);
        return status ? status : say_extended(c, h->dir, k->fact.fingerprint, any);
}

/* Of the key or of one of its subkeys, or the end of it. */
static bool has_fingerprint(const struct keyring_key *k, const char *which)
{
        for (size_t i = 0; i < k->n_subkeys; i++)
                if (str_ends(k->subkeys[i].fingerprint, which))
                        return true;
        return false;
}

int run_key(struct ctl *c)
{
        _cleanup_keyring_ struct keyring ring = {};
        struct error e = {};
        struct key_home h;
        char make[KEY_COMMAND_SIZE];
        const char *what = c->argc > 0 ? c->argv[0] : "list", *which = c->argc > 1 ? c->argv[1] : NULL;
        if (!streq(what, "list") && !streq(what, "export") && !streq(what, "extend"))
                return ctl_usage(c, "expected list, export or extend, not '%.32s'", what);
        int status = streq(what, "extend") ? ctl_refuse_partial(c) : 0;
        if (status == 0)
                status = key_home_chosen(c, &h);
        if (status)
                return status;
        if (keyring_read(h.dir, &ring, &e) < 0)
                return ctl_fail(&e);
        const struct keyring_key *k = NULL;
        size_t found = 0;
        for (size_t i = 0; i < ring.n; i++) {
                const struct fact_key *f = &ring.keys[i].fact;
                if (!which || has_fingerprint(&ring.keys[i], which) || strstr(f->user_id, which)) {
                        k = &ring.keys[i];
                        found++;
                }
        }
        if (streq(what, "list"))
                return key_list(c, h.dir, &ring);
        if (ring.n == 0) {
                struct key_none no;
                keyring_none(c, h.dir, &no);
                return ctl_fail_text("%s: %s", no.detail, no.fix);
        }
        if (found != 1)
                return ctl_fail_text("%s in %s: say which by the end of its fingerprint (%s)",
                        found ? "there are several keys" : "no such key", h.dir,
                        key_command(c->config, h.dir, "key list", NULL, make));
        return streq(what, "export") ? key_export(c, h.dir, k) : key_extend(c, &h, k);
}

/* --- keygen --- */

#define README_FILE "czard-public-key.README.txt"
#define PASSPHRASE_LEAST 8

enum { OUT_PUBLIC, OUT_README };

static const char readme[] =
        "The public key of the data czar, and what to do with it\n"
        "=======================================================\n"
        "\n"
        "  fingerprint  %s\n"
        "  user id      %s\n"
        "  expires      %s\n"
        "\n"
        "1. Send " PUBLIC_FILE " to edX (your partner manager), from the institutional address of the key,\n"
        "   and let them confirm the fingerprint above over another way than mail.\n"
        "2. edX answers with credentials.csv.gpg. As root: czarctl import-credentials credentials.csv.gpg\n"
        "3. Back up now, offline and apart from each other: without them all data that edX encrypts to this\n"
        "   key is unreadable, and nobody can make them again.\n"
        "     - the GnuPG home      %s\n"
        "     - the passphrase\n"
        "     - the revocation certificate, to be published when the key is lost or stolen:\n"
        "                           %s/openpgp-revocs.d/%s.rev\n"
        "4. Before it expires: %s\n"
        "   then send the new public key to edX: %s\n"
        "   When the key expires at edX nothing fails there: files just stop coming.\n";

int prepare_keygen(struct ctl *c)
{
        char path[PATH_MAX];
        const char *dir = ctl_flag(c, "output");
        static const char *const names[] = {[OUT_PUBLIC] = PUBLIC_FILE, [OUT_README] = README_FILE};
        for (int i = OUT_PUBLIC; i <= OUT_README; i++) {
                snprintf(path, sizeof(path), "%s/%s", dir ? dir : ".", names[i]);
                if (access(path, F_OK) == 0)
                        return ctl_fail_text(
                                "%s is there already: move it away first, or use --output DIR", path);
                int status = owner_output(c, path, OUTPUT_NEW, 0644, NULL);
                if (status)
                        return status;
        }
        return passphrase_prepare(c, true);
}

static bool is_name(const char *s)
{
        return strlen(s) >= 2 && strlen(s) < 128 && !strpbrk(s, "<>()\"\\@") && *s != ' ' && *s != '%' &&
               !strpbrk(s, "\n\r\t");
}

static bool is_mail(const char *s)
{
        const char *at = strchr(s, '@');
        size_t ok = strspn(
                s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.!#$&'*+-/=?^_`{|}~@");
        return at && at != s && strchr(at, '.') && !strchr(at + 1, '@') && s[ok] == 0 && strlen(s) < 200;
}

/* Given with --flag, else asked for until it is good. 0 or an exit status. */
static int get_text(struct ctl *c, const char *flag, const char *question, bool (*is_good)(const char *),
        const char *expected, char *ret, size_t size)
{
        const char *given = ctl_flag(c, flag);
        if (given) {
                snprintf(ret, size, "%s", given);
                return is_good(ret) ? 0 : ctl_usage(c, "--%s: expected %s", flag, expected);
        }
        if (ctl_flag(c, "batch") || !prompt_possible())
                return ctl_usage(c, "--%s is needed where nobody can be asked", flag);
        int r = 0;
        for (int i = 0; i < PROMPT_TRIES; i++) {
                r = prompt_line(question, ret, size);
                if (r < 0)
                        break;
                if (is_good(ret))
                        return 0;
                shown_print(stderr, "Expected is %s.\n", expected);
                r = -ECANCELED;
        }
        return ctl_fail_text("%s: %s", flag, prompt_error(r));
}

/* "[GNUPG:] KEY_CREATED B FINGERPRINT" */
static bool take_fingerprint(const char *out, char ret[FINGERPRINT_SIZE])
{
        const char *at = strstr(out, "[GNUPG:] KEY_CREATED ");
        return at && sscanf(at, "[GNUPG:] KEY_CREATED %*s %64[0-9A-F]", ret) == 1;
}

/* Preferences without AEAD: what edX runs makes and understands MDC. */
static int generate(struct ctl *c, const char *home, const char *name, const char *mail, const char *expire,
        const struct secret *passphrase, char fingerprint[FINGERPRINT_SIZE])
{
        char parameters[1024], out[16384] = "";
        snprintf(parameters, sizeof(parameters),
                "Key-Type: RSA\nKey-Length: 4096\nKey-Usage: sign cert\n"
                "Subkey-Type: RSA\nSubkey-Length: 4096\nSubkey-Usage: encrypt\n"
                "Name-Real: %s\nName-Email: %s\nExpire-Date: %s\n"
                "Preferences: AES256 AES192 AES SHA512 SHA384 SHA256 SHA224 ZLIB BZIP2 ZIP Uncompressed\n"
                "%%commit\n",
                name, mail, expire);
        const char *args[] = {"--status-fd", "1", "--full-generate-key", NULL};
        struct run_spec spec = {.in = {parameters, strlen(parameters)}, .out = out, .size = sizeof(out) - 1};
        if (!c->json)
                fputs("Making two RSA keys of 4096 bits; this may take a minute.\n", stderr);
        int r = keyring_gpg(home, args, passphrase, &spec);
        keyring_stop_agent(home);
        if (r == -ENOENT)
                return ctl_fail_text("gpg is not installed");
        if (r != 0 || !take_fingerprint(out, fingerprint))
                return ctl_fail_text("gpg could not make the key; see above");
        return 0;
}

static int write_public(struct ctl *c, const char *home, const char *fingerprint)
{
        _cleanup_keyring_ struct keyring ring = {};
        struct error e = {};
        _cleanup_free_ char *armor = NULL, *text = NULL;
        size_t len = 0;
        char where[TEXT_SIZE], when[WHEN_SIZE], extend[KEY_COMMAND_SIZE], export[KEY_COMMAND_SIZE];
        if (keyring_read(home, &ring, &e) < 0)
                return ctl_fail(&e);
        const struct keyring_key *k = keyring_find(&ring, fingerprint);
        if (!k)
                return ctl_fail_text("the new key is not in %s", home);
        text = str_printf(readme, fingerprint, k->fact.user_id,
                k->fact.expires ? local_time(k->fact.expires, when) : "never", home, home, fingerprint,
                key_command(c->config, home, "key extend", fingerprint, extend),
                key_command(c->config, home, "key export", fingerprint, export));
        int r = text ? keyring_export(home, fingerprint, &armor, &len, &e) : -ENOMEM;
        if (r == 0)
                r = owner_put(c, OUT_PUBLIC, armor, len, where, &e);
        if (r == 0)
                r = owner_put(c, OUT_README, text, strlen(text), where, &e);
        if (r < 0)
                return ctl_fail(&e);
        if (!c->json)
                putchar('\n');
        fputs(text, stdout);
        return 0;
}

/* Whatever lies there stays as it is, also what gpg cannot read. */
static int check_new(const struct ctl *c, const char *home, struct error *e)
{
        char extend[KEY_COMMAND_SIZE];
        _cleanup_keyring_ struct keyring ring = {};
        int r = keyring_make_home(c, home, e);
        if (r == 0)
                r = keyring_check_locks(home, e);
        if (r < 0 || !keyring_has_secrets(home))
                return r;
        r = keyring_read(home, &ring, e);
        if (r < 0)
                return r;
        if (ring.n == 0)
                return error_set(e, CAUSE_INTERNAL, EEXIST,
                        "%s/private-keys-v1.d has secret keys already whose public keys gpg does not find, "
                        "and a key is never replaced: czarctl import-key with a copy of the key brings its "
                        "public part back; or set another homedir; or move that folder away, when a keygen "
                        "was interrupted",
                        home);
        return error_set(e, CAUSE_INTERNAL, EEXIST,
                "%s has a key already (%s %s), and a key is never replaced; its expiry can be extended: %s",
                home, ring.keys[0].fact.fingerprint, ring.keys[0].fact.user_id,
                key_command(c->config, home, "key extend", ring.keys[0].fact.fingerprint, extend));
}

static int choose_passphrase(struct ctl *c, struct secret *ret)
{
        struct error e = {};
        if (passphrase_given(c, ret, &e) < 0)
                return ctl_fail(&e);
        if (!ret->p && (ctl_flag(c, "batch") || !prompt_possible()))
                return ctl_usage(c, "--passphrase-file is needed where nobody can be asked");
        const char *odd = ret->p ? secret_oddity(ret) : NULL;
        if (odd)
                return ctl_fail_text("the passphrase in that file: %s", odd);
        int r = ret->p ? 0
                       : prompt_passphrase("Passphrase (long, used nowhere else; it is not shown): ",
                                 PASSPHRASE_LEAST, true, ret);
        if (r < 0)
                return ctl_fail_text("passphrase: %s", prompt_error(r));
        return ret->len >= PASSPHRASE_LEAST
                       ? 0
                       : ctl_fail_text("the passphrase needs at least %d bytes: edX asks for a strong one",
                                 PASSPHRASE_LEAST);
}

int run_keygen(struct ctl *c)
{
        _cleanup_secret_ struct secret passphrase = {};
        char name[256], mail[256], fingerprint[FINGERPRINT_SIZE] = "";
        const char *expire = ctl_flag(c, "expire") ? ctl_flag(c, "expire") : DEFAULT_EXPIRE;
        struct error e = {};
        struct key_home h;
        int status = key_home_chosen(c, &h);
        if (status)
                return status;
        if (check_new(c, h.dir, &e) < 0)
                return ctl_fail(&e);
        if (span_seconds(expire) < 0)
                return ctl_usage(c, "--expire: expected a number with d, w, m or y, such as 2y");
        status = get_text(c, "name", "Real name of the data czar: ", is_name,
                "a name of at least two letters, without <>()@ and quotes", name, sizeof(name));
        if (status == 0)
                status = get_text(c, "email", "Institutional mail address: ", is_mail,
                        "an address such as czar@university.example", mail, sizeof(mail));
        if (status == 0)
                status = choose_passphrase(c, &passphrase);
        if (status == 0 && passphrase_check_others(c, &h, &passphrase, &e) < 0)
                return ctl_fail(&e);
        if (status == 0)
                status = generate(c, h.dir, name, mail, expire, &passphrase, fingerprint);
        if (status == 0)
                status = write_public(c, h.dir, fingerprint);
        if (status == 0)
                status = passphrase_store(c, &passphrase);
        if (status || !c->json)
                return status;
        return answer_fields(FIELDS(F_TEXT("fingerprint", fingerprint), F_TEXT("public_key", PUBLIC_FILE),
                F_TEXT("readme", README_FILE)));
}
