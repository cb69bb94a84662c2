/* SPDX-License-Identifier: Apache-2.0 */
/* import-key. The key is tried in a folder of its own first, by its fingerprint, with the passphrase that
 * czard will have: the GnuPG home is not touched before that went well.
 *
 *   read_key_file ── stage (gpg --import there) ── choose (what can decrypt)
 *                 ── open_it ── do the others stay open? ── gpg_import
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "ctl.h"
#include "fsx.h"
#include "helpers.h"
#include "key_command.h"
#include "keyring.h"
#include "macro.h"
#include "owner.h"
#include "passphrase.h"
#include "rows.h"
#include "scratch.h"
#include "str.h"

/* IMPORT_OK of gpg's doc/DETAILS */
#define IMPORTED_SECRET 16

struct import {
        struct ctl *c;
        struct key_home home;
        char staged[SCRATCH_SIZE]; /* a GnuPG home with the file's keys alone */
        char *text;                /* the file */
        size_t len;
        struct strv secret, any; /* fingerprints in it: with a secret part; all */
        struct strv wanted;      /* those that can decrypt */
        char user_id[256];       /* of the first of them */
        int64_t expires;
        bool known; /* all that is wanted is in the home already */
        struct secret passphrase;
        bool fresh; /* it is not the one that is stored */
};

int prepare_import_key(struct ctl *c)
{
        struct error e = {};
        c->input_fd = owner_open_input(c->argv[0], &e);
        if (c->input_fd < 0)
                return ctl_fail(&e);
        return passphrase_prepare(c, true);
}

/* --- what people give us for a key: told by a mark at the start or, of text, anywhere; a binary packet by
 * its tag (RFC 4880, 4.2) --- */

#define KEY_OF_THE_FUTURE                                                                                    \
        "is a key that was made in the future: set the clock of this machine right (timedatectl), or the "   \
        "key was made where it was wrong; then make another: czarctl keygen"
#define ENCRYPTED                                                                                            \
        "is encrypted itself: decrypt it (gpg --output key.asc --decrypt FILE) and import what comes out"
#define OTHER_KIND                                                                                           \
        "is a key of SSH, TLS or S/MIME: none of OpenPGP, which edX encrypts to; czarctl keygen makes one"
#define ARCHIVE "is an archive: unpack it and import the exported key that is in it"
#define PRIVATE_FILE                                                                                         \
        "is a file of a GnuPG home, without the public part: export the key where that home is, gpg "        \
        "--armor --export-secret-keys"
#define BLOCK "-----BEGIN PGP PRIVATE KEY BLOCK"
#define CUT "holds half a secret key: it is cut off or damaged; copy it again, as it is"

static const struct {
        const char *mark;
        const char *fault;
        bool at_start;
} marks[] = {
        {"This is a revocation certificate",
                "is a revocation certificate, which makes a key unusable for ever: never import it; export "
                "the key with gpg --armor --export-secret-keys",
                false},
        {"-----BEGIN PGP MESSAGE", ENCRYPTED, false},
        {"-----BEGIN PGP SIGNATURE", "is a signature and no key", false},
        {"-----BEGIN OPENSSH", OTHER_KIND, false},
        {"-----BEGIN RSA PRIVATE", OTHER_KIND, false},
        {"-----BEGIN PRIVATE KEY", OTHER_KIND, false},
        {"-----BEGIN ENCRYPTED PRIVATE", OTHER_KIND, false},
        {"-----BEGIN EC PRIVATE", OTHER_KIND, false},
        {"-----BEGIN CERTIFICATE", OTHER_KIND, false},
        {"Content-Transfer-Encoding:", "is a whole mail: save what is attached to it, and import that",
                false},
        {"# List of assigned trustvalues",
                "is a list of ownertrust and no key; export the key with gpg --armor --export-secret-keys",
                true},
        {"Created: ", PRIVATE_FILE, true},
        {"Key: (", PRIVATE_FILE, true},
        {"(21:protected-private-key", PRIVATE_FILE, true},
        {"(11:private-key", PRIVATE_FILE, true},
        {"\x1f\x8b", ARCHIVE, true},
        {"PK\x03\x04", ARCHIVE, true},
        {"BZh", ARCHIVE, true},
        {"\xfd"
         "7zXZ",
                ARCHIVE, true},
};

