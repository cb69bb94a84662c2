/* SPDX-License-Identifier: Apache-2.0 */
/* Which engine decrypts a message, and the reference engine: gpg, one process for each message.
 *
 *   job->read -> feed (frame, replay) -> gpg -> drain (limit) -> job->write
 *                                         |
 *                                         +-> status lines -> pgp_verdict()
 *
 * Callbacks only record; pgp_decrypt() decides. The first LIMIT_REPLAY bytes of a message are kept, so that
 * it can be given to gpg once more when the agent was out of order: gpg asks for the session key before it
 * reads much further. */
#include "pgp.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pgp_fast.h"
#include "pgp_gpg.h"
#include "terms.h"

struct pgp {
        char *home;
        struct pgp_options options;
        struct pgp_keyring keyring;
        char *replay;              /* LIMIT_REPLAY bytes */
        struct pgp_secret *secret; /* keys of the fast engine; NULL: it is not used */
        bool no_agent;             /* gpg decrypts only with a session key of the fast engine */
        bool met_odd;              /* a large message was odd at its end: gpg gets all that follow */
};

/* One message on its way. */
struct run {
        struct pgp *p;
        const struct pgp_job *job;
        struct pgp_status status;
        struct frame frame;
        struct error failed;          /* of read, write or the limit */
        size_t kept, again;           /* bytes in replay; how many of them were given a second time */
        bool replaying, at_end, lost; /* lost: more was read than replay holds */
        struct fast_session session;  /* len 0: gpg asks the agent for it */
        bool unproven; /* gpg gets it because its head is odd, perhaps for a wrong session key */
        uint64_t plain_size;
        int err; /* -ENOMEM from a status line */
};

int pgp_open(const char *home, struct pgp_options *o, struct pgp **ret, struct error *e)
{
        _cleanup_(cleanup_pgp) struct pgp *p = calloc(1, sizeof(*p));
        if (!p || !(p->replay = malloc(LIMIT_REPLAY)) || !(p->home = strdup(home)))
                return error_set(e, CAUSE_HELPER, ENOMEM, "out of memory");
        int r = pgp_keyring_list(&p->keyring, home, e);
        if (r < 0)
                return r;
        p->options = *o;
        o->signers = (struct strv){};
        *ret = take_ptr(&p);
        return 0;
}

struct pgp *pgp_close(struct pgp *p)
{
        if (!p)
                return NULL;
        pgp_keyring_done(&p->keyring);
        free(p->home);
        strv_done(&p->options.signers);
        pgp_secret_free(p->secret);
        free(p->replay);
        free(p);
        return NULL;
}

const struct pgp_key *pgp_keys(const struct pgp *p, size_t *ret_n)
{
        *ret_n = p->keyring.n;
        return p->keyring.keys;
}

void pgp_forget(struct pgp *p, const char *key_id)
{
        pgp_keyring_forget(&p->keyring, key_id);
}

/* The key that opened the session key; *ret_subkey NULL when there is none. */
static const struct pgp_key *key_of_session(const struct run *run, const struct pgp_subkey **ret_subkey)
{
        char id[17];
        pgp_secret_id(run->p->secret, run->session.secret, id);
        return pgp_keyring_find(&run->p->keyring, id, ret_subkey);
}

/* From replay or from the job, watched and kept. */
static ssize_t pull(struct run *run, void *buf, size_t n)
{
        if (run->replaying && run->again < run->kept) {
                n = MIN(n, run->kept - run->again);
                memcpy(buf, run->p->replay + run->again, n);
                run->again += n;
                return (ssize_t)n;
        }
        if (run->at_end)
                return 0;
        ssize_t k = run->job->read(run->job->read_arg, buf, n, &run->failed);
        if (k <= 0) {
                run->at_end = true;
                return k;
        }
        frame_feed(&run->frame, buf, (size_t)k);
        if (run->kept + (size_t)k <= LIMIT_REPLAY && !run->lost) {
                memcpy(run->p->replay + run->kept, buf, (size_t)k);
                run->kept += (size_t)k;
        } else {
                run->lost = true;
        }
        return k;
}

