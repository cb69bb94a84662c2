/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the feed of one organisation from a line on, and waits for more. Needs nothing but the right to read
 * the file: no ledger, no lock, no right on state_dir. A feed that is made again keeps its numbers, so the
 * reader goes on in the new file behind the last line that it has told. What is not the next line is never
 * passed over. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define FEED_FILE "CHANGES.jsonl"

struct feed_reader;

/* since: the number of the last line that is known already, 0: none. Opens nothing yet. */
int feed_reader_new(
        const char *staging, const char *org, uint64_t since, struct feed_reader **ret, struct error *e);
/* That line had this time, as it stands there: a line of that number with another one is of another feed. */
void feed_reader_expect(struct feed_reader *r, const char *time);
/* NULL does nothing. Returns NULL. */
struct feed_reader *feed_reader_free(struct feed_reader *r);

/* One line, without its line break; not terminated. A return other than 0 ends feed_reader_each(), which
 * returns it; the line counts as told. */
typedef int feed_reader_fn(const char *line, size_t len, uint64_t seq, void *arg);

/* Each whole line that was not told yet, in order. 0; or (e is filled)
 *   -ENOENT   there is no feed
 *   -ESTALE   it ends before the last line that is known: it was cut, and will be made again, or begun anew
 *   -EBADMSG  it is damaged: what stands there is not the next line; or the last line that is known is
 *             another one there: it was begun anew. The next call says it again.
 * another -errno, or what each returned. */
int feed_reader_each(struct feed_reader *r, feed_reader_fn *each, void *arg, struct error *e);

/* A descriptor (borrowed, non-blocking) that becomes readable when there may be more. In turns:
 * feed_reader_watch(), feed_reader_each(), which also takes the notices, then wait for the descriptor: a feed
 * that was not there before is found so too. Or -errno: nothing of the staging directory can be watched, as
 * when the folder may be passed only and the file is not there; who waits then looks again after a while. */
int feed_reader_watch(struct feed_reader *r, struct error *e);
