/* SPDX-License-Identifier: Apache-2.0 */
/* gpg's status lines collected into numbers, and the verdict drawn from them. No I/O here: pgp.c feeds it.
 * Whatever is not positively a whole, integrity-protected message to one of our keys is bad. */
#include "pgp_status.h"

#include <gpg-error.h>
#include <stdio.h>
#include <stdlib.h>

#include "terms.h"

static void copy_word(char *ret, size_t size, const char *args, unsigned index)
{
        for (unsigned i = 0; i < index && args; i++) {
                args = strchr(args, ' ');
                if (args)
                        args++;
        }
        size_t n = args ? strcspn(args, " ") : 0;
        if (n >= size)
                n = 0;
        if (n)
                memcpy(ret, args, n);
        ret[n] = 0;
}

static unsigned long number_word(const char *args, unsigned index)
{
        char word[24];
        copy_word(word, sizeof(word), args, index);
        return strtoul(word, NULL, 10);
}

static int on_recipient(struct pgp_status *s, const char *args)
{
        char id[17];
        copy_word(id, sizeof(id), args, 0);
        s->n_recipients++;
        if (s->recipients.n >= LIMIT_RECIPIENTS || !*id)
                return 0;
        return strv_add(&s->recipients, id);
}

static void on_error(struct pgp_status *s, const char *args)
{
        char where[32];
        copy_word(where, sizeof(where), args, 0);
        if (streq(where, "pkdecrypt_failed"))
                s->pkdecrypt_error = (unsigned)number_word(args, 1) & 0xffff;
}

static void on_signature(struct pgp_status *s, enum signature_kind kind)
{
        if (s->n_signatures < LIMIT_SIGNATURES)
                s->signatures[s->n_signatures++] = (struct pgp_signature){.kind = kind};
        else if (kind == SIGNATURE_BAD)
                s->signatures[0] = (struct pgp_signature){.kind = kind};
}

static void on_valid_signature(struct pgp_status *s, const char *args)
{
        if (s->n_signatures == 0)
                return;
        struct pgp_signature *sig = &s->signatures[s->n_signatures - 1];
        copy_word(sig->fingerprint, sizeof(sig->fingerprint), args, 0);
        copy_word(sig->primary, sizeof(sig->primary), args, 9);
}

/* PLAINTEXT <format> <timestamp> <name> */
static void on_plaintext(struct pgp_status *s, const char *args)
{
        char format[4];
        copy_word(format, sizeof(format), args, 0);
        s->binary = streq(format, "62");
        s->plaintexts++;
        if (s->begun != 1 || s->ended)
                s->plaintext_outside = true;
}

/* DECRYPTION_INFO <mdc_method> <sym_algo> [<aead_algo>] */
static void on_info(struct pgp_status *s, const char *args)
{
        s->mdc = number_word(args, 0) != 0;
        s->aead = number_word(args, 2) != 0;
        s->informed = true;
}

