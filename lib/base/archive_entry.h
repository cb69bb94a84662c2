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
