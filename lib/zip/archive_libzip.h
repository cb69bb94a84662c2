/* SPDX-License-Identifier: Apache-2.0 */
/* libzip as the other reader of a directory, for archive.c. */
#pragma once

#include <zip.h>

#include "archive_entry.h"

/* An archive as libzip sees it. Starts zeroed. */
struct window {
        struct {
                const uint8_t *p; /* borrowed; NULL: zeros */
                uint64_t n;
        } parts[3];
        uint64_t size, pos;
        zip_error_t error;
};

/* Sets part i, each one once. */
void window_add(struct window *w, size_t i, const uint8_t *p, uint64_t n);

/* Has libzip read the directory of w, which must stay until libzip_close(). 0, or -errno with CAUSE_BAD_ZIP
 * or CAUSE_HELPER (no memory). */
int libzip_open(struct window *w, zip_t **ret, struct error *e);
void libzip_close(struct window *w, zip_t *z);

/* Does it agree that there are so many members, of which the first is number index of the archive? And about
 * its member i, which is number index there? 0, or -EBADMSG with CAUSE_BAD_ZIP. */
int libzip_compare_count(zip_t *z, uint64_t count, uint64_t index, struct error *e);
int libzip_compare(zip_t *z, uint64_t i, uint64_t index, const struct archive_entry *entry, struct error *e);
