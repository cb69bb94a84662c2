/* SPDX-License-Identifier: Apache-2.0 */
/* keygen, import-key, key. gpg does them as a child of ours that can open no network socket (run.c); the
 * passphrase goes to it by descriptor. There is no message of czard-decrypt for making or extending a key,
 * and none is wanted: the worker only ever decrypts. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "credstore.h"
#include "decrypt.h"
#include "fsx.h"
#include "keyring.h"
#include "limits.h"
#include "owner.h"
#include "prompt.h"
#include "runs.h"
#include "str.h"
#include "table.h"

#define PUBLIC_FILE "czard-public-key.asc"
#define README_FILE "czard-public-key.README.txt"
#define DEFAULT_EXPIRE "2y"
#define PASSPHRASE_LEAST 8

enum { OUT_PUBLIC, OUT_README, OUT_PASSPHRASE };

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
        "4. Before it expires: czarctl key extend, then send the new public key (czarctl key export) to "
        "edX.\n"
        "   When the key expires at edX nothing fails there: files just stop coming.\n";

/* --- the passphrase --- */

/* Where a passphrase is stored: as configured, else as the credential that the unit loads. */
static int announce_passphrase(struct ctl *c)
{
        const char *file = c->config->openpgp.passphrase_file;
        int r = 0;
        if (file)
                r = owner_output(c, file, OUTPUT_SECRET, 0400);
        else if (geteuid() == 0)
                r = owner_output(c, "czard.passphrase", OUTPUT_CREDENTIAL, 0400);
        return r < 0 ? ctl_fail_text("out of memory") : 0;
}

static bool may_store(const struct ctl *c)
{
        return c->config->openpgp.passphrase_file || c->caller == 0;
}

static int store_passphrase(struct ctl *c, const struct secret *s, int output)
{
        struct error e = {};
        char where[512];
        if (!may_store(c)) {
                fputs("The passphrase is stored nowhere: czard needs it in [openpgp] passphrase_file, or (as "
                      "root) as the\n"
                      "systemd credential czard.passphrase.\n",
                        stderr);
                return 0;
        }
        _cleanup_close_ int fd = secret_to_fd(s);
        if (fd < 0)
                return ctl_fail_text("memory file: %s", strerror(-fd));
        if (owner_put_fd(c, output, fd, where, &e) < 0)
                return ctl_fail(c, &e);
        if (!c->json)
                printf("passphrase stored in %s\n", where);
        return 0;
}

static int open_passphrase_file(struct ctl *c)
{
        const char *file = ctl_flag(c, "passphrase-file");
        if (!file)
                return 0;
        c->passphrase_file_fd = open(file, O_RDONLY | O_CLOEXEC);
        return c->passphrase_file_fd < 0 ? ctl_fail_text("%s: %s", file, strerror(errno)) : 0;
}

/* From --passphrase-file, else asked. 0 or an exit status. */
static int get_passphrase(struct ctl *c, const char *text, bool twice, struct secret *ret)
{
        struct error e = {};
        int r;
        if (c->passphrase_file_fd >= 0) {
                r = check_owner_mode(c->passphrase_file_fd, ctl_flag(c, "passphrase-file"), 077, &e);
                if (r < 0)
                        return ctl_fail(c, &e);
                r = secret_read_line(c->passphrase_file_fd, LIMIT_PASSPHRASE, ret);
        } else if (ctl_flag(c, "batch") || !prompt_possible()) {
                return ctl_usage(c, "--passphrase-file is needed where nobody can be asked");
        } else {
                r = prompt_passphrase(text, twice ? PASSPHRASE_LEAST : 0, twice, ret);
        }
        return r < 0 ? ctl_fail_text("passphrase: %s", prompt_error(r)) : 0;
}

/* --- keygen --- */

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
        int status = announce_passphrase(c);
        return status ? status : open_passphrase_file(c);
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
                fprintf(stderr, "Expected is %s.\n", expected);
                r = -ECANCELED;
        }
        return ctl_fail_text("%s: %s", flag, prompt_error(r));
}

/* The line of gpg's status output that begins with word, its third word into ret. */
static int status_word(const char *out, const char *word, char *ret, size_t size)
{
        char line[64];
        snprintf(line, sizeof(line), "[GNUPG:] %s ", word);
        const char *at = strstr(out, line);
        if (!at)
                return -ENOENT;
        at += strlen(line);
        at += strcspn(at, " \n");
        at += *at == ' ';
        snprintf(ret, size, "%.*s", (int)MIN(strcspn(at, " \n"), size - 1), at);
        return 0;
}

static int is_span(const char *s)
{
        size_t n = strspn(s, "0123456789");
        return n > 0 && n < 5 && (s[n] == 0 || (strchr("dwmy", s[n]) && s[n + 1] == 0));
}