int pgp_status_line(struct pgp_status *s, const char *keyword, const char *args)
{
        static const struct {
                const char *keyword;
                size_t counter;
        } counted[] = {
                {"BEGIN_DECRYPTION", offsetof(struct pgp_status, begun)},
                {"END_DECRYPTION", offsetof(struct pgp_status, ended)},
                {"DECRYPTION_OKAY", offsetof(struct pgp_status, okay)},
                {"DECRYPTION_FAILED", offsetof(struct pgp_status, failed)},
                {"GOODMDC", offsetof(struct pgp_status, good_mdc)},
                {"BADMDC", offsetof(struct pgp_status, bad_mdc)},
                {"NODATA", offsetof(struct pgp_status, no_data)},
                {"UNEXPECTED", offsetof(struct pgp_status, unexpected)},
                {"NEED_PASSPHRASE_SYM", offsetof(struct pgp_status, asked_passphrase)},
        };
        static const struct {
                const char *keyword;
                enum signature_kind kind;
        } signatures[] = {
                {"GOODSIG", SIGNATURE_GOOD},
                {"BADSIG", SIGNATURE_BAD},
                {"ERRSIG", SIGNATURE_UNCHECKED},
                {"EXPSIG", SIGNATURE_EXPIRED},
                {"EXPKEYSIG", SIGNATURE_EXPIRED},
                {"REVKEYSIG", SIGNATURE_REVOKED},
        };
        for (size_t i = 0; i < ELEMENTSOF(counted); i++)
                if (streq(keyword, counted[i].keyword))
                        ++*(unsigned *)(void *)((char *)s + counted[i].counter);
        for (size_t i = 0; i < ELEMENTSOF(signatures); i++)
                if (streq(keyword, signatures[i].keyword))
                        on_signature(s, signatures[i].kind);
        if (streq(keyword, "ENC_TO"))
                return on_recipient(s, args);
        if (streq(keyword, "DECRYPTION_KEY")) {
                copy_word(s->key, sizeof(s->key), args, 0);
                copy_word(s->primary, sizeof(s->primary), args, 1);
        } else if (streq(keyword, "DECRYPTION_INFO")) {
                on_info(s, args);
        } else if (streq(keyword, "PLAINTEXT")) {
                on_plaintext(s, args);
        } else if (streq(keyword, "PLAINTEXT_LENGTH")) {
                s->announced = strtoull(args, NULL, 10);
        } else if (streq(keyword, "VALIDSIG")) {
                on_valid_signature(s, args);
        } else if (streq(keyword, "ERROR")) {
                on_error(s, args);
        }
        return 0;
}

void pgp_status_done(struct pgp_status *s)
{
        strv_done(&s->recipients);
        *s = (struct pgp_status){};
}

static bool hidden(const char *key_id)
{
        return key_id[strspn(key_id, "0")] == 0;
}

/* Is one of the recipients ours, or could it be? */
static bool for_us(const struct pgp_status *s, const struct pgp_policy *policy, bool *ret_hidden)
{
        bool ours = false;
        *ret_hidden = false;
        for (size_t i = 0; i < s->recipients.n; i++) {
                *ret_hidden |= hidden(s->recipients.v[i]);
                ours |= strv_has(policy->key_ids, s->recipients.v[i]);
        }
        return ours;
}

static void list_recipients(const struct pgp_status *s, struct pgp_verdict *ret)
{
        size_t len = 0;
        ret->recipients[0] = 0;
        for (size_t i = 0; i < s->recipients.n; i++) {
                int n = snprintf(ret->recipients + len, sizeof(ret->recipients) - len, "%s%s", len ? " " : "",
                        s->recipients.v[i]);
                if (n < 0 || (size_t)n >= sizeof(ret->recipients) - len)
                        break;
                len += (size_t)n;
        }
}

static const char wrong_signature[] = "a signature in it is wrong";
static const char damaged[] = "the encrypted data was altered or damaged";

int pgp_damaged(struct error *e)
{
        return error_set(e, CAUSE_BAD_MDC, EBADMSG, "%s", damaged);
}

/* Our key is named, yet there is no session key. */
static void judge_own_key(const struct pgp_status *s, struct pgp_verdict *ret)
{
        unsigned code = s->pkdecrypt_error;
        bool agent = code & GPG_ERR_SYSTEM_ERROR;
        switch (code) {
        case GPG_ERR_PUBKEY_ALGO:
                error_set(&ret->error, CAUSE_BAD_PGP, EBADMSG, "the session key is by an unknown algorithm");
                return;
        case GPG_ERR_CHECKSUM: /* one answer to all damage: who could tell them apart could use us as an
                                  oracle */
        case GPG_ERR_WRONG_SECKEY:
        case GPG_ERR_BAD_MPI:
                pgp_damaged(&ret->error);
                return;
        case GPG_ERR_NO_ERROR: /* it was not even tried */
        case GPG_ERR_BAD_PASSPHRASE:
        case GPG_ERR_NO_SECKEY:
        case GPG_ERR_NO_AGENT:
        case GPG_ERR_AGENT:
        case GPG_ERR_NO_PIN_ENTRY:
        case GPG_ERR_CANCELED:
                agent = true;
        }
        ret->again = true;
        error_set(&ret->error, agent ? CAUSE_HELPER : CAUSE_BAD_PGP, EBADMSG,
                "gpg-agent could not open the session key for our key (gpg error %u)", code);
}

