/* SPDX-License-Identifier: Apache-2.0 */
/* The fast engine: session keys, and one message decrypted in this process: a small one whole in memory, a
 * large one as it passes by. It takes only the plainest shape, which is what edX makes:
 * RSA session-key packets for named keys, one SEIPD v1 packet (AES, MDC), at most one compressed packet, one
 * binary literal. Everything else it declines, and then the reference engine decides; so it can be no more
 * permissive than that one, only faster. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pgp_secret.h"
#include "sink.h"

#define FAST_MESSAGE_MAX (1 * MIB)    /* ciphertext */
#define FAST_PLAINTEXT_MAX (16 * MIB) /* beyond it the message is declined */
#define FAST_SESSION_KEY 33           /* algorithm byte and the longest key */

struct fast_session {
        uint8_t key[FAST_SESSION_KEY]; /* algorithm, then the key: as --override-session-key wants it, in
                                          binary */
        size_t len;
        int secret;   /* index of the key that opened it */
        bool random;  /* the packet was not well-formed inside: a key that nothing was encrypted with, so that
                       * a wrong  padding, a wrong checksum and a wrong MDC look and take the same */
        size_t after; /* offset of the encrypted-data packet */
};

/* Reads the session-key packets at the start of a message (n bytes of it, perhaps not all) and opens the one
 * for a key of ours. 0; -ENOTSUP: declined. recipients, n_recipients: the key ids in front of the data, as 16
 * upper-case hex digits each with a NUL (room for `most`); may be fewer than there are only when it declines.
 */
int fast_open_session(const struct pgp_secret *secret, const uint8_t *p, size_t n, struct fast_session *ret,
        char (*recipients)[17], size_t most, size_t *n_recipients);

struct fast_plaintext {
        uint8_t *p; /* owned; wiped by fast_plaintext_done(). NULL when it is empty */
        size_t len, size;
};

/* Decrypts the whole message with the session key. 0: *ret is the plaintext, its integrity proven. -EBADMSG:
 * it was altered or damaged, in its data or in the session-key packet for us: nobody could decrypt it.
 * -ENOTSUP: declined, nothing is said of the message. -ENOMEM. */
int fast_decrypt(const struct fast_session *session, const uint8_t *p, size_t n, struct fast_plaintext *ret);
void fast_plaintext_done(struct fast_plaintext *p);

/* A large message as it passes by, in memory that does not grow with it. Plaintext is given out before the
 * MDC is known: whoever takes it must throw it away unless the end is good. */
struct pgp_stream;

/* Plaintext goes to write. 0; -ENOTSUP: not a cipher for us; -ENOMEM. */
int pgp_stream_new(const struct fast_session *session, sink_fn *write, void *arg, struct pgp_stream **ret);
struct pgp_stream *pgp_stream_free(struct pgp_stream *s);
DEFINE_CLEANUP(struct pgp_stream, pgp_stream, pgp_stream_free)

/* The next n bytes of the message, from its encrypted-data packet on. 0, or -errno with the cause in e, as
 * when write fails: then it is over. */
int pgp_stream_feed(struct pgp_stream *s, const void *p, size_t n, struct error *e);
/* Is something within that is not for us, as far as it has been seen? Of a damaged message this says nothing:
 * the MDC at its end does. */
bool pgp_stream_is_odd(const struct pgp_stream *s);
/* After the last byte. 0: what was written is the whole plaintext, its integrity proven. -EBADMSG: the
 * message was altered or damaged. -ENOTSUP: declined; it is not one whole SEIPD v1 packet, or unaltered but
 * not what it should look like within. Else as pgp_stream_feed(). */
int pgp_stream_end(struct pgp_stream *s, struct error *e);