/* gpg has made up its mind: it has no session key, or there is nothing that could be decrypted. */
static bool hopeless(const struct run *run)
{
        return (run->status.begun && !run->status.key[0]) || run->frame.state == FRAME_FOREIGN;
}

/* A source_fn and a sink_fn; what is wrong is in run->failed. */
static ssize_t feed(void *arg, void *buf, size_t n, struct error *e)
{
        struct run *run = arg;
        (void)e;
        return hopeless(run) ? 0 : run->failed.cause ? -EIO : pull(run, buf, n);
}

static int drain(void *arg, const void *buf, size_t n, struct error *e)
{
        struct run *run = arg;
        (void)e;
        int r = run->failed.cause ? -EIO : 0;
        run->plain_size += n;
        if (r == 0)
                r = expansion_check(&run->job->limit, run->frame.bytes, run->plain_size, &run->failed);
        if (r == 0)
                r = run->job->write(run->job->write_arg, buf, n, &run->failed);
        return r < 0 ? -EIO : 0;
}

static void on_status(void *arg, const char *keyword, const char *args)
{
        struct run *run = arg;
        if (pgp_status_line(&run->status, keyword, args) < 0)
                run->err = -ENOMEM;
}

/* With the session key that was opened here no agent is asked, and gpg does not tell the key; without one it
 * asks the agent. */
static int run_gpg(struct run *run, struct error *e)
{
        char text[4 + 2 * FAST_SESSION_KEY] = "";
        const struct pgp_subkey *subkey;
        const struct pgp_key *key = run->session.len ? key_of_session(run, &subkey) : NULL;
        if (run->session.len) {
                int n = snprintf(text, sizeof(text), "%u:", run->session.key[0]);
                hex_encode(run->session.key + 1, run->session.len - 1, text + n);
        }
        const struct gpg_call call = {.home = run->p->home,
                .session_key = *text ? text : NULL,
                .feed = feed,
                .drain = drain,
                .status = on_status,
                .arg = run};
        if (key) {
                snprintf(run->status.key, sizeof(run->status.key), "%s", subkey->fingerprint);
                snprintf(run->status.primary, sizeof(run->status.primary), "%s", key->fingerprint);
        }
        int r = gpg_call(&call, &run->status.exit_status, e);
        OPENSSL_cleanse(text, sizeof(text));
        return r;
}

static void judge(struct run *run, struct pgp_verdict *ret)
{
        struct pgp *p = run->p;
        const struct pgp_policy policy = {
                .key_ids = &p->keyring.key_ids,
                .signatures = p->options.signatures,
                .signers = &p->options.signers,
        };
        pgp_verdict(&run->status, &run->frame, &policy, ret);
        /* What gpg makes of noise is anything: one answer, as to a wrong MDC. */
        if (run->unproven && run->status.bad_mdc && ret->error.cause == CAUSE_BAD_PGP &&
                !frame_fault(&run->frame))
                pgp_damaged(&ret->error);
        if (*ret->fingerprint && pgp_keyring_expired(&p->keyring, run->status.key, time(NULL)))
                ret->warnings |= PGP_WARN_KEY_EXPIRED;
        if (ret->error.cause == CAUSE_NONE && run->status.binary && run->plain_size < run->status.announced)
                error_set(&ret->error, CAUSE_BAD_PGP, EBADMSG, "the plaintext is cut off");
        if (run->err)
                error_set(&ret->error, CAUSE_HELPER, -run->err, "out of memory");
        if (run->failed.cause) {
                ret->error = run->failed;
                ret->again = false;
        }
}

/* --- the fast engine --- */

int pgp_load_secret(struct pgp *p, const char *home, const struct secret *passphrase, struct error *e)
{
        const char *fingerprints[16];
        size_t n = 0;
        bool primary = false;
        if (p->options.engine != ENGINE_AUTO)
                return 0;
        for (size_t i = 0; i < p->keyring.n; i++)
                for (size_t j = 0; j < p->keyring.keys[i].n_subkeys && n < ELEMENTSOF(fingerprints); j++) {
                        fingerprints[n] = p->keyring.keys[i].subkeys[j].fingerprint;
                        primary |= streq(fingerprints[n++], p->keyring.keys[i].fingerprint);
                }
        struct pgp_secret *secret = NULL;
        int r = pgp_export(home, fingerprints, n, primary, passphrase, p->keyring.key_ids.v,
                p->keyring.key_ids.n, &secret, e);
        if (r < 0)
                return r;
        pgp_secret_free(p->secret);
        p->secret = secret;
        return 0;
}