static void judge_no_session_key(const struct pgp_status *s, const struct frame *f,
        const struct pgp_policy *policy, struct pgp_verdict *ret)
{
        bool any_hidden, ours = for_us(s, policy, &any_hidden);
        const char *fault = frame_fault(f);
        if (s->n_recipients == 0 && s->asked_passphrase) {
                error_set(&ret->error, CAUSE_BAD_PGP, EBADMSG, "encrypted with a passphrase, not to a key");
        } else if (!s->begun) {
                error_set(&ret->error, CAUSE_BAD_PGP, EBADMSG, "%s",
                        fault ? fault : "no encrypted data in the message");
        } else if (s->n_recipients == 0) {
                error_set(&ret->error, CAUSE_BAD_PGP, EBADMSG, "not encrypted to any key");
        } else if (ours) {
                judge_own_key(s, ret);
        } else {
                char own[17 * 8 + 1] = "";
                for (size_t i = 0; i < policy->key_ids->n && i < 8; i++)
                        snprintf(own + strlen(own), sizeof(own) - strlen(own), "%s%s", i ? " " : "",
                                policy->key_ids->v[i]);
                ret->again = any_hidden;
                error_set(&ret->error, CAUSE_NO_KEY, ENOKEY, "encrypted to %.120s%s; the keys here are %s",
                        ret->recipients, s->n_recipients > 7 ? " ..." : "", own);
        }
}

static bool accepted(const struct pgp_signature *sig, const struct strv *signers)
{
        if (!signers || signers->n == 0)
                return sig->fingerprint[0] != 0;
        return strv_has(signers, sig->fingerprint) || (sig->primary[0] && strv_has(signers, sig->primary));
}

static void judge_signatures(
        const struct pgp_status *s, const struct pgp_policy *policy, struct pgp_verdict *ret)
{
        bool good = false, bad = false;
        for (size_t i = 0; i < s->n_signatures; i++) {
                good |= s->signatures[i].kind == SIGNATURE_GOOD &&
                        accepted(&s->signatures[i], policy->signers);
                bad |= s->signatures[i].kind == SIGNATURE_BAD;
        }
        if (s->n_signatures == 0)
                ret->checks |= CHECK_NO_SIGNATURE;
        if (policy->signatures == SIGNATURES_NONE)
                return;
        if (bad)
                error_set(&ret->error, CAUSE_SIGNATURE, EBADMSG, "%s", wrong_signature);
        else if (good)
                ret->checks |= CHECK_SIGNATURE;
        else if (policy->signatures == SIGNATURES_REQUIRED)
                error_set(&ret->error, CAUSE_SIGNATURE, EBADMSG, "%s",
                        s->n_signatures ? "no signature in it is by an accepted signer" : "it is not signed");
        else if (s->n_signatures)
                ret->warnings |= PGP_WARN_SIGNATURE;
}

/* gpg 2.2 reads AEAD packets, but makes little of their damage: it says DECRYPTION_OKAY and GOODMDC of a
 * message that fails its last tag or is cut off, and only its exit status tells. DECRYPTION_INFO has no word
 * of AEAD in that version; GOODMDC without an MDC does. */
static bool is_aead(const struct pgp_status *s, const struct frame *f)
{
        return s->aead || frame_is_aead(f) || (s->informed && !s->mdc && s->good_mdc);
}

/* Damage within the compressed data makes gpg 2.2 end with "Fatal: zlib inflate problem" (log_fatal() in
 * compress.c) and no further status line. One that was killed has not judged anything. */
