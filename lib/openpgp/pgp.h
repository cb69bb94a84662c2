/* SPDX-License-Identifier: Apache-2.0 */
/* Decryption of OpenPGP messages with the secret keys of one GnuPG home. What stands here knows no engine:
 * gpg is the reference one (pgp.c), others may stand beside it. An engine streams plaintext out before its
 * verdict: nothing of it may be used until the verdict is good.
 *
 * Synchronous and not thread-safe; a silent gpg can block for ever, so use it in a process that can
 * be killed. The environment must be C locale, with PATH to gpg. */
#pragma once

#include "cleanup.h"
#include "pgp_gpg.h"
#include "pgp_status.h"
#include "secret.h"
#include "sink.h"

struct pgp_options {
        enum pgp_engine engine;
        enum signature_policy signatures;
        struct strv signers; /* fingerprints, upper-case hex; taken over */
        /* Called before a message is tried again because of the agent: see to it that there is one. May be
         * NULL. */
        int (*revive)(void *arg);
        void *arg;
};

struct pgp;

/* Lists the keys of home, whose agent must run. 0 and *ret, or -errno with a cause. o->signers is taken over
 * on success only. */
int pgp_open(const char *home, struct pgp_options *o, struct pgp **ret, struct error *e);
struct pgp *pgp_close(struct pgp *p);
DEFINE_CLEANUP(struct pgp, pgp, pgp_close)

/* Takes the RSA keys of home out of gpg for the fast engine, unless options.engine forbids it. 0, or -errno:
 * then all goes through gpg as before. */
int pgp_load_secret(struct pgp *p, const char *home, const struct secret *passphrase, struct error *e);

/* Is there nothing that could be decrypted without gpg-agent: no key for the fast engine, or signatures are
 * required, which gpg alone checks? */
bool pgp_needs_agent(const struct pgp *p);
/* From now on there is no agent: what only it can open ends with CAUSE_REFERENCE. */
void pgp_agent_ended(struct pgp *p);

/* Large messages go to gpg, as after one that the fast engine found odd only at its end. */
void pgp_prefer_gpg(struct pgp *p);

/* Secret keys that can decrypt. */
const struct pgp_key *pgp_keys(const struct pgp *p, size_t *ret_n);

/* The subkey (key id) cannot be used after all: messages for it are for somebody else. */
void pgp_forget(struct pgp *p, const char *key_id);

struct pgp_job {
        source_fn *read;
        void *read_arg;
        sink_fn *write;
        void *write_arg;
        struct expansion limit;
};

/* Decrypts one message, the whole of what read gives. Always fills *ret, with what is wrong in ret->error:
 * what read or write said, when they failed; it may end before read said that it is at the end. Returns 0
 * when the plaintext is good, else -ret->error.err. */
int pgp_decrypt(struct pgp *p, const struct pgp_job *job, struct pgp_verdict *ret);