bool pgp_needs_agent(const struct pgp *p)
{
        return !p->secret || pgp_secret_count(p->secret) == 0 || p->options.signatures == SIGNATURES_REQUIRED;
}

void pgp_prefer_gpg(struct pgp *p)
{
        p->met_odd = true;
}

void pgp_agent_ended(struct pgp *p)
{
        p->no_agent = true;
}

/* The whole of a small message, or as much of a large one as is kept for another try anyway. gpg gets it from
 * replay, if it gets it. */
static void read_head(struct run *run)
{
        char buf[16 * 1024];
        while (!run->at_end && run->kept < LIMIT_REPLAY)
                if (pull(run, buf, MIN(sizeof(buf), LIMIT_REPLAY - run->kept)) < 0)
                        break;
        run->replaying = true;
        run->again = 0;
}

static void fill_verdict(
        struct run *run, char (*recipients)[17], size_t n, bool good, struct pgp_verdict *ret)
{
        const struct pgp_subkey *subkey;
        const struct pgp_key *key = key_of_session(run, &subkey);
        ret->checks = good ? CHECK_INTEGRITY | CHECK_NO_SIGNATURE : 0;
        if (key && good)
                snprintf(ret->fingerprint, sizeof(ret->fingerprint), "%s", key->fingerprint);
        if (subkey && good && pgp_keyring_expired(&run->p->keyring, subkey->fingerprint, time(NULL)))
                ret->warnings |= PGP_WARN_KEY_EXPIRED;
        for (size_t i = 0, len = 0; i < n; i++)
                len += (size_t)snprintf(ret->recipients + len, sizeof(ret->recipients) - len, "%s%s",
                        i ? " " : "", recipients[i]);
}

/* It is enough to know that the plaintext begins. */
static int stop_at_content(void *arg, const void *p, size_t n, struct error *e)
{
        (void)arg;
        (void)p;
        (void)n;
        (void)e;
        return -ECANCELED;
}

/* Does what was read of a large message look inside as it should? What does not, gpg gets from the start. */
static bool head_is_plain(const struct run *run)
{
        _cleanup_(cleanup_pgp_stream) struct pgp_stream *s = NULL;
        size_t after = run->session.after;
        if (pgp_stream_new(&run->session, stop_at_content, NULL, &s) < 0)
                return false;
        int r = pgp_stream_feed(s, run->p->replay + after, run->kept - after, NULL);
        return (r == 0 || r == -ECANCELED) && !pgp_stream_is_odd(s);
}

static int stream(struct run *run, struct pgp_stream *s)
{
        static const size_t size = 64 * KIB;
        _cleanup_free_ char *buf = malloc(size);
        size_t after = run->session.after;
        int r = buf ? pgp_stream_feed(s, run->p->replay + after, run->kept - after, &run->failed) : -ENOMEM;
        run->again = run->kept;
        while (r == 0 && !run->at_end && run->frame.state != FRAME_TRAILING) {
                ssize_t n = pull(run, buf, size);
                if (n > 0)
                        r = pgp_stream_feed(s, buf, (size_t)n, &run->failed);
        }
        return r == 0 && !run->failed.cause ? pgp_stream_end(s, &run->failed) : r;
}

/* A large message, in the same words as judge_content() has. */
static bool try_stream(struct run *run, char (*recipients)[17], size_t n, struct pgp_verdict *ret)
{
        _cleanup_(cleanup_pgp_stream) struct pgp_stream *s = NULL;
        run->unproven = !head_is_plain(run);
        if (run->p->met_odd || run->unproven || pgp_stream_new(&run->session, drain, run, &s) < 0)
                return false;
        int r = stream(run, s);
        const char *fault = frame_fault(&run->frame);
        fill_verdict(run, recipients, n, r == 0 && !fault, ret);
        if (run->failed.cause)
                ret->error = run->failed;
        else if (fault)
                error_set(&ret->error, CAUSE_BAD_PGP, EBADMSG, "%s", fault);
        else if (r == -EBADMSG)
                pgp_damaged(&ret->error);
        else if (r < 0)
                error_set(&ret->error, r == -ENOTSUP && run->p->no_agent ? CAUSE_REFERENCE : CAUSE_HELPER,
                        EAGAIN, "an unusual message: gpg is to decrypt it");
        run->p->met_odd |= r == -ENOTSUP && !fault && !run->failed.cause;
        return true;
}