/* Preferences without AEAD: what edX runs makes and understands MDC. */
static int generate(struct ctl *c, const char *name, const char *mail, const char *expire,
        const struct secret *passphrase, char fingerprint[65])
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
        int r = keyring_gpg(c->config->openpgp.homedir, args, passphrase, &spec);
        keyring_stop_agent(c->config->openpgp.homedir);
        if (r == -ENOENT)
                return ctl_fail_text("gpg is not installed");
        if (r != 0 || status_word(out, "KEY_CREATED", fingerprint, 65) < 0)
                return ctl_fail_text("gpg could not make the key; see above");
        return 0;
}

static int write_public(struct ctl *c, const char *fingerprint)
{
        struct fact_key keys[FACT_KEYS];
        struct error e = {};
        _cleanup_free_ char *armor = NULL, *text = NULL;
        const char *home = c->config->openpgp.homedir;
        size_t len = 0, n = keyring_read(home, keys, FACT_KEYS), k = 0;
        char where[512], when[40];
        while (k < n && !streq(keys[k].fingerprint, fingerprint))
                k++;
        if (k == n)
                return ctl_fail_text("the new key is not in %s", home);
        text = str_printf(readme, fingerprint, keys[k].user_id,
                keys[k].expires ? local_time(keys[k].expires, when) : "never", home, home, fingerprint);
        int r = text ? keyring_export(home, fingerprint, &armor, &len, &e) : -ENOMEM;
        if (r == 0)
                r = owner_put(c, OUT_PUBLIC, armor, len, where, &e);
        if (r == 0)
                r = owner_put(c, OUT_README, text, strlen(text), where, &e);
        if (r < 0)
                return ctl_fail(c, &e);
        if (!c->json)
                printf("\n%s", text);
        return 0;
}

static int check_new(struct ctl *c, struct error *e)
{
        struct fact_key keys[FACT_KEYS];
        const char *home = c->config->openpgp.homedir;
        int r = keyring_make_home(home, e);
        if (r == 0 && keyring_read(home, keys, FACT_KEYS) > 0)
                return error_set(e, CAUSE_INTERNAL, EEXIST,
                        "%s has a key already (%s %s), and a key is never replaced; its expiry can be "
                        "extended: "
                        "czarctl key extend",
                        home, keys[0].fingerprint, keys[0].user_id);
        return r;
}

int run_keygen(struct ctl *c)
{
        _cleanup_secret_ struct secret passphrase = {};
        char name[256], mail[256], fingerprint[65] = "";
        const char *expire = ctl_flag(c, "expire") ? ctl_flag(c, "expire") : DEFAULT_EXPIRE;
        struct error e = {};
        if (check_new(c, &e) < 0)
                return ctl_fail(c, &e);
        if (!is_span(expire))
                return ctl_usage(c, "--expire: expected a number with d, w, m or y, such as 2y");
        int status = get_text(c, "name", "Real name of the data czar: ", is_name,
                "a name of at least two letters, without <>()@ and quotes", name, sizeof(name));
        if (status == 0)
                status = get_text(c, "email", "Institutional mail address: ", is_mail,
                        "an address such as czar@university.example", mail, sizeof(mail));
        if (status == 0)
                status = get_passphrase(
                        c, "Passphrase (long, used nowhere else; it is not shown): ", true, &passphrase);
        if (status)
                return status;
        if (passphrase.len < PASSPHRASE_LEAST)
                return ctl_fail_text("the passphrase needs at least %d bytes: edX asks for a strong one",
                        PASSPHRASE_LEAST);
        status = generate(c, name, mail, expire, &passphrase, fingerprint);
        if (status == 0)
                status = write_public(c, fingerprint);
        if (status == 0)
                status = store_passphrase(c, &passphrase, OUT_PASSPHRASE);
        if (status || !c->json)
                return status;
        _cleanup_json_ struct json j = {};
        answer_open(&j);
        json_str(&j, "fingerprint", fingerprint);
        json_str(&j, "public_key", PUBLIC_FILE);
        json_str(&j, "readme", README_FILE);
        return answer_print(&j);
}

/* --- import-key --- */

int prepare_import_key(struct ctl *c)
{
        c->input_fd = open(c->argv[0], O_RDONLY | O_CLOEXEC);
        if (c->input_fd < 0)
                return ctl_fail_text("%s: %s", c->argv[0], strerror(errno));
        int status = announce_passphrase(c);
        passphrase_prepare(c);
        return status ? status : open_passphrase_file(c);
}

