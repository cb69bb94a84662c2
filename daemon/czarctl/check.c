/* SPDX-License-Identifier: Apache-2.0 */
/* check: everything that can be wrong, in the order in which it would stop czard, each with what to do. What
 * needs the key or the network is tried by czard-decrypt and czard-fetch. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "check_local.h"
#include "deliver_facts.h"
#include "fsx.h"
#include "helpers.h"
#include "key_command.h"
#include "keyring.h"
#include "ledger_report.h"
#include "passphrase.h"
#include "str.h"

#define SKEW_SEC 300 /* S3 refuses at 15 minutes */

/* --- key --- */

static void check_expiry(struct checkup *k, const char *home, const struct keyring_key *of)
{
        const struct config *config = k->c->config;
        char a[KEY_COMMAND_SIZE], b[KEY_COMMAND_SIZE];
        const struct fact_key *key = &of->fact;
        const char *useless = keyring_useless(of);
        if (useless) {
                _cleanup_free_ char *import = str_printf("import another key (%s) and send its public key to "
                                                         "edX; keep this one for what was encrypted to it",
                        key_command(config, home, "import-key FILE", NULL, a));
                check_add(k, "key", BAD, import ? import : a, "%s %s %s", key->fingerprint, key->user_id,
                        useless);
                return;
        }
        int64_t left = key->expires - (int64_t)time(NULL);
        char when[WHEN_SIZE];
        _cleanup_free_ char *fix = str_printf("%s, then send the new public key (%s) to edX",
                key_command(config, home, "key extend", key->fingerprint, a),
                key_command(config, home, "key export", key->fingerprint, b));
        if (key->expires == 0)
                check_add(k, "key", FINE, "", "%s %s, never expires", key->fingerprint, key->user_id);
        else
                check_add(k, "key",
                        left < 0              ? BAD
                        : left < KEY_WARN_SEC ? NOTICE
                                              : FINE,
                        left >= KEY_WARN_SEC ? ""
                        : fix                ? fix
                                             : a,
                        "%s %s, expire%s %s", key->fingerprint, key->user_id, left < 0 ? "d" : "s",
                        ago(key->expires, when));
}

/* Does decryption work, whichever engine has to serve? An armored message takes the long way, through gpg and
 * its agent: opening the key tells nothing of that. */
static void check_message(
        struct checkup *k, struct decrypt_helper *d, const char *home, const char *fingerprint)
{
        static const char text[] = "czarctl check\n";
        char armored[LIMIT_CREDENTIALS_FILE];
        const char *args[] = {"--no-random-seed-file", "--lock-never", "--armor", "--recipient", fingerprint,
                "--encrypt", NULL};
        struct run_spec spec = {
                .in = {text, sizeof(text) - 1}, .quiet = true, .out = armored, .size = sizeof(armored)};
        _cleanup_secret_ struct secret plain = {};
        struct error e = {};
        int r = keyring_gpg(home, args, NULL, &spec);
        if (r != 0) {
                char fix[2 * SHELL_WORD_SIZE + 256], word[SHELL_WORD_SIZE];
                shell_word(home, word, sizeof(word));
                snprintf(fix, sizeof(fix),
                        KEY_GPG_AS_OWNER
                        " --trust-model always --recipient %s --encrypt </dev/null >/dev/null says why",
                        word, word, fingerprint);
                check_add(k, "message", BAD, fix, "nothing can be encrypted to %s", fingerprint);
                return;
        }
        _cleanup_close_ int fd = memfd_create("message", MFD_CLOEXEC);
        r = fd < 0 ? -errno : write_all(fd, armored, spec.len);
        if (r < 0)
                error_set(&e, CAUSE_HELPER, -r, "memory file: %s", strerror(-r));
        else
                r = decrypt_message(d, fd, &plain, &e);
        if (r == 0 && (plain.len != sizeof(text) - 1 || memcmp(plain.p, text, plain.len) != 0))
                r = error_set(&e, CAUSE_BAD_PGP, EBADMSG, "it is not what was encrypted");
        check_add(k, "message", r < 0 ? BAD : FINE, r < 0 ? cause_advice(e.cause) : "",
                r < 0 ? "a message for %s cannot be decrypted: %s" : "a message for %s was decrypted%s",
                fingerprint, r < 0 ? e.text : "");
}

