/* SPDX-License-Identifier: Apache-2.0 */
/* Why something failed, for the program (errno, cause) and for a person (text). lib/ never logs: it fills a
 * struct error, and daemon/ says it once, where it is handled. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "macro.h"

/* What czard does about a cause. Which cause has which: CAUSES below. */
enum remedy {
        REMEDY_NONE,        /* nothing is wrong */
        REMEDY_RETRY,       /* back off and try again, for ever */
        REMEDY_LIMITED,     /* back off and try again, a few times, then REJECTED */
        REMEDY_RESTART,     /* start the object again at once, with what is there now */
        REMEDY_GONE,        /* list it again: not there any more, or lost by the server */
        REMEDY_CREDENTIALS, /* that bucket hourly and on SIGUSR1 */
        REMEDY_DENIED,      /* that prefix only; try at the next poll, an object hourly */
        REMEDY_STOP_KEY,    /* stop decrypting, nothing rejected */
        REMEDY_PAUSE,       /* no room or no staging: pause fetching, keep polling */
        REMEDY_REJECT,      /* not tried again until it is written anew or an admin asks */
        REMEDY_FATAL,       /* cannot go on: configuration, our own state */
};

/* name as in CZARD_CAUSE, the ledger and REJECTED; remedy; what a person should do */
#define CAUSES(X)                                                                                            \
        X(NONE, "none", NONE, "")                                                                            \
        X(NETWORK, "network", RETRY, "check the network between this machine and S3")                        \
        X(TIMEOUT, "timeout", RETRY, "check the network between this machine and S3")                        \
        X(DNS, "dns", RETRY, "check name resolution and [s3] endpoint")                                      \
        X(TLS, "tls", RETRY, "check the server's certificate, [s3] ca_file and this machine's clock")        \
        X(PROXY, "proxy", RETRY, "check [s3] proxy, and what else is between here and [s3] endpoint")        \
        X(SERVER, "server-error", RETRY, "S3 has a fault; czard tries again by itself")                      \
        X(THROTTLED, "throttled", RETRY, "S3 asks for fewer requests; czard slows down by itself")           \
        X(SKEW, "clock-skew", RETRY, "set this machine's clock (timedatectl)")                               \
        X(CREDENTIALS, "credentials", CREDENTIALS,                                                           \
                "ask edX for new keys or import them: czarctl import-credentials")                           \
        X(NO_CREDENTIALS, "no-credentials", CREDENTIALS,                                                     \
                "correct that file, or import the one that edX sent: czarctl import-credentials")            \
        X(DENIED, "access-denied", DENIED,                                                                   \
                "check the prefix in the package section; ask edX what the key may read")                    \
        X(ARCHIVED, "archived", DENIED,                                                                      \
                "it lies in an archive of S3: ask edX to restore it; czard tries it hourly")                 \
        X(SERVER_KEY, "server-side-key", DENIED,                                                             \
                "S3 cannot decrypt it for us: ask edX to upload it again without KMS or SSE-C; czard tries " \
                "it hourly")                                                                                 \
        X(NO_BUCKET, "no-such-bucket", DENIED,                                                               \
                "there is no such bucket: correct its name in the package section, or [s3] endpoint")        \
        X(GONE, "gone", GONE, "czard lists it again to see whether it is there; what is staged stays")       \
        X(LOST, "listed-but-missing", RETRY,                                                                 \
                "S3 lists the object but does not have it: ask edX to upload it again; czard goes on "       \
                "trying")                                                                                    \
        X(REPLACED, "replaced", RESTART, "the object changed while it was read; czard starts it again")      \
        X(PROTOCOL, "bad-answer", RETRY, "the server does not answer as S3 does; check [s3] endpoint")       \
        X(TRUNCATED, "truncated", LIMITED,                                                                   \
                "the body ended early; if it stays so, ask edX to export it again")                          \
        X(SIZE, "wrong-size", LIMITED, "ask edX to export it again")                                         \
        X(ETAG, "etag-mismatch", LIMITED,                                                                    \
                "the bytes differ from what was uploaded; ask edX to export it again")                       \
        X(CHECKSUM, "checksum-mismatch", LIMITED,                                                            \
                "the bytes differ from what was uploaded; ask edX to export it again")                       \
        X(NO_KEY, "no-secret-key", STOP_KEY, "import the key the message is for: czarctl import-key")        \
        X(PASSPHRASE, "wrong-passphrase", STOP_KEY,                                                          \
                "correct the passphrase file or credential, then restart czard")                             \
        X(NOT_FOR_US, "not-for-us", REJECT,                                                                  \
                "the message is encrypted to other keys; ask edX to encrypt it to yours")                    \
        X(NO_MDC, "no-integrity-protection", REJECT,                                                         \
                "refused: the message could have been altered; ask edX to export it again")                  \
        X(BAD_MDC, "bad-integrity", REJECT,                                                                  \
                "the message was altered or damaged; ask edX to export it again")                            \
        X(BAD_PGP, "bad-message", REJECT,                                                                    \
                "if czarctl check warns about the key mend that first; then ask edX to export it again")     \
        X(SIGNATURE, "bad-signature", REJECT, "check [openpgp] signatures and signers")                      \
        X(BAD_GZIP, "bad-gzip", REJECT, "the decrypted file is not whole; ask edX to export it again")       \
        X(BAD_ZIP, "bad-zip", REJECT, "the archive is damaged; ask edX to export it again")                  \
        X(ZIP_FORM, "unsupported-zip", REJECT,                                                               \
                "the archive is whole, but packed in a way that czard does not read; ask edX to pack it "    \
                "without a zip password, with zip's usual method (deflate)")                                 \
        X(UNSAFE_NAME, "unsafe-name", REJECT, "refused: the name could escape or hide; tell edX")            \
        X(LIMIT, "over-limit", REJECT, "if the file is genuine raise the limit in [limits]")                 \
        X(SPACE, "no-space", PAUSE, "make room on the staging volume or lower [staging] min_free")           \
        X(STAGING, "staging", PAUSE, "mount the staging volume; see czarctl check")                          \
        X(IO, "io-error", RETRY, "check the disk and the kernel log")                                        \
        X(HELPER, "helper-failed", RETRY, "a helper process failed; czard starts a new one")                 \
        X(REFERENCE, "needs-gpg-agent", RETRY, "another worker, which has a gpg-agent, decrypts it")         \
        X(CANCELLED, "cancelled", RETRY, "czard was stopped; it goes on at the next start")                  \
        X(CONFIG, "configuration", FATAL, "correct the configuration; czard --check-config")                 \
        X(LOCKED, "locked", FATAL, "another czard runs on this state_dir; use czarctl")                      \
        X(UNSAFE_MODE, "unsafe-mode", FATAL, "do as the message says")                                       \
        X(INTERNAL, "internal", RETRY, "this is a bug in czard; please report it")

