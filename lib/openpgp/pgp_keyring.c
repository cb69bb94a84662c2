/* SPDX-License-Identifier: Apache-2.0 */
#include "pgp_keyring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "terms.h"
#include "limits.h"
#include "macro.h"
#include "str.h"

int gpg_error_set(struct error *e, gpgme_error_t err, const char *what)
{
        char text[128] = "";
        gpgme_strerror_r(err, text, sizeof(text));
        return error_set(e, CAUSE_HELPER, EIO, "%s: %s", what, text);
}

gpgme_error_t pgp_set_home(gpgme_ctx_t ctx, const char *home)
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
                err = pgp_set_home(ctx, home);
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
