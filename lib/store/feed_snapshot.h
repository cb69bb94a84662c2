/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the feed: what a snapshot says. Of its members only what differs from the one that it is compared
 * with: the one that `latest` named; where none is staged that it named, the one that was told last. */
#pragma once

#include "feed_said.h"

struct feed_snapshot {
        struct feed_file *file; /* borrowed, as state_fd */
        int state_fd;
        /* the archive whose members are being told */
        uint64_t first; /* number of the first member's line; 0: none is being told */
        bool rejected;
};

/* The members that were told so far are of no archive. */
int feed_snapshot_forget(struct feed_snapshot *f);
/* "member", or "member-rejected", of an archive that is to come. */
int feed_snapshot_member(struct feed_snapshot *f, struct audit_line *l, uint64_t number, bool rejected);
/* These were its members: the archive is staged. */
int feed_snapshot_say(struct feed_snapshot *f, const struct feed_said *o, uint64_t number);
/* It is not staged any more, or nobody knows its members. */
int feed_snapshot_drop(struct feed_snapshot *f, const struct feed_said *o);
/* `latest` was pinned to that date, "": it is not any more. */
int feed_snapshot_pin(struct feed_snapshot *f, const struct feed_said *o);
