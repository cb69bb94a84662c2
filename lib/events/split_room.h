/* SPDX-License-Identifier: Apache-2.0 */
/* What a day may take of its file system, counted as that counts: every file has whole blocks, an inode and a
 * name. 20,000 courses of one line each are 1 MB of gzip and 80 MB of disk. */
#pragma once

#include <stdint.h>

#include "error.h"

struct split_room {
        uint64_t block;        /* bytes */
        uint64_t bytes, files; /* that are left */
        uint64_t files_made;
};

/* bytes, files: that may be taken below dir_fd; 0: any number. 0, or -errno with the cause in e. */
int split_room_open(struct split_room *r, int dir_fd, uint64_t bytes, uint64_t files, struct error *e);
/* A file goes from so many bytes to so many; from 0, it is a new one. 0, or -ENOSPC with the cause in e. */
int split_room_take(struct split_room *r, uint64_t before, uint64_t after, struct error *e);