/* A key packet: what it says of itself is not what gpg takes. */
static const char *key_packet_fault(const uint8_t *body, size_t n)
{
        if (n < 5)
                return CUT;
        if (body[0] > 4)
                return "is a key of a newer kind (RFC 9580) than GnuPG reads; czarctl keygen makes one that "
                       "it does";
        uint32_t created =
                (uint32_t)body[1] << 24 | (uint32_t)body[2] << 16 | (uint32_t)body[3] << 8 | body[4];
        if (body[0] == 4 && (int64_t)created > (int64_t)time(NULL))
                return KEY_OF_THE_FUTURE;
        return CUT;
}

static const char *packet_fault(const uint8_t *p, size_t n)
{
        enum { SESSION_KEY = 1, SESSION_KEY_OF_PASSPHRASE = 3, SECRET_KEY = 5 };
        if (n < 2 || !(p[0] & 0x80))
                return NULL;
        bool newer = p[0] & 0x40;
        unsigned tag = newer ? p[0] & 0x3f : (p[0] >> 2) & 0xf;
        size_t lengths = !newer ? (size_t)1 << (p[0] & 3) : p[1] < 192 ? 1 : p[1] < 224 ? 2 : 5;
        if (tag == SESSION_KEY || tag == SESSION_KEY_OF_PASSPHRASE)
                return ENCRYPTED;
        if (tag != SECRET_KEY || n < 1 + lengths)
                return NULL;
        return key_packet_fault(p + 1 + lengths, n - 1 - lengths);
}

/* The first packet in the block, whose data begin behind an empty line. */
static const char *armor_fault(const char *block, const char *end)
{
        enum { CHARS = 12 };
        uint8_t data[CHARS / 4 * 3];
        const char *at = memmem(block, (size_t)(end - block), "\n\n", 2);
        const char *dos = memmem(block, (size_t)(end - block), "\n\r\n", 3);
        at = at ? at + 2 : dos ? dos + 3 : end;
        const char *fault =
                end - at < CHARS || EVP_DecodeBlock(data, (const uint8_t *)at, CHARS) != sizeof(data)
                        ? NULL
                        : packet_fault(data, sizeof(data));
        return fault ? fault : CUT;
}

/* What is wrong with a file of which gpg imports nothing, as the rest of a sentence that begins with its name
 * and says what to do; NULL when it cannot be told. */
static const char *key_file_fault(const char *text, size_t n)
{
        for (size_t i = 0; i < ELEMENTSOF(marks); i++) {
                size_t len = strlen(marks[i].mark);
                if (marks[i].at_start ? n >= len && memcmp(text, marks[i].mark, len) == 0
                                      : memmem(text, n, marks[i].mark, len) != NULL)
                        return marks[i].fault;
        }
        const char *block = memmem(text, n, BLOCK, strlen(BLOCK));
        return block ? armor_fault(block, text + n) : packet_fault((const uint8_t *)text, n);
}

/* --- the file --- */

/* gpg takes text before the first block, but not a mark before the text, and no UTF-16. */
static int read_key_file(struct import *m, struct error *e)
{
        int r = read_file_fd(m->c->input_fd, LIMIT_KEY_FILE, &m->text, &m->len);
        if (r < 0)
                return error_set(e, CAUSE_INTERNAL, -r, "%s: %s", m->c->argv[0], strerror(-r));
        m->len = textfile_to_utf8(m->text, m->len);
        m->len = textfile_unquote(m->text, m->len, "-----BEGIN PGP ");
        return 0;
}

/* "[GNUPG:] IMPORT_OK FLAGS FINGERPRINT", any number of them. */
static int take_status(struct import *m, const char *out)
{
        unsigned flags;
        char fpr[FINGERPRINT_SIZE];
        int r = 0;
        for (const char *at = out; r == 0 && (at = strstr(at, "[GNUPG:] IMPORT_OK ")); at++) {
                if (sscanf(at, "[GNUPG:] IMPORT_OK %u %64[0-9A-F]", &flags, fpr) != 2)
                        continue;
                if (!strv_has(&m->any, fpr))
                        r = strv_add(&m->any, fpr);
                if (r == 0 && (flags & IMPORTED_SECRET) && !strv_has(&m->secret, fpr))
                        r = strv_add(&m->secret, fpr);
        }
        return r;
}

