/* SPDX-License-Identifier: Apache-2.0 */
/* keygen. gpg makes the keys as a child of ours that can open no network socket (run.c); the passphrase goes
 * to it by descriptor. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "key_command.h"
#include "keys.h"
#include "owner.h"
#include "passphrase.h"
#include "prompt.h"
#include "runs.h"
#include "str.h"
#include "table.h"

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
                if (owner_output(c, path, OUTPUT_NEW, 0644) < 0)
                        return ctl_fail_text("out of memory");
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
                return ctl_fail(c, &e);
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
                return ctl_fail(c, &e);
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
                        "and "
                        "a key is never replaced: czarctl import-key with a copy of the key brings its "
                        "public "
                        "part back; or set another homedir; or move that folder away, when a keygen was "
                        "interrupted",
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
                return ctl_fail(c, &e);
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
                return ctl_fail(c, &e);
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
                return ctl_fail(c, &e);
        if (status == 0)
                status = generate(c, h.dir, name, mail, expire, &passphrase, fingerprint);
        if (status == 0)
                status = write_public(c, h.dir, fingerprint);
        if (status == 0)
                status = passphrase_store(c, &passphrase);
        if (status || !c->json)
                return status;
        _cleanup_json_ struct json j = {};
        answer_open(&j);
        json_str(&j, "fingerprint", fingerprint);
        json_str(&j, "public_key", PUBLIC_FILE);
        json_str(&j, "readme", README_FILE);
        return answer_print(&j);
}
