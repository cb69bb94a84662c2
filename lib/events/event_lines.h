/* SPDX-License-Identifier: Apache-2.0 */
/* The lines of a file of events, plain or gzip, one by one and in order. A line ends at '\n' only, the last
 * one also at the end; it may cross members of gzip. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "error.h"

#define EVENT_LINE_MAX (16 * MIB) /* bytes without the '\n'; a longer one is not kept */

struct event_lines_sink {
        /* p: the line without white space at its ends, then '\n', then EVENT_SCAN_SLACK bytes. NULL: it was
         * too long. 0, or -errno with the cause in e. */
        int (*on_line)(void *arg, const char *p, size_t n, struct error *e);
        void (*on_read)(void *arg, uint64_t bytes); /* so many bytes of the file were read; may be NULL */
        void *arg;
};

/* Reads fd from its beginning to its end. ret_sha256 (may be NULL): of the file as it lies there. 0, or
 * -errno: CAUSE_BAD_GZIP, CAUSE_IO, or what on_line said. */
int event_lines_read(int fd, bool gzip, const struct event_lines_sink *sink, uint8_t ret_sha256[SHA256_SIZE],
        struct error *e);