static void check_passphrase(struct checkup *k, const struct key_home *h, const struct keyring *ring)
{
        struct decrypt_helper d = {.helper = HELPER_NONE};
        struct error e = {};
        char source[TEXT_SIZE] = "";
        _cleanup_secret_ struct secret passphrase = {};
        if (passphrase_find(k->c, h, &passphrase, source, &e) < 0) {
                check_add(k, "passphrase", BAD, cause_advice(e.cause), "%s", e.text);
                return;
        }
        if (decrypt_open(k->c, h->dir, &passphrase, &d, &e) < 0) {
                bool root = !*source && e.cause == CAUSE_PASSPHRASE && k->c->caller != 0;
                char import[KEY_COMMAND_SIZE];
                _cleanup_free_ char *fix =
                        str_printf("%s asks for the right one and stores it; then systemctl restart czard",
                                key_command(k->c->config, h->dir, "import-key FILE", NULL, import));
                check_add(k, "passphrase", BAD,
                        root ? "run czarctl as root: a passphrase in /etc/credstore can only be read then"
                        : e.cause == CAUSE_PASSPHRASE && fix ? fix
                        : e.cause == CAUSE_UNSAFE_MODE       ? ""
                                                       : key_advice(k->c->config, h->dir, e.cause, import),
                        "%s", e.text);
                return;
        }
        check_add(k, "passphrase", FINE, "", "the key can be used (%s)",
                *source ? source : "it has no passphrase");
        if (*d.warning)
                check_add(k, "passphrase", NOTICE, "", "%s", d.warning);
        for (size_t i = 0; i < ring->n; i++) {
                const struct fact_key *f = &ring->keys[i].fact;
                if (strv_has(&d.usable, f->fingerprint) &&
                        (f->expires == 0 || f->expires > (int64_t)time(NULL)))
                        check_message(k, &d, h->dir, f->fingerprint);
        }
        decrypt_close(&d);
}

static void check_home(struct checkup *k, const struct key_home *h)
{
        _cleanup_keyring_ struct keyring ring = {};
        struct error e = {};
        int r = keyring_read(h->dir, &ring, &e);
        char denied[KEYRING_DENIED_SIZE], help[CTL_DENIED_SIZE];
        if (r < 0 && e.err == EACCES && keyring_denied(h->dir, denied)) {
                check_add(k, "key", BAD, ctl_denied(k->c, access(h->dir, X_OK) < 0 ? h->dir : denied, help),
                        "%s: %s", denied, strerror(EACCES));
                return;
        }
        if (r < 0 || ring.n == 0) {
                struct key_none no;
                keyring_none(k->c, h->dir, &no);
                check_add(k, "key", BAD, r < 0 ? "" : no.fix, "%s", r < 0 ? e.text : no.detail);
                return;
        }
        for (size_t i = 0; i < ring.n; i++) {
                const char *fpr = ring.keys[i].fact.fingerprint;
                char advice[PATH_MAX * 2 + 2 * KEY_COMMAND_SIZE];
                check_expiry(k, h->dir, &ring.keys[i]);
                if (key_asks_for_newer(h->dir, fpr))
                        check_add(k, "key", NOTICE,
                                key_features_advice(k->c->config, h->dir, fpr, advice, sizeof(advice)),
                                "%s asks its senders for encryption that GnuPG cannot read (SEIPD version 2)",
                                fpr);
        }
        check_passphrase(k, h, &ring);
}

static void check_key(struct checkup *k)
{
        const struct config *c = k->c->config;
        struct strv seen = {};
        for (size_t i = 0; i < c->n_packages; i++) {
                struct key_home h = key_home_of(&c->packages[i]);
                if (!strv_has(&seen, h.dir)) {
                        strv_add(&seen, h.dir);
                        check_home(k, &h);
                }
        }
        strv_done(&seen);
}

/* --- S3 --- */

/* false: what is wrong is not of this prefix, the others of that package need not be tried. */
static bool check_prefix(struct checkup *k, struct fetch *f, const struct package_prefix *p, int64_t *skew)
{
        struct fetch_result res = {};
        struct error e = {};
        if (fetch_try(f, p->bucket, p->prefix, &res, &e) < 0) {
                check_add(k, "prefix", BAD, cause_advice(e.cause), "s3://%s/%s: %s", p->bucket, p->prefix,
                        e.text);
                return true;
        }
        if (res.skew_sec)
                *skew = res.skew_sec;
        if (res.cause == CAUSE_NO_CREDENTIALS) {
                check_add(k, "credentials", BAD,
                        k->c->caller == 0 ? "czarctl import-credentials FILE, the file that edX mailed"
                                          : "czarctl import-credentials FILE, the file that edX mailed; if "
                                            "that was done: run czarctl as root, who alone can read them",
                        "nothing can be listed: %s", res.detail);
                return false;
        }
        if (res.cause == CAUSE_SKEW) {
                check_add(k, "clock", BAD, cause_advice(CAUSE_SKEW),
                        "%lld s %s the clock of S3, which refuses requests", (long long)llabs(res.skew_sec),
                        res.skew_sec > 0 ? "behind" : "ahead of");
                return false;
        }
        if (cause_remedy(res.cause) == REMEDY_CREDENTIALS) {
                check_add(k, "credentials", BAD, cause_advice(res.cause), "key id %s: %s", res.access_key_id,
                        res.detail);
                return false;
        }
        if (res.cause != CAUSE_NONE) /* the detail names it */
                check_add(k, "prefix", BAD, cause_advice(res.cause), "%s", res.detail);
        else if (res.n == 0)
                check_add(k, "prefix", NOTICE, "check the prefix, or wait for the first file",
                        "s3://%s/%s: may be listed, but nothing is there", p->bucket, p->prefix);
        else
                check_add(k, "prefix", FINE, "", "s3://%s/%s: %llu object%s%s", p->bucket, p->prefix,
                        (unsigned long long)res.n, res.n == 1 ? "" : "s", res.more ? " and more" : "");
        return true;
}

