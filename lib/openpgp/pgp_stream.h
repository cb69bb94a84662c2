/* SPDX-License-Identifier: Apache-2.0 */
/* The fast engine for large messages: one message as it passes by, in memory that does not grow with it. It
 * takes the same plainest shape as pgp_fast.h. Plaintext is given out before the MDC is known: whoever takes
 * it must throw it away unless the end is good. */
#pragma once

#include "pgp_fast.h"
#include "sink.h"

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
