/* SPDX-License-Identifier: Apache-2.0 */
/* What the directory of a zip says of a member, and which bytes of the archive are whose: who only deals
 * members out needs this and nothing else of a zip. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct archive_place {
        uint64_t offset; /* of the local header */
        uint64_t extent; /* bytes from there to the next header or the directory; 0: not known yet */
};

struct archive_entry {
        struct archive_place place;
        const char *name; /* raw bytes; a NUL in it is turned into \001, which no allow-list lets pass */
        uint64_t packed, size;
        uint32_t crc, mode; /* mode: st_mode of a UNIX entry, 0 otherwise */
        uint16_t method, flags;
};

/* Bytes that the member's local header, name and data need. */
uint64_t archive_least(const struct archive_entry *entry);
/* v: n elements of that size, each of which begins with a struct archive_place, whose extent is what the
 * member needs at least. Puts them in the order of their offsets and sets the extents, the last one's to end
 * at `end`, where the directory is. 0, or -EBADMSG with CAUSE_BAD_ZIP: members overlap, or one lies behind
 * the directory; then the extents are of no use. */
int archive_divide(void *v, size_t n, size_t size, uint64_t end, struct error *e);
