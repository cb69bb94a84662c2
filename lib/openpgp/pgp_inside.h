/* SPDX-License-Identifier: Apache-2.0 */
/* What was encrypted, behind the random prefix and without the MDC (RFC 4880, 5.6 and 5.9): at most one
 * compressed packet, and in it one binary literal. It passes by in pieces; the literal's content goes out as
 * it comes. Whatever else is found makes it odd, and the rest is swallowed. */
#pragma once

#include <stdbool.h>

#include "cleanup.h"
#include "sink.h"

struct pgp_inside;

/* Content goes to write. 0 or -ENOMEM. */
int pgp_inside_new(sink_fn *write, void *arg, struct pgp_inside **ret);
struct pgp_inside *pgp_inside_free(struct pgp_inside *s);
DEFINE_CLEANUP(struct pgp_inside, pgp_inside, pgp_inside_free)

/* The next n bytes. 0, or what write returned: then it is over. */
int pgp_inside_feed(struct pgp_inside *s, const void *p, size_t n, struct error *e);
/* Has something been seen that is not for us? */
bool pgp_inside_is_odd(const struct pgp_inside *s);
/* After the last byte: what was written is the content, and nothing else was there. */
bool pgp_inside_is_plain(const struct pgp_inside *s);
