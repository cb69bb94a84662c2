/* SPDX-License-Identifier: Apache-2.0 */
/* key list, export, extend. There is no message of czard-decrypt for extending a key, and none is wanted: the
 * worker only ever decrypts. */
#include "keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "key_command.h"
#include "owner.h"
#include "passphrase.h"
#include "prompt.h"
#include "rows.h"
#include "runs.h"
#include "str.h"

int prepare_key(struct ctl *c)
{
        const char *file = ctl_flag(c, "output");
        if (file && owner_output(c, file, OUTPUT_REPLACE, 0644) < 0)
                return ctl_fail_text("out of memory");
        return passphrase_prepare(c, false);
}

void key_none(const struct ctl *c, const char *home, struct key_none *ret)
{
        char make[KEY_COMMAND_SIZE], import[KEY_COMMAND_SIZE];
        bool lost = keyring_has_secrets(home);
        key_command(c->config, home, "import-key FILE", NULL, import);
        snprintf(ret->detail, sizeof(ret->detail),
                lost ? "private keys lie in %s, but gpg finds no public key for them"
                     : "there is no secret key in %s",
                home);
        if (lost)
                snprintf(ret->fix, sizeof(ret->fix), "%s with a copy of the key brings its public part back",
                        import);
        else
                snprintf(ret->fix, sizeof(ret->fix), "%s, or %s",
                        key_command(c->config, home, "keygen", NULL, make), import);
}

static int key_list(struct ctl *c, const char *home, const struct keyring *ring)
{
        struct rows rows;
        struct key_none no;
        char left[WHEN_SIZE];
        key_none(c, home, &no);
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
        return r < 0 ? ctl_fail(c, &e) : 0;
}

/* --- extend --- */

int64_t span_seconds(const char *s)
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
                        return atoll(s) * units[i].days * 86400;
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
                return ctl_fail(c, &e);
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
                return ctl_fail(c, &e);
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
                status = ctl_fail(c, &e);
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
                return ctl_fail(c, &e);
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
                key_none(c, h.dir, &no);
                return ctl_fail_text("%s: %s", no.detail, no.fix);
        }
        if (found != 1)
                return ctl_fail_text("%s in %s: say which by the end of its fingerprint (%s)",
                        found ? "there are several keys" : "no such key", h.dir,
                        key_command(c->config, h.dir, "key list", NULL, make));
        return streq(what, "export") ? key_export(c, h.dir, k) : key_extend(c, &h, k);
}
