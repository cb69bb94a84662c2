/* SPDX-License-Identifier: Apache-2.0 */
/* What one message is, and how it is called in the outbox. Its name has that of its course, which may become
 * known later, or need a hash one day; what it is has not. */
#pragma once

#define DELIVER_EVENTS_EXT ".log.gz.gpg"
#define DELIVER_STATE_EXT ".tar.gpg"
#define DELIVER_ARCHIVE_EXT ".tar.gz.gpg"

/* "A/state/2024-07-07.tar.gpg", 2 -> "A/state/2024-07-07-r2.tar.gpg". The caller frees. */
char *item_name(const char *base, unsigned revision);
/* base: its name without the revision. course: full key, or the form that tables have. Two messages with one
 * id are versions of the same. The caller frees; NULL: no memory. */
char *item_id(const char *base, const char *course);
/* The base of a course whose name others have too: "A.tar.gpg" -> "A~0123456789abcdef.tar.gpg", with the hash
 * of `of`. The caller frees; NULL: no memory. */
char *item_parted(const char *base, const char *of);