static bool is_damaged(const struct pgp_status *s, const struct frame *f)
{
        bool failed = s->exit_status > 0;
        return s->bad_mdc || (failed && s->informed && !s->ended) || (failed && is_aead(s, f));
}

/* gpg --batch ends at once at a wrong signature, before it has looked at the MDC. */
static bool has_bad_signature(const struct pgp_status *s)
{
        for (size_t i = 0; i < s->n_signatures; i++)
                if (s->signatures[i].kind == SIGNATURE_BAD)
                        return true;
        return false;
}

/* A whole MDC over packets that are not whole: gpg 2.2 gives out what there is, says DECRYPTION_OKAY and
 * GOODMDC, and exits with 2. So it does for a signature that it cannot check. */
static bool is_cut_within(const struct pgp_status *s)
{
        return s->exit_status > 0 && s->n_signatures == 0;
}

/* There was a session key: is what came out whole and unaltered? */
static void judge_content(const struct pgp_status *s, const struct frame *f, struct pgp_verdict *ret)
{
        const char *fault = frame_fault(f), *text = NULL;
        enum cause cause = CAUSE_BAD_PGP;
        if (s->begun > 1) /* gpg says BADMDC of the outer one then, whether it is damaged or not */
                text = "more than one encrypted message";
        else if (s->informed && !s->mdc && !is_aead(s, f))
                cause = CAUSE_NO_MDC, text = "the message has no integrity protection";
        else if (fault)
                text = fault;
        else if (!s->begun)
                text = "no encrypted data in the message";
        else if (!s->bad_mdc && !s->ended && has_bad_signature(s))
                cause = CAUSE_SIGNATURE, text = wrong_signature;
        else if (is_damaged(s, f))
                cause = CAUSE_BAD_MDC, text = damaged;
        else if (s->plaintexts > 1 || s->plaintext_outside)
                text = "more than one plaintext";
        else if (s->no_data || s->unexpected)
                text = "unexpected packets in the message";
        else if (s->failed)
                text = "gpg could not decrypt it";
        else if (!s->ended || !s->okay || (is_aead(s, f) && s->exit_status != 0)) {
                cause = CAUSE_HELPER, text = "gpg ended without a verdict";
                ret->again = true;
        } else if (!s->good_mdc)
                cause = CAUSE_NO_MDC, text = "gpg did not confirm the integrity";
        else if (s->plaintexts == 0)
                text = "no plaintext in the message";
        else if (is_cut_within(s))
                text = "what is within the message is not whole";
        if (text)
                error_set(&ret->error, cause, EBADMSG, "%s", text);
        else
                ret->checks |= CHECK_INTEGRITY;
}

void pgp_verdict(const struct pgp_status *s, const struct frame *f, const struct pgp_policy *policy,
        struct pgp_verdict *ret)
{
        ret->error = (struct error){};
        ret->again = false;
        ret->checks = ret->warnings = 0;
        snprintf(ret->fingerprint, sizeof(ret->fingerprint), "%s", s->primary[0] ? s->primary : s->key);
        list_recipients(s, ret);
        if (frame_is_armor(f))
                ret->warnings |= PGP_WARN_ARMOR;
        if (f->bytes == 0 || f->state == FRAME_FOREIGN || f->state == FRAME_START)
                error_set(&ret->error, CAUSE_BAD_PGP, EBADMSG, "%s", frame_fault(f));
        else if (frame_is_newer(f))
                error_set(&ret->error, CAUSE_BAD_PGP, EBADMSG,
                        "encrypted in the way of RFC 9580 (SEIPD version 2), which GnuPG cannot read; the "
                        "public key at the sender's asks for that: czarctl check says how to change it");
        else if (!s->key[0])
                judge_no_session_key(s, f, policy, ret);
        else
                judge_content(s, f, ret);
        if (ret->error.cause == CAUSE_NONE)
                judge_signatures(s, policy, ret);
        if (!(ret->checks &
                    CHECK_INTEGRITY)) /* gpg names the key only when the padding was right: not told */
                ret->fingerprint[0] = 0;
}