/* Tries the key as czard will, with the passphrase that is stored or a new one, which is stored then. */
static int try_key(struct ctl *c)
{
        const char *home = c->config->openpgp.homedir;
        _cleanup_secret_ struct secret passphrase = {};
        struct decrypt d = {.helper = HELPER_NONE};
        struct error e = {};
        char source[512];
        bool fresh = c->passphrase_file_fd >= 0;
        int r = 0;
        if (fresh) {
                int status = get_passphrase(c, "", false, &passphrase);
                if (status)
                        return status;
        } else {
                r = passphrase_find(c, &passphrase, source, &e);
        }
        if (r < 0 && e.err != ENOENT) /* a file that is configured and not there yet is made by us */
                return ctl_fail(c, &e);
        e = (struct error){};
        r = decrypt_open(c, home, &passphrase, &d, &e);
        if (r < 0 && e.cause == CAUSE_PASSPHRASE && !fresh && prompt_possible() && !ctl_flag(c, "batch")) {
                r = decrypt_ask(c, home, &passphrase, &d, &e);
                fresh = true;
        }
        decrypt_close(&d);
        if (r < 0)
                return ctl_fail_text("the key is imported, but cannot be used: %s; %s", e.text,
                        e.cause == CAUSE_PASSPHRASE ? "import it once more with --passphrase-file FILE"
                                                    : cause_advice(e.cause));
        return fresh && passphrase.len > 0 ? store_passphrase(c, &passphrase, 0) : 0;
}

int run_import_key(struct ctl *c)
{
        const char *home = c->config->openpgp.homedir, *args[] = {"--status-fd", "1", "--import", NULL};
        _cleanup_free_ char *text = NULL;
        size_t len = 0;
        char out[16384] = "", fingerprint[65] = "";
        struct error e = {};
        if (keyring_make_home(home, &e) < 0)
                return ctl_fail(c, &e);
        int r = read_file_fd(c->input_fd, LIMIT_CONFIG_FILE, &text, &len);
        if (r < 0)
                return ctl_fail_text("%s: %s", c->argv[0], strerror(-r));
        struct run_spec spec = {.in = {text, len}, .out = out, .size = sizeof(out) - 1, .quiet = true};
        r = keyring_gpg(home, args, NULL, &spec);
        explicit_bzero(text, len);
        keyring_stop_agent(home);
        if (r == -ENOENT)
                return ctl_fail_text("gpg is not installed");
        struct fact_key keys[FACT_KEYS];
        size_t n = keyring_read(home, keys, FACT_KEYS), k = 0;
        if (status_word(out, "IMPORT_OK", fingerprint, sizeof(fingerprint)) < 0)
                return ctl_fail_text("%s is not an OpenPGP key that gpg can import", c->argv[0]);
        while (k < n && !streq(keys[k].fingerprint, fingerprint))
                k++;
        if (k == n)
                return ctl_fail_text(
                        "%s holds no secret key: export it with gpg --export-secret-keys on the old machine",
                        c->argv[0]);
        int status = try_key(c);
        if (status)
                return status;
        char when[40];
        bool expired = keys[k].expires && keys[k].expires < (int64_t)time(NULL);
        if (c->json) {
                _cleanup_json_ struct json j = {};
                answer_open(&j);
                json_str(&j, "fingerprint", fingerprint);
                json_str(&j, "user_id", keys[k].user_id);
                return answer_print(&j);
        }
        printf("%s %s is imported and can be used%s%s\n", fingerprint, keys[k].user_id,
                expired ? "; it expired " : "", expired ? ago(keys[k].expires, when) : "");
        if (expired)
                puts("czarctl key extend, then send the new public key (czarctl key export) to edX");
        return 0;
}

/* --- key --- */

int prepare_key(struct ctl *c)
{
        const char *file = ctl_flag(c, "output");
        if (file && owner_output(c, file, OUTPUT_REPLACE, 0644) < 0)
                return ctl_fail_text("out of memory");
        passphrase_prepare(c);
        return open_passphrase_file(c);
}

static int key_list(struct ctl *c, const struct fact_key *keys, size_t n)
{
        char a[40], b[40];
        if (c->json) {
                _cleanup_json_ struct json j = {};
                answer_open(&j);
                json_open(&j, "keys", '[');
                for (size_t i = 0; i < n; i++) {
                        json_open(&j, NULL, '{');
                        json_str(&j, "fingerprint", keys[i].fingerprint);
                        json_str(&j, "user_id", keys[i].user_id);
                        json_time(&j, "created", keys[i].created);
                        if (keys[i].expires)
                                json_time(&j, "expires", keys[i].expires);
                        else
                                json_null(&j, "expires");
                        json_close(&j, '}');
                }
                json_close(&j, ']');
                return answer_print(&j);
        }
        struct table *t = table_new("FINGERPRINT|USER ID|CREATED|EXPIRES|");
        for (size_t i = 0; i < n; i++) {
                bool expired = keys[i].expires && keys[i].expires < (int64_t)time(NULL);
                table_cell(t, PLAIN, "%s", keys[i].fingerprint);
                table_cell(t, PLAIN, "%s", keys[i].user_id);
                table_cell(t, PLAIN, "%.10s", local_time(keys[i].created, a));
                table_cell(t, expired ? RED : PLAIN, "%.10s",
                        keys[i].expires ? local_time(keys[i].expires, b) : "never");
                table_cell(t, expired ? RED : DIM, "%s", keys[i].expires ? ago(keys[i].expires, b) : "");
        }
        if (!table_print(t))
                printf("There is no secret key in %s: czarctl keygen, or czarctl import-key FILE\n",
                        c->config->openpgp.homedir);
        return 0;
}