static void check_prefixes(struct checkup *k, struct fetch *f)
{
        const struct config *c = k->c->config;
        int64_t skew = 0;
        bool any = false;
        for (size_t i = 0; i < c->n_packages; i++) {
                struct package_prefix *p = NULL;
                size_t n = 0;
                if (package_prefixes(&c->packages[i].spec, &p, &n) < 0)
                        continue;
                bool usable = true;
                for (size_t j = 0; j < n && usable; j++)
                        usable = check_prefix(k, f, &p[j], &skew);
                any |= usable;
                package_prefixes_free(p, n);
        }
        if (!any)
                return;
        if (*f->source)
                check_add(k, "credentials", FINE, "", "%s", f->source);
        if (skew > SKEW_SEC || skew < -SKEW_SEC)
                check_add(k, "clock", BAD, cause_advice(CAUSE_SKEW), "%lld s %s the clock of S3",
                        (long long)llabs(skew), skew > 0 ? "behind" : "ahead of");
        else
                check_add(k, "clock", FINE, "", "no skew against S3 was seen");
}

static void check_remote(struct checkup *k)
{
        struct fetch f = {.helper = HELPER_NONE};
        struct error e = {};
        if (k->c->config_is_partial) {
                check_add(k, "prefix", NOTICE, "", "not tried: the configuration has errors");
                return;
        }
        if (fetch_open(k->c, NULL, &f, &e) < 0) {
                check_add(k, "credentials", BAD,
                        e.err == EPIPE ? "mend what is said above, then again: czarctl check"
                                       : cause_advice(e.cause),
                        "%s", e.text);
                return;
        }
        check_prefixes(k, &f);
        fetch_close(&f);
}

/* --- the command --- */

/* What is staged, but not whole. */
static void check_members(struct checkup *k)
{
        struct error e = {};
        uint64_t n = 0;
        if (!k->c->ledger || report_rejected(k->c->ledger, 0, &n, &e) < 0)
                return;
        if (n > 0)
                check_add(k, "members", BAD,
                        "czarctl status says why and what helps; czarctl list --state REJECTED",
                        "%llu member%s of staged snapshots rejected", (unsigned long long)n,
                        n == 1 ? "" : "s");
}

/* What is listed, but nobody can tell what it is. */
static void check_unreadable(struct checkup *k)
{
        struct error e = {};
        uint64_t n = 0;
        if (!k->c->ledger || report_unreadable(k->c->ledger, &n, &e) < 0 || n == 0)
                return;
        check_add(k, "listings", BAD, "czarctl status says which, and what helps",
                "%llu entr%s that czard listed cannot be read", (unsigned long long)n, n == 1 ? "y" : "ies");
}

static void on_delivery(void *arg, const struct deliver_fact *f)
{
        struct checkup *k = arg;
        const char *name = f->delivery->name;
        for (size_t i = 0; i < f->unmatched.n; i++)
                check_add(k, "delivery", BAD,
                        "czarctl deliver plan shows what is staged; mend courses or tables",
                        "delivery %s: nothing matches %s", name, f->unmatched.v[i]);
        if (f->why)
                check_add(k, "delivery", BAD, f->fix, "delivery %s%s: %s", name,
                        f->stands_still ? " stands still" : "", f->why);
        else
                check_add(k, "delivery", FINE, "", "delivery %s: %s, %llu messages in its outbox", name,
                        f->state, (unsigned long long)f->out);
}

static void check_deliveries(struct checkup *k)
{
        struct error e = {};
        if (k->c->config && deliver_facts(k->c, on_delivery, k, &e) < 0)
                check_add(k, "delivery", BAD, "czarctl check, as root", "deliveries cannot be looked at: %s",
                        e.text);
}

int prepare_check(struct ctl *c)
{
        int status = passphrase_prepare(c, false);
        return status ? status : fetch_prepare(c);
}

int run_check(struct ctl *c)
{
        struct checkup k = {.c = c};
        if (c->json) {
                answer_open(&k.json);
                json_open(&k.json, "checks", '[');
        }
        check_local(&k);
        check_key(&k);
        check_remote(&k);
        check_members(&k);
        check_unreadable(&k);
        check_deliveries(&k);
        check_units(&k);
        int status = 0;
        if (c->json) {
                json_close(&k.json, ']');
                json_bool(&k.json, "ok", k.failed == 0);
                status = answer_print(&k.json);
        } else if (k.failed == 0) {
                shown_print(stdout, "\nAll is well.\n");
        } else {
                shown_print(stdout, "\n%u of %u need something done.\n", k.failed, k.n);
        }
        json_done(&k.json);
        return status ? status : k.failed ? CTL_FOUND : CTL_WELL;
}