enum cause {
#define X(id, name, remedy, advice) CAUSE_##id,
        CAUSES(X)
#undef X
                CAUSE_MAX
};

/* A line for a person, in memory. */
#define TEXT_SIZE 512

struct error {
        enum cause cause;
        int err;              /* positive errno, 0 when none */
        char text[TEXT_SIZE]; /* one line, no secret, no plaintext */
};

/* Fills e (may be NULL) and returns -err, so that a caller can `return error_set(...)`. err > 0. */
int error_set(struct error *e, enum cause cause, int err, const char *format, ...) _printf_(4, 5);

/* The same for a call that failed with err: its text stands behind ": ", its cause is cause_from_errno(). */
int error_errno(struct error *e, int err, const char *format, ...) _printf_(3, 4);

/* Puts "format: " in front of the text that is there. Returns -e->err (or -EIO). */
int error_prefix(struct error *e, const char *format, ...) _printf_(2, 3);

const char *cause_name(enum cause c);
const char *cause_advice(enum cause c);
enum remedy cause_remedy(enum cause c);

/* The cause of that name, or CAUSE_MAX. */
enum cause cause_from_name(const char *name);

/* ENOSPC and EDQUOT mean SPACE, EROFS and ENODEV STAGING, all else IO. err > 0. */
enum cause cause_from_errno(int err);
