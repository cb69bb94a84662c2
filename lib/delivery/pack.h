/* SPDX-License-Identifier: Apache-2.0 */
/* The plaintext of one message, as it is asked for: a staged file, or a tar of some, gzipped or not. Nothing
 * of it touches a disk. Each file is compared with its hash as it passes. The tar is written here and not by
 * libarchive, which pushes what gpg has to pull: it would take a thread and a pipe, and the format is one
 * header of 512 bytes, with a pax header before it where a name or a size does not fit (POSIX.1-2001, pax).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "staging.h"

struct pack_entry {
        const char *name;   /* in the archive */
        const char *path;   /* a staged file; NULL: text */
        const char *sha256; /* of the staged file */
        const char *text;
};

enum pack_form { PACK_BARE, PACK_TAR, PACK_TAR_GZ };

struct pack;

/* entries (borrowed) in the order in which they are packed; PACK_BARE: one, with a path. mtime: of texts. */
int pack_new(const struct staging *s, const struct pack_entry *entries, size_t n, enum pack_form form,
        int64_t mtime, struct pack **ret, struct error *e);
/* The next bytes; 0: the end, and all was as it should be; -errno with e of pack_new(): CAUSE_STAGING when a
 * file is not the one that czard staged. */
ssize_t pack_read(struct pack *p, void *to, size_t n);
struct pack *pack_free(struct pack *p);