static int gpg_import(struct import *m, const char *home, bool take, struct error *e)
{
        const char *args[] = {"--status-fd", "1", "--import", NULL};
        _cleanup_close_ int fd = memfd_create("status", MFD_CLOEXEC);
        struct run_spec spec = {.in = {m->text, m->len}, .out_fd = fd, .quiet = true};
        int r = fd < 0 ? -errno : keyring_gpg(home, args, NULL, &spec);
        keyring_stop_agent(home);
        if (r < 0)
                return error_set(e, CAUSE_INTERNAL, -r, "gpg: %s",
                        r == -ENOENT ? "it is not installed" : strerror(-r));
        _cleanup_free_ char *out = NULL;
        size_t len = 0;
        r = !take ? 0 : lseek(fd, 0, SEEK_SET) < 0 ? -errno : read_file_fd(fd, LIMIT_KEY_FILE, &out, &len);
        if (r == 0 && take)
                r = take_status(m, out);
        return r < 0 ? error_set(e, CAUSE_INTERNAL, -r, "gpg: %s", strerror(-r)) : 0;
}

/* Does the file refer to a smartcard? gpg imports no more of that than the public part. */
static bool is_of_a_card(const struct import *m)
{
        _cleanup_free_ char *listing = NULL;
        return keyring_packets(m->staged, m->text, m->len, &listing) >= 0 &&
               strstr(listing, "gnu-divert-to-card");
}

/* Why a key of the file is of no use here; 0 when it is. */
static int check_usable(const struct import *m, const struct keyring *ring, const char *fpr, struct error *e)
{
        const struct keyring_key *k = keyring_find(ring, fpr);
        const char *file = m->c->argv[0], *useless = k ? keyring_useless(k) : NULL;
        char keygen[KEY_COMMAND_SIZE];
        bool encrypts = false, revoked = k && k->n_subkeys && k->subkeys[0].revoked;
        for (size_t i = 0; k && i < k->n_subkeys; i++)
                encrypts |= k->subkeys[i].encrypts;
        /* GnuPG 2.2 does not import it; 2.4 does, but nobody can encrypt to it yet */
        if (k && k->fact.created > (int64_t)time(NULL))
                return error_set(
                        e, CAUSE_NO_KEY, EBADMSG, "%s " KEY_OF_THE_FUTURE "; nothing is imported", file);
        if (useless && (revoked || encrypts))
                return error_set(e, CAUSE_NO_KEY, ENOKEY,
                        "%s: the key %s %s; import the one that took its place, or make one: %s", file, fpr,
                        useless, key_command(m->c->config, m->home.dir, "keygen", NULL, keygen));
        if (k && keyring_can_decrypt(k) == SECRET_FILE)
                return 0;
        if (k && !encrypts)
                return error_set(e, CAUSE_NO_KEY, ENOKEY,
                        "%s: the key %s has no encryption subkey in this file, so nothing can be encrypted "
                        "to it; "
                        "export all of it on the old machine: gpg --armor --export-secret-keys %s; if it "
                        "never "
                        "had one: %s",
                        file, fpr, fpr, key_command(m->c->config, m->home.dir, "keygen", NULL, keygen));
        if ((k && keyring_can_decrypt(k) == SECRET_CARD) || is_of_a_card(m))
                return error_set(e, CAUSE_NO_KEY, ENOKEY,
                        "%s: the secret part of the key %s is on a smartcard, which gives it to nobody: what "
                        "gpg exports is a reference to the card; import the backup that was made when the "
                        "key "
                        "was put on it, or make another key: %s",
                        file, fpr, key_command(m->c->config, m->home.dir, "keygen", NULL, keygen));
        return error_set(e, CAUSE_NO_KEY, ENOKEY,
                "%s: the secret part of the key %s was left out of this file; export it where the secret "
                "part "
                "is: gpg --armor --export-secret-keys %s",
                file, fpr, fpr);
}

static int no_secret(struct import *m, struct error *e)
{
        const char *file = m->c->argv[0];
        char word[SHELL_WORD_SIZE];
        _cleanup_keyring_ struct keyring ring = {};
        const char *fault = m->any.n == 0 ? key_file_fault(m->text, m->len) : NULL;
        if (fault)
                return error_set(e, CAUSE_NO_KEY, EBADMSG, "%s %s; nothing is imported", file, fault);
        if (m->any.n == 0)
                return error_set(e, CAUSE_NO_KEY, EBADMSG,
                        "%s is not an OpenPGP key that gpg can import; gpg --show-keys %s says what it is",
                        file, shell_word(file, word, sizeof(word)));
        int r = keyring_read(m->home.dir, &ring, e);
        for (size_t i = 0; r == 0 && i < m->any.n; i++)
                if (keyring_find(&ring, m->any.v[i])) /* a new date, signed elsewhere */
                        r = strv_add(&m->wanted, m->any.v[i]);
        if (r < 0 || m->wanted.n > 0)
                return r;
        return error_set(e, CAUSE_NO_KEY, ENOKEY,
                "%s holds no secret key; export it with gpg --export-secret-keys on the old machine", file);
}