static int key_export(struct ctl *c, const struct fact_key *k)
{
        struct error e = {};
        _cleanup_free_ char *armor = NULL;
        size_t len = 0;
        char where[512];
        int r = keyring_export(c->config->openpgp.homedir, k->fingerprint, &armor, &len, &e);
        if (r == 0 && ctl_flag(c, "output"))
                r = owner_put(c, 0, armor, len, where, &e);
        else if (r == 0)
                fputs(armor, stdout);
        return r < 0 ? ctl_fail(c, &e) : 0;
}

static int set_expire(
        struct ctl *c, const struct fact_key *k, const char *expire, const struct secret *passphrase)
{
        const char *home = c->config->openpgp.homedir;
        const char *primary[] = {"--quick-set-expire", k->fingerprint, expire, NULL};
        const char *subkeys[] = {"--quick-set-expire", k->fingerprint, expire, "*", NULL};
        struct run_spec a = {}, b = {};
        int r = keyring_gpg(home, primary, passphrase, &a);
        if (r == 0)
                r = keyring_gpg(home, subkeys, passphrase, &b);
        keyring_stop_agent(home);
        return r == 0 ? 0 : ctl_fail_text("gpg could not extend the key; see above");
}

static int key_extend(struct ctl *c, const struct fact_key *k)
{
        _cleanup_secret_ struct secret passphrase = {};
        const char *expire = ctl_flag(c, "expire") ? ctl_flag(c, "expire") : DEFAULT_EXPIRE;
        struct fact_key now[FACT_KEYS];
        struct error e = {};
        char source[512] = "", when[40], text[40];
        if (!is_span(expire))
                return ctl_usage(c, "--expire: expected a number with d, w, m or y, such as 2y");
        if (c->passphrase_file_fd < 0 && passphrase_find(c, &passphrase, source, &e) < 0)
                return ctl_fail(c, &e);
        int status = 0;
        if (c->passphrase_file_fd >= 0 || (!*source && prompt_possible()))
                status = get_passphrase(c, "Passphrase of the key (empty: none): ", false, &passphrase);
        if (status == 0)
                status = set_expire(c, k, expire, &passphrase);
        if (status)
                return status;
        size_t n = keyring_read(c->config->openpgp.homedir, now, FACT_KEYS), i = 0;
        while (i < n && !streq(now[i].fingerprint, k->fingerprint))
                i++;
        if (c->json)
                return key_list(c, now, n);
        if (i < n && !now[i].expires)
                snprintf(when, sizeof(when), "never");
        else
                snprintf(when, sizeof(when), "%s", i < n ? local_time(now[i].expires, text) : "?");
        printf("%s expires %s now.\nSend the new public key to edX, or they go on with the old date:\n"
               "  czarctl key export > " PUBLIC_FILE "\n"
               "A running czard sees the new date after: systemctl restart czard\n",
                k->fingerprint, when);
        return 0;
}

int run_key(struct ctl *c)
{
        struct fact_key keys[FACT_KEYS];
        const char *what = c->argc > 0 ? c->argv[0] : "list", *which = c->argc > 1 ? c->argv[1] : NULL;
        const char *home = c->config->openpgp.homedir;
        size_t n = keyring_read(home, keys, FACT_KEYS), found = 0;
        if (!streq(what, "list") && !streq(what, "export") && !streq(what, "extend"))
                return ctl_usage(c, "expected list, export or extend, not '%.32s'", what);
        const struct fact_key *k = NULL;
        for (size_t i = 0; i < n; i++)
                if (!which || str_ends(keys[i].fingerprint, which) || strstr(keys[i].user_id, which)) {
                        k = &keys[i];
                        found++;
                }
        if (streq(what, "list"))
                return key_list(c, keys, n);
        if (n == 0)
                return ctl_fail_text(
                        "there is no secret key in %s: czarctl keygen, or czarctl import-key FILE", home);
        if (found != 1)
                return ctl_fail_text("%s: say which by the end of its fingerprint (czarctl key list)",
                        found ? "there are several keys" : "no such key");
        return streq(what, "export") ? key_export(c, k) : key_extend(c, k);
}
