/* SPDX-License-Identifier: Apache-2.0 */
/* What is told of a day beside its courses' files. */
#pragma once

#include "split_courses.h"

struct split_folder {
        int dir_fd;
        struct split_room *room;
        const struct split_course *v; /* by names of their files */
        size_t n;
};
/* SHA256SUMS and MANIFEST.jsonl into the folder. Sets sums_sha256 and files_size of totals, and tells
 * on_file. 0, or -errno with the cause in e. */
int split_write(const struct split_folder *f, const struct split_options *options,
        struct split_totals *totals, struct error *e);