/* Is all that the file has of the key in the home already? */
static bool has_all(const struct keyring_key *there, const struct keyring_key *file)
{
        for (size_t i = 0; i < file->n_subkeys; i++) {
                bool found = file->subkeys[i].secret != SECRET_FILE;
                for (size_t j = 0; there && j < there->n_subkeys; j++)
                        found |= there->subkeys[j].secret == SECRET_FILE &&
                                 streq(there->subkeys[j].fingerprint, file->subkeys[i].fingerprint);
                if (!found)
                        return false;
        }
        return true;
}

/* What of the file is to be imported, and whether it is there already. Beside a key that can decrypt, others
 * in the file do not matter. */
static int choose_key(struct import *m, struct error *e)
{
        _cleanup_keyring_ struct keyring staged = {}, there = {};
        if (m->secret.n == 0)
                return no_secret(m, e);
        int r = keyring_read(m->staged, &staged, e);
        if (r == 0)
                r = keyring_read(m->home.dir, &there, e);
        m->known = true;
        int useless = 0;
        struct error why = {};
        for (size_t i = 0; r == 0 && i < m->secret.n; i++) {
                const char *fpr = m->secret.v[i];
                int usable = check_usable(m, &staged, fpr, useless < 0 ? NULL : &why);
                useless = MIN(useless, usable);
                if (usable < 0)
                        continue;
                r = strv_add(&m->wanted, fpr);
                m->known &= has_all(keyring_find(&there, fpr), keyring_find(&staged, fpr));
        }
        if (r == 0 && m->wanted.n == 0) {
                *e = why;
                return useless;
        }
        return r;
}

static int stage(struct import *m, struct error *e)
{
        int r = scratch_make(m->c, "key", m->staged, e);
        if (r == 0)
                r = gpg_import(m, m->staged, true, e);
        return r == 0 ? choose_key(m, e) : r;
}

/* --- its passphrase --- */

/* Does it open every key that is wanted? -EKEYREJECTED with CAUSE_PASSPHRASE: not. */
static int open_with(void *arg, const struct secret *passphrase, struct error *e)
{
        const struct import *m = arg;
        struct decrypt_helper d = {.helper = HELPER_NONE};
        int r = decrypt_open(m->c, m->known ? m->home.dir : m->staged, passphrase, &d, e);
        if (r < 0)
                return e->cause == CAUSE_PASSPHRASE ? error_prefix(e, "%s", m->wanted.v[0]) : r;
        for (size_t i = 0; r == 0 && i < m->wanted.n; i++)
                if (!strv_has(&d.usable, m->wanted.v[i]))
                        r = error_set(e, CAUSE_PASSPHRASE, EKEYREJECTED, "%s the key %s",
                                passphrase->p ? "the passphrase does not open" : "a passphrase is needed for",
                                m->wanted.v[i]);
        decrypt_close(&d);
        return r;
}

/* With none, the given one, the stored one, or one that is asked for. */
static int open_it(struct import *m, struct error *e)
{
        struct ctl *c = m->c;
        _cleanup_secret_ struct secret stored = {};
        const struct secret none = {};
        char source[TEXT_SIZE];
        int r = passphrase_given(c, &m->passphrase, e);
        if (r < 0)
                return r;
        if (m->passphrase.p) {
                struct error ignored = {};
                m->fresh = open_with(m, &none, &ignored) < 0;
                return m->fresh ? open_with(m, &m->passphrase, e) : 0;
        }
        r = passphrase_find(c, &m->home, &stored, source, e);
        if (r < 0 && e->err != ENOENT) /* a file that is configured and not there yet is made by us */
                return r;
        *e = (struct error){};
        r = open_with(m, &stored, e);
        if (r == 0 || e->cause != CAUSE_PASSPHRASE || ctl_flag(c, "batch") || !prompt_possible())
                return r;
        m->fresh = true;
        return passphrase_ask(open_with, m, CAUSE_INTERNAL, &m->passphrase, e);
}