/* True: the message is done, *ret says how. False: it is gpg's; with the session key when there is one, right
 * or random, for the agent tells the two apart. */
static bool try_fast(struct run *run, struct pgp_verdict *ret)
{
        struct pgp *p = run->p;
        char recipients[LIMIT_RECIPIENTS][17];
        size_t n;
        const uint8_t *message = (const uint8_t *)p->replay;
        if (!p->secret || p->options.signatures == SIGNATURES_REQUIRED)
                return false;
        read_head(run);
        if (run->failed.cause || fast_open_session(p->secret, message, run->kept, &run->session, recipients,
                                         LIMIT_RECIPIENTS, &n) < 0)
                return false;
        if (!run->at_end)
                return try_stream(run, recipients, n, ret);
        const char *fault = frame_fault(&run->frame);
        if (fault) { /* not gpg's: it tells a session-key packet that is wrong inside from one that is not */
                fill_verdict(run, recipients, n, false, ret);
                error_set(&ret->error, CAUSE_BAD_PGP, EBADMSG, "%s", fault);
                return true;
        }
        struct fast_plaintext plain = {};
        int r = fast_decrypt(&run->session, message, run->kept, &plain);
        if (r == 0 || r == -EBADMSG)
                fill_verdict(run, recipients, n, r == 0, ret);
        if (r == -EBADMSG)
                pgp_damaged(&ret->error);
        if (r < 0)
                return r == -EBADMSG;
        run->plain_size = plain.len;
        if (expansion_check(&run->job->limit, run->frame.bytes, plain.len, &run->failed) == 0 && plain.len)
                run->job->write(run->job->write_arg, plain.p, plain.len, &run->failed);
        fast_plaintext_done(&plain);
        ret->error = run->failed;
        return true;
}

/* gpg stops reading where it sees that a message is bad. The rest is read for the frame, so that the verdict
 * does not depend on how far gpg came; and a verdict that is good must have seen the end. */
static void read_rest(struct run *run)
{
        char buf[16 * 1024];
        while (!run->failed.cause && !run->at_end && !hopeless(run) && run->frame.state != FRAME_TRAILING)
                if (pull(run, buf, sizeof(buf)) < 0)
                        return;
}

static void rewind_message(struct run *run)
{
        pgp_status_done(&run->status);
        run->replaying = true;
        run->again = 0;
}

static int agent_is_missing(const struct run *run, struct error *e)
{
        error_set(e, CAUSE_REFERENCE, EAGAIN, "only gpg-agent can open it");
        if (run->failed.cause)
                *e = run->failed;
        return -EAGAIN;
}

int pgp_decrypt(struct pgp *p, const struct pgp_job *job, struct pgp_verdict *ret)
{
        struct run run = {.p = p, .job = job};
        *ret = (struct pgp_verdict){};
        bool done = try_fast(&run, ret);
        for (unsigned attempt = 0; !done; attempt++) {
                struct error e = {};
                bool agent = !run.session.len;
                if ((agent && p->no_agent ? agent_is_missing(&run, &e) : run_gpg(&run, &e)) < 0) {
                        ret->error = e;
                        break;
                }
                read_rest(&run);
                judge(&run, ret);
                if (!ret->again || attempt || run.lost || run.plain_size)
                        break;
                if (p->options.revive && p->options.revive(p->options.arg) < 0)
                        break;
                rewind_message(&run);
        }
        OPENSSL_cleanse(&run.session, sizeof(run.session));
        ret->cipher_size = run.frame.bytes;
        ret->plain_size = run.plain_size;
        pgp_status_done(&run.status);
        return ret->error.cause ? -(ret->error.err ? ret->error.err : EIO) : 0;
}
