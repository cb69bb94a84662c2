/* SPDX-License-Identifier: Apache-2.0 */
/* A gzip stream (RFC 1952) checked to its trailer while it passes by: handed on as it is, or unpacked.
 * Several concatenated members are one stream, and zeroes may follow the last one, as gzip(1) has it. (Of
 * damage to a table of codes that no code of the block uses, gzip(1) would tell, and this does not: all
 * content is there.)
 */
#pragma once

#include <stdbool.h>

#include "cleanup.h"
#include "sink.h"

struct gzcheck;

/* unpack: write gets the unpacked bytes, else the bytes as they came. 0 or -ENOMEM. */
int gzcheck_new(bool unpack, const struct expansion *limit, sink_fn *write, void *arg, struct gzcheck **ret);
struct gzcheck *gzcheck_free(struct gzcheck *g);
DEFINE_CLEANUP(struct gzcheck, gzcheck, gzcheck_free)

/* 0, or -errno: CAUSE_BAD_GZIP, CAUSE_LIMIT, or what write said. */
int gzcheck_write(struct gzcheck *g, const void *p, size_t n, struct error *e);
/* No more bytes come: was it whole? 0, or -EBADMSG with CAUSE_BAD_GZIP. */
int gzcheck_end(struct gzcheck *g, struct error *e);