static int cannot_open(const struct import *m, const struct error *e)
{
        if (e->cause != CAUSE_PASSPHRASE)
                return ctl_fail(e);
        return ctl_fail_text("nothing is imported: %s%s; %s", e->text,
                m->known ? " that is there already, whose passphrase stays as it is" : "",
                strstr(e->text, "chmod") ? "then import it again"
                : m->wanted.n > 1 ? "all keys of one home have one passphrase: where they come from, export "
                                    "the one that edX "
                                    "encrypts to alone (gpg --armor --export-secret-keys FINGERPRINT), or "
                                    "give them the same"
                                  : "import it with the right one: --passphrase-file FILE");
}

/* --- */

static int verify(struct import *m, struct error *e)
{
        _cleanup_keyring_ struct keyring ring = {};
        int r = keyring_read(m->home.dir, &ring, e);
        for (size_t i = 0; r == 0 && i < m->wanted.n; i++) {
                const struct keyring_key *k = keyring_find(&ring, m->wanted.v[i]);
                if (!k || (m->secret.n > 0 && keyring_can_decrypt(k) != SECRET_FILE))
                        return error_set(e, CAUSE_INTERNAL, EIO,
                                "gpg did not import the key %s into %s; gpg --show-keys says what is in the "
                                "file",
                                m->wanted.v[i], m->home.dir);
                if (i == 0) {
                        snprintf(m->user_id, sizeof(m->user_id), "%s", k->fact.user_id);
                        m->expires = k->fact.expires;
                }
        }
        return r;
}

static int say_imported(struct import *m)
{
        char when[WHEN_SIZE], a[KEY_COMMAND_SIZE], b[KEY_COMMAND_SIZE];
        bool expired = m->expires && m->expires < (int64_t)time(NULL);
        if (m->c->json)
                return answer_fields(
                        FIELDS(F_TEXT("fingerprint", m->wanted.v[0]), F_TEXT("user_id", m->user_id)));
        for (size_t i = 0; i < m->wanted.n; i++)
                shown_print(stdout, "%s %s%s%s%s\n", m->wanted.v[i], i == 0 ? m->user_id : "",
                        m->secret.n == 0 ? " has its new public part"
                        : m->known       ? " is there already and can be used"
                                         : " is imported and can be used",
                        expired ? "; it expired " : "", expired ? ago(m->expires, when) : "");
        for (size_t i = 0; i < m->wanted.n; i++)
                if (key_asks_for_newer(m->home.dir, m->wanted.v[i])) {
                        char advice[PATH_MAX * 2 + 2 * KEY_COMMAND_SIZE];
                        shown_print(stdout,
                                "Warning: %s asks its senders for encryption that GnuPG cannot read (SEIPD "
                                "version 2);\n",
                                m->wanted.v[i]);
                        shown_print(stdout, "%s\n",
                                key_features_advice(
                                        m->c->config, m->home.dir, m->wanted.v[i], advice, sizeof(advice)));
                }
        if (expired)
                shown_print(stdout, "%s, then send the new public key (%s) to edX\n",
                        key_command(m->c->config, m->home.dir, "key extend", m->wanted.v[0], a),
                        key_command(m->c->config, m->home.dir, "key export", m->wanted.v[0], b));
        return 0;
}

static int do_import(struct import *m)
{
        struct error e = {};
        if (keyring_make_home(m->c, m->home.dir, &e) < 0 || keyring_check_locks(m->home.dir, &e) < 0 ||
                read_key_file(m, &e) < 0 || stage(m, &e) < 0)
                return ctl_fail(&e);
        if (m->secret.n > 0 && open_it(m, &e) < 0)
                return cannot_open(m, &e);
        if (m->fresh && m->passphrase.len > 0 &&
                passphrase_check_others(m->c, &m->home, &m->passphrase, &e) < 0)
                return ctl_fail(&e);
        if (gpg_import(m, m->home.dir, false, &e) < 0 || verify(m, &e) < 0)
                return ctl_fail(&e);
        int status = m->fresh && m->passphrase.len > 0 ? passphrase_store(m->c, &m->passphrase) : 0;
        return status ? status : say_imported(m);
}

int run_import_key(struct ctl *c)
{
        struct import m = {.c = c};
        int status = key_home_chosen(c, &m.home);
        if (status == 0)
                status = do_import(&m);
        if (*m.staged)
                scratch_remove(m.staged);
        if (m.text)
                explicit_bzero(m.text, m.len);
        free(m.text);
        strv_done(&m.secret);
        strv_done(&m.any);
        strv_done(&m.wanted);
        secret_done(&m.passphrase);
        return status;
}
