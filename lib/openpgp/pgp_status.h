/* SPDX-License-Identifier: Apache-2.0 */
/* What gpg said about one message (doc/DETAILS of GnuPG), and the verdict: a pure function of it. The error
 * code of a decryption is never asked: GPGME says "No secret key" for a damaged message whose first recipient
 * is foreign. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "limits.h"
#include "openpgp.h"
#include "str.h"
#include "terms.h"

enum signature_kind {
        SIGNATURE_GOOD,
        SIGNATURE_BAD,
        SIGNATURE_UNCHECKED, /* no public key, unknown algorithm */
        SIGNATURE_EXPIRED,   /* good, but it or its key has expired */
        SIGNATURE_REVOKED,   /* good, but its key is revoked */
};

struct pgp_signature {
        enum signature_kind kind;
        char fingerprint[FINGERPRINT_SIZE], primary[FINGERPRINT_SIZE]; /* of a valid one */
};

struct pgp_status {
        unsigned begun, ended, okay, failed, good_mdc, bad_mdc, plaintexts, no_data, unexpected;
        unsigned asked_passphrase; /* for a symmetric session key */
        bool plaintext_outside;    /* plaintext that was not encrypted */
        bool binary;               /* the plaintext is given out as it is */
        uint64_t announced;        /* bytes of it by its header, 0: not known before its end */
        bool informed, mdc, aead;  /* DECRYPTION_INFO came, and what it said */
        unsigned pkdecrypt_error;  /* libgpg-error code, 0: none */
        int exit_status;           /* of gpg; -1: a signal, or not known */
        char key[FINGERPRINT_SIZE], primary[FINGERPRINT_SIZE]; /* DECRYPTION_KEY */
        struct strv recipients;                                /* key ids, at most LIMIT_RECIPIENTS */
        size_t n_recipients;
        struct pgp_signature signatures[LIMIT_SIGNATURES];
        size_t n_signatures;
};

/* One status line, without "[GNUPG:] ". 0 or -ENOMEM. */
int pgp_status_line(struct pgp_status *s, const char *keyword, const char *args);
void pgp_status_done(struct pgp_status *s);
#define _cleanup_pgp_status_ _cleanup_(pgp_status_done)

struct pgp_verdict {
        struct error error;                 /* cause NONE: the plaintext is good */
        bool again;                         /* the agent, not the message, is to blame: worth another try */
        uint32_t checks, warnings;          /* enum check, enum pgp_warning */
        char fingerprint[FINGERPRINT_SIZE]; /* primary key of the one that decrypted an unaltered message,
                                               else "" */
        char recipients[LIMIT_RECIPIENTS * 17 + 1]; /* key ids, space-separated */
        uint64_t cipher_size, plain_size;
};

/* As in proto.h, enum verdict_warning. */
enum pgp_warning {
        PGP_WARN_KEY_EXPIRED = BIT(0),
        PGP_WARN_ARMOR = BIT(1),
        PGP_WARN_SIGNATURE = BIT(2),
};

/* What the verdict depends on besides: who we are and what we ask for. */
struct pgp_policy {
        const struct strv *key_ids; /* our encryption subkeys, 16 upper-case hex digits each */
        enum signature_policy signatures;
        const struct strv *signers; /* fingerprints; none: any key we know */
};

/* The one answer to all damage, whoever finds it: who could tell one kind from another could use us as an
 * oracle. Returns -EBADMSG. */
int pgp_damaged(struct error *e);

/* Fills error, again, checks, warnings, fingerprint and recipients. Good only with DECRYPTION_OKAY *and*
 * GOODMDC *and* exactly one message; of an AEAD message also only with exit status 0. */
void pgp_verdict(const struct pgp_status *s, const struct frame *f, const struct pgp_policy *policy,
        struct pgp_verdict *ret);
